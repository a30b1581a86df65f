package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"omca/internal/wire"
)

// Whoami returns who the server takes the caller for.
func (c *Client) Whoami(ctx context.Context) (wire.Whoami, error) {
	return call[wire.Whoami](ctx, c, request{method: http.MethodGet, path: "/api/auth/whoami"}, nil)
}

// Node is one node of the cluster, as the node that was asked knows it.
type Node struct {
	Node      string    `json:"node"`
	Agent     string    `json:"agent"`               // version of the program; "" when it is not known
	StartedAt time.Time `json:"started_at,omitzero"` // zero when it is not known

	ClockOffset int64 `json:"clock_offset_seconds"` // by which its clock is ahead of the median of all; negative: behind
	ClockOff    bool  `json:"clock_off"`            // by too much
}

// Nodes returns the nodes that a selector (names or globs, comma separated; all when empty) selects, by name.
func (c *Client) Nodes(ctx context.Context, selector string) ([]Node, error) {
	query := url.Values{}
	if selector != "" {
		query.Set("node", selector)
	}
	l, err := call[wire.NodeList](ctx, c, request{method: http.MethodGet, path: "/api/node", query: query}, nil)
	nodes := make([]Node, len(l.Items))
	for i, item := range l.Items {
		nodes[i].Node = item.Meta.Node
		is := item.Data.Status
		if is == nil {
			continue
		}
		nodes[i] = Node{Node: item.Meta.Node, Agent: is.Agent, StartedAt: is.StartedAt, ClockOffset: is.ClockOffset, ClockOff: is.ClockOff}
	}
	return nodes, err
}

// NodeInfos returns what tells the nodes of the cluster apart, by name.
func (c *Client) NodeInfos(ctx context.Context) (map[string]wire.NodeInfo, error) {
	return call[map[string]wire.NodeInfo](ctx, c, request{method: http.MethodGet, path: "/api/node/info"}, nil)
}

// Ping returns nil when the node answers. localhost is the node that is asked.
func (c *Client) Ping(ctx context.Context, node string) error {
	_, err := c.send(ctx, request{method: http.MethodGet, path: "/api/node/name/" + node + "/ping"})
	return err
}

// AskNode asks the daemon of a node to restart, stop, drain or resume. It returns when word is left for it.
func (c *Client) AskNode(ctx context.Context, node, do string) error {
	_, err := c.send(ctx, request{method: http.MethodPost, path: "/api/node/name/" + url.PathEscape(node) + "/daemon/action/" + do})
	return err
}

// NodeTask returns what a node was asked to do last.
func (c *Client) NodeTask(ctx context.Context, node string) (wire.NodeTask, error) {
	return call[wire.NodeTask](ctx, c, request{method: http.MethodGet, path: "/api/node/name/" + url.PathEscape(node) + "/daemon/action"}, nil)
}

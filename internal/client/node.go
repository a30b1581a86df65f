package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Whoami is who the server takes the caller for.
type Whoami struct {
	Auth      string              `json:"auth"`  // how they proved it
	Grant     map[string][]string `json:"grant"` // by role; nil for a role that holds everywhere
	Name      string              `json:"name"`
	Namespace string              `json:"namespace"` // of the users
	RawGrant  string              `json:"raw_grant"`
}

// Whoami returns who the server takes the caller for.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	return call[Whoami](ctx, c, request{method: http.MethodGet, path: "/api/auth/whoami"}, nil)
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
	type list struct {
		Items []struct {
			Meta struct {
				Node string `json:"node"`
			} `json:"meta"`
			Data struct {
				Status struct {
					Agent     string    `json:"agent"`
					StartedAt time.Time `json:"started_at"`

					ClockOffset int64 `json:"clock_offset_seconds"`
					ClockOff    bool  `json:"clock_off"`
				} `json:"status"`
			} `json:"data"`
		} `json:"items"`
	}
	query := url.Values{}
	if selector != "" {
		query.Set("node", selector)
	}
	l, err := call[list](ctx, c, request{method: http.MethodGet, path: "/api/node", query: query}, nil)
	nodes := make([]Node, len(l.Items))
	for i, item := range l.Items {
		is := item.Data.Status
		nodes[i] = Node{Node: item.Meta.Node, Agent: is.Agent, StartedAt: is.StartedAt, ClockOffset: is.ClockOffset, ClockOff: is.ClockOff}
	}
	return nodes, err
}

// NodeInfo is where a node listens.
type NodeInfo struct {
	Listener struct {
		Addr  string `json:"addr"`
		Port  string `json:"port"`
		State string `json:"state"` // running, or "" when it is not known
	} `json:"listener"`
}

// NodeInfos returns what tells the nodes of the cluster apart, by name.
func (c *Client) NodeInfos(ctx context.Context) (map[string]NodeInfo, error) {
	return call[map[string]NodeInfo](ctx, c, request{method: http.MethodGet, path: "/api/node/info"}, nil)
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

// NodeTask is what a node was asked to do last.
type NodeTask struct {
	Node    string    `json:"node"`
	Do      string    `json:"do"`
	State   string    `json:"state"` // asked, taken, done or failed
	Error   string    `json:"error"`
	By      string    `json:"by"`
	AskedAt time.Time `json:"asked_at,omitzero"`
}

// NodeTask returns what a node was asked to do last.
func (c *Client) NodeTask(ctx context.Context, node string) (NodeTask, error) {
	return call[NodeTask](ctx, c, request{method: http.MethodGet, path: "/api/node/name/" + url.PathEscape(node) + "/daemon/action"}, nil)
}

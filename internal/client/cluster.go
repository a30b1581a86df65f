package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// JoinToken is a token with which one machine becomes a member of the cluster.
type JoinToken struct {
	Token     string    `json:"token"` // a secret
	ID        string    `json:"id"`
	Addresses []string  `json:"addresses"`
	ExpiresAt time.Time `json:"expires_at"`
}

// ClusterToken makes a token with which one machine becomes a member. An empty
// duration is left to the server.
func (c *Client) ClusterToken(ctx context.Context, duration string) (JoinToken, error) {
	want := map[string]string{}
	if duration != "" {
		want["duration"] = duration
	}
	return call[JoinToken](ctx, c, request{method: http.MethodPost, path: "/api/cluster/token"}, asJSON(want))
}

// Member is one member of the cluster.
type Member struct {
	Node   string `json:"node"`
	URL    string `json:"url"`
	State  string `json:"state"`
	Serial string `json:"serial"`

	ClockOffset int64 `json:"clock_offset_seconds"` // by which its clock is ahead of the median of all; negative: behind
	ClockOff    bool  `json:"clock_off"`            // by too much
}

// Members lists the members of the cluster by name.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	l, err := call[struct {
		Items []Member `json:"items"`
	}](ctx, c, request{method: http.MethodGet, path: "/api/cluster/member"}, nil)
	return l.Items, err
}

// RemoveMember takes a node out of the cluster.
func (c *Client) RemoveMember(ctx context.Context, node string) error {
	_, err := c.send(ctx, request{method: http.MethodDelete, path: "/api/cluster/member/" + url.PathEscape(node)})
	return err
}

// ClusterStatus is how the member of a node is doing.
type ClusterStatus struct {
	Node       string   `json:"node"`
	Leader     string   `json:"leader"`
	Members    int      `json:"members"`
	State      string   `json:"state"`
	SizeBytes  int64    `json:"size_bytes"`
	InUseBytes int64    `json:"in_use_bytes"`
	QuotaBytes int64    `json:"quota_bytes"`
	Behind     uint64   `json:"behind"`
	Term       uint64   `json:"term"`
	Alarms     []string `json:"alarms"`
	Warnings   []string `json:"warnings"`
}

// ClusterStatus returns how the member of the node that is asked is doing.
func (c *Client) ClusterStatus(ctx context.Context) (ClusterStatus, error) {
	return call[ClusterStatus](ctx, c, request{method: http.MethodGet, path: "/api/cluster/status"}, nil)
}

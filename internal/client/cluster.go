package client

import (
	"context"
	"net/http"
	"net/url"

	"omca/internal/wire"
)

// ClusterToken makes a token with which one machine becomes a member. An empty
// duration is left to the server.
func (c *Client) ClusterToken(ctx context.Context, duration string) (wire.JoinToken, error) {
	want := map[string]string{}
	if duration != "" {
		want["duration"] = duration
	}
	return call[wire.JoinToken](ctx, c, request{method: http.MethodPost, path: "/api/cluster/token"}, asJSON(want))
}

// Members lists the members of the cluster by name.
func (c *Client) Members(ctx context.Context) ([]wire.ClusterMember, error) {
	l, err := call[wire.MemberList](ctx, c, request{method: http.MethodGet, path: "/api/cluster/member"}, nil)
	return l.Items, err
}

// RemoveMember takes a node out of the cluster.
func (c *Client) RemoveMember(ctx context.Context, node string) error {
	_, err := c.send(ctx, request{method: http.MethodDelete, path: "/api/cluster/member/" + url.PathEscape(node)})
	return err
}

// ClusterStatus returns how the member of the node that is asked is doing.
func (c *Client) ClusterStatus(ctx context.Context) (wire.ClusterStatus, error) {
	return call[wire.ClusterStatus](ctx, c, request{method: http.MethodGet, path: "/api/cluster/status"}, nil)
}

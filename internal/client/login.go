package client

import (
	"context"
	"net/http"

	"omca/internal/wire"
)

// AuthInfo asks how callers can prove who they are. Nobody has to prove anything for it.
func (c *Client) AuthInfo(ctx context.Context) (wire.AuthInfo, error) {
	return call[wire.AuthInfo](ctx, c, request{method: http.MethodGet, path: "/api/auth/info"}, nil)
}

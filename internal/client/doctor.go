package client

import (
	"context"
	"net/http"

	"omca/internal/wire"
)

// Doctor returns what the server finds that needs a hand. Nothing is changed.
func (c *Client) Doctor(ctx context.Context) (wire.Diagnosis, error) {
	return call[wire.Diagnosis](ctx, c, request{method: http.MethodGet, path: "/api/doctor"}, nil)
}

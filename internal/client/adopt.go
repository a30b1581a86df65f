package client

import (
	"context"
	"net/http"

	"omca/internal/wire"
)

// Adopt makes the object at p the CA of a cluster that lived without a daemon.
func (c *Client) Adopt(ctx context.Context, p Path, a wire.Adoption) (wire.Adopted, error) {
	return call[wire.Adopted](ctx, c, request{method: http.MethodPost, path: p.url("/import")}, asJSON(a))
}

// Authority returns the certificate of the cluster's CA.
func (c *Client) Authority(ctx context.Context) (wire.Authority, error) {
	return call[wire.Authority](ctx, c, request{method: http.MethodGet, path: "/api/ca"}, nil)
}

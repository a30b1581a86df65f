package client

import (
	"context"
	"net/http"

	"omca/internal/wire"
)

// History returns the sets that a CA had before, the newest first.
func (c *Client) History(ctx context.Context, p Path) ([]wire.FormerSet, error) {
	h, err := call[wire.History](ctx, c, request{method: http.MethodGet, path: p.url("/certificate/history")}, nil)
	return h.Items, err
}

// Rollback puts a set that a CA had before back in its place: the newest when to is 0.
func (c *Client) Rollback(ctx context.Context, p Path, to int) (wire.RolledBack, error) {
	return call[wire.RolledBack](ctx, c, request{method: http.MethodPost, path: p.url("/certificate/rollback")}, asJSON(wire.RollbackRequest{To: to}))
}

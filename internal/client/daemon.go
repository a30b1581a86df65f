package client

import (
	"context"
	"net/http"

	"omca/internal/wire"
)

// Status returns how the daemon is doing.
func (c *Client) Status(ctx context.Context) (wire.Status, error) {
	return call[wire.Status](ctx, c, request{method: http.MethodGet, path: "/api/daemon/status"}, nil)
}

// Stop asks the daemon to stop. It returns when the daemon has agreed, which is before it has stopped.
func (c *Client) Stop(ctx context.Context) error {
	_, err := c.send(ctx, request{method: http.MethodPost, path: "/api/daemon/action/stop"})
	return err
}

// AcceptRollback takes a store that was set back as it is.
func (c *Client) AcceptRollback(ctx context.Context) (wire.AcceptedRollback, error) {
	return call[wire.AcceptedRollback](ctx, c, request{method: http.MethodPost, path: "/api/daemon/action/accept-rollback"}, nil)
}

// Restart asks the daemon to have another process take its place. It returns when that process is there and waits for the store.
func (c *Client) Restart(ctx context.Context) error {
	_, err := c.send(ctx, request{method: http.MethodPost, path: "/api/daemon/action/restart"})
	return err
}

// Health returns nil when the server answers that it is alive.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.send(ctx, request{method: http.MethodGet, path: "/healthz"})
	return err
}

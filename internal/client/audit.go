package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"omca/internal/wire"
)

// Audit returns the last lines of the audit trail of the daemon, 1000 at most, the oldest first.
func (c *Client) Audit(ctx context.Context, most int) ([]wire.AuditLine, error) {
	list, err := call[struct {
		Items []wire.AuditLine `json:"items"`
	}](ctx, c, request{method: http.MethodGet, path: "/api/audit", query: url.Values{"limit": {strconv.Itoa(most)}}}, nil)
	return list.Items, err
}

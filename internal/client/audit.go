package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// AuditLine is one line of the audit trail.
type AuditLine struct {
	Time   time.Time         `json:"time"`
	Level  string            `json:"level"` // "INFO", "WARN" or "ERROR"
	Event  string            `json:"event"`
	Fields map[string]string `json:"fields"`
}

// Audit returns the last lines of the audit trail of the daemon, 1000 at most, the oldest first.
func (c *Client) Audit(ctx context.Context, most int) ([]AuditLine, error) {
	list, err := call[struct {
		Items []AuditLine `json:"items"`
	}](ctx, c, request{method: http.MethodGet, path: "/api/audit", query: url.Values{"limit": {strconv.Itoa(most)}}}, nil)
	return list.Items, err
}

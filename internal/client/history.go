package client

import (
	"context"
	"net/http"
	"time"
)

// FormerSet is a complete set of key, certificate and chain that a CA had before.
type FormerSet struct {
	Number     int       `json:"number"`
	Serial     string    `json:"serial"`
	Subject    string    `json:"subject"`
	SHA256     string    `json:"sha256"`
	NotBefore  time.Time `json:"not_before,omitzero"`
	NotAfter   time.Time `json:"not_after,omitzero"`
	HasKey     bool      `json:"has_key"`
	ReplacedAt time.Time `json:"replaced_at,omitzero"`
	ReplacedBy string    `json:"replaced_by"`
	List       string    `json:"list"`   // path of its revocation list on the server; "" when there is none
	Living     int       `json:"living"` // certificates that its key signed, neither expired nor revoked
}

// History returns the sets that a CA had before, the newest first.
func (c *Client) History(ctx context.Context, p Path) ([]FormerSet, error) {
	h, err := call[struct {
		Items []FormerSet `json:"items"`
	}](ctx, c, request{method: http.MethodGet, path: p.url("/certificate/history")}, nil)
	return h.Items, err
}

// RolledBack is the certificate of a set that is in force again.
type RolledBack struct {
	Serial  string `json:"serial"`
	Subject string `json:"subject"`
}

type rollback struct {
	To int `json:"to,omitempty"`
}

// Rollback puts a set that a CA had before back in its place: the newest when to is 0.
func (c *Client) Rollback(ctx context.Context, p Path, to int) (RolledBack, error) {
	return call[RolledBack](ctx, c, request{method: http.MethodPost, path: p.url("/certificate/rollback")}, asJSON(rollback{to}))
}

package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"omca/pki"
)

// FormerSet is a complete set of key, certificate and chain that a CA had before.
type FormerSet struct {
	Number     int       `json:"number"` // of the set; it never changes
	Serial     string    `json:"serial"`
	Subject    string    `json:"subject"`
	SHA256     string    `json:"sha256"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	HasKey     bool      `json:"has_key"` // false: it was trusted and signed nothing here
	ReplacedAt time.Time `json:"replaced_at"`
	ReplacedBy string    `json:"replaced_by"`
	List       string    `json:"list"`   // path of its revocation list on this server; "" when there is none
	Living     int       `json:"living"` // certificates that its key signed, neither expired nor revoked
}

// History is what a CA had before.
type History struct {
	Path  string      `json:"path"`
	Items []FormerSet `json:"items"` // the newest first
}

// RollbackRequest names the set to put back.
type RollbackRequest struct {
	To int `json:"to,omitempty"` // its number; the newest unless given
}

// RolledBack is the certificate of the set that is in force again.
type RolledBack struct {
	Path    string `json:"path"`
	Serial  string `json:"serial"`
	Subject string `json:"subject"`
}

func (d *door) historyRoutes() []route {
	return []route{
		{method: http.MethodGet, path: pathObject + "/certificate/history", rule: root(), id: "getHistory", about: "The sets of key and certificate that a CA had before, the newest first.",
			answer: jsonAnswer[History](http.StatusOK), handle: d.getHistory},
		{method: http.MethodPost, path: pathObject + "/certificate/rollback", rule: root(), id: "rollback", about: "Put a set that a CA had before back in its place. The one that it replaces is kept.",
			body: jsonOption[RollbackRequest](), answer: jsonAnswer[RolledBack](http.StatusOK), audit: auditByCA, handle: d.rollback},
	}
}

func (d *door) getHistory(ctx context.Context, c *call) (response, error) {
	all, err := d.Authority.History(ctx, c.path.String())
	if err != nil {
		return response{}, err
	}
	h := History{Path: c.path.String(), Items: []FormerSet{}}
	for _, f := range all {
		cert := f.Certificate
		list := ""
		if f.List != "" {
			list = "/crl/" + f.List + ".crl"
		}
		h.Items = append(h.Items, FormerSet{
			Number: f.Number, Serial: string(pki.SerialOf(cert)), Subject: cert.Subject.String(), SHA256: pki.Fingerprint(cert),
			NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(), HasKey: f.HasKey,
			ReplacedAt: f.ReplacedAt, ReplacedBy: f.ReplacedBy, Living: f.Living, List: list,
		})
	}
	return reply(http.StatusOK, h)
}

func (d *door) rollback(ctx context.Context, c *call) (response, error) {
	want, err := decode[RollbackRequest](c)
	if err != nil {
		return response{}, err
	}
	if err := c.askFirst(func() ([]Break, error) { return d.rekeyBreaks(ctx, c.path) }); err != nil {
		return response{}, err
	}
	c.note(slog.Int("to", want.To))
	if err := d.noteReign(ctx, c); err != nil {
		return response{}, err
	}
	cert, err := d.Authority.Rollback(ctx, c.who, c.path.String(), want.To)
	if err != nil {
		return response{}, err
	}
	if err := d.tellOrphans(ctx, c); err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, RolledBack{Path: c.path.String(), Serial: string(pki.SerialOf(cert)), Subject: cert.Subject.String()})
}

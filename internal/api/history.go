package api

import (
	"context"
	"log/slog"
	"net/http"

	"omca/internal/wire"
	"omca/pki"
)

func (d *door) historyRoutes() []route {
	return []route{
		{method: http.MethodGet, path: pathObject + "/certificate/history", rule: root(), id: "getHistory", about: "The sets of key and certificate that a CA had before, the newest first.",
			answer: jsonAnswer[wire.History](http.StatusOK), handle: d.getHistory},
		{method: http.MethodPost, path: pathObject + "/certificate/rollback", rule: root(), id: "rollback", about: "Put a set that a CA had before back in its place. The one that it replaces is kept.",
			body: jsonOption[wire.RollbackRequest](), answer: jsonAnswer[wire.RolledBack](http.StatusOK), audit: auditByCA, handle: d.rollback},
	}
}

func (d *door) getHistory(ctx context.Context, c *call) (response, error) {
	all, err := d.Authority.History(ctx, c.path.String())
	if err != nil {
		return response{}, err
	}
	h := wire.History{Path: c.path.String(), Items: []wire.FormerSet{}}
	for _, f := range all {
		cert := f.Certificate
		list := ""
		if f.List != "" {
			list = "/crl/" + f.List + ".crl"
		}
		h.Items = append(h.Items, wire.FormerSet{
			Number: f.Number, Serial: string(pki.SerialOf(cert)), Subject: cert.Subject.String(), SHA256: pki.Fingerprint(cert),
			NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(), HasKey: f.HasKey,
			ReplacedAt: f.ReplacedAt, ReplacedBy: f.ReplacedBy, Living: f.Living, List: list,
		})
	}
	return reply(http.StatusOK, h)
}

func (d *door) rollback(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.RollbackRequest](c)
	if err != nil {
		return response{}, err
	}
	if err := c.askFirst(func() ([]wire.Break, error) { return d.rekeyBreaks(ctx, c.path) }); err != nil {
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
	return reply(http.StatusOK, wire.RolledBack{Path: c.path.String(), Serial: string(pki.SerialOf(cert)), Subject: cert.Subject.String()})
}

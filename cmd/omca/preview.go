package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/wire"
)

func dryRunFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Usage: "show what would be signed and how it differs from what it replaces; sign nothing"}
}

// preview shows what the object would get.
func (c *call) preview(ctx context.Context, r wire.Renewal) error {
	api, p, err := c.object(ctx)
	if err != nil {
		return err
	}
	r.ReplaceExternal = true // nothing is
	shown, err := api.Preview(ctx, p, r)
	if err != nil {
		return err
	}
	return c.showPreview(shown)
}

func (c *call) showPreview(shown wire.Preview) error {
	type preview = wire.Preview
	lines := func(p preview, of func(preview) []string) string { return strings.Join(of(p), "; ") }
	return emitOne(c.printer, shown, []column[preview]{
		{name: "OWNER", text: func(p preview) string { return p.Owner }},
		{name: "PROFILE", text: func(p preview) string { return p.Profile }},
		{name: "SUBJECT", text: func(p preview) string { return p.Subject }},
		{name: "NAMES", text: func(p preview) string { return strings.Join(p.Names, " ") }},
		{name: "ISSUER", text: func(p preview) string { return p.Issuer }},
		{name: "SIGNED BY", text: func(p preview) string { return p.IssuerPath }},
		{name: "NOT BEFORE", text: func(p preview) string { return instant(p.NotBefore) }},
		{name: "NOT AFTER", text: func(p preview) string { return instant(p.NotAfter) }},
		{name: "KEY", text: func(p preview) string {
			if p.NewKey {
				return p.KeyType + ", to be made"
			}
			return p.KeyType
		}},
		{name: "KEY USAGE", text: func(p preview) string { return p.KeyUsage }},
		{name: "FOR", text: func(p preview) string { return strings.Join(p.ExtKeyUsage, " ") }},
		{name: "LINT", text: func(p preview) string {
			return lines(p, func(p preview) (all []string) {
				for _, f := range p.Findings {
					all = append(all, f.Severity+": "+f.Lint+": "+f.Detail)
				}
				return all
			})
		}},
		{name: "REPLACES", text: func(p preview) string { return p.Replaces }},
		{name: "CHANGES", text: func(p preview) string {
			return lines(p, func(p preview) (all []string) {
				for _, d := range p.Changes {
					all = append(all, d.Field+": "+d.From+" -> "+d.To)
				}
				return all
			})
		}},
	})
}

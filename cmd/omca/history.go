package main

import (
	"context"
	"strconv"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
)

// authorityGroup are the verbs of what a CA had before.
func (p *program) authorityGroup() *cli.Command {
	return group("ca", "what a CA was before, and going back to it", p.commands("", []verb{
		{
			name: "history", usage: "list the keys and certificates that the cluster's CA, or that at PATH, had before", args: "[PATH]", max: 1,
			example: "omca ca history\nomca ca history system/sec/ca-lab", run: showHistory,
		},
		{
			name: "rollback", usage: "put the key and the certificate that the CA had before back in force", args: "[PATH]", max: 1, run: rollback,
			flags: []cli.Flag{
				yesFlag(),
				&cli.IntFlag{Name: "to", Usage: "`NUMBER` of the set, as \"ca history\" has it (default: the newest)"},
			},
			example: "omca ca rollback --yes",
		},
	})...)
}

// authority returns the API and the CA that the command is about: the one named, else the cluster's.
func (c *call) authority(ctx context.Context) (*client.Client, client.Path, error) {
	given := c.flags.Args().First()
	if given != "" {
		p, err := client.ParsePath(given)
		if err != nil {
			return nil, p, hint.With(usagef("%s", err), "a path is like system/sec/ca")
		}
		api, err := c.api(ctx)
		return api, p, err
	}
	api, err := c.api(ctx)
	if err != nil {
		return nil, client.Path{}, err
	}
	own, err := api.Authority(ctx)
	if err != nil {
		return nil, client.Path{}, err
	}
	p, err := client.ParsePath(own.Path)
	return api, p, err
}

func showHistory(ctx context.Context, c *call) error {
	api, p, err := c.authority(ctx)
	if err != nil {
		return err
	}
	sets, err := api.History(ctx, p)
	if err != nil {
		return err
	}
	type f = wire.FormerSet
	return emit(c.printer, sets, []column[f]{
		{name: "NUMBER", text: func(s f) string { return strconv.Itoa(s.Number) }},
		{name: "REPLACED", text: func(s f) string { return day(s.ReplacedAt) }, in: inList},
		{name: "REPLACED", text: func(s f) string { return instant(s.ReplacedAt) }, in: inFull},
		{name: "NOT AFTER", text: func(s f) string { return day(s.NotAfter) }, in: inList},
		{name: "NOT AFTER", text: func(s f) string { return instant(s.NotAfter) }, in: inFull},
		{name: "LIVING", text: func(s f) string { return strconv.Itoa(s.Living) }},
		{name: "SERIAL", text: func(s f) string { return s.Serial }, in: inFull},
		{name: "SUBJECT", text: func(s f) string { return s.Subject }},
		{name: "KEY HERE", text: func(s f) string { return strconv.FormatBool(s.HasKey) }, in: inFull},
		{name: "LIST", text: func(s f) string { return s.List }, in: inFull},
	})
}

func rollback(ctx context.Context, c *call) error {
	to := c.flags.Int("to")
	if to < 0 || to == 0 && c.flags.IsSet("to") {
		return usagef("rollback: --to %d: not a number that \"ca history\" has", to)
	}
	api, p, err := c.authority(ctx)
	if err != nil {
		return err
	}
	var done wire.RolledBack
	err = c.breaking(ctx, "rollback", func(ctx context.Context) (err error) {
		done, err = api.Rollback(ctx, p, to)
		return err
	})
	if err != nil {
		return err
	}
	c.print("%s: %s is in force again, serial %s\n", p, done.Subject, done.Serial)
	return nil
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
)

// sessionGroup are the verbs of the logins of browsers.
func (p *program) sessionGroup() *cli.Command {
	user := &cli.StringFlag{Name: "user", Usage: "`NAME` of the user (default: who calls)"}
	return group("session", "logins of browsers", p.commands("", []verb{
		{name: "ls", aliases: []string{"list"}, usage: "the sessions of a user", flags: []cli.Flag{user}, example: "omca session ls --user alice", run: listSessions},
		{
			name: "revoke", usage: "end one session, or all of a user", args: "[ID]", max: 1, flags: []cli.Flag{user, &cli.BoolFlag{Name: "all", Usage: "all sessions of the user"}},
			example: "omca session revoke --all --user alice", run: revokeSessions,
		},
	})...)
}

func listSessions(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	sessions, err := api.Sessions(ctx, c.flags.String("user"))
	if err != nil {
		return err
	}
	type s = wire.SessionItem
	return emit(c.printer, sessions, []column[s]{
		{name: "ID", text: func(s s) string { return s.ID[:min(12, len(s.ID))] }, in: inList},
		{name: "ID", text: func(s s) string { return s.ID }, in: inFull},
		{name: "USER", text: func(s s) string { return s.User }},
		{name: "AUTH", text: func(s s) string { return s.Auth }},
		{name: "FROM", text: func(s s) string { return s.Address }},
		{name: "BEGAN", text: func(s s) string { return instant(s.BeganAt) }, in: inFull},
		{name: "USED", text: func(s s) string { return instant(s.UsedAt) }},
		{name: "ENDS", text: func(s s) string { return instant(s.EndsAt) }, in: inFull},
	})
}

func revokeSessions(ctx context.Context, c *call) error {
	id, all := c.flags.Args().First(), c.flags.Bool("all")
	if (id != "") == all {
		return hint.With(usagef("revoke: say which session: an ID, or --all"), "\"%s session ls --user NAME\" lists them", c.name)
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	user := c.flags.String("user")
	if all {
		n, err := api.EndSessions(ctx, user)
		if err != nil || c.format == "table" {
			return err
		}
		type ended struct {
			Ended int `json:"ended"`
		}
		return emitOne(c.printer, ended{n}, []column[ended]{{name: "ENDED", text: func(e ended) string { return strconv.Itoa(e.Ended) }}})
	}
	if id, err = wholeID(ctx, api, user, id); err != nil {
		return err
	}
	return api.EndSession(ctx, id)
}

// wholeID finds the session whose ID begins like the one given, as the table shows it.
func wholeID(ctx context.Context, api *client.Client, user, begins string) (string, error) {
	const whole = 64
	if len(begins) == whole {
		return begins, nil
	}
	sessions, err := api.Sessions(ctx, user)
	if err != nil {
		return "", err
	}
	found := slices.DeleteFunc(sessions, func(s wire.SessionItem) bool { return !strings.HasPrefix(s.ID, begins) })
	switch len(found) {
	case 0:
		return "", hint.With(fmt.Errorf("no session %q: %w", begins, errNotFound), "whose is it? --user NAME")
	case 1:
		return found[0].ID, nil
	}
	return "", usagef("%q is the beginning of %d sessions", begins, len(found))
}

// authGroup are the verbs about what one may.
func (p *program) authGroup() *cli.Command {
	return group("auth", "who may do what", p.commands("", []verb{
		{
			name: "can-i", usage: "whether you may read, read-key, create, change, delete, revoke, set, grant, sign or administer, and by which rule; nothing is done", args: "VERB [PATH] [WHAT…]", min: 1, max: 100,
			flags: []cli.Flag{&cli.StringFlag{Name: "as", Usage: "`USER` to ask for; whoever may change that user may ask"}},
			example: "omca auth can-i create ns1/sec/db\n" +
				"omca auth can-i read-key ns1/sec/db password --as alice\n" +
				"omca auth can-i set system/usr/bob disabled=true\n" +
				"omca auth can-i grant guest:ns1\n" +
				"omca auth can-i sign www.demo.lan --as alice",
			run: canI,
		},
	})...)
}

// canI answers yes, or no with the reason and exit status 3.
func canI(ctx context.Context, c *call) error {
	args := c.flags.Args().Slice()
	verb, path, what := args[0], "", args[1:]
	// The verbs that may be about no object: neither a grant nor a name to be signed has two slashes in it, but for a URI.
	if len(what) > 0 && (verb != "grant" && verb != "sign" && verb != "administer" || verb == "grant" && strings.Contains(what[0], "/")) {
		path, what = what[0], what[1:]
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	v, err := api.CanI(ctx, verb, path, what, c.flags.String("as"))
	if err != nil {
		return err
	}
	switch {
	case !v.Allowed:
		return hint.With(&notAllowed{v.Reason}, "who may: %s", v.Rule)
	case c.format != "table":
		return emitOne(c.printer, v, []column[wire.Verdict]{
			{name: "ALLOWED", text: func(v wire.Verdict) string { return strconv.FormatBool(v.Allowed) }},
			{name: "USER", text: func(v wire.Verdict) string { return v.User }},
			{name: "VERB", text: func(v wire.Verdict) string { return v.Verb }},
			{name: "PATH", text: func(v wire.Verdict) string { return v.Path }},
			{name: "WHAT", text: func(v wire.Verdict) string { return strings.Join(v.What, " ") }},
			{name: "RULE", text: func(v wire.Verdict) string { return v.Rule }},
		})
	}
	c.print("yes: %s\n", v.Rule)
	return nil
}

// notAllowed is the answer no.
type notAllowed struct{ reason string }

func (e *notAllowed) Error() string { return "no: " + e.reason }

func (e *notAllowed) Is(target error) bool { return target == errRefused }

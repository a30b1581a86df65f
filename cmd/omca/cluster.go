package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"omca"
	"omca/internal/hint"
	"omca/internal/wire"
)

const maxToken = 2048 // bytes of a token to join with

// clusterGroup is the cluster: its object by its own name, and its members.
func (p *program) clusterGroup() *cli.Command {
	commands := []*cli.Command{p.configGroup(clusterWord), p.command(clusterWord, objectVerb("show"))}
	commands = append(commands, p.commands(clusterWord, olderConfigVerbs())...)
	return group(clusterWord, "the cluster: its object and its members", append(commands, p.commands("", memberVerbs())...)...)
}

// memberVerbs are about the members of the cluster that keeps the store.
func memberVerbs() []verb {
	return []verb{
		{
			name: "token", usage: "print a token with which one machine joins the cluster", run: clusterToken,
			flags:   []cli.Flag{&cli.StringFlag{Name: "duration", Usage: "`TIME` until it is of no use: 10m, 24h at most (default: 30m)"}},
			example: "omca cluster token\nomca cluster token --duration 10m > token\nomca daemon run --join https://node1:1215 --token-file token",
		},
		{name: "members", usage: "list the members of the cluster", example: "omca cluster members", run: clusterMembers},
		{name: "status", usage: "how the member of this node is doing", example: "omca cluster status", run: clusterStatus},
		{
			name: "remove", usage: "take a node out of the cluster, at once and for good", args: "NODE", min: 1, max: 1, run: clusterRemove,
			flags: []cli.Flag{yesFlag()}, example: "omca cluster remove node3 --yes",
		},
	}
}

// joinFlags are how a daemon becomes a member.
func joinFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "cluster", Usage: "become the first member of a cluster, with the store that there is or a fresh one; later starts need it no more"},
		&cli.StringFlag{Name: "join", Usage: "`URL` of a member, https://node1:1215: become a member too, on a fresh home; later starts need it no more"},
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the token of \"cluster token\" for --join, or -"},
		&cli.StringFlag{Name: "token", Usage: "`TOKEN`: in place of --token-file; everybody who may list processes sees it, and it is good once"},
		&cli.StringFlag{Name: "peer", Usage: "`HOST:PORT` for the other members, on the first start of a member (default: the node's name and 1217)"},
	}
}

// joining is what the flags say about the cluster that the daemon is or becomes a member of. A successor is a member already.
func (c *call) joining(ctx context.Context) (*omca.Join, error) {
	address, file, token := c.flags.String("join"), c.flags.String("token-file"), c.flags.String("token")
	switch {
	case address == "" && (file != "" || token != ""):
		return nil, usagef("--token and --token-file need --join URL")
	case address == "" || c.getenv(successorVariable) != "":
		return nil, nil
	case c.flags.Bool("cluster"):
		return nil, usagef("--cluster makes a first member, --join one more: give one of them")
	case file != "" && token != "":
		return nil, usagef("both --token and --token-file")
	case file == "" && token == "":
		return nil, hint.With(usagef("--join needs the token that \"%s cluster token\" prints on a member", c.name), "give the file that it is in with --token-file FILE")
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, usagef("--join %q: expected https://HOST:PORT", address)
	}
	if u.Port() == "" {
		u.Host += ":1215"
	}
	if file != "" {
		text, err := c.readSource(ctx, file, maxToken+2)
		if err != nil {
			return nil, err
		}
		token = string(text)
	}
	return &omca.Join{Token: strings.TrimSpace(token), Address: u.Host}, nil
}

func clusterToken(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	t, err := api.ClusterToken(ctx, c.flags.String("duration"))
	if err != nil {
		return err
	}
	if c.printer.format != "table" {
		return emitOne(c.printer, t, []column[wire.JoinToken]{{name: "TOKEN", text: func(t wire.JoinToken) string { return t.Token }}})
	}
	c.printer.print("%s\n", t.Token)
	if !c.global.Bool("quiet") {
		c.say("omca: it is good once, until %s: %s daemon run --join https://%s --token-file FILE\n", instant(t.ExpiresAt), c.name, strings.Join(t.Addresses, " or https://"))
	}
	return nil
}

func clusterMembers(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	members, err := api.Members(ctx)
	if err != nil {
		return err
	}
	type m = wire.ClusterMember
	return emit(c.printer, members, []column[m]{
		{name: "NODE", text: func(m m) string { return m.Node }},
		{name: "STATE", text: func(m m) string { return m.State }},
		{name: "URL", text: func(m m) string { return m.URL }},
		{name: "CERTIFICATE", text: func(m m) string { return m.Serial }},
		{name: "CLOCK", text: func(m m) string { return clock(m.ClockOffset, m.ClockOff) }},
	})
}

func clusterStatus(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	status, err := api.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	type s = wire.ClusterStatus
	return emitOne(c.printer, status, []column[s]{
		{name: "NODE", text: func(s s) string { return s.Node }},
		{name: "STATE", text: func(s s) string { return s.State }},
		{name: "LEADER", text: func(s s) string { return s.Leader }},
		{name: "MEMBERS", text: func(s s) string { return strconv.Itoa(s.Members) }},
		{name: "SIZE", text: func(s s) string { return strconv.FormatInt(s.SizeBytes, 10) }},
		{name: "IN USE", text: func(s s) string { return strconv.FormatInt(s.InUseBytes, 10) }},
		{name: "QUOTA", text: func(s s) string { return strconv.FormatInt(s.QuotaBytes, 10) }},
		{name: "BEHIND", text: func(s s) string { return strconv.FormatUint(s.Behind, 10) }},
		{name: "ALARMS", text: func(s s) string { return strings.Join(s.Alarms, " ") }},
		{name: "WARNINGS", text: func(s s) string { return strings.Join(s.Warnings, "; ") }},
	})
}

func clusterRemove(ctx context.Context, c *call) error {
	name := c.flags.Args().First()
	if strings.ContainsAny(name, "/?#%*") {
		return usagef("remove: %q is no name of a node", name)
	}
	if err := c.consent(ctx, "remove", fmt.Sprintf("take node %s out of the cluster? Its daemon stops, and its certificates are revoked", name)); err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	return api.RemoveMember(ctx, name)
}

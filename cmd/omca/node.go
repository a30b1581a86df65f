package main

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/wire"
)

// nodeGroup are the verbs of the nodes of the cluster.
func (p *program) nodeGroup() *cli.Command {
	return group("node", "the nodes of the cluster", p.commands("", []verb{
		{
			name: "ls", aliases: []string{"list"}, usage: "list the nodes", args: "[NAME|GLOB]", max: 1,
			example: "omca node ls\nomca node ls 'node*' -o json", run: listNodes,
		},
		{name: "info", usage: "where the nodes listen", example: "omca node info", run: nodeInfo},
		{
			name: "ping", usage: "ask whether a node answers; the one that is asked unless named", args: "[NAME]", max: 1,
			example: "omca node ping node1", run: pingNode,
		},
	})...)
}

func listNodes(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	selector := c.flags.Args().First()
	nodes, err := api.Nodes(ctx, selector)
	if err != nil {
		return err
	}
	if len(nodes) == 0 && selector != "" {
		return about("no node matches "+selector, errNotFound)
	}
	return emit(c.printer, nodes, []column[client.Node]{
		{name: "NODE", text: func(n client.Node) string { return n.Node }},
		{name: "VERSION", text: func(n client.Node) string { return n.Agent }},
		{name: "STARTED", text: func(n client.Node) string { return instant(n.StartedAt) }},
		{name: "CLOCK", text: func(n client.Node) string { return clock(n.ClockOffset, n.ClockOff) }},
	})
}

// clock says how far the clock of a node is off; "" when it is not.
func clock(offset int64, off bool) string {
	by := time.Duration(offset) * time.Second
	switch {
	case !off:
		return ""
	case by < 0:
		return (-by).String() + " behind"
	}
	return by.String() + " ahead"
}

// namedNode is where a node listens, with its name.
type namedNode struct {
	Node  string `json:"node"`
	Addr  string `json:"addr"`
	Port  string `json:"port"`
	State string `json:"state"`
}

func nodeInfo(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	infos, err := api.NodeInfos(ctx)
	if err != nil {
		return err
	}
	var nodes []namedNode
	for _, name := range slices.Sorted(maps.Keys(infos)) {
		l := infos[name].Listener
		nodes = append(nodes, namedNode{name, l.Addr, l.Port, l.State})
	}
	return emit(c.printer, nodes, []column[namedNode]{
		{name: "NODE", text: func(n namedNode) string { return n.Node }},
		{name: "LISTENS ON", text: func(n namedNode) string {
			if n.Port == "" {
				return ""
			}
			return net.JoinHostPort(n.Addr, n.Port)
		}},
		{name: "STATE", text: func(n namedNode) string { return n.State }},
	})
}

// pingNode says nothing when the node answers.
func pingNode(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	name := c.flags.Args().First()
	switch {
	case name == "":
		name = "localhost"
	case strings.ContainsAny(name, "/?#%"):
		return usagef("ping: %q is no name of a node", name)
	}
	return api.Ping(ctx, name)
}

func whoamiVerb() verb {
	return verb{name: "whoami", usage: "who the server takes you for, and what you may", example: "omca --context prod whoami", run: whoami}
}

func whoami(ctx context.Context, c *call) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	w, err := api.Whoami(ctx)
	if err != nil {
		return err
	}
	return emitOne(c.printer, w, []column[wire.Whoami]{
		{name: "NAME", text: func(w wire.Whoami) string { return w.Name }},
		{name: "AUTH", text: func(w wire.Whoami) string { return w.Auth }},
		{name: "GRANT", text: func(w wire.Whoami) string { return w.RawGrant }},
	})
}

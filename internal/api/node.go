package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr"
)

const pathNode = "/api/node/name/{node}"

func (d *door) nodeRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/api/node", rule: root(), id: "listNodes", about: "The nodes of the cluster.",
			params: []param{{name: "node", about: "Selector: names or globs, comma separated. All unless given."}},
			answer: jsonAnswer[wire.NodeList](http.StatusOK), handle: d.listNodes},
		{method: http.MethodGet, path: "/api/node/info", rule: anyRole(), id: "nodeInfo", about: "What tells the nodes of the cluster apart, by name.",
			answer: jsonAnswer[map[string]wire.NodeInfo](http.StatusOK), handle: d.nodeInfo},
		{method: http.MethodGet, path: pathNode + "/ping", rule: root(), id: "pingNode", about: "Whether a node answers. localhost and _ are the node that is asked.",
			answer: answer{status: http.StatusNoContent}, handle: d.pingNode},
		{method: http.MethodPost, path: pathNode + "/daemon/action/restart", rule: root(), id: "restartNode", about: "Restart the daemon of a node, without a refused connection.",
			answer: jsonAnswer[wire.Called](http.StatusOK), audit: auditCalls, handle: d.restartNode},
		{method: http.MethodPost, path: pathNode + "/daemon/action/{action}", rule: root(), id: "askNode",
			about:  "Have the daemon of a node stop; drain, which is to answer /readyz with 503, so that load balancers leave it; or resume after that.",
			answer: jsonAnswer[wire.Called](http.StatusOK), audit: auditCalls, handle: d.askNode},
		{method: http.MethodGet, path: pathNode + "/daemon/action", rule: root(), id: "nodeTask", about: "What the daemon of a node was asked to do last, by any node, and how that goes.",
			answer: jsonAnswer[wire.NodeTask](http.StatusOK), handle: d.nodeTask},
	}
}

// askNode leaves word for a node in the store, which the node follows.
func (d *door) askNode(ctx context.Context, c *call) (response, error) {
	do := c.vars["action"]
	if !slices.Contains([]string{registry.DoStop, registry.DoDrain, registry.DoResume}, do) {
		return response{}, fmt.Errorf("%w: a node does restart, stop, drain or resume, not %.32q", errBadRequest, do)
	}
	name, _, err := d.node(ctx, c.vars["node"])
	if errors.Is(err, errNoNode) {
		return response{}, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	if err != nil {
		return response{}, err
	}
	return d.ask(ctx, c, name, do)
}

func (d *door) ask(ctx context.Context, c *call, node, do string) (response, error) {
	if d.Stop == nil {
		return response{}, fmt.Errorf("%w: no daemon is running here", ca.ErrConflict)
	}
	c.note(slog.String("node", node))
	c.note(slog.String("do", do))
	if err := d.Objects.Ask(ctx, registry.Task{Node: node, Do: do, By: c.who.By()}); err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.Called{Title: "background daemon " + do + " has been called", Status: http.StatusOK, Detail: "the daemon of " + node + " was asked to " + do})
}

func (d *door) nodeTask(ctx context.Context, c *call) (response, error) {
	name, _, err := d.node(ctx, c.vars["node"])
	if errors.Is(err, errNoNode) {
		return response{}, fmt.Errorf("%w: %w", ca.ErrNotFound, err)
	}
	if err != nil {
		return response{}, err
	}
	t, err := d.Objects.Task(ctx, name)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.NodeTask{Node: t.Node, Do: t.Do, State: t.State, Error: t.Error, By: t.By, AskedAt: t.AskedAt})
}

// anyRole is for what whoever holds any role may know.
func anyRole() rule {
	return rule{says: "whoever holds any role", check: func(_ context.Context, c *call) error {
		if err := c.who.May(usr.Authenticated()); err != nil {
			return err
		}
		if len(c.who.Grants.Map()) == 0 {
			return fmt.Errorf("%w: needs any role", usr.ErrDenied)
		}
		return nil
	}}
}

// errNoNode means that the cluster has no node of that name.
var errNoNode = errors.New("no node of the cluster")

// members are the nodes of the cluster: those that are there, and those that
// only the keyword knows.
type members struct {
	names []string // sorted
	there map[string]registry.Node
	self  wire.Status
}

func (d *door) members(ctx context.Context) (members, error) {
	self, err := d.Status(ctx)
	if err != nil {
		return members{}, err
	}
	cluster, err := d.Objects.Get(ctx, object.ClusterPath())
	if err != nil && !errors.Is(err, ca.ErrNotFound) {
		return members{}, err
	}
	m := members{names: []string{self.Node}, there: make(map[string]registry.Node), self: self}
	if err == nil {
		others, err := cluster.Config.Strings("cluster.nodes")
		if err != nil {
			return members{}, err
		}
		m.names = append(m.names, others...)
	}
	present, err := d.Objects.Nodes(ctx)
	if err != nil {
		return members{}, err
	}
	for _, n := range present {
		m.there[n.Name] = n
		m.names = append(m.names, n.Name)
	}
	m.there[self.Node] = registry.Node{Name: self.Node, Version: self.Version, Addresses: self.Addresses, StartedAt: self.StartedAt}
	slices.Sort(m.names)
	m.names = slices.Compact(m.names)
	return m, nil
}

// node finds the node that a call names, as OpenSVC's client does: localhost and _ are this one.
func (d *door) node(ctx context.Context, name string) (found string, m members, err error) {
	m, err = d.members(ctx)
	switch {
	case err != nil:
		return "", m, err
	case name == "localhost", name == "_":
		return m.self.Node, m, nil
	case slices.Contains(m.names, name):
		return name, m, nil
	}
	return "", m, fmt.Errorf("%w is called %.64q", errNoNode, name)
}

func (d *door) listNodes(ctx context.Context, c *call) (response, error) {
	m, err := d.members(ctx)
	if err != nil {
		return response{}, err
	}
	list := wire.NodeList{Kind: "NodeList", Items: []wire.NodeItem{}}
	for _, name := range m.names {
		selected, err := selectsNode(c.query.Get("node"), name, m.self.Node)
		if err != nil {
			return response{}, err
		}
		if !selected {
			continue
		}
		item := wire.NodeItem{Kind: "NodeItem", Meta: wire.NodeMeta{Node: name}}
		if n, there := m.there[name]; there {
			item.Data.Status = &wire.NodeStatus{Agent: n.Version, StartedAt: n.StartedAt}
			for _, c := range clocks(m.self) {
				if c.Node == name {
					item.Data.Status.ClockOffset, item.Data.Status.ClockOff = c.Offset, c.Off
				}
			}
		}
		list.Items = append(list.Items, item)
	}
	return reply(http.StatusOK, list)
}

// selectsNode reports whether a selector of nodes takes in the node of that name. An empty one does.
func selectsNode(selector, name, self string) (bool, error) {
	if selector == "" {
		return true, nil
	}
	if len(selector) > 1024 {
		return false, fmt.Errorf("%w: node has %d bytes, at most 1024", errBadRequest, len(selector))
	}
	for word := range strings.SplitSeq(selector, ",") {
		match, err := path.Match(word, name)
		if err != nil {
			return false, fmt.Errorf("%w: node %.64q is not a glob", errBadRequest, word)
		}
		if match || name == self && (word == "localhost" || word == "_") {
			return true, nil
		}
	}
	return false, nil
}

func (d *door) nodeInfo(ctx context.Context, _ *call) (response, error) {
	m, err := d.members(ctx)
	if err != nil {
		return response{}, err
	}
	infos := make(map[string]wire.NodeInfo, len(m.names))
	for _, name := range m.names {
		info := wire.NodeInfo{Labels: map[string]string{}, Paths: []string{}}
		if addresses := m.there[name].Addresses; len(addresses) > 0 {
			host, port, err := net.SplitHostPort(addresses[0])
			if err != nil {
				return response{}, fmt.Errorf("address of the listener: %w", err)
			}
			info.Listener = wire.NodeListener{Addr: host, Port: port, State: "running"}
		}
		infos[name] = info
	}
	return reply(http.StatusOK, infos)
}

func (d *door) pingNode(ctx context.Context, c *call) (response, error) {
	name, m, err := d.node(ctx, c.vars["node"])
	if errors.Is(err, errNoNode) {
		return response{}, fmt.Errorf("%w: %w", ca.ErrNotFound, err)
	}
	if err != nil {
		return response{}, err
	}
	if _, there := m.there[name]; !there {
		return response{}, fmt.Errorf("%w: %q is another node than %q, and is not there", errUpstream, name, m.self.Node)
	}
	return noContent()
}

func (d *door) restartNode(ctx context.Context, c *call) (response, error) {
	name, m, err := d.node(ctx, c.vars["node"])
	self := m.self
	switch {
	case errors.Is(err, errNoNode):
		return response{}, fmt.Errorf("%w: %w", errBadRequest, err)
	case err != nil:
		return response{}, err
	case name != self.Node:
		return d.ask(ctx, c, name, registry.DoRestart)
	}
	c.note(slog.String("node", name))
	if _, err := d.restart(ctx, c); err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.Called{Title: "background daemon restart has been called", Status: http.StatusOK, Detail: "the daemon of " + name + " hands over to its successor"})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"omca/internal/client"
	"omca/internal/hint"
)

const (
	hearTime = 15 * time.Second // for a node to begin what it was asked to
	taskTime = hearTime + prepareTime + serveTime
)

func nodeFlag() cli.Flag {
	return &cli.StringFlag{Name: "node", Usage: "the nodes, one after another, that `SELECTOR` selects: node1, \"node*\", or \"*\" (default: the one whose daemon is asked)"}
}

// progress tells the operator how far a command is that takes long.
func (c *call) progress(format string, args ...any) {
	if !c.global.Bool("quiet") {
		c.say("omca: "+format+"\n", args...)
	}
}

// selectedNodes are the nodes that --node selects, by name, the one that is asked last: until then it can tell how the others are.
func (c *call) selectedNodes(ctx context.Context, api *client.Client, self string) ([]string, error) {
	selector := c.flags.String("node")
	if _, err := selects(selector, self); err != nil {
		return nil, err
	}
	found, err := api.Nodes(ctx, selector)
	if err != nil {
		return nil, err
	}
	var nodes []string
	last := false
	for _, n := range found {
		if n.Node == self {
			last = true
			continue
		}
		nodes = append(nodes, n.Node)
	}
	if last {
		nodes = append(nodes, self)
	}
	if len(nodes) == 0 {
		return nil, hint.With(fmt.Errorf("--node %q: %w; this daemon's node is %s", selector, errNotFound, self), "give its name, or \"*\"")
	}
	return nodes, nil
}

// askNode asks a node to do something, and waits until it has.
func (c *call) askNode(ctx context.Context, api *client.Client, node, do string) error {
	if err := api.AskNode(ctx, node, do); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, taskTime)
	defer cancel()
	began := time.Now()
	var last error
	for {
		task, err := api.NodeTask(ctx, node)
		problem := new(client.Error)
		switch {
		case ctx.Err() != nil:
			return hint.With(errors.Join(fmt.Errorf("node %s did not %s within %s", node, do, taskTime), last), "see how it is with \"%s cluster members\", and its log", c.name)
		case err != nil && errors.As(err, &problem) && problem.Status < 500:
			return err
		case err != nil:
			last = err // the store was away for a moment
		case task.State == "done":
			return nil
		case task.State == "failed":
			return hint.With(fmt.Errorf("node %s: %s: %s", node, do, task.Error), "it serves on as before; its log has more")
		case task.State == "asked" && time.Since(began) > hearTime:
			return hint.With(fmt.Errorf("node %s has not heard within %s that it is to %s", node, hearTime, do), "see that its daemon runs; it will do so when it does")
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// askNodes has the nodes that --node selects do something, one after another.
func (c *call) askNodes(ctx context.Context, api *client.Client, do string) error {
	status, err := api.Status(ctx)
	if err != nil {
		return err
	}
	nodes := []string{status.Node}
	if c.flags.IsSet("node") {
		if nodes, err = c.selectedNodes(ctx, api, status.Node); err != nil {
			return err
		}
	}
	for _, node := range nodes {
		if do == "stop" && node == status.Node {
			return api.Stop(ctx) // who is asked cannot tell later that it has stopped
		}
		if err := c.askNode(ctx, api, node, do); err != nil {
			return err
		}
		if len(nodes) > 1 {
			c.progress("%s: %s", node, do)
		}
	}
	return nil
}

// drainDaemon has nodes say that they are not ready, or, with --off, that they are.
func drainDaemon(ctx context.Context, c *call) error {
	api, err := c.onlyDaemon(ctx)
	if err != nil {
		return err
	}
	do := "drain"
	if c.flags.Bool("off") {
		do = "resume"
	}
	return c.askNodes(ctx, api, do)
}

package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
)

// consent asks whether to go on, on a terminal and without --yes. What breaks something for others is named in the question; without a
// terminal it needs --yes, and everything else goes on.
func (c *call) consent(ctx context.Context, verb, question string, breaks ...string) error {
	switch {
	case c.flags.Bool("yes"):
		return nil
	case isTerminal(c.stdin):
		return c.confirm(ctx, strings.Join(append(slices.Clone(breaks), question), "\n"))
	case len(breaks) > 0:
		return hint.With(usagef("%s: %s", verb, strings.Join(breaks, "; ")), "confirm with --yes")
	}
	return nil
}

// breaking does what may break something for others. Without --yes the server is asked to refuse it then, and says what breaks; with
// consent it is done.
func (c *call) breaking(ctx context.Context, verb string, do func(context.Context) error) error {
	if c.flags.Bool("yes") {
		return do(ctx)
	}
	err := do(client.AskFirst(ctx))
	var problem *client.Error
	if !errors.As(err, &problem) || len(problem.Breaks) == 0 {
		return err
	}
	if err := c.consent(ctx, verb, "do it all the same?", sentences(problem.Breaks)...); err != nil {
		return err
	}
	return do(ctx)
}

func sentences(breaks []wire.Break) []string {
	var all []string
	for _, b := range breaks {
		all = append(all, b.What)
	}
	return all
}

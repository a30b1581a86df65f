package object

import (
	"context"
	"slices"
	"time"

	"omca/internal/store"
)

// A calm is held by an action that was overtaken more than once: others wait, for a moment, before they write
// what it decides on. Without it, a writer that never pauses would keep all others from deciding on what it writes.
type calm struct {
	of   *Store
	keys []string
	over chan struct{} // closed when the calm ends; it also says whose calm it is
}

type calmKey struct{} // chan struct{}: the calm that ctx holds

const (
	mostCalm = 100 * time.Millisecond // that a commit waits for the calm of another action
	mostTurn = time.Second            // that an action waits to get a calm: there is one at a time
)

// calmDown returns a calm over what was noted, and over the keys of the calm that is held already, if there is
// one; nil when there is none to be had in time. The context that it returns is not held up by it.
func (s *Store) calmDown(ctx context.Context, held *calm, noted []store.Expect) (context.Context, *calm) {
	if held == nil && ctx.Value(calmKey{}) != nil {
		return ctx, nil // the action that this one is part of has it
	}
	if held == nil {
		timer := time.NewTimer(mostTurn)
		defer timer.Stop()
		select {
		case s.turn <- struct{}{}:
		case <-timer.C:
			return ctx, nil
		case <-ctx.Done():
			return ctx, nil
		}
		held = &calm{of: s, over: make(chan struct{})}
		ctx = context.WithValue(ctx, calmKey{}, held.over)
	}
	next := &calm{of: s, keys: slices.Clone(held.keys), over: held.over}
	for _, e := range noted {
		next.keys = append(next.keys, e.Key)
	}
	s.calm.Store(next)
	return ctx, next
}

// end ends the calm, if there is one.
func (c *calm) end() {
	if c == nil {
		return
	}
	c.of.calm.Store(nil)
	close(c.over)
	<-c.of.turn
}

// awaitCalm waits, for a moment at most, before tx writes what another action decides on.
func (s *Store) awaitCalm(ctx context.Context, tx store.Tx) error {
	c := s.calm.Load()
	if c == nil || !c.meets(tx) {
		return nil
	}
	if own, _ := ctx.Value(calmKey{}).(chan struct{}); own == c.over {
		return nil
	}
	timer := time.NewTimer(mostCalm)
	defer timer.Stop()
	select {
	case <-c.over:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// meets reports whether tx writes one of the keys.
func (c *calm) meets(tx store.Tx) bool {
	return slices.ContainsFunc(tx.Puts, func(p store.Put) bool { return slices.Contains(c.keys, p.Key) }) ||
		slices.ContainsFunc(tx.Deletes, func(key string) bool { return slices.Contains(c.keys, key) })
}

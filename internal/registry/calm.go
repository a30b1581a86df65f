package registry

import (
	"context"
	"slices"
	"time"

	"omca/internal/store"
)

// A calm is held by an action that was overtaken more than once. Other actions wait, for a moment, before they write a
// key of the calm. Without it, a writer that never pauses would keep all other actions from deciding on its object.
type calm struct {
	of   *Store
	keys []string
	over chan struct{} // closed when the calm ends; a context that holds the calm has it
}

type calmKey struct{} // chan struct{}: the calm that ctx holds

const (
	mostCalm = 100 * time.Millisecond // that a commit waits for the calm of another action
	mostTurn = time.Second            // that an action waits to get a calm: there is one at a time
)

// calmDown returns a calm over the keys that were noted, and over those of the calm that is held already, if there is
// one; nil when another action keeps its calm for too long. Commits under the context that it returns do not wait.
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

// awaitCalm waits, for a moment at most, before tx writes a key of another action's calm.
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

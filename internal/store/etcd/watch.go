package etcd

import (
	"context"
	"errors"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"omca/internal/store"
)

const (
	leastPause = 50 * time.Millisecond
	mostPause  = 5 * time.Second
)

// follow fills the ring with what happens after a revision, until ctx is done.
// A watch that breaks off (its member has lost the leader, or is gone) is begun
// again where it ended; the client finds another member by itself.
func (s *Store) follow(ctx context.Context, after int64) {
	defer close(s.watched)
	pause := leastPause
	for ctx.Err() == nil {
		last, answered := s.watch(ctx, after)
		if after = last; answered {
			pause = leastPause
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, mostPause)
		case <-ctx.Done():
		}
	}
}

// watch is one watch. It returns the revision up to which the ring knows
// everything, and whether etcd answered at all.
func (s *Store) watch(ctx context.Context, after int64) (last int64, answered bool) {
	for c, err := range s.Changes(ctx, after) {
		if errors.Is(err, store.ErrCompacted) {
			// Changes are gone that nobody here has seen: every watcher is told.
			rev, err := s.Rev(ctx)
			if err == nil {
				after = rev
				s.recent.Forget(after)
			}
			return after, err == nil
		}
		if err != nil {
			return after, answered
		}
		answered = true
		after = c.Rev
		if len(c.Events) > 0 {
			s.recent.Publish(c)
		}
	}
	return after, answered
}

// changes groups events by their revision: etcd never splits one over two
// answers, unless asked to.
func (s *Source) changes(events []*clientv3.Event, after int64) []store.Change {
	var changes []store.Change
	for _, e := range events {
		rev := e.Kv.ModRevision
		if rev <= after { // seen before the watch broke off
			continue
		}
		if n := len(changes); n == 0 || changes[n-1].Rev != rev {
			changes = append(changes, store.Change{Rev: rev})
		}
		c := &changes[len(changes)-1]
		event := store.Event{Key: strings.TrimPrefix(string(e.Kv.Key), s.prefix), Deleted: e.Type == clientv3.EventTypeDelete}
		if !event.Deleted {
			event.Value = append([]byte{}, e.Kv.Value...)
		}
		c.Events = append(c.Events, event)
	}
	return changes
}

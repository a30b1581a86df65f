package etcd

import (
	"context"
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A member that was cut off from the others would otherwise be silent for good.
	answers := s.client.Watch(clientv3.WithRequireLeader(ctx), s.prefix,
		clientv3.WithPrefix(), clientv3.WithRev(after+1), clientv3.WithProgressNotify())
	for r := range answers {
		if r.CompactRevision > after {
			// Changes are gone that nobody here has seen: every watcher is told.
			after = max(r.CompactRevision, r.Header.Revision)
			s.recent.Forget(after)
			return after, true
		}
		if r.Err() != nil {
			return after, answered
		}
		answered = true
		if changes := s.changes(r.Events, after); len(changes) > 0 {
			after = changes[len(changes)-1].Rev
			s.recent.Publish(changes...)
		}
		if r.IsProgressNotify() {
			after = max(after, r.Header.Revision)
		}
	}
	return after, answered
}

// changes groups events by their revision: etcd never splits one over two
// answers, unless asked to.
func (s *Store) changes(events []*clientv3.Event, after int64) []store.Change {
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

package ring

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync"

	"omca/internal/store"
)

// limit bounds the bytes of the changes kept. The newest change is kept
// whatever its size.
const limit = 1 << 20

const eventOverhead = 64 // slice headers and the like, for the bound

// A Ring holds the latest changes of one store. Use New.
type Ring struct {
	mu      sync.Mutex
	changes []store.Change // ascending revisions
	bytes   int            // their size
	floor   int64          // changes up to this revision are gone
	rev     int64          // the current revision
	end     error          // why there will be no more changes
	wake    chan struct{}  // closed and replaced when something above changes
}

// New returns the ring of a store that is at revision rev: earlier changes
// are not known.
func New(rev int64) *Ring {
	return &Ring{floor: rev, rev: rev, wake: make(chan struct{})}
}

// Publish adds durable changes, in ascending order of revision. The ring keeps
// them: nobody may write to them any more.
func (r *Ring) Publish(changes ...store.Change) {
	if len(changes) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		r.bytes += size(c)
	}
	r.changes = append(r.changes, changes...)
	r.rev = r.changes[len(r.changes)-1].Rev
	r.trim()
	r.broadcast()
}

// Forget says that the changes up to revision rev are not known, and what was
// kept is no longer enough: watchers that have not come so far are told.
func (r *Ring) Forget(rev int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes, r.bytes = nil, 0
	r.floor, r.rev = max(r.floor, rev), max(r.rev, rev)
	r.broadcast()
}

// trim forgets the oldest changes down to half the limit once it is exceeded,
// so that the copying it takes is paid for by many commits.
func (r *Ring) trim() {
	if r.bytes <= limit {
		return
	}
	n := 0
	for ; r.bytes > limit/2 && n < len(r.changes)-1; n++ {
		r.bytes -= size(r.changes[n])
		r.floor = r.changes[n].Rev
	}
	r.changes = slices.Delete(r.changes, 0, n)
}

func size(c store.Change) int {
	n := 0
	for _, e := range c.Events {
		n += len(e.Key) + len(e.Value) + eventOverhead
	}
	return n
}

// End says why no change will follow; the first reason stays. Every watcher
// ends with it.
func (r *Ring) End(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end != nil {
		return
	}
	r.end = why
	r.broadcast()
}

func (r *Ring) broadcast() {
	close(r.wake)
	r.wake = make(chan struct{})
}

// Rev returns the current revision.
func (r *Ring) Rev() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rev
}

// Watch is store.Store.Watch.
func (r *Ring) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		after := after // the sequence may be ranged over again
		for {
			c, wake, err := r.next(after)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(store.Change{}, err)
				return
			}
			if wake != nil {
				select {
				case <-wake:
				case <-ctx.Done():
				}
				continue
			}
			after = c.Rev
			if c, ok := under(prefix, c); ok && !yield(c, nil) {
				return
			}
		}
	}
}

// next returns the first change after a revision, or, when there is none yet,
// the channel that is closed when to look again.
func (r *Ring) next(after int64) (store.Change, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end != nil {
		return store.Change{}, nil, r.end
	}
	if after < r.floor {
		return store.Change{}, nil, store.ErrCompacted
	}
	i := sort.Search(len(r.changes), func(i int) bool { return r.changes[i].Rev > after })
	if i == len(r.changes) {
		return store.Change{}, r.wake, nil
	}
	return r.changes[i], nil, nil
}

// under copies what c did under prefix, and reports whether that is anything.
func under(prefix string, c store.Change) (store.Change, bool) {
	out := store.Change{Rev: c.Rev}
	for _, e := range c.Events {
		if strings.HasPrefix(e.Key, prefix) {
			e.Value = bytes.Clone(e.Value)
			out.Events = append(out.Events, e)
		}
	}
	return out, len(out.Events) > 0
}

package ca

import (
	"container/heap"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// dueTimes keeps when the certificates of objects renew themselves, so that a change of one object
// costs a look at that object.
type dueTimes struct {
	mu      sync.Mutex
	known   bool                 // every object was looked at since the last change of a CA
	changed map[string]bool      // since they were looked at
	always  map[string]bool      // depend on more than the object: responders, and looks that failed
	at      map[string]time.Time // of those that renew themselves
	queue   dueQueue             // of at; older times of an object are passed over
}

// dueQueue is a heap of times, the soonest first.
type dueQueue []dueTime

type dueTime struct {
	path string
	at   time.Time
}

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q dueQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *dueQueue) Push(x any)        { *q = append(*q, x.(dueTime)) }

// Pop takes the last one off, as heap.Interface has it.
func (q *dueQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// forget has every object looked at again.
func (d *dueTimes) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = false
}

// note has the object at path looked at again.
func (d *dueTimes) note(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known {
		d.changed[path] = true
	}
}

// begin forgets what is known, and follows the changes from now on.
func (d *dueTimes) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known, d.changed, d.always, d.at, d.queue = true, make(map[string]bool), make(map[string]bool), make(map[string]time.Time), nil
}

// take returns the objects to look at now, in order: those that changed, those that are due, and
// those that are looked at always. It reports false when that is every object.
func (d *dueTimes) take(now time.Time) (paths []string, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.known {
		return nil, false
	}
	look := maps.Clone(d.always)
	maps.Copy(look, d.changed)
	for first, ok := d.first(); ok && !now.Before(first.at); first, ok = d.first() {
		look[first.path] = true
		delete(d.at, first.path)
	}
	clear(d.changed)
	return slices.Sorted(maps.Keys(look)), true
}

// set keeps what a look at an object came to.
func (d *dueTimes) set(path string, at time.Time, always bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.at, path)
	delete(d.always, path)
	if !at.IsZero() {
		d.at[path] = at
		heap.Push(&d.queue, dueTime{path, at})
	}
	if always {
		d.always[path] = true
	}
}

// first returns the object that is due first; the caller holds mu.
func (d *dueTimes) first() (first dueTime, ok bool) {
	for len(d.queue) > 0 {
		if first := d.queue[0]; d.at[first.path].Equal(first.at) {
			return first, true
		}
		heap.Pop(&d.queue)
	}
	return dueTime{}, false
}

// next returns when the first object is due; zero when none is.
func (d *dueTimes) next() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	first, _ := d.first()
	return first.at
}

// toRenew returns the objects that RenewDue looks at.
func (a *Authority) toRenew(ctx context.Context) ([]string, error) {
	if paths, known := a.due.take(a.now()); known {
		return paths, nil
	}
	a.due.begin() // before they are listed: one that is made meanwhile is noted
	paths, err := a.store.Holders(ctx)
	if err != nil {
		a.due.forget()
		return nil, err
	}
	a.attempts.keep(paths)
	return paths, nil
}

package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"omca/internal/store"
)

// A follower applies the changes under one prefix, in order, and lets those
// wait who must not go on before theirs has been applied.
type follower struct {
	db     store.Store
	prefix string
	apply  func(store.Change) error
	lost   func(context.Context) error // the store no longer has every change: start from what is there

	mu      sync.Mutex
	applied int64         // revision up to which the store has been followed
	moved   chan struct{} // closed and replaced whenever applied grows
	panics  int           // of run, since applied grew last
	gone    error         // why nothing is followed any more; nil while it is
}

// mostPanics is how often in a row applying the next change may panic.
const mostPanics = 4

// newFollower follows what comes after the revision.
func newFollower(db store.Store, prefix string, after int64, apply func(store.Change) error, lost func(context.Context) error) *follower {
	return &follower{db: db, prefix: prefix, apply: apply, lost: lost, applied: after, moved: make(chan struct{})}
}

// run follows until ctx is done, or the store or apply fails. Run again, it goes on
// where it was.
func (f *follower) run(ctx context.Context) error {
	whole := false
	defer func() {
		if !whole {
			f.mu.Lock()
			f.panics++
			f.mu.Unlock()
		}
	}()
	var err error
	for err == nil {
		if err = f.follow(ctx); errors.Is(err, store.ErrCompacted) {
			err = f.skip(ctx)
		}
	}
	whole = true
	return err
}

// stuck reports whether running again is of no use.
func (f *follower) stuck() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.panics >= mostPanics
}

// end ends every wait with an error: nothing is followed any more.
func (f *follower) end(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = why
	close(f.moved)
}

func (f *follower) follow(ctx context.Context) error {
	f.mu.Lock()
	after := f.applied
	f.mu.Unlock()
	for change, err := range f.db.Watch(ctx, f.prefix, after) {
		if err != nil {
			return err
		}
		if err := f.apply(change); err != nil {
			return err
		}
		f.advance(change.Rev)
	}
	return ctx.Err()
}

// skip goes on from the current revision, of which lost makes the best.
func (f *follower) skip(ctx context.Context) error {
	rev, err := f.db.Rev(ctx)
	if err != nil {
		return err
	}
	if err := f.lost(ctx); err != nil {
		return err
	}
	f.advance(rev)
	return nil
}

func (f *follower) advance(rev int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied, f.panics = rev, 0
	close(f.moved)
	f.moved = make(chan struct{})
}

// wait returns once the change of a commit, which has that revision, has been applied.
func (f *follower) wait(ctx context.Context, rev int64) error {
	if err := f.reach(ctx, rev); err != nil {
		return fmt.Errorf("committed, but %w", err)
	}
	return nil
}

// reach returns once the change with that revision has been applied.
func (f *follower) reach(ctx context.Context, rev int64) error {
	for {
		f.mu.Lock()
		applied, moved, gone := f.applied, f.moved, f.gone
		f.mu.Unlock()
		switch {
		case applied >= rev:
			return nil
		case gone != nil:
			return fmt.Errorf("this process no longer follows the store: %w", gone)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("not seen yet: %w", ctx.Err())
		}
	}
}

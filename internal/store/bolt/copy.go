package bolt

import (
	"context"
	"fmt"
	"iter"

	"omca/internal/store"
)

// A Copy is what one machine keeps of a store that is elsewhere: it is read and
// watched as a Store is, and instead of commits it takes the changes that were
// committed there, with the revisions that they have there.
//
// Changes are readable when Apply returns, and durable after Sync. What a power
// failure takes away is the latest of them, from some revision on: Rev tells
// where to go on.
type Copy struct{ s *Store }

// OpenCopy opens the copy at c.Path as Open opens a store. Neither opens what
// is the other's.
func OpenCopy(ctx context.Context, c Config) (*Copy, error) {
	s, err := open(ctx, c, copyName, copyMagic)
	if err != nil {
		return nil, err
	}
	return &Copy{s}, nil
}

// Apply takes in changes, in ascending order of revisions, all after Rev. It
// keeps the values. After an error other than store.ErrFull, which changed
// nothing, the copy takes no more.
func (c *Copy) Apply(changes ...store.Change) error {
	return c.apply(changes, func() { c.s.recent.Publish(changes...) })
}

// Amend is Apply where changes in between are not known: whoever watches, and
// has not come as far, is told with store.ErrCompacted.
func (c *Copy) Amend(changes ...store.Change) error {
	return c.apply(changes, func() { c.s.recent.Forget(changes[len(changes)-1].Rev) })
}

func (c *Copy) apply(changes []store.Change, publish func()) error {
	if len(changes) == 0 {
		return nil
	}
	s := c.s
	select {
	case <-s.closing:
		return store.ErrClosed
	case s.lead <- struct{}{}:
	}
	defer func() { <-s.lead }()
	if err := s.failed(); err != nil {
		return err
	}
	rev := s.recent.Rev()
	for _, change := range changes {
		if change.Rev <= rev || len(change.Events) == 0 {
			return fmt.Errorf("%w: a change of revision %d with %d events after revision %d", store.ErrInvalid, change.Rev, len(change.Events), rev)
		}
		rev = change.Rev
	}
	if err := s.whole(func() error { return s.record(changes, publish) }); err != nil {
		return err
	}
	s.stats.commits.Add(int64(len(changes)))
	return nil
}

// Sync waits until what was applied before is on the disk.
func (c *Copy) Sync() error {
	s := c.s
	select {
	case <-s.closing:
		return store.ErrClosed
	case s.lead <- struct{}{}:
	}
	defer func() { <-s.lead }()
	if err := s.failed(); err != nil {
		return err
	}
	if s.journal == nil || s.journal.empty() {
		return nil // the generation before was synced when it ended
	}
	if err := s.journal.sync(); err != nil {
		return s.fail(err)
	}
	s.stats.syncs.Add(1)
	return nil
}

// Get is store.Store.Get.
func (c *Copy) Get(ctx context.Context, key string) (store.Entry, error) { return c.s.Get(ctx, key) }

// Scan is store.Store.Scan.
func (c *Copy) Scan(ctx context.Context, r store.Range) (store.Page, error) { return c.s.Scan(ctx, r) }

// Rev is store.Store.Rev: the revision of the last change applied.
func (c *Copy) Rev(ctx context.Context) (int64, error) { return c.s.Rev(ctx) }

// Watch is store.Store.Watch.
func (c *Copy) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return c.s.Watch(ctx, prefix, after)
}

// Stats counts since OpenCopy.
func (c *Copy) Stats() Stats { return c.s.Stats() }

// Close is store.Store.Close.
func (c *Copy) Close() error { return c.s.Close() }

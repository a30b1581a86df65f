package replica

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"omca/internal/store"
)

// A pace of the comparison: entries that are fetched, and applied, at once.
const (
	fetchKeys  = 32
	fetchBytes = 1 << 20
)

// compare brings the copy up to the source's revision without the changes that
// led there: it lists the keys of both, and fetches what differs, the oldest
// first. Were it interrupted, the copy would be at the revision of what came last
// and lack nothing up to there that the changes after it do not bring.
func (s *Store) compare(ctx context.Context) error {
	_, rev, err := s.source.Origin(ctx)
	if err != nil {
		return err
	}
	have, err := s.copy.Rev(ctx)
	if err != nil {
		return err
	}
	fresh, gone, err := s.differences(ctx, rev)
	if err != nil {
		return err
	}
	first := rev
	if len(fresh) > 0 {
		first = fresh[0].Rev
	}
	if (len(fresh) > 0 || len(gone) > 0) && first <= have {
		return &OriginError{Path: s.path, Have: fmt.Sprintf("at revision %d", have), Found: fmt.Sprintf("different at revision %d", first)}
	}
	s.log.InfoContext(ctx, "copy compared with the store", "revision", rev, "changed", len(fresh), "deleted", len(gone))
	s.differ = true
	if err := s.amend(ctx, rev, first, fresh, gone); err != nil {
		return err
	}
	s.differ = false
	s.reached(rev)
	return nil
}

// differences returns what the source has, at a revision, and the copy has not,
// by ascending revision and without values, and what it is the other way round.
func (s *Store) differences(ctx context.Context, rev int64) (fresh []store.Entry, gone []string, err error) {
	mine := &cursor{next: func(after string) (store.Page, error) { return s.copy.Scan(ctx, store.Range{After: after}) }}
	theirs := &cursor{next: func(after string) (store.Page, error) { return s.source.Keys(ctx, rev, after) }}
	for {
		m, err := mine.peek()
		if err != nil {
			return nil, nil, err
		}
		t, err := theirs.peek()
		if err != nil {
			return nil, nil, err
		}
		switch {
		case m == nil && t == nil:
			slices.SortFunc(fresh, func(a, b store.Entry) int { return cmp.Compare(a.Rev, b.Rev) })
			return fresh, gone, nil
		case t == nil || m != nil && m.Key < t.Key:
			gone = append(gone, m.Key)
			mine.take()
		case m == nil || t.Key < m.Key:
			fresh = append(fresh, *t)
			theirs.take()
		default:
			if m.Rev != t.Rev {
				fresh = append(fresh, *t)
			}
			mine.take()
			theirs.take()
		}
	}
}

// A cursor goes through pages, entry by entry.
type cursor struct {
	next func(after string) (store.Page, error)
	page store.Page
	at   int
	last string
	done bool
}

// peek returns the entry at hand, nil at the end.
func (c *cursor) peek() (*store.Entry, error) {
	for c.at == len(c.page.Entries) {
		if c.done {
			return nil, nil
		}
		var err error
		if c.page, err = c.next(c.last); err != nil {
			return nil, err
		}
		c.at, c.done = 0, !c.page.More
	}
	return &c.page.Entries[c.at], nil
}

func (c *cursor) take() {
	c.last = c.page.Entries[c.at].Key
	c.page.Entries[c.at].Value = nil
	c.at++
}

// amend applies the differences: first what is gone, together with the first of
// what is fresh.
func (s *Store) amend(ctx context.Context, rev, first int64, fresh []store.Entry, gone []string) error {
	var changes []store.Change
	size := 0
	if len(gone) > 0 {
		c := store.Change{Rev: first}
		for _, key := range gone {
			c.Events = append(c.Events, store.Event{Key: key, Deleted: true})
		}
		changes = append(changes, c)
	}
	flush := func() error {
		if len(changes) == 0 {
			return nil
		}
		err := s.copy.Amend(changes...)
		changes, size = nil, 0
		return err
	}
	for batch := range slices.Chunk(fresh, fetchKeys) {
		entries, err := s.fetch(ctx, rev, batch)
		if err != nil {
			return err
		}
		for _, e := range entries {
			// What has one revision is one change, and is not torn.
			last := len(changes) - 1
			if last < 0 || changes[last].Rev != e.Rev {
				if size >= fetchBytes {
					if err := flush(); err != nil {
						return err
					}
				}
				changes = append(changes, store.Change{Rev: e.Rev})
				last = len(changes) - 1
			}
			changes[last].Events = append(changes[last].Events, store.Event{Key: e.Key, Value: e.Value})
			size += len(e.Key) + len(e.Value)
		}
	}
	return flush()
}

// fetch returns the entries with their values, in the order of the batch.
func (s *Store) fetch(ctx context.Context, rev int64, batch []store.Entry) ([]store.Entry, error) {
	keys := make([]string, len(batch))
	for i, e := range batch {
		keys[i] = e.Key
	}
	entries, err := s.source.At(ctx, rev, keys)
	if err != nil {
		return nil, err
	}
	if len(entries) != len(batch) {
		return nil, fmt.Errorf("%w: %d of %d keys of revision %d are there", store.ErrDamaged, len(entries), len(batch), rev)
	}
	return entries, nil
}

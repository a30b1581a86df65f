package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"omca/internal/seal"
	"omca/internal/store"
)

// maxCounted is the most keys of counted kinds that a commit changes: each needs an
// expectation beside those of the decision.
const maxCounted = store.MaxOps / 2

// tagAll brings a store whose values have no tags to the format in which all have one. It
// can be cut short anywhere, and goes on at the next call. It reports whether there was
// anything to do.
func (s *Store) tagAll(ctx context.Context) (bool, error) {
	if s.Format() >= seal.FormatAuthentic {
		return false, nil
	}
	if err := s.writeFormat(ctx, seal.FormatTagging); err != nil {
		return false, fmt.Errorf("bringing the store over: %w", err)
	}
	return true, s.db.tagAll(ctx, s.now())
}

// tagAll tags what has no tag, counts, and says in the keyring that it is done.
func (a *authentic) tagAll(ctx context.Context, at time.Time) error {
	if err := a.tagOlder(ctx); err != nil {
		return fmt.Errorf("tagging what is in the store: %w", err)
	}
	for range countAgain {
		err := a.beginCounting(ctx, at)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if err := a.format.refresh(ctx, a.Store); err != nil || a.format.known().number >= seal.FormatAuthentic {
			return err // another node was faster
		}
	}
	return fmt.Errorf("%w: the store was written to faster than it could be counted", store.ErrConflict)
}

// tagOlder gives a tag to every value that has none. What is written meanwhile has one.
func (a *authentic) tagOlder(ctx context.Context) error {
	for r := (store.Range{}); ; {
		page, err := a.Store.Scan(ctx, r)
		if err != nil {
			return err
		}
		for len(page.Entries) > 0 {
			n, err := a.tagSome(ctx, page.Entries)
			if err != nil {
				return err
			}
			r.After = page.Entries[n-1].Key
			page.Entries = page.Entries[n:]
		}
		if !page.More {
			return nil
		}
	}
}

// tagSome tags the first of entries in one commit, and returns how many it has done.
func (a *authentic) tagSome(ctx context.Context, all []store.Entry) (int, error) {
	now := a.format.known()
	some, n := now.tagging(all)
	for len(some.Puts) > 0 {
		_, err := a.Store.Commit(ctx, some)
		if !errors.Is(err, store.ErrConflict) {
			return n, err
		}
		if err := a.format.refresh(ctx, a.Store); err != nil {
			return 0, err
		}
		if now = a.format.known(); now.number >= seal.FormatAuthentic {
			return n, nil // another node has tagged all
		}
		again, err := a.reread(ctx, all[:n])
		if err != nil {
			return 0, err
		}
		some, _ = now.tagging(again)
	}
	return n, nil
}

// tagging returns the commit that tags the first of entries, and how many these are.
func (f formatNow) tagging(entries []store.Entry) (tx store.Tx, n int) {
	tx.Expect = []store.Expect{{Key: keyKeyring, Rev: f.rev}}
	for _, e := range entries {
		if !f.tagged(e) {
			next := tx
			next.Expect = append(next.Expect, store.Expect{Key: e.Key, Rev: e.Rev})
			next.Puts = append(next.Puts, store.Put{Key: e.Key, Value: f.mac.Attach(e.Key, e.Value, firstCounter(e.Key))})
			if len(tx.Puts) > 0 && next.Check() != nil {
				break
			}
			tx = next
		}
		n++
	}
	return tx, n
}

// firstCounter is the counter of the first value of a key.
func firstCounter(key string) uint64 {
	for _, k := range kinds() {
		if k.has(key) {
			return 1
		}
	}
	return 0
}

func (f formatNow) tagged(e store.Entry) bool {
	if unauthentic(e.Key) {
		return true
	}
	_, _, ok := f.mac.Detach(e.Key, e.Value)
	return ok
}

// reread reads entries again, and leaves out those that are gone.
func (a *authentic) reread(ctx context.Context, entries []store.Entry) ([]store.Entry, error) {
	var there []store.Entry
	for _, e := range entries {
		e, err := a.Store.Get(ctx, e.Key)
		switch {
		case err == nil:
			there = append(there, e)
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		}
	}
	return there, nil
}

// beginCounting counts what is there, and says in the keyring that all values have tags:
// in one commit that expects that nothing was changed since it counted.
func (a *authentic) beginCounting(ctx context.Context, at time.Time) error {
	now := a.format.known()
	tx := store.Tx{Expect: []store.Expect{{Key: keyKeyring, Rev: now.rev}}}
	for _, k := range kinds() {
		e, err := a.Store.Get(ctx, k.key())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		tx.Expect = append(tx.Expect, store.Expect{Key: k.key(), Rev: e.Rev})
	}
	counted := make(map[string]sumState)
	for _, k := range kinds() {
		s, bad, err := a.tally(ctx, now, k)
		if err != nil {
			return err
		}
		if len(bad) > 0 {
			return forged(bad[0])
		}
		s.Changes = countedFrom(at)
		counted[k.name] = s
	}
	keys := now.keys.InFormat(seal.FormatAuthentic)
	text, err := keys.Marshal()
	if err != nil {
		return err
	}
	if tx.Puts, err = now.sums(func(k kind) sumState { return counted[k.name] }); err != nil {
		return err
	}
	tx.Puts = append(tx.Puts, store.Put{Key: keyKeyring, Value: text})
	if _, err := a.Store.Commit(ctx, now.attachAll(tx, nil)); err != nil {
		return err
	}
	return a.format.refresh(ctx, a.Store)
}

// sums returns the puts of what is counted of each kind.
func (f formatNow) sums(of func(kind) sumState) ([]store.Put, error) {
	var puts []store.Put
	for _, k := range kinds() {
		put, err := f.sealSum(k, of(k))
		if err != nil {
			return nil, err
		}
		puts = append(puts, put)
	}
	return puts, nil
}

package object

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"omca/ca"
	"omca/internal/store"
)

// A staged object is one that is about to be made, from nothing, with the
// certificate set that its keywords ask for: both in the one commit that
// records the certificate. Until then the store has what it had.
type staged struct {
	path     Path
	revision int64 // that the object must have: 0, it must not be there
	config   Config
	created  time.Time
}

type stageKey struct{}

// Stage returns a context in which the object at p holds nothing but config:
// [Store.Holder] reads it so, and [Store.Commit] makes it so. The object must
// have the given revision then, 0 for one that must not be there.
func (s *Store) Stage(ctx context.Context, p Path, revision int64, config Config) context.Context {
	return context.WithValue(ctx, stageKey{}, &staged{p, revision, config, s.now().UTC()})
}

func stagedAt(ctx context.Context, p Path) *staged {
	if st, ok := ctx.Value(stageKey{}).(*staged); ok && st.path == p {
		return st
	}
	return nil
}

// Make makes the object at p hold nothing but config, in one commit: ErrExists
// when revision is 0 and there is one, ErrConflict when it has moved on.
func (s *Store) Make(ctx context.Context, p Path, revision int64, config Config) error {
	return s.remake(ctx, staged{p, revision, config, s.now().UTC()}, func(*head, *store.Tx) error { return nil })
}

// remake commits the staged object with what fill adds to it. The keys that the
// object had go, unless fill puts them.
func (s *Store) remake(ctx context.Context, st staged, fill func(*head, *store.Tx) error) error {
	h := &head{Created: st.created, Updated: st.created, Config: st.config}
	tx := store.Tx{Expect: []store.Expect{{Key: prefixObject + st.path.Key(), Rev: st.revision}}}
	if err := fill(h, &tx); err != nil {
		return err
	}
	old, err := s.entry(ctx, st.path)
	if err != nil && !errors.Is(err, ca.ErrNotFound) {
		return err
	}
	if err == nil {
		if old.rev == st.revision { // else the commit fails
			if err := s.endTokens(ctx, st.path, "deletion of the former user"); err != nil {
				return err
			}
		}
		for _, k := range old.Keys {
			if key := valueKey(st.path, k.Name); !h.has(k.Name) && !slices.Contains(tx.Deletes, key) {
				tx.Deletes = append(tx.Deletes, key)
			}
		}
	}
	put, err := putHead(st.path, h)
	if err != nil {
		return err
	}
	tx.Puts = append(tx.Puts, put)
	if err = s.commit(ctx, tx); err == nil {
		return nil
	}
	s.forget(st.path)
	if st.revision == 0 && errors.Is(err, ca.ErrConflict) {
		return fmt.Errorf("%w: %s", ErrExists, st.path)
	}
	return fmt.Errorf("%s: %w", st.path, err)
}

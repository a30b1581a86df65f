package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/store"
)

// A staged object is one that is about to be made, from nothing, with the
// certificate set that its keywords ask for: both in the one commit that
// records the certificate. Until then the store has what it had.
type staged struct {
	path     object.Path
	revision int64 // that the object must have: 0, it must not be there
	config   object.Config
	created  time.Time
	beside   []Reconfigured
}

// Reconfigured is the config that an object gets in the commit that makes another.
type Reconfigured struct {
	Path     object.Path
	Revision int64 // that the object must still have
	Config   object.Config
}

type stageKey struct{}

// Stage returns a context in which the object at p holds nothing but config:
// [Store.Holder] reads it so, and [Store.Commit] makes it so. The object must
// have the given revision then, 0 for one that must not be there. Others get the
// configs in beside with it.
func (s *Store) Stage(ctx context.Context, p object.Path, revision int64, config object.Config, beside ...Reconfigured) context.Context {
	return context.WithValue(ctx, stageKey{}, &staged{path: p, revision: revision, config: config, created: s.now().UTC(), beside: beside})
}

func stagedAt(ctx context.Context, p object.Path) *staged {
	if st, ok := ctx.Value(stageKey{}).(*staged); ok && st.path == p {
		return st
	}
	return nil
}

// Make makes the object at p hold nothing but config, and gives others the configs
// in beside, in one commit: ErrExists when revision is 0 and there is one,
// ErrConflict when one of them has moved on.
func (s *Store) Make(ctx context.Context, p object.Path, revision int64, config object.Config, beside ...Reconfigured) error {
	st := staged{path: p, revision: revision, config: config, created: s.now().UTC(), beside: beside}
	return s.remake(ctx, st, func(*head, *store.Tx) error { return nil })
}

// MakeWith makes an object that does not exist, with keys: ErrExists otherwise.
func (s *Store) MakeWith(ctx context.Context, p object.Path, config object.Config, edits []Edit) error {
	st := staged{path: p, config: config, created: s.now().UTC()}
	return s.remake(ctx, st, func(h *head, tx *store.Tx) error { return s.editAll(ctx, p, h, tx, edits) })
}

// remake commits the staged object with what fill adds to it. The keys that the
// object had go, unless fill puts them.
func (s *Store) remake(ctx context.Context, st staged, fill func(*head, *store.Tx) error) error {
	h := &head{Created: st.created, Updated: st.created, Config: st.config}
	tx := store.Tx{Expect: []store.Expect{{Key: prefixObject + st.path.Key(), Rev: st.revision}}}
	if err := fill(h, &tx); err != nil {
		return err
	}
	for _, r := range st.beside {
		if err := s.putBeside(ctx, &tx, r); err != nil {
			return err
		}
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
	for _, r := range st.beside {
		s.forget(r.Path)
	}
	if st.revision == 0 && errors.Is(err, ca.ErrConflict) && !errors.Is(err, ca.ErrOvertaken) {
		return fmt.Errorf("%w: %s", ErrExists, st.path)
	}
	return fmt.Errorf("%s: %w", st.path, err)
}

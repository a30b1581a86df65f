package replica

import (
	"context"
	"errors"
	"fmt"

	"omca/internal/store"
)

// Commit is store.Store.Commit. It returns when the copy shows what it did; a
// conflict, when the copy shows what it met.
func (s *Store) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if err := tx.Check(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.working.RLock()
	defer s.working.RUnlock()
	if s.closed {
		return 0, store.ErrClosed
	}
	if err := s.Away(); err != nil {
		return 0, fmt.Errorf("%w: %w", store.ErrAway, err)
	}
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, s.pace.Commit)
	defer cancel()
	rev, err := s.source.Commit(ctx, tx)
	switch {
	case errors.Is(err, store.ErrConflict):
		s.seeConflict(ctx)
		return 0, err
	case exact(err):
		return 0, err
	case err != nil:
		s.doubt()
		return 0, fmt.Errorf("%w: %w", store.ErrUncertain, errors.Join(outer.Err(), err))
	}
	if len(tx.Puts) == 0 {
		_ = s.source.Ask(ctx) // what changed nothing is told by nobody; a failure shows in wait
	}
	if err := s.wait(ctx, rev); err != nil {
		return 0, fmt.Errorf("%w: it has, as revision %d, and this node does not see it yet: %w", store.ErrUncertain, rev, errors.Join(outer.Err(), err))
	}
	if len(tx.Puts) == 0 {
		return s.copy.Rev(outer)
	}
	return rev, nil
}

// exact reports whether an error of the source says for certain what happened.
func exact(err error) bool {
	for _, e := range []error{store.ErrInvalid, store.ErrTooLarge, store.ErrFull, store.ErrClosed, store.ErrAway, store.ErrRefused} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// seeConflict waits until the copy has what an expectation met: who reads again
// and tries again would otherwise meet it again. A failure only means that.
func (s *Store) seeConflict(ctx context.Context) {
	_, rev, err := s.source.Origin(ctx)
	if err == nil && s.source.Ask(ctx) == nil {
		_ = s.wait(ctx, rev)
	}
}

// wait returns when the copy has everything up to a revision.
func (s *Store) wait(ctx context.Context, rev int64) error {
	for {
		s.mu.Lock()
		synced, failed, moved := s.synced, s.failed, s.moved
		s.mu.Unlock()
		switch {
		case synced >= rev:
			return nil
		case failed != nil:
			return failed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"omca/internal/store"
)

const (
	leastPause = 50 * time.Millisecond
	mostPause  = 2 * time.Second
)

// follow brings the copy up to date until ctx is done, or until it cannot.
func (s *Store) follow(ctx context.Context) {
	pause := leastPause
	for ctx.Err() == nil {
		before := s.upTo()
		err := s.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if broken(err) {
			s.fail(ctx, err)
			return
		}
		if s.upTo() > before {
			pause = leastPause
		}
		s.log.DebugContext(ctx, "watch broke off", "revision", s.upTo(), "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
			pause = min(2*pause, mostPause)
		case <-ctx.Done():
		}
	}
}

// broken reports whether trying again is of no use.
func broken(err error) bool {
	return errors.Is(err, store.ErrBroken) || errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrInvalid) || errors.As(err, new(*OriginError))
}

// followOnce follows until something breaks off. An empty copy, and one that the
// source has nothing to add to any more, is compared with it first.
func (s *Store) followOnce(ctx context.Context) error {
	if s.upTo() == 0 || s.differ {
		if err := s.compare(ctx); err != nil {
			return err
		}
	}
	for c, err := range s.source.Changes(ctx, s.upTo()) {
		if errors.Is(err, store.ErrCompacted) {
			s.log.WarnContext(ctx, "store compacted meanwhile", "revision", s.upTo())
			return s.compare(ctx)
		}
		if err != nil {
			return err
		}
		if len(c.Events) > 0 {
			if err := s.copy.Apply(c); err != nil {
				return err
			}
		}
		s.reached(c.Rev)
	}
	return ctx.Err()
}

func (s *Store) upTo() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

// reached notes that the copy has everything up to a revision.
func (s *Store) reached(rev int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rev > s.synced {
		s.synced = rev
		s.move()
	}
}

// move wakes who waits for something guarded by mu.
func (s *Store) move() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// fail says that the copy will not be brought up to date any more.
func (s *Store) fail(ctx context.Context, err error) {
	s.mu.Lock()
	first := s.failed == nil
	if first {
		s.failed = err
		s.move()
	}
	s.mu.Unlock()
	if first {
		s.log.ErrorContext(ctx, "store no longer followed", "error", err)
	}
}

func (s *Store) fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// listen asks for the revision, time and again, and takes note of the answers.
func (s *Store) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if s.fault() != nil {
			return
		}
		err := s.beat(ctx)
		if ctx.Err() == nil {
			s.heard(ctx, err)
		}
		select {
		case <-time.After(s.pace.Beat):
		case <-s.doubted:
		case <-ctx.Done():
		}
	}
}

// beat asks once. It returns nil when the copy was current at the time of the
// question; what it was then is remembered.
func (s *Store) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.pace.Answer)
	defer cancel()
	have, began := s.upTo(), s.now()
	origin, rev, err := s.source.Origin(ctx)
	switch {
	case err != nil:
		return err
	case origin != s.origin && s.origin != "":
		err = &OriginError{Path: s.path, Have: "of " + s.origin, Found: origin}
		s.fail(ctx, err)
		return err
	case rev < have:
		err = &OriginError{Path: s.path, Have: fmt.Sprintf("at revision %d", have), Found: fmt.Sprintf("%s at revision %d", origin, rev)}
		s.fail(ctx, err)
		return err
	}
	if s.upTo() < rev {
		if err := s.source.Ask(ctx); err != nil {
			return err
		}
		if err := s.wait(ctx, rev); err != nil {
			return &behindError{err}
		}
	}
	s.mu.Lock()
	s.word = began
	age := began.Sub(s.saved)
	s.mu.Unlock()
	if age >= 0 && age < saveEvery {
		return nil
	}
	if err := s.save(); err != nil {
		s.log.WarnContext(ctx, "copy not noted as current", "error", err)
	}
	return nil
}

// A behindError says that the source answers, and the copy lags.
type behindError struct{ error }

func (e *behindError) Unwrap() error { return e.error }

// heard takes note of how a question went. A copy that lags is not up to date,
// and commits go on: they are judged by the source.
func (s *Store) heard(ctx context.Context, err error) {
	behind := new(behindError)
	if errors.As(err, &behind) {
		s.log.WarnContext(ctx, "copy behind the store", "revision", s.upTo(), "error", err)
		err = nil
	} else if err != nil {
		s.source.Move()
	}
	s.mu.Lock()
	was := s.away
	s.away = err
	s.mu.Unlock()
	switch {
	case was == nil && err != nil:
		s.log.ErrorContext(ctx, "store away", "error", err)
	case was != nil && err == nil:
		s.log.InfoContext(ctx, "store is back", "revision", s.upTo())
	}
}

// doubt has the source asked now: a commit was not answered.
func (s *Store) doubt() {
	select {
	case s.doubted <- struct{}{}:
	default:
	}
}

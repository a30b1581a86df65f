package storetest

import (
	"context"
	"errors"
	"iter"
	"sync"

	"omca/internal/store"
)

// ErrFault is what a failing store returns. It is none of the store's own
// errors, so the caller of Commit cannot know whether the commit is there.
var ErrFault = errors.New("storetest: fault")

// A Fault says what happens at the chosen Commit.
type Fault int

const (
	// FailBefore returns ErrFault and has not committed. Later calls work.
	FailBefore Fault = iota
	// FailAfter has committed and returns ErrFault. Later calls work.
	FailAfter
	// DieBefore is the end of the process just before the commit: this call
	// and every later one return ErrFault.
	DieBefore
	// DieAfter is the end of the process just after the commit was durable.
	DieAfter
)

// FailingStore is a store.Store with one fault in it. Use Failing.
type FailingStore struct {
	inner store.Store
	at    int
	fault Fault

	mu   sync.Mutex
	seen int
	dead bool
}

var _ store.Store = (*FailingStore)(nil)

// Failing wraps s so that the n-th Commit, counted from 1, meets the fault.
// To restart after a death, go on with s itself. Close leaves s open.
//
// The walk over every step of a function is
//
//	for n := 1; ; n++ {
//		s := storetest.Failing(mem.New(), n, storetest.DieAfter)
//		… run it on s, then check what is left in the inner store …
//		if !s.Met() {
//			break // it has fewer than n steps
//		}
//	}
func Failing(s store.Store, n int, fault Fault) *FailingStore {
	return &FailingStore{inner: s, at: n, fault: fault}
}

// Met reports whether the fault has happened.
func (s *FailingStore) Met() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen >= s.at
}

// Get is store.Store.Get.
func (s *FailingStore) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := s.alive(); err != nil {
		return store.Entry{}, err
	}
	return s.inner.Get(ctx, key)
}

// Scan is store.Store.Scan.
func (s *FailingStore) Scan(ctx context.Context, r store.Range) (store.Page, error) {
	if err := s.alive(); err != nil {
		return store.Page{}, err
	}
	return s.inner.Scan(ctx, r)
}

// Commit is store.Store.Commit, with the fault. One commit runs at a time, so
// that "the n-th" means something.
func (s *FailingStore) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return 0, ErrFault
	}
	s.seen++
	if s.seen != s.at {
		return s.inner.Commit(ctx, tx)
	}
	s.dead = s.fault == DieBefore || s.fault == DieAfter
	if s.fault == FailBefore || s.fault == DieBefore {
		return 0, ErrFault
	}
	if _, err := s.inner.Commit(ctx, tx); err != nil {
		return 0, err
	}
	return 0, ErrFault
}

// Watch is store.Store.Watch; it ends with the next change after a death.
func (s *FailingStore) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		if err := s.alive(); err != nil {
			yield(store.Change{}, err)
			return
		}
		for c, err := range s.inner.Watch(ctx, prefix, after) {
			if s.alive() != nil {
				c, err = store.Change{}, ErrFault
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// Rev is store.Store.Rev.
func (s *FailingStore) Rev(ctx context.Context) (int64, error) {
	if err := s.alive(); err != nil {
		return 0, err
	}
	return s.inner.Rev(ctx)
}

// Close does nothing: the inner store is what survives.
func (s *FailingStore) Close() error { return nil }

func (s *FailingStore) alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return ErrFault
	}
	return nil
}

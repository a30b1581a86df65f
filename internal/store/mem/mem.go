package mem

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"omca/internal/store"
	"omca/internal/store/internal/ring"
)

// Store is a store.Store in memory. Use New.
type Store struct {
	mu      sync.RWMutex
	entries []store.Entry // ascending keys; values are never written to
	recent  *ring.Ring
	closed  bool
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{recent: ring.New(0)}
}

// Get is store.Store.Get.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return store.Entry{}, err
	}
	i, ok := s.find(key)
	if !ok {
		return store.Entry{}, fmt.Errorf("%w: %q", store.ErrNotFound, key)
	}
	return clone(s.entries[i]), nil
}

// Scan is store.Store.Scan.
func (s *Store) Scan(ctx context.Context, r store.Range) (store.Page, error) {
	if err := r.Check(); err != nil {
		return store.Page{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return store.Page{}, err
	}
	page := store.Page{Rev: s.recent.Rev()}
	size := 0
	i, _ := s.find(r.Start())
	for _, e := range s.entries[i:] {
		if !strings.HasPrefix(e.Key, r.Prefix) {
			break
		}
		if r.Full(len(page.Entries), size) {
			page.More = true
			break
		}
		page.Entries = append(page.Entries, clone(e))
		size += len(e.Key) + len(e.Value)
	}
	return page, nil
}

// Commit is store.Store.Commit.
func (s *Store) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if err := tx.Check(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	for _, e := range tx.Expect {
		if err := e.Check(s.revOf(e.Key)); err != nil {
			return 0, err
		}
	}
	rev := s.recent.Rev()
	if events := s.apply(tx, rev+1); len(events) > 0 {
		rev++
		s.recent.Publish(store.Change{Rev: rev, Events: events})
	}
	return rev, nil
}

func (s *Store) apply(tx store.Tx, rev int64) []store.Event {
	var events []store.Event
	for _, p := range tx.Puts {
		e := store.Entry{Key: p.Key, Value: append([]byte{}, p.Value...), Rev: rev}
		if i, ok := s.find(p.Key); ok {
			s.entries[i] = e
		} else {
			s.entries = slices.Insert(s.entries, i, e)
		}
		events = append(events, store.Event{Key: e.Key, Value: e.Value})
	}
	for _, key := range tx.Deletes {
		if i, ok := s.find(key); ok {
			s.entries = slices.Delete(s.entries, i, i+1)
			events = append(events, store.Event{Key: key, Deleted: true})
		}
	}
	for _, prefix := range tx.DeletePrefixes {
		i, _ := s.find(prefix)
		end := i
		for ; end < len(s.entries) && strings.HasPrefix(s.entries[end].Key, prefix); end++ {
			events = append(events, store.Event{Key: s.entries[end].Key, Deleted: true})
		}
		s.entries = slices.Delete(s.entries, i, end)
	}
	return events
}

// Watch is store.Store.Watch.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return s.recent.Watch(ctx, prefix, after)
}

// Rev is store.Store.Rev.
func (s *Store) Rev(ctx context.Context) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	return s.recent.Rev(), nil
}

// Close is store.Store.Close.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.recent.End(store.ErrClosed)
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return store.ErrClosed
	}
	return ctx.Err()
}

// find returns the place of a key and whether it is there.
func (s *Store) find(key string) (int, bool) {
	return slices.BinarySearchFunc(s.entries, key, func(e store.Entry, key string) int {
		return strings.Compare(e.Key, key)
	})
}

func (s *Store) revOf(key string) int64 {
	if i, ok := s.find(key); ok {
		return s.entries[i].Rev
	}
	return 0
}

func clone(e store.Entry) store.Entry {
	e.Value = bytes.Clone(e.Value)
	return e
}

package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"omca/internal/store"
	"omca/internal/store/internal/ring"
)

// Store is a store.Store in one file. Use Open.
type Store struct {
	db       *bbolt.DB
	path     string
	pageSize int64
	recent   *ring.Ring   // what is published here is durable
	resident atomic.Int64 // bytes of the file mapped since they were last released, about

	queue   chan *request // unbuffered: what was taken from it gets an answer
	closing chan struct{} // closed by Close
	done    chan struct{} // closed when the committer has ended
	close   sync.Once
	closed  error // what Close returned

	// Of the committer goroutine alone:
	broken error                 // why no commit is taken any more
	wrote  bool                  // the list of free pages in the file is out of date
	sync   func(*bbolt.Tx) error // commits; a field so that a test can fail it
	stats  struct{ commits, conflicts, groups, syncs, bytes atomic.Int64 }
}

var _ store.Store = (*Store)(nil)

// Stats counts since Open.
type Stats struct {
	Commits   int64 // transactions that got a revision
	Conflicts int64 // transactions refused with store.ErrConflict
	Groups    int64 // bbolt transactions that carried them
	Syncs     int64 // fdatasyncs of those, two for each group
	Bytes     int64 // written to the file by them
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	return Stats{
		Commits:   s.stats.commits.Load(),
		Conflicts: s.stats.conflicts.Load(),
		Groups:    s.stats.groups.Load(),
		Syncs:     s.stats.syncs.Load(),
		Bytes:     s.stats.bytes.Load(),
	}
}

// Get is store.Store.Get.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	e := store.Entry{Key: key}
	found := false
	err := s.view(ctx, func(b *bbolt.Bucket) error {
		stored := b.Get([]byte(key))
		if found = stored != nil; !found {
			return nil
		}
		var err error
		e, err = decode([]byte(key), stored)
		return err
	})
	s.touched(2) // a leaf, and a share of what is above it
	if err == nil && !found {
		err = fmt.Errorf("%w: %q", store.ErrNotFound, key)
	}
	if err != nil {
		return store.Entry{}, err
	}
	return e, nil
}

// Scan is store.Store.Scan.
func (s *Store) Scan(ctx context.Context, r store.Range) (store.Page, error) {
	if err := r.Check(); err != nil {
		return store.Page{}, err
	}
	var page store.Page
	size := 0
	err := s.view(ctx, func(b *bbolt.Bucket) error {
		page.Rev = int64(b.Sequence())
		c := b.Cursor()
		for k, v := c.Seek([]byte(r.Start())); k != nil && strings.HasPrefix(string(k), r.Prefix); k, v = c.Next() {
			if r.Full(len(page.Entries), size) {
				page.More = true
				return nil
			}
			e, err := decode(k, v)
			if err != nil {
				return err
			}
			page.Entries = append(page.Entries, e)
			size += len(k) + len(v)
		}
		return nil
	})
	s.touched(2 + int64(size)/s.pageSize)
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

// view reads one revision, and returns when that revision is durable.
func (s *Store) view(ctx context.Context, read func(*bbolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var rev int64
	err := s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketName)
		rev = int64(b.Sequence())
		return read(b)
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.path, err)
	}
	return s.recent.Wait(ctx, rev)
}

// Watch is store.Store.Watch.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return s.recent.Watch(ctx, prefix, after)
}

// Rev is store.Store.Rev.
func (s *Store) Rev(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	select {
	case <-s.closing:
		return 0, store.ErrClosed
	default:
		return s.recent.Rev(), nil
	}
}

// Close is store.Store.Close.
func (s *Store) Close() error {
	s.close.Do(func() {
		close(s.closing)
		<-s.done
		s.recent.End(store.ErrClosed)
		s.closed = errors.Join(s.saveFreePages(), s.db.Close())
	})
	return s.closed
}

// saveFreePages writes the list of free pages, so that the next Open need not
// read the whole file to find them.
func (s *Store) saveFreePages() error {
	if !s.wrote || s.broken != nil {
		return nil
	}
	s.db.NoFreelistSync = false
	err := s.db.Update(func(*bbolt.Tx) error { return nil })
	if err != nil && !isFull(err) { // without room the next Open reads the file
		return fmt.Errorf("closing %s: %w", s.path, err)
	}
	return nil
}

const revSize = 8 // a stored value begins with its revision

func encode(rev int64, value []byte) []byte {
	stored := make([]byte, revSize, revSize+len(value))
	binary.BigEndian.PutUint64(stored, uint64(rev))
	return append(stored, value...)
}

// decode copies: what bbolt returns is gone with its transaction.
func decode(key, stored []byte) (store.Entry, error) {
	rev, err := revOf(key, stored)
	if err != nil {
		return store.Entry{}, err
	}
	return store.Entry{Key: string(key), Value: append([]byte{}, stored[revSize:]...), Rev: rev}, nil
}

// revOf returns the revision of a stored value, 0 when there is none.
func revOf(key, stored []byte) (int64, error) {
	if stored == nil {
		return 0, nil
	}
	if len(stored) < revSize {
		return 0, fmt.Errorf("damaged: %q has %d bytes, at least %d", key, len(stored), revSize)
	}
	return int64(binary.BigEndian.Uint64(stored)), nil
}

package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"omca/internal/store"
)

// Get is store.Store.Get.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	rev, tables, err := s.now(ctx)
	if err != nil {
		return store.Entry{}, err
	}
	// What no table knows is in bbolt as it was then, or as a checkpoint left
	// it since: either is the value at some moment of this call.
	e, known := recall(tables, rev, key)
	if known {
		e.Value = append([]byte{}, e.Value...)
	} else {
		err = s.view(func(b *bbolt.Bucket) error {
			found, err := stored(b, key)
			e, e.Value = found, append([]byte{}, found.Value...)
			return err
		})
		s.touched(2) // a leaf, and a share of what is above it
	}
	if err == nil && e.Rev == 0 {
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
	rev, tables, err := s.now(ctx)
	if err != nil {
		return store.Page{}, err
	}
	page := store.Page{Rev: rev}
	size := 0
	err = s.view(func(b *bbolt.Bucket) error {
		if have := int64(b.Sequence()); have >= rev {
			page.Rev, tables = have, nil // a checkpoint has overtaken us
		}
		for e, err := range (snapshot{tables, page.Rev, b}).ascend(r.Start(), r.Prefix) {
			if err != nil {
				return err
			}
			if r.Full(len(page.Entries), size) {
				page.More = true
				return nil
			}
			size += len(e.Key) + revSize + len(e.Value)
			e.Value = append([]byte{}, e.Value...)
			page.Entries = append(page.Entries, e)
		}
		return nil
	})
	s.touched(2 + int64(size)/s.pageSize)
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

// now returns the revision to read at, and the tables that hold what bbolt
// lacks of it. The order matters: tables loaded after the revision hold all of
// it that bbolt, looked at later still, may lack.
func (s *Store) now(ctx context.Context) (int64, []*table, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	select {
	case <-s.closing:
		return 0, nil, store.ErrClosed
	default:
		rev := s.recent.Rev()
		return rev, *s.tables.Load(), nil
	}
}

// view reads bbolt. What it shows is durable: it was in the journal before.
func (s *Store) view(read func(*bbolt.Bucket) error) error {
	err := s.look(func(tx *bbolt.Tx) error {
		b, err := s.data(tx)
		if err != nil {
			return err
		}
		return read(b)
	})
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return store.ErrClosed
	case err != nil:
		return fmt.Errorf("reading %s: %w", s.path, err)
	}
	return nil
}

// A snapshot is the store at one revision: tables, the newest first, over
// bbolt. Values that it returns must be copied.
type snapshot struct {
	tables []*table
	rev    int64
	bucket *bbolt.Bucket
}

// latest is the revision of a snapshot that shows whatever is there.
const latest = math.MaxInt64

// recall returns what the tables know about a key. The revision is 0 when it
// was deleted.
func recall(tables []*table, rev int64, key string) (e store.Entry, known bool) {
	for _, t := range tables {
		if v := t.get(key, rev); v != nil {
			return v.entry(key), true
		}
	}
	return store.Entry{}, false
}

func (v *version) entry(key string) store.Entry {
	if v.deleted {
		return store.Entry{Key: key}
	}
	return store.Entry{Key: key, Value: v.value, Rev: v.rev}
}

// stored returns what bbolt has under a key, with revision 0 when it is absent.
func stored(b *bbolt.Bucket, key string) (store.Entry, error) {
	v := b.Get([]byte(key))
	if v == nil {
		return store.Entry{Key: key}, nil
	}
	return decode(b, key, v)
}

// ascend yields the entries under prefix, from the key start on.
func (s snapshot) ascend(start, prefix string) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		c := s.bucket.Cursor()
		k, v := c.Seek([]byte(start))
		damaged := k != nil && string(k) < start
		at := make([]*node, len(s.tables))
		for i, t := range s.tables {
			at[i] = t.from(start)
		}
		for {
			if damaged || len(k) > store.MaxKey {
				yield(store.Entry{}, fmt.Errorf("%w: the keys are not in order", store.ErrDamaged))
				return
			}
			key, there := least(k, at)
			if !there || !strings.HasPrefix(key, prefix) {
				return
			}
			var e store.Entry
			var err error
			known := false
			for i, n := range at {
				if n == nil || n.key != key {
					continue
				}
				if was := n.at(s.rev); was != nil && !known {
					e, known = was.entry(key), true
				}
				at[i] = n.next[0].Load()
			}
			if k != nil && string(k) == key {
				if !known {
					e, err = decode(s.bucket, key, v)
				}
				k, v = c.Next()
				damaged = k != nil && string(k) <= key
			}
			if (e.Rev != 0 || err != nil) && !yield(e, err) {
				return
			}
		}
	}
}

// least returns the least key of bbolt's cursor and the tables' nodes.
func least(k []byte, at []*node) (key string, there bool) {
	for _, n := range at {
		if n != nil && (!there || n.key < key) {
			key, there = n.key, true
		}
	}
	if k != nil && (!there || string(k) < key) {
		return string(k), true
	}
	return key, there
}

const revSize = 8 // a value in bbolt begins with its revision

func encode(rev int64, value []byte) []byte {
	stored := make([]byte, revSize, revSize+len(value))
	binary.BigEndian.PutUint64(stored, uint64(rev))
	return append(stored, value...)
}

// decode does not copy: what bbolt returns is gone with its transaction.
func decode(b *bbolt.Bucket, key string, stored []byte) (store.Entry, error) {
	if n := len(stored); n < revSize || n > revSize+store.MaxValue {
		return store.Entry{}, fmt.Errorf("%w: %q has %d bytes, expected %d to %d", store.ErrDamaged, key, n, revSize, revSize+store.MaxValue)
	}
	rev := binary.BigEndian.Uint64(stored)
	if rev == 0 || rev > b.Sequence() {
		return store.Entry{}, fmt.Errorf("%w: %q is of revision %d, expected 1 to %d", store.ErrDamaged, key, rev, b.Sequence())
	}
	return store.Entry{Key: key, Value: stored[revSize:], Rev: int64(rev)}, nil
}

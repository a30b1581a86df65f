package bolt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"

	"omca/internal/store"
)

// Bounds of a group, so that memory and the time of one bbolt transaction
// stay small.
const (
	groupTxs   = 256
	groupBytes = 4 << 20
)

type request struct {
	tx     store.Tx
	answer chan verdict // buffered
}

type verdict struct {
	rev int64
	err error
}

// Commit is store.Store.Commit. The context counts until the commit begins;
// from then on the outcome is waited for.
func (s *Store) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if err := tx.Check(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	r := &request{tx: tx, answer: make(chan verdict, 1)}
	select {
	case s.queue <- r:
		v := <-r.answer
		return v.rev, v.err
	case <-s.closing:
		return 0, store.ErrClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run is the committer goroutine.
func (s *Store) run() {
	defer close(s.done)
	for {
		select {
		case <-s.closing:
			return
		case first := <-s.queue:
			s.commit(s.collect(first))
		}
	}
}

// collect adds to first what else waits now.
func (s *Store) collect(first *request) []*request {
	group, size := []*request{first}, first.tx.Size()
	for len(group) < groupTxs && size < groupBytes {
		select {
		case r := <-s.queue:
			group = append(group, r)
			size += r.tx.Size()
		default:
			return group
		}
	}
	return group
}

// commit writes a group and answers everybody in it.
func (s *Store) commit(requests []*request) {
	verdicts, err := s.write(requests)
	for i, r := range requests {
		if err != nil {
			r.answer <- verdict{err: err}
			continue
		}
		r.answer <- verdicts[i]
	}
}

// write gives each request its verdict, and makes them durable together. An
// error is everybody's: nothing was written, or nobody knows (store.ErrBroken).
func (s *Store) write(requests []*request) ([]verdict, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return nil, s.fail(err)
	}
	g := newGroup(tx, s.recent.Rev())
	verdicts := make([]verdict, len(requests))
	for i, r := range requests {
		if verdicts[i], err = g.apply(r.tx); err != nil {
			return nil, s.fail(errors.Join(err, tx.Rollback()))
		}
	}
	if len(g.changes) == 0 {
		s.count(verdicts, g)
		return verdicts, tx.Rollback()
	}
	if err := g.bucket.SetSequence(uint64(g.rev)); err != nil {
		return nil, s.fail(errors.Join(err, tx.Rollback()))
	}
	if err := s.sync(tx); err != nil {
		return nil, s.fail(err)
	}
	s.wrote = true
	stats := tx.Stats()
	s.stats.groups.Add(1)
	s.stats.syncs.Add(2)
	s.stats.bytes.Add(stats.GetPageAlloc() + s.pageSize) // and the header
	s.count(verdicts, g)
	s.recent.Publish(g.changes...)
	s.touched(2 * stats.GetPageCount()) // the old pages were read
	return verdicts, nil
}

func (s *Store) count(verdicts []verdict, g *group) {
	for _, v := range verdicts {
		if v.err != nil {
			s.stats.conflicts.Add(1)
		}
	}
	s.stats.commits.Add(int64(len(g.changes)))
}

// fail returns what to tell the callers about a transaction that failed.
//
// Without room bbolt has put everything back, and the store goes on. This is
// believed only when the file shows it: the header must still be that of the
// last commit. Anything else (a failed sync above all: the kernel reports it
// once and forgets) breaks the store.
func (s *Store) fail(err error) error {
	if isFull(err) && s.visible() == s.recent.Rev() {
		return fmt.Errorf("%w: %s: %w", store.ErrFull, s.path, err)
	}
	s.broken = fmt.Errorf("%w: %s: %w", store.ErrBroken, s.path, err)
	s.recent.End(s.broken)
	return s.broken
}

// visible returns the revision that a reader sees, or -1.
func (s *Store) visible() int64 {
	rev := int64(-1)
	err := s.db.View(func(tx *bbolt.Tx) error {
		rev = int64(tx.Bucket(bucketName).Sequence())
		return nil
	})
	if err != nil {
		return -1
	}
	return rev
}

// isFull reports whether err is about room. bbolt flattens the errors of
// growing the file to text, hence the second look.
func isFull(err error) bool {
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, full) || strings.HasSuffix(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}

// A group is one bbolt transaction and what it has done so far.
type group struct {
	bucket  *bbolt.Bucket
	rev     int64 // of the last change
	changes []store.Change
}

func newGroup(tx *bbolt.Tx, rev int64) *group {
	b := tx.Bucket(bucketName)
	b.FillPercent = fillPercent
	return &group{bucket: b, rev: rev}
}

// apply judges one Tx and, when it passes, writes it. The error is bbolt's and
// spoils the group.
func (g *group) apply(tx store.Tx) (verdict, error) {
	for _, e := range tx.Expect {
		have, err := revOf([]byte(e.Key), g.bucket.Get([]byte(e.Key)))
		if err != nil {
			return verdict{}, err
		}
		if err := e.Check(have); err != nil {
			return verdict{err: err}, nil
		}
	}
	events, err := g.put(tx.Puts)
	if err != nil {
		return verdict{}, err
	}
	for _, key := range g.present(tx) {
		if err := g.bucket.Delete([]byte(key)); err != nil {
			return verdict{}, err
		}
		events = append(events, store.Event{Key: key, Deleted: true})
	}
	if len(events) > 0 {
		g.rev++
		g.changes = append(g.changes, store.Change{Rev: g.rev, Events: events})
	}
	return verdict{rev: g.rev}, nil
}

func (g *group) put(puts []store.Put) ([]store.Event, error) {
	var events []store.Event
	for _, p := range puts {
		stored := encode(g.rev+1, p.Value) // bbolt keeps it until the commit, the ring for longer
		if err := g.bucket.Put([]byte(p.Key), stored); err != nil {
			return nil, err
		}
		events = append(events, store.Event{Key: p.Key, Value: stored[revSize:]})
	}
	return events, nil
}

// present returns the keys that tx deletes and that are there.
func (g *group) present(tx store.Tx) []string {
	var keys []string
	for _, key := range tx.Deletes {
		if g.bucket.Get([]byte(key)) != nil {
			keys = append(keys, key)
		}
	}
	c := g.bucket.Cursor()
	for _, prefix := range tx.DeletePrefixes {
		for k, _ := c.Seek([]byte(prefix)); k != nil && strings.HasPrefix(string(k), prefix); k, _ = c.Next() {
			keys = append(keys, string(k))
		}
	}
	return keys
}

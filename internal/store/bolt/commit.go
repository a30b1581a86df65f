package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"

	"omca/internal/store"
)

// Bounds of a group, so that a frame stays small.
const (
	groupTxs   = 256
	groupBytes = 1 << 20
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
	s.mu.Lock()
	s.waiting = append(s.waiting, r)
	s.mu.Unlock()
	for {
		select {
		case v := <-r.answer:
			return v.rev, v.err
		case <-s.closing:
			if s.withdraw(r) {
				return 0, store.ErrClosed
			}
			v := <-r.answer
			return v.rev, v.err
		case <-ctx.Done():
			if s.withdraw(r) {
				return 0, ctx.Err()
			}
			v := <-r.answer
			return v.rev, v.err
		case s.lead <- struct{}{}:
			if len(r.answer) == 0 { // else somebody has done it meanwhile
				s.commit(s.collect())
			}
			<-s.lead
		}
	}
}

// withdraw takes back a request that nobody has begun with.
func (s *Store) withdraw(r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, r)
	if i < 0 {
		return false
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return true
}

// collect takes the first of those who wait. Goroutines that could run, and
// may be about to commit, go first: alone that costs nothing, and on a busy
// machine it makes fewer and larger groups.
func (s *Store) collect() []*request {
	runtime.Gosched()
	s.mu.Lock()
	defer s.mu.Unlock()
	n, size := 0, 0
	for n < len(s.waiting) && n < groupTxs && size < groupBytes {
		size += s.waiting[n].tx.Size()
		n++
	}
	group := slices.Clone(s.waiting[:n])
	s.waiting = slices.Delete(s.waiting, 0, n)
	return group
}

// commit writes a group and answers everybody in it.
func (s *Store) commit(requests []*request) {
	var verdicts []verdict
	err := s.whole(func() (err error) {
		verdicts, err = s.write(requests)
		return err
	})
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
	if err := s.failed(); err != nil {
		return nil, err
	}
	g, verdicts, err := s.judge(requests)
	if err != nil {
		return nil, s.fail(err)
	}
	if len(g.changes) > 0 {
		if err := s.record(g.changes, func() { s.recent.Publish(g.changes...) }); err != nil {
			return nil, err
		}
	}
	for _, v := range verdicts {
		if v.err != nil {
			s.stats.conflicts.Add(1)
		}
	}
	s.stats.commits.Add(int64(len(g.changes)))
	return verdicts, nil
}

// record makes changes durable (in a copy: written), and only then lets readers
// see them, by publish.
func (s *Store) record(changes []store.Change, publish func()) error {
	frame, err := s.prepare(changes)
	if err != nil {
		return err
	}
	err = s.journal.append(frame)
	if unsynced := new(syncError); isFull(err) && !errors.As(err, &unsynced) {
		return s.full(err)
	}
	if err != nil {
		return s.fail(err)
	}
	s.stats.groups.Add(1)
	if s.magic != copyMagic {
		s.stats.syncs.Add(1)
	}
	s.stats.bytes.Add(int64(len(frame)))
	active := (*s.tables.Load())[0]
	for _, c := range changes {
		active.add(c)
	}
	publish()
	if active.bytes >= tableBytes && s.carried() {
		return s.turn()
	}
	return nil
}

// full says that there was no room, and that nothing was written.
func (s *Store) full(err error) error {
	return fmt.Errorf("%w: %s: %w", store.ErrFull, s.path, err)
}

// fail breaks the store, and returns what to tell the callers: what the disk
// holds is unknown after a failed sync above all, which the kernel reports
// once and forgets.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fmt.Errorf("%w: %s: %w", store.ErrBroken, s.path, err)
		s.recent.End(s.broken)
	}
	return s.broken
}

// failed returns why the store takes no commits, if it does not.
func (s *Store) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// isFull reports whether err is about room. bbolt flattens the errors of
// growing the file to text, hence the second look.
func isFull(err error) bool {
	if err == nil {
		return false
	}
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, full) || strings.HasSuffix(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}

// A group is what requests do together, on top of the store as it is.
type group struct {
	snapshot
	staged  *table // the first of the snapshot's
	rev     int64  // of the last change
	changes []store.Change

	met map[string]int64
}

// mostMet bounds the keys that are remembered of what bbolt has.
const mostMet = 4096

// met remembers the revisions that bbolt has of the keys that were asked for: requests expect
// much the same keys. It is good for one list of tables: what is in none of them stays as it is
// in bbolt until there is another list.
type met struct {
	under *[]*table
	revs  map[string]int64
}

// of returns what was met under a list of tables.
func (m *met) of(tables *[]*table) map[string]int64 {
	if m.under != tables || len(m.revs) >= mostMet {
		m.under, m.revs = tables, make(map[string]int64)
	}
	return m.revs
}

// revOf returns the revision of a key, 0 when it is absent.
func (g *group) revOf(key string) (int64, error) {
	if e, known := recall(g.tables, g.snapshot.rev, key); known {
		return e.Rev, nil
	}
	if rev, met := g.met[key]; met {
		return rev, nil
	}
	e, err := stored(g.bucket, key)
	if err == nil {
		g.met[key] = e.Rev
	}
	return e.Rev, err
}

// judge gives each request its verdict after those before it. The error is
// about reading, and spoils the group.
func (s *Store) judge(requests []*request) (*group, []verdict, error) {
	tables := s.tables.Load()
	g := &group{staged: new(table), rev: s.recent.Rev(), met: s.met.of(tables)}
	g.snapshot = snapshot{tables: append([]*table{g.staged}, *tables...), rev: latest}
	verdicts := make([]verdict, len(requests))
	err := s.view(func(b *bbolt.Bucket) error {
		g.bucket = b
		for i, r := range requests {
			var err error
			if verdicts[i], err = g.apply(r.tx); err != nil {
				return err
			}
		}
		return nil
	})
	return g, verdicts, err
}

// apply judges one Tx and, when it passes, adds what it does.
func (g *group) apply(tx store.Tx) (verdict, error) {
	for _, want := range tx.Expect {
		have, err := g.revOf(want.Key)
		if err != nil {
			return verdict{}, err
		}
		if err := want.Check(have); err != nil {
			return verdict{err: err}, nil
		}
	}
	var events []store.Event
	for _, p := range tx.Puts {
		events = append(events, store.Event{Key: p.Key, Value: append([]byte{}, p.Value...)})
	}
	keys, err := g.present(tx)
	if err != nil {
		return verdict{}, err
	}
	for _, key := range keys {
		events = append(events, store.Event{Key: key, Deleted: true})
	}
	if len(events) > 0 {
		g.rev++
		c := store.Change{Rev: g.rev, Events: events}
		g.changes = append(g.changes, c)
		g.staged.add(c)
	}
	return verdict{rev: g.rev}, nil
}

// present returns the keys that tx deletes and that are there.
func (g *group) present(tx store.Tx) ([]string, error) {
	var keys []string
	for _, key := range tx.Deletes {
		rev, err := g.revOf(key)
		if err != nil {
			return nil, err
		}
		if rev != 0 {
			keys = append(keys, key)
		}
	}
	for _, prefix := range tx.DeletePrefixes {
		for e, err := range g.ascend(prefix, prefix) {
			if err != nil {
				return nil, err
			}
			keys = append(keys, e.Key)
		}
	}
	return keys, nil
}

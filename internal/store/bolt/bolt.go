package bolt

import (
	"context"
	"errors"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"omca/internal/store"
	"omca/internal/store/internal/ring"
)

// Store is a store.Store in one file and its journal. Use Open.
type Store struct {
	db       *bbolt.DB
	file     *os.File // the one that db has open
	path     string
	name     []byte // of the bucket
	magic    uint32 // of the frames
	pageSize int64
	recent   *ring.Ring               // what is published here is durable
	tables   atomic.Pointer[[]*table] // what bbolt may lack: the one in use, and the one on its way
	resident atomic.Int64             // bytes of the file mapped since they were last released, about
	sync     func(*bbolt.Tx) error    // commits to bbolt; a field so that a test can fail it
	disk     disk                     // of the next journal
	lost     atomic.Pointer[error]    // why bbolt cannot be called any more, if so
	stats    struct{ commits, conflicts, groups, syncs, bytes atomic.Int64 }

	mu      sync.Mutex
	waiting []*request // in the order they came
	broken  error      // why no commit is taken any more

	closing chan struct{} // closed by Close
	close   sync.Once
	closed  error // what Close returned

	// Of whoever has put his token in lead:
	lead    chan struct{}
	journal *journal    // nil until the first commit
	pending *checkpoint // the one that was begun last, until its outcome is known
	met     met
}

var _ store.Store = (*Store)(nil)

// Stats counts since Open. Making the journal, once, is not counted.
type Stats struct {
	Commits   int64 // transactions that got a revision
	Conflicts int64 // transactions refused with store.ErrConflict
	Groups    int64 // frames of the journal that carried them
	Syncs     int64 // times that the disk was waited for: one for each group, two for each checkpoint
	Bytes     int64 // written by them, in whole pages
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

// Watch is store.Store.Watch.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return s.recent.Watch(ctx, prefix, after)
}

// Rev is store.Store.Rev.
func (s *Store) Rev(ctx context.Context) (int64, error) {
	rev, _, err := s.now(ctx)
	return rev, err
}

// Close is store.Store.Close. It leaves everything in bbolt, and the journal
// without use; a full disk it leaves as a crash would.
func (s *Store) Close() error {
	s.close.Do(func() {
		close(s.closing)
		s.lead <- struct{}{} // and keeps it
		err := s.finish()
		s.recent.End(store.ErrClosed)
		s.closed = errors.Join(err, s.shut())
	})
	return s.closed
}

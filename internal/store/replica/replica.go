package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"omca/internal/background"
	"omca/internal/store"
	"omca/internal/store/bolt"
)

// A Source is the store of a cluster as one node reaches it. Its methods may
// be called at the same time.
type Source interface {
	// Origin names the store as no other is named, and tells its revision. A
	// majority has agreed to both.
	Origin(ctx context.Context) (origin string, rev int64, err error)

	// Commit is store.Store.Commit.
	Commit(ctx context.Context, tx store.Tx) (int64, error)

	// Changes yields the changes after a revision, in order, each once. One
	// without events says that everything up to its revision has been told.
	// The sequence ends with store.ErrCompacted when changes that were due are
	// no longer kept, and with whatever breaks it off.
	Changes(ctx context.Context, after int64) iter.Seq2[store.Change, error]

	// Ask has Changes tell how far it has come, soon.
	Ask(ctx context.Context) error

	// Keys returns the keys after one, as they are at a revision, without values.
	Keys(ctx context.Context, rev int64, after string) (store.Page, error)

	// At returns the entries of some keys, at most store.MaxOps, as they are at a
	// revision.
	At(ctx context.Context, rev int64, keys []string) ([]store.Entry, error)

	// Move has the calls that follow go to another server, and reports whether
	// there is one.
	Move() bool

	// Close ends the calls.
	Close() error
}

// Config says what is followed, and where the copy is. Every field is required
// but the last two.
type Config struct {
	Source Source
	Path   string // of the copy; its directory must exist
	Now    func() time.Time
	Log    *slog.Logger
	Pace   Pace               // zero fields have defaults
	Panics *background.Panics // of the work that follows the source; nil: they end the process
}

// Pace bounds the waiting.
type Pace struct {
	Beat   time.Duration // between two questions for the revision; 1 s
	Answer time.Duration // that a question may take; 2 s
	Commit time.Duration // that a commit may take; 2.5 s
	Start  time.Duration // that Open may take to come up to date; 60 s
}

func (p Pace) complete() Pace {
	set := func(d *time.Duration, unless time.Duration) {
		if *d <= 0 {
			*d = unless
		}
	}
	set(&p.Beat, time.Second)
	set(&p.Answer, 2*time.Second)
	set(&p.Commit, 2500*time.Millisecond)
	set(&p.Start, time.Minute)
	return p
}

// Store is a store.Store whose reads are local. Use Open.
type Store struct {
	source  Source
	copy    *bolt.Copy
	path    string
	origin  string // of what is followed; "" until it is known
	home    string // of the copy
	now     func() time.Time
	log     *slog.Logger
	pace    Pace
	doubted chan struct{} // a commit was not answered: ask the source
	latest  questions

	mu     sync.Mutex
	synced int64         // everything up to this revision is in the copy
	word   time.Time     // when the copy was current last; zero: never
	saved  time.Time     // the word that is on the disk
	away   error         // why the source does not answer; nil when it does
	failed error         // why the copy is no longer brought up to date
	differ bool          // a comparison was begun and not finished; for follow
	moved  chan struct{} // closed and replaced when one of the above changes

	working sync.RWMutex // held for reading by each commit, for writing by Close
	closed  bool
	end     context.CancelFunc
	work    sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open opens the copy, makes it if there is none, and brings it up to date. When
// the source does not answer, the copy is opened as it was left, provided that it
// was complete then; else the error is store.ErrAway. A copy of another source is
// refused.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Source == nil || c.Path == "" || c.Now == nil || c.Log == nil {
		return nil, errors.New("replica: Config needs Source, Path, Now and Log")
	}
	s := &Store{source: c.Source, path: c.Path, now: c.Now, log: c.Log, pace: c.Pace.complete(), moved: make(chan struct{}), doubted: make(chan struct{}, 1), latest: questions{turn: make(chan struct{}, 1)}}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	s.end = end
	s.keep(running, c.Panics, s.follow)
	if s.Away() == nil {
		if err := s.catchUp(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	s.keep(running, c.Panics, s.listen)
	return s, nil
}

// keep keeps work going in the background until ctx is done, or it ends by itself. A
// change is not applied twice: a copy that panics while it applies one is broken.
func (s *Store) keep(ctx context.Context, panics *background.Panics, work func(context.Context)) {
	s.work.Go(func() {
		err := panics.Keep(ctx, "copy of the store", func(ctx context.Context) error {
			work(ctx)
			return nil
		})
		if err != nil && ctx.Err() == nil { // work itself has no error
			s.fail(ctx, err)
		}
	})
}

// open opens the copy, and looks whose it is.
func (s *Store) open(ctx context.Context) error {
	origin, rev, asked := s.ask(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var err error
	if s.copy, err = bolt.OpenCopy(ctx, bolt.Config{Path: s.path}); err != nil {
		return err
	}
	if err := s.identify(ctx, origin, rev, asked); err != nil {
		return errors.Join(err, s.copy.Close())
	}
	return nil
}

// identify checks that the copy is one of the source, or of none yet.
func (s *Store) identify(ctx context.Context, origin string, rev int64, asked error) error {
	noted, err := readNote(s.path)
	if err != nil {
		return err
	}
	have, err := s.copy.Rev(ctx)
	if err != nil {
		return err
	}
	s.synced, s.word, s.saved, s.origin, s.home = have, noted.Word, noted.Word, noted.Origin, noted.Home
	switch {
	case errors.Is(asked, store.ErrRefused):
		return asked
	case asked != nil && noted.Word.IsZero():
		return fmt.Errorf("%w: %w; and this node has no whole copy of it yet", store.ErrAway, asked)
	case asked != nil:
		s.away = asked
		s.log.WarnContext(ctx, "store away", "since", noted.Word, "error", asked)
		return nil
	case have == 0 && noted.Origin != origin:
		// Nothing was ever in it, so nothing is lost.
		s.origin, s.home, s.word, s.saved = origin, rand.Text(), time.Time{}, time.Time{}
		return writeNote(s.path, note{Origin: origin, Home: s.home})
	case noted.Origin == "":
		return &OriginError{Path: s.path, Have: "of a store that is not noted", Found: origin}
	case noted.Origin != origin:
		return &OriginError{Path: s.path, Have: "of " + noted.Origin, Found: origin}
	case have > rev:
		return &OriginError{Path: s.path, Have: fmt.Sprintf("at revision %d", have), Found: fmt.Sprintf("%s at revision %d", origin, rev)}
	}
	return nil
}

// An OriginError says that the copy is of another store, or of another history
// of the same one: an etcd that was made anew, or brought back from a backup.
type OriginError struct{ Path, Have, Found string }

func (e *OriginError) Error() string {
	return fmt.Sprintf("the copy %s is %s, and the store is %s", e.Path, e.Have, e.Found)
}

// ask asks the source who it is, each of its servers if need be.
func (s *Store) ask(ctx context.Context) (origin string, rev int64, err error) {
	for range 3 {
		if origin, rev, err = s.askOnce(ctx); err == nil || ctx.Err() != nil {
			return origin, rev, err
		}
		if !s.source.Move() {
			break
		}
	}
	return "", 0, err
}

func (s *Store) askOnce(ctx context.Context) (string, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.pace.Answer)
	defer cancel()
	return s.source.Origin(ctx)
}

// catchUp waits until the copy has what the source has.
func (s *Store) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.pace.Start)
	defer cancel()
	for {
		err := s.beat(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: the copy did not come up to date within %s: %w", store.ErrAway, s.pace.Start, err)
		}
		if failed := s.fault(); failed != nil {
			return failed
		}
		select {
		case <-time.After(leastPause):
		case <-ctx.Done():
		}
	}
}

// Get is store.Store.Get, from the copy.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	return s.copy.Get(ctx, key)
}

// Scan is store.Store.Scan, from the copy.
func (s *Store) Scan(ctx context.Context, r store.Range) (store.Page, error) {
	return s.copy.Scan(ctx, r)
}

// Rev is store.Store.Rev: that of the copy.
func (s *Store) Rev(ctx context.Context) (int64, error) { return s.copy.Rev(ctx) }

// Watch is store.Store.Watch, of the copy.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return s.copy.Watch(ctx, prefix, after)
}

// Stats counts what the copy did to the disk since Open.
func (s *Store) Stats() bolt.Stats { return s.copy.Stats() }

// Word returns when the copy was current last, as far as is known: the zero
// time when it never was.
func (s *Store) Word() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.word
}

// Home names this copy as no other is named. Who holds its file is its only user.
func (s *Store) Home() string { return s.home }

// Away returns why the source is not followed now, nil when it is.
func (s *Store) Away() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	return s.away
}

// Close is store.Store.Close. It waits for commits under way.
func (s *Store) Close() error {
	s.working.Lock()
	closed := s.closed
	s.closed = true
	s.working.Unlock()
	if closed {
		return nil
	}
	s.end()
	s.work.Wait()
	return errors.Join(s.save(), s.copy.Close(), s.source.Close())
}

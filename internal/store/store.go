package store

import (
	"context"
	"errors"
	"iter"
)

var (
	// ErrNotFound means that the key is absent.
	ErrNotFound = errors.New("key not found")
	// ErrConflict means that an expectation did not hold; the error names the
	// key and both revisions. Nothing was written.
	ErrConflict = errors.New("changed meanwhile")
	// ErrInvalid means that the call itself can never succeed: an empty key,
	// a key touched twice, a negative limit. Nothing was written.
	ErrInvalid = errors.New("invalid")
	// ErrTooLarge means that the transaction exceeds one of the limits below.
	// Nothing was written.
	ErrTooLarge = errors.New("too large")
	// ErrFull means that there is no room left. Nothing was written, and the
	// store works again as soon as there is room.
	ErrFull = errors.New("no space left in the store")
	// ErrLocked means that another process has the store open.
	ErrLocked = errors.New("the store is in use by another process")
	// ErrCompacted means that the changes asked for are no longer kept: scan
	// again and watch from the revision of that scan.
	ErrCompacted = errors.New("the changes asked for are no longer kept")
	// ErrClosed means that the store was closed. Nothing was written.
	ErrClosed = errors.New("the store is closed")
	// ErrBroken means that the disk failed in a way that leaves the outcome of
	// a commit unknown. The commit that met it may or may not be there after
	// the store was opened again; later ones are refused and write nothing.
	ErrBroken = errors.New("the disk failed during a commit: the store takes no more commits until it is opened again")
	// ErrAway means that whoever keeps the store does not answer now, or has no
	// majority. Nothing was written.
	ErrAway = errors.New("the store is away")
	// ErrRefused means that whoever keeps the store does not let this caller in.
	// Nothing was written.
	ErrRefused = errors.New("the store lets us not in")
	// ErrUncertain means that whoever keeps the store did not answer in time:
	// the commit that met it may or may not be there when the answer is known.
	ErrUncertain = errors.New("the store has not answered: the change may have happened, or not")
	// ErrDamaged means that the disk does not hold what was written to it; the
	// error names the file and says what was found there. Nothing is repaired.
	// Reads of what is whole may go on; a commit that meets damage gives
	// ErrBroken as well.
	ErrDamaged = errors.New("the store is damaged")
)

// An Entry is a key with its value.
type Entry struct {
	Key   string
	Value []byte
	Rev   int64 // revision of the commit that last wrote the key
}

// A Range selects keys in ascending order.
type Range struct {
	Prefix string // "" is every key
	After  string // only keys strictly greater; "" starts at the first
	Limit  int    // at most so many entries; 0 is PageLimit
}

// A Page is the answer to a Range.
type Page struct {
	Entries []Entry
	More    bool  // there are further keys: ask again with After set to the last key
	Rev     int64 // the revision that the page was read at
}

// An Expect is a condition on one key: its revision is Rev, or, when Rev is 0,
// the key is absent.
type Expect struct {
	Key string
	Rev int64
}

// A Put writes one key. A nil value is stored as an empty one.
type Put struct {
	Key   string
	Value []byte
}

// A Tx happens as a whole or not at all. Expectations are about the state
// before it. Deleting what is absent is not an error.
type Tx struct {
	Expect         []Expect
	Puts           []Put
	Deletes        []string
	DeletePrefixes []string
}

// An Event is what a commit did to one key.
type Event struct {
	Key     string
	Value   []byte // nil when deleted
	Deleted bool
}

// A Change is all that one commit did under the watched prefix: at least one
// event, at most one for each key, in no particular order.
type Change struct {
	Rev    int64
	Events []Event
}

// Store is an ordered map from keys to values with atomic, durable commits.
//
// Every method may be called at the same time as any other. Slices that are
// passed in are not kept nor changed; those that come back belong to the caller.
//
// Revisions: each commit that changes something gets one, greater than all
// before it, also across Close and the next opening. What an untouched store
// starts with is not specified, gaps may occur, and 0 is never the revision
// of a key.
//
// Reads are linearizable and show durable commits only: what a read has seen
// does not vanish in a power failure.
//
// Errors: ErrNotFound, ErrConflict, ErrInvalid, ErrTooLarge, ErrFull,
// ErrAway, ErrRefused and ErrClosed are exact, and a Commit that returns one of them, or that was
// called with a context already done, wrote nothing. Any other error of
// Commit (ErrBroken, ErrUncertain, a context that ended meanwhile) leaves
// the outcome unknown: read back before deciding what to do. A store that
// finds its own files damaged says ErrDamaged, from any method, and neither
// panics nor makes up an answer.
type Store interface {
	// Get returns the entry of a key, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)

	// Scan returns the entries of a range in ascending order of keys, all read
	// at one revision. A page may be shorter than the limit when values are
	// big (it holds at least one entry if there is one); only More tells
	// whether the range goes on. Two pages may be of different revisions: who
	// needs a whole picture watches from the revision of the first page.
	Scan(ctx context.Context, r Range) (Page, error)

	// Commit applies tx and returns its revision. When it returns nil the
	// commit is durable: it survives a kill and a power failure. A tx that
	// changes nothing (no puts, and nothing to delete was there) makes no
	// revision and no event: the current revision is returned. A put of the
	// value that is already there is a change. An expectation that does not
	// hold gives ErrConflict.
	Commit(ctx context.Context, tx Tx) (int64, error)

	// Watch yields every change with a revision greater than after to keys
	// under prefix ("" is all), in order, each once, and waits for more. It
	// never skips: the sequence ends with ErrCompacted when a change that was
	// due is no longer kept (who reads too slowly meets it too), with the
	// context's error, with ErrClosed or with ErrBroken. A watcher never
	// delays a commit. With after set to the revision of a Page, page and
	// watch together miss nothing.
	Watch(ctx context.Context, prefix string, after int64) iter.Seq2[Change, error]

	// Rev returns the current revision.
	Rev(ctx context.Context) (int64, error)

	// Close releases the store; it waits for commits under way, and what has
	// not begun gets ErrClosed. Closing again does nothing.
	Close() error
}

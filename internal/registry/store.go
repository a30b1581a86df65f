package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"omca/ca"
	"omca/internal/background"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/usr/token"
)

// Where things are in the store. A path never contains more than two slashes,
// so the name of a key is all that follows.
const (
	prefixObject = "obj/"    // obj/<path> → head
	prefixKey    = "key/"    // key/<path>/<name> → value, sealed for sec and usr
	prefixCert   = "cert/"   // cert/<expiry>/<serial> → record
	prefixSerial = "serial/" // serial/<serial> → expiry
	prefixOwner  = "owner/"  // owner/<path>//<expiry>/<serial> → nothing
	// namespace/<name> → nothing: the mark of a namespace, see [Store.HasNamespace].
	prefixNamespace = "namespace/"
	keyKeyring      = "sys/keyring"
)

// ErrExists means that an object or a key is already there.
var ErrExists = fmt.Errorf("%w: exists already", ca.ErrConflict)

// StoreConfig says what a Store works with. Every field is required but Shared and Panics.
type StoreConfig struct {
	Store  store.Store
	Shared bool        // other processes change the store too
	Master seal.Master // unwraps the data keys
	Now    func() time.Time
	Log    *slog.Logger
	Panics *background.Panics // of the watch; nil: they end the process
}

// Store remembers objects, their keys and the inventory of certificates. It is
// the only one that knows where they are in the store below.
//
// What it has read of an object is kept until the watch says that the object
// changed. A commit returns once this process has seen its own change, so a
// caller always reads what it wrote.
type Store struct {
	db     *authentic
	keys   *seal.Keyring
	format *format
	now    func() time.Time
	log    *slog.Logger

	panics *background.Panics

	watch *follower           // of the objects
	tell  []func(object.Path) // who wants to know of their changes

	shared bool // see StoreConfig

	revoked     *follower // of the revocations
	tellRevoked []func(ca.Revocation)
	tellBlocked []tellBlock
	tellList    []func()
	tellBlob    []func()

	tellAuthority []func()

	tokenWatch     *follower      // of the ids, the revocations and the sweeps of tokens
	tokensRevoked  revokedTokens  // ids
	tokensRecorded recordedTokens // ids, some of them

	strays strays // certificates of users that are on record for another owner

	mu    sync.Mutex
	epoch uint64                 // counts changes, so that a read that raced with one is not kept
	heads map[object.Path]*entry // what was read since it last changed

	turn chan struct{}        // holds one token while there is a calm
	calm atomic.Pointer[calm] // nil: none

	counting sync.Mutex
	counted  bool         // records is the size of the inventory
	records  atomic.Int64 // else, what was added since the start
}

// A head is what is kept of an object beside the values of its keys.
type head struct {
	Created time.Time     `json:"created"`
	Updated time.Time     `json:"updated"`
	Config  object.Config `json:"config"`
	Keys    []KeyInfo     `json:"keys,omitempty"` // in the order in which they were added
	Era     int           `json:"era,omitempty"`  // how often a usr was disabled

	PasswordChanged time.Time `json:"password_changed,omitzero"` // of a usr: when the password was set or removed last
}

// entry is a head as read; nil head: there is no such object.
type entry struct {
	*head
	key string // of the store
	rev int64

	user    *User           // of a usr, parsed when first asked for
	cluster *ca.Cluster     // of the cluster, likewise
	tokens  *token.Settings // of the cluster, likewise
	guard   *Guard          // of the cluster, likewise
}

// KeyInfo describes one key of an object.
type KeyInfo struct {
	Name string `json:"name"`
	Size int    `json:"size"`           // of the value, in bytes
	Made bool   `json:"made,omitempty"` // a private key that was generated here
}

// maxHeads bounds what is kept of objects: about a kilobyte each.
const maxHeads = 8192

// OpenStore reads the keyring, or makes one in an empty store. Run must be
// running for commits to return.
func OpenStore(ctx context.Context, c StoreConfig) (*Store, error) {
	if c.Store == nil || c.Master == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("object: StoreConfig needs Store, Master, Now and Log")
	}
	keys, made, err := openKeyring(ctx, c.Store, c.Master)
	if err != nil {
		return nil, err
	}
	rev, err := c.Store.Rev(ctx)
	if err != nil {
		return nil, err
	}
	f := newFormat(c.Master, keys, made)
	db := newAuthentic(c.Store, f)
	s := &Store{db: db, keys: keys, format: f, now: c.Now, log: c.Log, panics: c.Panics, shared: c.Shared, heads: make(map[object.Path]*entry), turn: make(chan struct{}, 1)}
	s.watch = newFollower(db, prefixObject, rev, s.changed, s.lost)
	revocations := prefixTaken
	if c.Shared {
		// Every change, so that whoever waits for a revision has been told of all
		// revocations up to it, whatever has that revision.
		revocations = ""
	}
	s.revoked = newFollower(db, revocations, rev, s.revocationsChanged, s.revocationsLost)
	s.tokenWatch = newFollower(db, prefixTokenWatch, rev, s.tokensChanged, s.tokensLost)
	s.tokensRevoked.ids, s.tokensRecorded.ids = make(map[string]struct{}), make(map[string]struct{})
	return s, s.loadTokenRevocations(ctx)
}

// Sealed reports whether a store has the keyring that OpenStore makes.
func Sealed(ctx context.Context, db store.Store) (bool, error) {
	_, err := db.Get(ctx, keyKeyring)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// openKeyring reads the wrapped data keys. Two processes that open an empty
// store at once agree on the keyring of the one that was first.
func openKeyring(ctx context.Context, db store.Store, master seal.Master) (keys *seal.Keyring, rev int64, err error) {
	for {
		e, err := db.Get(ctx, keyKeyring)
		if err == nil {
			keys, err := seal.LoadKeyring(e.Value, master)
			return keys, e.Rev, err
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, 0, err
		}
		keys, err := seal.NewKeyring(master)
		if err != nil {
			return nil, 0, err
		}
		tx, err := firstKeyring(keys)
		if err != nil {
			return nil, 0, err
		}
		if _, err := db.Commit(ctx, tx); err != nil && !errors.Is(err, store.ErrConflict) {
			return nil, 0, err
		}
	}
}

// firstKeyring is the first commit of a store: the keyring, and that nothing is counted.
func firstKeyring(keys *seal.Keyring) (store.Tx, error) {
	text, err := keys.Marshal()
	if err != nil {
		return store.Tx{}, err
	}
	now := formatNow{number: keys.StoreFormat(), keys: keys, mac: keys.MAC()}
	sums, err := now.sums(func(kind) sumState { return newSum() })
	if err != nil {
		return store.Tx{}, err
	}
	tx := store.Tx{Expect: []store.Expect{{Key: keyKeyring}}, Puts: append(sums, store.Put{Key: keyKeyring, Value: text})}
	return now.attachAll(tx, nil), nil
}

// OnChange registers who is told that an object has changed; the zero Path
// means any of them may have. It is called from one goroutine, in order, and
// must not commit: the commits wait for it. Register before Run.
func (s *Store) OnChange(tell func(object.Path)) { s.tell = append(s.tell, tell) }

// Run follows the store until ctx is done. Commits return only while it runs.
//
// After the error of a panic call Run again: it goes on with the change that was not
// applied, and commits go on waiting for it. When one change panics again and again,
// Run returns another error, and is over.
func (s *Store) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followers := []*follower{s.watch, s.revoked, s.tokenWatch}
	ended := make(chan error, len(followers))
	for _, f := range followers {
		go func() { ended <- s.panics.Guard("watch", func() error { return f.run(ctx) }) }()
	}
	err := <-ended
	cancel() // one without the others is half blind
	for range followers[1:] {
		<-ended
	}
	for _, f := range followers {
		if background.Panicked(err) && f.stuck() {
			err = fmt.Errorf("applying the change after revision %d under %q: %d tries in a row: %v", f.applied, f.prefix, mostPanics, err)
		}
	}
	if background.Panicked(err) {
		return err
	}
	for _, f := range followers {
		f.end(err)
	}
	return err
}

// changed forgets what was known of the objects of a change, and tells.
func (s *Store) changed(change store.Change) error {
	paths := make([]object.Path, 0, len(change.Events))
	for _, e := range change.Events {
		p, err := object.ParsePath(e.Key[len(prefixObject):])
		if err != nil {
			return fmt.Errorf("watching %q: %w", e.Key, err)
		}
		paths = append(paths, p)
	}
	s.mu.Lock()
	s.epoch++
	for _, p := range paths {
		delete(s.heads, p)
	}
	s.mu.Unlock()
	s.tellAll(paths)
	return nil
}

// lost forgets everything: there were changes that this process has not seen.
func (s *Store) lost(ctx context.Context) error {
	s.log.WarnContext(ctx, "watch fell behind")
	s.mu.Lock()
	s.epoch++
	clear(s.heads)
	s.mu.Unlock()
	s.tellAll([]object.Path{{}})
	return nil
}

func (s *Store) tellAll(paths []object.Path) {
	for _, p := range paths {
		for _, tell := range s.tell {
			tell(p)
		}
	}
}

// commit makes tx durable and, when it touches an object, waits until this
// process has seen it.
func (s *Store) commit(ctx context.Context, tx store.Tx) error {
	rev, err := s.write(ctx, tx)
	if err != nil {
		return fromStore(err)
	}
	if touchesObject(tx) {
		return s.watch.wait(ctx, rev)
	}
	return nil
}

// touchesObject reports whether the watch will show tx. Objects are deleted
// by their exact key, and only when they are there.
func touchesObject(tx store.Tx) bool {
	return slices.ContainsFunc(tx.Puts, func(p store.Put) bool { return strings.HasPrefix(p.Key, prefixObject) }) ||
		slices.ContainsFunc(tx.Deletes, func(k string) bool { return strings.HasPrefix(k, prefixObject) })
}

// fromStore says a store's error in the words of ca, which its callers know.
func fromStore(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: %w", ca.ErrNotFound, err)
	case errors.Is(err, ca.ErrOvertaken):
		return err
	case errors.Is(err, store.ErrConflict):
		return &conflictError{err}
	case errors.Is(err, store.ErrTooLarge), errors.Is(err, store.ErrInvalid):
		return fmt.Errorf("%w: %w", ca.ErrInvalid, err)
	}
	return err
}

// conflictError is ca.ErrConflict without the key and the revisions that the store
// names, which say nothing to whoever called.
type conflictError struct{ cause error }

func (e *conflictError) Error() string {
	return ca.ErrConflict.Error() + ": somebody else changed the same thing at the same moment; nothing was changed, try again"
}

func (e *conflictError) Unwrap() []error { return []error{ca.ErrConflict, e.cause} }

// entry returns what is known of the object at p, and notes it for the decision
// of ctx; ErrNotFound when there is none.
func (s *Store) entry(ctx context.Context, p object.Path) (*entry, error) {
	known, err := s.look(ctx, p)
	if err != nil {
		return nil, err
	}
	decidingOf(ctx).note(known.key, known.rev)
	if known.head == nil {
		return nil, hint.With(fmt.Errorf("%w: %s does not exist", ca.ErrNotFound, p), "\"omca ls\" lists the objects")
	}
	return known, nil
}

// look is entry without the note, and without a head when there is no such object.
func (s *Store) look(ctx context.Context, p object.Path) (*entry, error) {
	s.mu.Lock()
	known, epoch := s.heads[p], s.epoch
	s.mu.Unlock()
	if known == nil {
		var err error
		if known, err = s.read(ctx, p); err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.epoch == epoch {
			if len(s.heads) >= maxHeads {
				clear(s.heads)
			}
			s.heads[p] = known
		}
		s.mu.Unlock()
	}
	return known, nil
}

func (s *Store) read(ctx context.Context, p object.Path) (*entry, error) {
	key := prefixObject + p.Key()
	e, err := s.db.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return &entry{key: key}, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeEntry(p, e)
}

func decodeEntry(p object.Path, e store.Entry) (*entry, error) {
	h := new(head)
	if err := json.Unmarshal(e.Value, h); err != nil {
		return nil, fmt.Errorf("reading %s: %w", p, err)
	}
	if own := h.Config.Path(); own != p {
		return nil, fmt.Errorf("reading %s: the stored config is that of %s", p, own)
	}
	return &entry{head: h, key: e.Key, rev: e.Rev}, nil
}

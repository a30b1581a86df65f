package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/store"
	"omca/pki"
	"omca/usr"
)

// Object is what an object shows of itself: everything but the values of its keys.
type Object struct {
	Path     object.Path
	Created  time.Time
	Updated  time.Time
	Config   object.Config
	Keys     []KeyInfo // in the order in which they were added
	Revision int64
}

// MaxKeySize bounds the value of one key, in bytes.
const MaxKeySize = 1_000_000

// maxKeys bounds the keys of one object: their list is in its head.
const maxKeys = 1000

// Get returns the object at p, or ErrNotFound.
func (s *Store) Get(ctx context.Context, p object.Path) (Object, error) {
	e, err := s.entry(ctx, p)
	if err != nil {
		return Object{}, err
	}
	keys := slices.DeleteFunc(slices.Clone(e.Keys), func(k KeyInfo) bool { return hidden(p, k.Name) })
	return Object{Path: p, Created: e.Created, Updated: e.Updated, Config: e.Config, Keys: keys, Revision: e.rev}, nil
}

// hidden reports whether only ca knows of the key: it is an imported value
// that waits for the rest of its set, or a set that a CA had before.
func hidden(p object.Path, key string) bool {
	_, waits := ca.WaitingKey(key)
	_, former := ca.FormerKey(key)
	return (waits || former) && p.Kind.Sealed()
}

// List returns the paths of the objects that match, in order.
func (s *Store) List(ctx context.Context, sel object.Selector) ([]object.Path, error) {
	var paths []object.Path
	for e, err := range entries(ctx, s.db, prefixObject+sel.Prefix()) {
		if err != nil {
			return nil, err
		}
		p, err := object.ParsePath(strings.TrimPrefix(e.Key, prefixObject))
		if err != nil {
			return nil, fmt.Errorf("store key %q: %w", e.Key, err)
		}
		if sel.Match(p) {
			paths = append(paths, p)
		}
	}
	slices.SortFunc(paths, object.Path.Compare)
	return paths, nil
}

// HasNamespace reports whether the namespace has any object. A decision on the
// absence of a namespace expects the mark of the namespace as it was, and writes it
// with the first object. So of two such decisions, on any nodes, one is overtaken.
func (s *Store) HasNamespace(ctx context.Context, namespace string) (bool, error) {
	mark, err := s.db.Get(ctx, prefixNamespace+namespace)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	page, err := s.db.Scan(ctx, store.Range{Prefix: prefixObject + namespace + "/", Limit: 1})
	if err != nil || len(page.Entries) > 0 {
		return err == nil, err
	}
	if d := decidingOf(ctx); d != nil {
		d.begins(namespace, mark.Rev)
	}
	return false, nil
}

// Create makes an object that does not exist: ErrExists otherwise.
func (s *Store) Create(ctx context.Context, p object.Path, c object.Config) error {
	return s.Make(ctx, p, 0, c)
}

// Configure replaces the config of the object at p, which must still have the
// given revision: ErrConflict otherwise.
func (s *Store) Configure(ctx context.Context, p object.Path, revision int64, c object.Config) error {
	return s.change(ctx, p, revision, func(h *head, _ *store.Tx) error {
		h.configure(c)
		return nil
	})
}

func (h *head) configure(c object.Config) {
	if disabled(c) && !disabled(h.Config) {
		h.Era++ // what the user had begun stays over when it is enabled again
	}
	h.Config = c
}

// putBeside adds to tx another config of an object that is there.
func (s *Store) putBeside(ctx context.Context, tx *store.Tx, r Reconfigured) error {
	e, err := s.entry(ctx, r.Path)
	if err != nil {
		return err
	}
	h := *e.head
	h.Updated = s.now().UTC()
	h.configure(r.Config)
	put, err := putHead(r.Path, &h)
	if err != nil {
		return err
	}
	tx.Expect = append(tx.Expect, store.Expect{Key: prefixObject + r.Path.Key(), Rev: r.Revision})
	tx.Puts = append(tx.Puts, put)
	return nil
}

// disabled reports whether c is that of a user who cannot call.
func disabled(c object.Config) bool {
	if c.Path().Kind != object.KindUsr {
		return false
	}
	off, err := c.Bool("disabled")
	return off || err != nil
}

// Delete removes the object at p and all its keys, and destroys the keys of those CAs
// on record, which it held, in one commit. The keys of other CAs stay on record.
func (s *Store) Delete(ctx context.Context, p object.Path, destroy ...pki.AuthorityID) error {
	for range 4 { // what is changed at the same moment is deleted as it is then
		if err := s.deleteOnce(ctx, p, destroy); !errors.Is(err, ca.ErrConflict) || errors.Is(err, ca.ErrOvertaken) {
			return err
		}
	}
	return s.deleteOnce(ctx, p, destroy)
}

func (s *Store) deleteOnce(ctx context.Context, p object.Path, destroy []pki.AuthorityID) error {
	e, err := s.entry(ctx, p)
	if err != nil {
		return err
	}
	if err := s.endTokens(ctx, p, "deletion of the user"); err != nil {
		return err
	}
	key := prefixObject + p.Key()
	tx := store.Tx{
		Expect:         []store.Expect{{Key: key, Rev: e.rev}},
		Deletes:        []string{key},
		DeletePrefixes: []string{prefixKey + p.Key() + "/"},
	}
	if err := s.destroyKeys(ctx, &tx, destroy); err != nil {
		return err
	}
	if err := s.commit(ctx, tx); err != nil {
		s.forget(p)
		return err
	}
	return nil
}

// Value returns the value of one key of the object at p, or ErrNotFound.
func (s *Store) Value(ctx context.Context, p object.Path, name string) ([]byte, error) {
	e, err := s.entry(ctx, p)
	if err != nil {
		return nil, err
	}
	if hidden(p, name) || !e.has(name) {
		return nil, noKey(p, name, e.head)
	}
	if isPassword(p, name) {
		return nil, fmt.Errorf("reading key %q of %s: %w: it can be set and never be read", name, p, usr.ErrDenied)
	}
	return s.value(ctx, p, name)
}

func noKey(p object.Path, name string, h *head) error {
	err := fmt.Errorf("%w: %s has no key %.64q", ca.ErrNotFound, p, name)
	var known []string
	for _, k := range h.Keys {
		if !hidden(p, k.Name) {
			known = append(known, k.Name)
		}
	}
	if near, ok := hint.Nearest(name, known); ok {
		return hint.With(err, "did you mean %q?", near)
	}
	return hint.With(err, "\"omca %s key list\" shows the keys", p)
}

// value reads and opens a stored value.
func (s *Store) value(ctx context.Context, p object.Path, name string) ([]byte, error) {
	key := valueKey(p, name)
	e, err := s.db.Get(ctx, key)
	if err != nil {
		return nil, fromStore(err)
	}
	if !p.Kind.Sealed() {
		return e.Value, nil
	}
	plain, err := s.keys.Open(key, e.Value)
	if err != nil {
		return nil, fmt.Errorf("%s: key %q: %w", p, name, err)
	}
	return plain, nil
}

func valueKey(p object.Path, name string) string { return prefixKey + p.Key() + "/" + name }

// An Edit is one step of a change of keys.
type Edit struct {
	Action Action
	Name   string
	Value  []byte // for Add, Change and Put
	To     string // for Rename

	Hash usr.PasswordHash // for the password of a usr, in place of Value
}

// Action is what an Edit does.
type Action string

// The actions. Add wants the key absent, Change and Rename want it there; Put
// and Remove do not ask.
const (
	Add    Action = "add"
	Change Action = "change"
	PutKey Action = "put"
	Remove Action = "remove"
	Rename Action = "rename"
)

// Edit changes keys of the object at p, all or none.
func (s *Store) Edit(ctx context.Context, p object.Path, edits []Edit) error {
	e, err := s.entry(ctx, p)
	if err != nil {
		return err
	}
	return s.change(ctx, p, e.rev, func(h *head, tx *store.Tx) error { return s.editAll(ctx, p, h, tx, edits) })
}

func (s *Store) editAll(ctx context.Context, p object.Path, h *head, tx *store.Tx, edits []Edit) error {
	for _, edit := range edits {
		if err := s.edit(ctx, p, h, tx, edit); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) edit(ctx context.Context, p object.Path, h *head, tx *store.Tx, e Edit) error {
	if err := checkKeyName(p, e.Name); err != nil {
		return err
	}
	has := h.has(e.Name)
	switch {
	case e.Action == Add && has:
		return hint.With(fmt.Errorf("%w: key %q of %s", ErrExists, e.Name, p), "use \"omca %s key change --name %s\"", p, e.Name)
	case (e.Action == Change || e.Action == Rename) && !has:
		return noKey(p, e.Name, h)
	}
	if isPassword(p, e.Name) || isPassword(p, e.To) || !e.Hash.IsZero() {
		return s.editPassword(p, h, tx, e)
	}
	switch e.Action {
	case Add, Change, PutKey:
		return s.putKey(p, h, tx, KeyInfo{Name: e.Name}, e.Value)
	case Remove:
		h.drop(e.Name)
		tx.Deletes = append(tx.Deletes, valueKey(p, e.Name))
		return nil
	case Rename:
		return s.rename(ctx, p, h, tx, e)
	}
	return fmt.Errorf("%w: unknown action %q: add, change, remove or rename", ca.ErrInvalid, e.Action)
}

func (s *Store) rename(ctx context.Context, p object.Path, h *head, tx *store.Tx, e Edit) error {
	if err := checkKeyName(p, e.To); err != nil {
		return err
	}
	if h.has(e.To) {
		return fmt.Errorf("%w: key %q of %s", ErrExists, e.To, p)
	}
	// A sealed value opens only under its own name, so it is sealed again.
	value, err := s.value(ctx, p, e.Name)
	if err != nil {
		return err
	}
	h.drop(e.Name)
	tx.Deletes = append(tx.Deletes, valueKey(p, e.Name))
	return s.putKey(p, h, tx, KeyInfo{Name: e.To}, value)
}

// putKey adds the value to tx, sealed if the kind says so, and notes it in h.
// Whatever the way a value comes, it is no password: see putPassword.
func (s *Store) putKey(p object.Path, h *head, tx *store.Tx, info KeyInfo, value []byte) error {
	if isPassword(p, info.Name) {
		return errPlainPassword(p)
	}
	return s.putValue(p, h, tx, info, value)
}

func (s *Store) putValue(p object.Path, h *head, tx *store.Tx, info KeyInfo, value []byte) error {
	if len(value) > MaxKeySize {
		return fmt.Errorf("%w: key %q of %s: %d bytes, at most %d", ErrKeyTooLarge, info.Name, p, len(value), MaxKeySize)
	}
	info.Size = len(value)
	h.note(info)
	if len(h.Keys) > maxKeys {
		return fmt.Errorf("%w: %s: more than %d keys", ca.ErrInvalid, p, maxKeys)
	}
	key, stored := valueKey(p, info.Name), value
	if p.Kind.Sealed() {
		var err error
		if stored, err = s.keys.Seal(key, value); err != nil {
			return err
		}
	}
	tx.Puts = append(tx.Puts, store.Put{Key: key, Value: stored})
	return nil
}

// ErrKeyTooLarge means that a value is over MaxKeySize.
var ErrKeyTooLarge = fmt.Errorf("%w: too large", ca.ErrInvalid)

// change commits what edit makes of a copy of the head, if the object still
// has the revision.
func (s *Store) change(ctx context.Context, p object.Path, revision int64, edit func(*head, *store.Tx) error) error {
	e, err := s.entry(ctx, p)
	if err != nil {
		return err
	}
	h := *e.head
	h.Keys = slices.Clone(h.Keys)
	h.Updated = s.now().UTC()
	tx := store.Tx{Expect: []store.Expect{{Key: prefixObject + p.Key(), Rev: revision}}}
	if err := edit(&h, &tx); err != nil {
		return err
	}
	put, err := putHead(p, &h)
	if err != nil {
		return err
	}
	tx.Puts = append(tx.Puts, put)
	if err := s.commit(ctx, tx); err != nil {
		s.forget(p)
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}

// forget drops what was read of an object: after a conflict it is older than
// the store, whatever the watch has shown yet, and whoever tries again must
// not meet it again.
func (s *Store) forget(p object.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	delete(s.heads, p)
}

func putHead(p object.Path, h *head) (store.Put, error) {
	value, err := json.Marshal(h)
	return store.Put{Key: prefixObject + p.Key(), Value: value}, err
}

func (h *head) index(name string) int {
	return slices.IndexFunc(h.Keys, func(k KeyInfo) bool { return k.Name == name })
}

func (h *head) has(name string) bool { return h.index(name) >= 0 }

// note sets what is known of a key; a new one goes to the end.
func (h *head) note(info KeyInfo) {
	if i := h.index(info.Name); i >= 0 {
		h.Keys[i] = info
		return
	}
	h.Keys = append(h.Keys, info)
}

func (h *head) drop(name string) {
	h.Keys = slices.DeleteFunc(h.Keys, func(k KeyInfo) bool { return k.Name == name })
}

// checkKeyName refuses what cannot be the name of a key: it is part of a key
// of the store, of a URL and of a line of a list.
func checkKeyName(p object.Path, name string) error {
	const most = 255
	switch {
	case name == "":
		return fmt.Errorf("%w: the name of the key is empty", ca.ErrInvalid)
	case len(name) > most:
		return fmt.Errorf("%w: key %.32q…: a name of %d bytes, at most %d", ca.ErrInvalid, name, len(name), most)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%w: key %q: the name has characters that cannot be printed", ca.ErrInvalid, name)
	case strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool {
		return part == "" || part == "." || part == ".."
	}):
		return fmt.Errorf("%w: key %q: the name is not a clean relative path", ca.ErrInvalid, name)
	case hidden(p, name):
		return fmt.Errorf("%w: key %q: the name is kept for imports", ca.ErrInvalid, name)
	}
	return nil
}

// User is what the object of a user says about it.
type User struct {
	Name       string
	Created    time.Time
	Grants     usr.Grants
	Roles      []string // in its tokens, for services that read them
	Disabled   bool
	Revision   int64          // of the object
	AllowedIPs []netip.Prefix // where it may call from; nil is anywhere
	Era        int            // how often it was disabled: what began in another era is over

	PasswordChanged time.Time // when the password was set or removed last: what began with another is over
}

// User returns the user of that name (system/usr/NAME), or ErrNotFound.
func (s *Store) User(ctx context.Context, name string) (User, error) {
	p, err := object.UserPath(name)
	if err != nil {
		return User{}, fmt.Errorf("%w: %w", ca.ErrNotFound, err)
	}
	e, err := s.entry(ctx, p)
	if err != nil {
		return User{}, err
	}
	return once(s, &e.user, func() (User, error) {
		u, err := parseUser(name, e.Config)
		if err != nil {
			return User{}, fmt.Errorf("%s: %w", p, err)
		}
		u.Created, u.Era, u.Revision, u.PasswordChanged = e.Created, e.Era, e.rev, e.PasswordChanged
		return u, nil
	})
}

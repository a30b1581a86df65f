package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"

	"omca/internal/hint"
	"omca/internal/seal"
	"omca/internal/store"
)

// unauthentic reports whether the value of a key carries no tag: the keyring is sealed by
// itself, and the marks of processes are written below this layer, with a lease.
func unauthentic(key string) bool { return key == keyKeyring || passing(key) }

// ErrForged is a value that this program has not written where it lies, or not so.
var ErrForged = fmt.Errorf("%w: a value was not written there by omca", store.ErrDamaged)

func forged(key string) error {
	return hint.With(fmt.Errorf("%w: store key %q", ErrForged, key), "\"omca doctor\" names all such values; put the home back from a backup with \"omca restore\"")
}

// authentic is a [store.Store] whose values carry tags in the store below it. Its callers
// see the values alone.
//
// A store of an older format has values without tags. They are taken as they are until the
// keyring says that all have tags.
type authentic struct {
	store.Store                       // below
	format      *format               // of the store
	turn        chan struct{}         // holds one token while a counted kind changes
	refusal     atomic.Pointer[error] // why commits are refused; nil: they are not
}

func newAuthentic(below store.Store, f *format) *authentic {
	return &authentic{Store: below, format: f, turn: make(chan struct{}, 1)}
}

// opener returns how values are opened now. While older values may be there it reads the
// keyring first, if that has changed: another process brings the store over. It is called
// after the values were read, which are then no newer than the keyring.
func (a *authentic) opener(ctx context.Context) (formatNow, error) {
	keys := a.format.known()
	if keys.number < seal.FormatAuthentic {
		if err := a.format.refresh(ctx, a.Store); err != nil {
			return formatNow{}, err
		}
		keys = a.format.known()
	}
	return keys, nil
}

// open returns a value without its tag.
func (f formatNow) open(key string, stored []byte) ([]byte, error) {
	if f.mac == nil || unauthentic(key) {
		return stored, nil
	}
	value, _, ok := f.mac.Detach(key, stored)
	switch {
	case ok:
		return value, nil
	case f.number < seal.FormatAuthentic: // older values are there, and have no tag
		return stored, nil
	}
	return nil, forged(key)
}

// Get is store.Store.Get.
func (a *authentic) Get(ctx context.Context, key string) (store.Entry, error) {
	return opened(a, func() (store.Entry, error) {
		e, err := a.Store.Get(ctx, key)
		if err != nil {
			return e, err
		}
		now, err := a.opener(ctx)
		if err != nil {
			return store.Entry{}, err
		}
		if e.Value, err = now.open(key, e.Value); err != nil {
			return store.Entry{}, err
		}
		return e, nil
	})
}

// opened reads values, and once more when one is refused that may have been read before
// another process tagged it.
func opened[T any](a *authentic, read func() (T, error)) (T, error) {
	older := a.format.known().number < seal.FormatAuthentic
	value, err := read()
	if older && errors.Is(err, ErrForged) {
		return read()
	}
	return value, err
}

// Scan is store.Store.Scan. One value that is refused refuses the page.
func (a *authentic) Scan(ctx context.Context, r store.Range) (store.Page, error) {
	return opened(a, func() (store.Page, error) {
		page, err := a.Store.Scan(ctx, r)
		if err != nil {
			return page, err
		}
		now, err := a.opener(ctx)
		if err != nil {
			return store.Page{}, err
		}
		for i, e := range page.Entries {
			if page.Entries[i].Value, err = now.open(e.Key, e.Value); err != nil {
				return store.Page{}, err
			}
		}
		return page, nil
	})
}

// Watch is store.Store.Watch. It ends at a value that is refused.
func (a *authentic) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		for change, err := range a.Store.Watch(ctx, prefix, after) {
			if err == nil {
				err = a.openChange(ctx, &change)
			}
			if err != nil {
				yield(store.Change{}, err)
				return
			}
			if !yield(change, nil) {
				return
			}
		}
	}
}

// openChange opens the values of a change. One that is older than the tags, which this
// process has seen come, is taken as it was: who follows the store may be behind.
func (a *authentic) openChange(ctx context.Context, change *store.Change) error {
	now, err := a.opener(ctx)
	if err != nil {
		return err
	}
	if change.Rev < now.since {
		now.number = seal.FormatTagging
	}
	for i, e := range change.Events {
		if e.Deleted {
			continue
		}
		if change.Events[i].Value, err = now.open(e.Key, e.Value); err != nil {
			return err
		}
	}
	return nil
}

// Commit is store.Store.Commit. Errors: [ErrSetBack] too.
func (a *authentic) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if err := a.refused(tx); err != nil {
		return 0, err
	}
	for {
		now := a.format.known()
		rev, err := a.commitAs(ctx, now, tx)
		if !errors.Is(err, store.ErrConflict) || now.number >= seal.FormatAuthentic {
			return rev, err
		}
		if read := a.format.refresh(ctx, a.Store); read != nil {
			return 0, errors.Join(err, read)
		}
		if a.format.known().rev == now.rev {
			return 0, err
		}
	}
}

// commitAs commits tx in a format. Until every value has a tag it expects that the store
// still has that format.
func (a *authentic) commitAs(ctx context.Context, now formatNow, tx store.Tx) (int64, error) {
	if err := tx.Check(); err != nil {
		return 0, err
	}
	if now.number < seal.FormatAuthentic && !touches(tx, keyKeyring) {
		tx.Expect = append(tx.Expect[:len(tx.Expect):len(tx.Expect)], store.Expect{Key: keyKeyring, Rev: now.rev})
	}
	if now.mac == nil {
		return a.Store.Commit(ctx, tx)
	}
	if kinds := kindsOf(tx); len(kinds) > 0 {
		return a.commitCounted(ctx, now, tx, kinds)
	}
	return a.Store.Commit(ctx, now.attachAll(tx, nil))
}

// attachAll returns tx with tags on its values. counters has the counters of values that have one.
func (f formatNow) attachAll(tx store.Tx, counters map[string]uint64) store.Tx {
	puts := make([]store.Put, len(tx.Puts))
	for i, p := range tx.Puts {
		if !unauthentic(p.Key) {
			p.Value = f.mac.Attach(p.Key, p.Value, counters[p.Key])
		}
		puts[i] = p
	}
	tx.Puts = puts
	return tx
}

// touches reports whether tx expects something of a key, or puts it.
func touches(tx store.Tx, key string) bool {
	for _, e := range tx.Expect {
		if e.Key == key {
			return true
		}
	}
	for _, p := range tx.Puts {
		if p.Key == key {
			return true
		}
	}
	return false
}

// underPrefix reports whether a kind that is counted lies under a prefix.
func underPrefix(prefix string) bool {
	for _, kind := range kinds() {
		for _, own := range kind.prefixes {
			if strings.HasPrefix(own, prefix) || strings.HasPrefix(prefix, own) {
				return true
			}
		}
	}
	return false
}

// Authentic returns a view of a store that OpenStore has made: its values without their
// tags. What is committed through it has tags, and is counted.
func Authentic(ctx context.Context, below store.Store, master seal.Master) (store.Store, error) {
	e, err := below.Get(ctx, keyKeyring)
	if err != nil {
		return nil, err
	}
	keys, err := seal.LoadKeyring(e.Value, master)
	if err != nil {
		return nil, err
	}
	return newAuthentic(below, newFormat(master, keys, e.Rev)), nil
}

package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"slices"
	"strings"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/store"
	"omca/pki"
)

const (
	prefixRevoked = "revoked/" // revoked/<key id>/<serial> → revocation
	prefixList    = "list/"    // list/<key id> → state of the last list
)

// storedRevocation is what is kept of a revocation beside its place.
type storedRevocation struct {
	At       int64      `json:"t"` // seconds since 1970, like the next
	NotAfter int64      `json:"e"`
	Reason   crl.Reason `json:"r,omitempty"`
	By       string     `json:"b"`
}

func revokedKey(keyID string, serial pki.Serial) string {
	return prefixRevoked + keyID + "/" + string(serial)
}

// Revoke implements [ca.Revocations].
func (s *Store) Revoke(ctx context.Context, r ca.Revocation) error {
	value, err := json.Marshal(storedRevocation{r.At.Unix(), r.NotAfter.Unix(), r.Reason, r.By})
	if err != nil {
		return err
	}
	key := revokedKey(r.KeyID, r.Serial)
	rev, err := s.db.Commit(ctx, store.Tx{Expect: []store.Expect{{Key: key}}, Puts: []store.Put{{Key: key, Value: value}}})
	if err != nil {
		return fromStore(err)
	}
	return s.revoked.wait(ctx, rev)
}

func decodeRevocation(key string, value []byte, rev int64) (ca.Revocation, error) {
	keyID, serial, ok := strings.Cut(strings.TrimPrefix(key, prefixRevoked), "/")
	if !ok {
		return ca.Revocation{}, fmt.Errorf("store key %q: no revocation", key)
	}
	var kept storedRevocation
	if err := json.Unmarshal(value, &kept); err != nil {
		return ca.Revocation{}, fmt.Errorf("store key %q: %w", key, err)
	}
	r := ca.Revocation{KeyID: keyID, By: kept.By, Revision: rev}
	r.Serial, r.Reason = pki.Serial(serial), kept.Reason
	r.At, r.NotAfter = time.Unix(kept.At, 0).UTC(), time.Unix(kept.NotAfter, 0).UTC()
	return r, nil
}

// Revocation implements [ca.Revocations].
func (s *Store) Revocation(ctx context.Context, keyID string, serial pki.Serial) (ca.Revocation, error) {
	e, err := s.db.Get(ctx, revokedKey(keyID, serial))
	if err != nil {
		return ca.Revocation{}, fromStore(err)
	}
	return decodeRevocation(e.Key, e.Value, e.Rev)
}

// Revocations implements [ca.Revocations].
func (s *Store) Revocations(ctx context.Context, keyID string) iter.Seq2[ca.Revocation, error] {
	return s.scanRevocations(ctx, prefixRevoked+keyID+"/")
}

func (s *Store) scanRevocations(ctx context.Context, prefix string) iter.Seq2[ca.Revocation, error] {
	return func(yield func(ca.Revocation, error) bool) {
		for r := (store.Range{Prefix: prefix}); ; {
			page, err := s.db.Scan(ctx, r)
			if err != nil {
				yield(ca.Revocation{}, err)
				return
			}
			for _, e := range page.Entries {
				revocation, err := decodeRevocation(e.Key, e.Value, e.Rev)
				if !yield(revocation, err) || err != nil {
					return
				}
				r.After = e.Key
			}
			if !page.More {
				return
			}
		}
	}
}

// OnRevoke registers who is told of each revocation, from one goroutine, in
// order, before the commit that made it returns. It must not commit.
func (s *Store) OnRevoke(tell func(ca.Revocation)) { s.tellRevoked = append(s.tellRevoked, tell) }

// revocationsChanged tells of the revocations of a change.
func (s *Store) revocationsChanged(change store.Change) error {
	for _, e := range change.Events {
		if s.shared {
			s.sharedChanged(e)
			s.strayChanged(e)
		}
		if e.Deleted || !strings.HasPrefix(e.Key, prefixRevoked) {
			continue
		}
		r, err := decodeRevocation(e.Key, e.Value, change.Rev)
		if err != nil {
			return err
		}
		for _, tell := range s.tellRevoked {
			tell(r)
		}
	}
	return nil
}

// sharedChanged takes note of what a process that has the store for itself knows
// without being told.
func (s *Store) sharedChanged(e store.Event) {
	switch {
	case strings.HasPrefix(e.Key, prefixList):
		for _, tell := range s.tellList {
			tell()
		}
	case strings.HasPrefix(e.Key, prefixBlob) && strings.Count(e.Key, "/") == 1: // its head
		for _, tell := range s.tellBlob {
			tell()
		}
	case strings.HasPrefix(e.Key, prefixSerial) && e.Deleted:
		s.records.Add(-1)
	case strings.HasPrefix(e.Key, prefixSerial):
		s.records.Add(1)
	}
}

// revocationsLost tells of all revocations again: some were not seen.
func (s *Store) revocationsLost(ctx context.Context) error {
	for _, tell := range slices.Concat(s.tellList, s.tellBlob) {
		tell()
	}
	s.counting.Lock()
	s.counted = false
	s.counting.Unlock()
	s.strays.lost()
	for r, err := range s.scanRevocations(ctx, prefixRevoked) {
		if err != nil {
			return err
		}
		for _, tell := range s.tellRevoked {
			tell(r)
		}
	}
	return nil
}

// OnList registers who is told that a list has a new number, in a store that is
// shared, from the same goroutine. It must not commit.
func (s *Store) OnList(tell func()) { s.tellList = append(s.tellList, tell) }

// OnBlob registers who is told that a blob was saved or removed, in a store that
// is shared, from the same goroutine. It must not commit.
func (s *Store) OnBlob(tell func()) { s.tellBlob = append(s.tellBlob, tell) }

// storedList is the state of the last list of a key.
type storedList struct {
	Number     string    `json:"number"` // decimal
	ThisUpdate time.Time `json:"this_update"`
	Previous   time.Time `json:"previous,omitzero"` // this_update of the list before
}

func (s *Store) readList(ctx context.Context, keyID string) (state ca.ListState, rev int64, err error) {
	e, err := s.db.Get(ctx, prefixList+keyID)
	if errors.Is(err, store.ErrNotFound) {
		return ca.ListState{Number: new(big.Int)}, 0, nil
	}
	if err != nil {
		return ca.ListState{}, 0, err
	}
	var kept storedList
	if err := json.Unmarshal(e.Value, &kept); err != nil {
		return ca.ListState{}, 0, fmt.Errorf("store key %q: %w", e.Key, err)
	}
	number, ok := new(big.Int).SetString(kept.Number, 10)
	if !ok {
		return ca.ListState{}, 0, fmt.Errorf("store key %q: %q is no number", e.Key, kept.Number)
	}
	return ca.ListState{Number: number, ThisUpdate: kept.ThisUpdate, Previous: kept.Previous, Revision: e.Rev}, e.Rev, nil
}

// LastList implements [ca.Revocations].
func (s *Store) LastList(ctx context.Context, keyID string) (ca.ListState, error) {
	state, rev, err := s.readList(ctx, keyID)
	if err == nil && s.shared {
		err = s.revoked.wait(ctx, rev)
	}
	return state, err
}

// ReserveList implements [ca.Revocations].
func (s *Store) ReserveList(ctx context.Context, keyID string, thisUpdate time.Time) (ca.ListState, error) {
	for {
		last, rev, err := s.readList(ctx, keyID)
		if err != nil {
			return ca.ListState{}, err
		}
		next := ca.ListState{Number: new(big.Int).Add(last.Number, big.NewInt(1)), ThisUpdate: thisUpdate, Previous: last.ThisUpdate}
		value, err := json.Marshal(storedList{next.Number.String(), next.ThisUpdate, next.Previous})
		if err != nil {
			return ca.ListState{}, err
		}
		key := prefixList + keyID
		next.Revision, err = s.db.Commit(ctx, store.Tx{Expect: []store.Expect{{Key: key, Rev: rev}}, Puts: []store.Put{{Key: key, Value: value}}})
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err == nil && s.shared {
			err = s.revoked.wait(ctx, next.Revision)
		}
		return next, err
	}
}

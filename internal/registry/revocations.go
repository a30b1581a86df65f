package registry

import (
	"context"
	"encoding/hex"
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
	"omca/internal/object"
	"omca/internal/store"
	"omca/pki"
)

const (
	prefixRevocation = "revocation/"      // revocation/<identity of the CA>/<serial> → revocation
	prefixCRL        = "revocation-list/" // revocation-list/<identity of the CA> → state of the last list

	// prefixTaken is that of both: what is followed, so that the number of a list is
	// seen behind the revocations that are on it.
	prefixTaken = "revocation"

	// Of the first format, where a CA is known by its key identifier.
	prefixRevoked = "revoked/" // revoked/<key identifier>/<serial> → revocation
	prefixList    = "list/"    // list/<key identifier> → state of the last list
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

func revocationKey(authority string, serial pki.Serial) string {
	return prefixRevocation + authority + "/" + string(serial)
}

// Revoke implements [ca.Revocations]. While older builds may run it is written in
// both formats.
func (s *Store) Revoke(ctx context.Context, r ca.Revocation) error {
	value, err := json.Marshal(storedRevocation{r.At.Unix(), r.NotAfter.Unix(), r.Reason, r.By})
	if err != nil {
		return err
	}
	key := revocationKey(r.Authority, r.Serial)
	old, format := s.old()
	tx := store.Tx{Expect: []store.Expect{{Key: key}, format}, Puts: []store.Put{{Key: key, Value: value}}}
	if old && r.KeyID != "" {
		key := revokedKey(r.KeyID, r.Serial)
		tx.Expect = append(tx.Expect, store.Expect{Key: key})
		tx.Puts = append(tx.Puts, store.Put{Key: key, Value: value})
	}
	if r.Block != (pki.KeyHash{}) {
		put, err := putBlock(r)
		if err != nil {
			return err
		}
		tx.Puts = append(tx.Puts, put)
	}
	rev, err := s.write(Repeatable(ctx), tx)
	if errors.Is(err, store.ErrConflict) {
		if read := s.readFormat(ctx); read != nil {
			return read
		}
		if _, is := s.old(); is != format {
			return s.Revoke(ctx, r) // being brought over at this moment, which has few steps
		}
	}
	if err != nil {
		return fromStore(err)
	}
	if r.Block != (pki.KeyHash{}) {
		return s.blockInForce(ctx, r.Block, rev)
	}
	return s.revoked.wait(ctx, rev)
}

func decodeRevocation(key, prefix string, value []byte, rev int64) (ca.Revocation, error) {
	authority, serial, ok := strings.Cut(strings.TrimPrefix(key, prefix), "/")
	if !ok {
		return ca.Revocation{}, fmt.Errorf("store key %q: no revocation", key)
	}
	var kept storedRevocation
	if err := json.Unmarshal(value, &kept); err != nil {
		return ca.Revocation{}, fmt.Errorf("store key %q: %w", key, err)
	}
	r := ca.Revocation{Authority: authority, By: kept.By, Revision: rev}
	r.Serial, r.Reason = pki.Serial(serial), kept.Reason
	r.At, r.NotAfter = time.Unix(kept.At, 0).UTC(), time.Unix(kept.NotAfter, 0).UTC()
	return r, nil
}

// Revocation implements [ca.Revocations]. The decision of ctx notes it, and its absence too.
func (s *Store) Revocation(ctx context.Context, authority string, serial pki.Serial) (ca.Revocation, error) {
	e, err := s.revocation(ctx, revocationKey(authority, serial))
	if err == nil {
		return decodeRevocation(e.Key, prefixRevocation, e.Value, e.Rev)
	}
	old, _ := s.old()
	if !old && errors.Is(err, store.ErrNotFound) {
		return ca.Revocation{}, ca.ErrNotFound // most are asked about that are good: no words are made of it
	}
	if !errors.Is(err, store.ErrNotFound) {
		return ca.Revocation{}, fromStore(err)
	}
	places, err := s.places(ctx)
	if err != nil {
		return ca.Revocation{}, err
	}
	for _, keyID := range places.keyIDs(authority) {
		e, err := s.db.Get(ctx, revokedKey(keyID, serial))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return ca.Revocation{}, err
		}
		placed, err := s.placed(ctx, places, e)
		if err != nil {
			return ca.Revocation{}, err
		}
		for _, r := range placed {
			if r.Authority == authority {
				return r, nil
			}
		}
	}
	return ca.Revocation{}, fmt.Errorf("%w: certificate %s is not revoked", ca.ErrNotFound, serial)
}

// keyIDs are the key identifiers under which older builds write the revocations of a CA.
func (p places) keyIDs(authority string) []string {
	if keyID, ok := ca.UnplacedKeyID(authority); ok {
		return []string{hex.EncodeToString(keyID)}
	}
	id, err := pki.ParseAuthorityID(authority)
	if a, known := p.certs[id]; err == nil && known {
		return ca.KeyIDs(a.Chain[0])
	}
	return nil
}

// Revocations implements [ca.Revocations].
func (s *Store) Revocations(ctx context.Context, authority string) iter.Seq2[ca.Revocation, error] {
	return func(yield func(ca.Revocation, error) bool) {
		seen := make(map[pki.Serial]bool)
		old, _ := s.old()
		for e, err := range entries(ctx, s.db, prefixRevocation+authority+"/") {
			var r ca.Revocation
			if err == nil {
				r, err = decodeRevocation(e.Key, prefixRevocation, e.Value, e.Rev)
			}
			if !yield(r, err) || err != nil {
				return
			}
			if old {
				seen[r.Serial] = true
			}
		}
		if !old {
			return
		}
		for r, err := range s.oldRevocations(ctx, func(p places) []string { return p.keyIDs(authority) }) {
			if err == nil && (r.Authority != authority || seen[r.Serial]) {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// oldRevocations yields what older builds wrote under key identifiers, each in its place.
func (s *Store) oldRevocations(ctx context.Context, under func(places) []string) iter.Seq2[ca.Revocation, error] {
	return func(yield func(ca.Revocation, error) bool) {
		places, err := s.places(ctx)
		if err != nil {
			yield(ca.Revocation{}, err)
			return
		}
		for _, keyID := range under(places) {
			prefix := prefixRevoked
			if keyID != "" {
				prefix += keyID + "/"
			}
			for e, err := range entries(ctx, s.db, prefix) {
				var placed []ca.Revocation
				if err == nil {
					placed, err = s.placed(ctx, places, e)
				}
				if err != nil {
					yield(ca.Revocation{}, err)
					return
				}
				for _, r := range placed {
					if !yield(r, nil) {
						return
					}
				}
			}
		}
	}
}

// AllRevocations yields the revocations of all CAs, those of one CA together.
func (s *Store) AllRevocations(ctx context.Context) iter.Seq2[ca.Revocation, error] {
	return func(yield func(ca.Revocation, error) bool) {
		for e, err := range entries(ctx, s.db, prefixRevocation) {
			var r ca.Revocation
			if err == nil {
				r, err = decodeRevocation(e.Key, prefixRevocation, e.Value, e.Rev)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
		if old, _ := s.old(); !old {
			return
		}
		for r, err := range s.oldRevocations(ctx, func(places) []string { return []string{""} }) {
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// OnRevoke registers who is told of each revocation, from one goroutine, in
// order, before the commit that made it returns. It must not commit.
func (s *Store) OnRevoke(tell func(ca.Revocation)) { s.tellRevoked = append(s.tellRevoked, tell) }

// revocationsChanged tells of the revocations of a change. After a panic it is called
// again with the same change: they are told again, and the inventory is counted once.
func (s *Store) revocationsChanged(change store.Change) error {
	for _, e := range change.Events {
		if s.shared {
			if err := s.sharedChanged(e); err != nil {
				return err
			}
			s.strayChanged(e)
			if err := s.blocksIn(e); err != nil {
				return err
			}
		}
		if e.Deleted {
			continue
		}
		told, err := s.revocationsIn(e, change.Rev)
		if err != nil {
			return err
		}
		for _, r := range told {
			for _, tell := range s.tellRevoked {
				tell(r)
			}
		}
	}
	if s.shared {
		s.countRecords(change)
	}
	return nil
}

// revocationsIn returns the revocations that an event makes.
func (s *Store) revocationsIn(e store.Event, rev int64) ([]ca.Revocation, error) {
	switch {
	case strings.HasPrefix(e.Key, prefixRevocation):
		r, err := decodeRevocation(e.Key, prefixRevocation, e.Value, rev)
		return []ca.Revocation{r}, err
	case strings.HasPrefix(e.Key, prefixRevoked):
		ctx := context.Background() // the copy of the store that is here answers
		places, err := s.places(ctx)
		if err != nil {
			return nil, err
		}
		return s.placed(ctx, places, store.Entry{Key: e.Key, Value: e.Value, Rev: rev})
	}
	return nil, nil
}

// countRecords counts the certificates that others put into the inventory.
func (s *Store) countRecords(change store.Change) {
	for _, e := range change.Events {
		switch {
		case !strings.HasPrefix(e.Key, prefixSerial):
		case e.Deleted:
			s.records.Add(-1)
		default:
			s.records.Add(1)
		}
	}
}

// sharedChanged takes note of what a process that has the store for itself knows
// without being told.
func (s *Store) sharedChanged(e store.Event) error {
	switch {
	case e.Key == keyKeyring && !e.Deleted:
		return s.readFormat(context.Background()) // the copy of the store that is here answers
	case strings.HasPrefix(e.Key, prefixAuthority):
		for _, tell := range s.tellAuthority {
			tell()
		}
	case strings.HasPrefix(e.Key, prefixList), strings.HasPrefix(e.Key, prefixCRL):
		for _, tell := range s.tellList {
			tell()
		}
	case strings.HasPrefix(e.Key, prefixBlob) && strings.Count(e.Key, "/") == 1: // its head
		for _, tell := range s.tellBlob {
			tell()
		}
	}
	return nil
}

// revocationsLost tells of all revocations again: some were not seen.
func (s *Store) revocationsLost(ctx context.Context) error {
	for _, tell := range slices.Concat(s.tellList, s.tellBlob, s.tellAuthority) {
		tell()
	}
	s.counting.Lock()
	s.counted = false
	s.counting.Unlock()
	s.strays.lost()
	if err := s.readFormat(ctx); err != nil {
		return err
	}
	for r, err := range s.AllRevocations(ctx) {
		if err != nil {
			return err
		}
		for _, tell := range s.tellRevoked {
			tell(r)
		}
	}
	for key, err := range s.AllBlocked(ctx) {
		if err != nil {
			return err
		}
		for _, tell := range s.tellBlocked {
			tell(key)
		}
	}
	return nil
}

// OnList registers who is told that a list has a new number, in a store that is
// shared, from the same goroutine. It must not commit.
func (s *Store) OnList(tell func()) { s.tellList = append(s.tellList, tell) }

// OnAuthority registers who is told that a CA was put on record, or its key destroyed, in
// a store that is shared, from the same goroutine. It must not commit.
func (s *Store) OnAuthority(tell func()) { s.tellAuthority = append(s.tellAuthority, tell) }

// OnBlob registers who is told that a blob was saved or removed, in a store that
// is shared, from the same goroutine. It must not commit.
func (s *Store) OnBlob(tell func()) { s.tellBlob = append(s.tellBlob, tell) }

// storedList is the state of the last list of a CA.
type storedList struct {
	Number     string    `json:"number"` // decimal
	ThisUpdate time.Time `json:"this_update"`
	Previous   time.Time `json:"previous,omitzero"` // this_update of the list before
	Origin     string    `json:"origin,omitempty"`  // of the store in which it was numbered
}

func decodeList(e store.Entry) (storedList, error) {
	var kept storedList
	if err := json.Unmarshal(e.Value, &kept); err != nil {
		return kept, fmt.Errorf("store key %q: %w", e.Key, err)
	}
	if _, ok := new(big.Int).SetString(kept.Number, 10); !ok {
		return kept, fmt.Errorf("store key %q: %q is no number", e.Key, kept.Number)
	}
	return kept, nil
}

// above reports whether the number of l is greater than that of other.
func (l storedList) above(other storedList) bool {
	a, _ := new(big.Int).SetString(l.Number, 10)
	b, _ := new(big.Int).SetString(other.Number, 10)
	return b == nil || a != nil && a.Cmp(b) > 0
}

// listKey is where the state of the lists of a CA is.
func (s *Store) listKey(ctx context.Context, id pki.AuthorityID) (key string, format store.Expect, err error) {
	old, format := s.old()
	if !old {
		return prefixCRL + id.String(), format, nil
	}
	places, err := s.places(ctx)
	if err != nil {
		return "", format, err
	}
	if a, known := places.certs[id]; known {
		return prefixList + hex.EncodeToString(a.Chain[0].SubjectKeyId), format, nil
	}
	return prefixCRL + id.String(), format, nil
}

// readOrigin reads the name of this store, "" when it has none yet.
func (s *Store) readOrigin(ctx context.Context) (string, error) {
	e, err := s.db.Get(ctx, keyOrigin)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return string(e.Value), err
}

func (s *Store) readList(ctx context.Context, key, origin string) (state ca.ListState, rev int64, err error) {
	e, err := s.db.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return ca.ListState{Number: new(big.Int)}, 0, nil
	}
	if err != nil {
		return ca.ListState{}, 0, err
	}
	kept, err := decodeList(e)
	if err != nil {
		return ca.ListState{}, 0, err
	}
	number, _ := new(big.Int).SetString(kept.Number, 10)
	state = ca.ListState{Number: number, ThisUpdate: kept.ThisUpdate, Previous: kept.Previous, Revision: e.Rev}
	// An older build, which names no origin, numbers in a store that is shared with it.
	state.Alike = kept.Origin != "" && kept.Origin == origin || kept.Origin == "" && s.shared && strings.HasPrefix(key, prefixList)
	return state, e.Rev, nil
}

// LastList implements [ca.Revocations].
func (s *Store) LastList(ctx context.Context, id pki.AuthorityID) (ca.ListState, error) {
	key, _, err := s.listKey(ctx, id)
	if err != nil {
		return ca.ListState{}, err
	}
	origin, err := s.readOrigin(ctx)
	if err != nil {
		return ca.ListState{}, err
	}
	state, rev, err := s.readList(ctx, key, origin)
	if err == nil {
		err = s.revoked.wait(ctx, rev)
	}
	return state, err
}

// ReserveList implements [ca.Revocations].
func (s *Store) ReserveList(ctx context.Context, id pki.AuthorityID, thisUpdate time.Time) (ca.ListState, error) {
	for {
		key, format, err := s.listKey(ctx, id)
		if err != nil {
			return ca.ListState{}, err
		}
		origin, err := s.readOrigin(ctx)
		if err != nil {
			return ca.ListState{}, err
		}
		last, rev, err := s.readList(ctx, key, origin)
		if err != nil {
			return ca.ListState{}, err
		}
		tx := store.Tx{Expect: []store.Expect{{Key: key, Rev: rev}, format}}
		if origin == "" {
			origin = object.NewUUID()
			tx.Expect = append(tx.Expect, store.Expect{Key: keyOrigin})
			tx.Puts = append(tx.Puts, store.Put{Key: keyOrigin, Value: []byte(origin)})
		}
		next := ca.ListState{Number: new(big.Int).Add(last.Number, big.NewInt(1)), ThisUpdate: thisUpdate, Previous: last.ThisUpdate, Alike: true}
		value, err := json.Marshal(storedList{next.Number.String(), next.ThisUpdate, next.Previous, origin})
		if err != nil {
			return ca.ListState{}, err
		}
		tx.Puts = append(tx.Puts, store.Put{Key: key, Value: value})
		next.Revision, err = s.db.Commit(ctx, tx)
		if errors.Is(err, store.ErrConflict) {
			if err := s.readFormat(ctx); err != nil {
				return ca.ListState{}, err
			}
			continue
		}
		if err == nil {
			err = s.revoked.wait(ctx, next.Revision)
		}
		return next, err
	}
}

package registry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"omca/ca"
	"omca/crl"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/pki"
)

// keyOrigin names this store apart from every copy of it, whose revisions are others.
const keyOrigin = "sys/origin"

// StaysBehind reports whether a key is of one store alone: no copy, and no backup, has it.
func StaysBehind(key string) bool { return key == keyOrigin }

// format is what a process knows of the format of a store.
type format struct {
	master seal.Master
	now    atomic.Pointer[formatNow]
}

// formatNow is a format as the keyring of one revision has it.
type formatNow struct {
	number int
	rev    int64 // of the keyring
	keys   *seal.Keyring
	mac    *seal.MAC // nil: values have no tags
	since  int64     // the revision since when all values have tags; 0: since before this process began
}

func newFormat(master seal.Master, keys *seal.Keyring, rev int64) *format {
	f := &format{master: master}
	f.learn(keys, rev)
	return f
}

func (f *format) known() formatNow { return *f.now.Load() }

// learn takes note of a keyring, unless a later one is known.
func (f *format) learn(keys *seal.Keyring, rev int64) {
	next := &formatNow{number: keys.StoreFormat(), rev: rev, keys: keys, mac: keys.MAC()}
	for {
		last := f.now.Load()
		if last != nil {
			next.since = last.since
			if last.number < seal.FormatAuthentic && next.number >= seal.FormatAuthentic {
				next.since = rev
			}
		}
		if last != nil && last.rev > rev || f.now.CompareAndSwap(last, next) {
			return
		}
	}
}

// refresh reads the keyring again if it has changed.
func (f *format) refresh(ctx context.Context, below Reader) error {
	e, err := below.Get(ctx, keyKeyring)
	if err != nil || e.Rev <= f.known().rev {
		return err
	}
	keys, err := seal.LoadKeyring(e.Value, f.master)
	if err == nil {
		f.learn(keys, e.Rev)
	}
	return err
}

// Format returns the format of the store: [Reads], or less while builds that read
// only an older one may run.
func (s *Store) Format() int { return s.format.known().number }

// old reports whether the store has the first format, and the expectation that it
// still has it, or does not, by the time of a commit.
func (s *Store) old() (bool, store.Expect) {
	now := s.format.known()
	return now.number == seal.FormatKeyID, store.Expect{Key: keyKeyring, Rev: now.rev}
}

// readFormat reads the format again after the keyring has changed.
func (s *Store) readFormat(ctx context.Context) error { return s.format.refresh(ctx, s.db) }

// BringOver brings a store of an older format to this one: revocations, list states
// and blocked keys. Every CA that an object holds must be on record, and every process
// that has the store open must read the new format. It can be cut short anywhere, and
// goes on at the next call. It reports whether there was anything to do.
func (s *Store) BringOver(ctx context.Context) (bool, error) {
	old, _ := s.old()
	if old {
		if err := s.copyLists(ctx); err != nil {
			return false, fmt.Errorf("bringing list states over: %w", err)
		}
		if err := s.placeRevocations(ctx); err != nil {
			return false, fmt.Errorf("bringing revocations over: %w", err)
		}
		if err := s.writeFormat(ctx, seal.FormatTagging); err != nil {
			return false, fmt.Errorf("bringing the store over: %w", err)
		}
		if err := s.placeRevocations(ctx); err != nil { // what came in between
			return false, fmt.Errorf("bringing revocations over: %w", err)
		}
	}
	left, err := s.dropOld(ctx)
	if err != nil {
		return old || left, err
	}
	tagged, err := s.tagAll(ctx)
	return old || left || tagged, err
}

// writeFormat says in the keyring that the store has a format, unless it has it or a later one.
func (s *Store) writeFormat(ctx context.Context, number int) error {
	for {
		e, err := s.db.Get(ctx, keyKeyring)
		if err != nil {
			return err
		}
		keys, err := seal.LoadKeyring(e.Value, s.format.master)
		if err != nil {
			return err
		}
		if keys.StoreFormat() >= number {
			return s.readFormat(ctx)
		}
		text, err := keys.InFormat(number).Marshal()
		if err != nil {
			return err
		}
		_, err = s.db.Commit(ctx, store.Tx{Expect: []store.Expect{{Key: keyKeyring, Rev: e.Rev}}, Puts: []store.Put{{Key: keyKeyring, Value: text}}})
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		return s.readFormat(ctx)
	}
}

// placeRevocations gives every revocation under a key identifier its place under the
// identity of the CA. What has its place already is not written again.
func (s *Store) placeRevocations(ctx context.Context) error {
	var tx store.Tx
	flush := func() error {
		if len(tx.Puts) == 0 {
			return nil
		}
		_, err := s.db.Commit(ctx, tx)
		tx = store.Tx{}
		return err
	}
	places, err := s.places(ctx)
	if err != nil {
		return err
	}
	for e, err := range entries(ctx, s.db, prefixRevoked) {
		if err != nil {
			return err
		}
		placed, err := s.placed(ctx, places, e)
		if err != nil {
			return err
		}
		for _, r := range placed {
			if len(tx.Puts)+2 > maxCounted {
				if err := flush(); err != nil {
					return err
				}
			}
			if err := s.placeOne(ctx, &tx, r, e.Value); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (s *Store) placeOne(ctx context.Context, tx *store.Tx, r ca.Revocation, value []byte) error {
	key := revocationKey(r.Authority, r.Serial)
	_, err := s.db.Get(ctx, key)
	if err == nil {
		return nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	tx.Puts = append(tx.Puts, store.Put{Key: key, Value: value})
	if !blocks(r.Reason) {
		return nil
	}
	record, err := s.Record(ctx, r.Serial)
	if errors.Is(err, ca.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	block := blockedKey(pki.KeyHashOf(record.Certificate))
	for _, p := range tx.Puts {
		if p.Key == block {
			return nil
		}
	}
	text, err := json.Marshal(storedBlock{Serial: r.Serial, Authority: r.Authority, At: r.At, By: r.By})
	tx.Puts = append(tx.Puts, store.Put{Key: block, Value: text})
	return err
}

// blocks reports whether a key that was revoked for a reason is never certified again.
func blocks(reason crl.Reason) bool { return reason == crl.KeyCompromise || reason == crl.CACompromise }

// copyLists has the numbers of lists go on under the identities of their CAs.
func (s *Store) copyLists(ctx context.Context) error {
	places, err := s.places(ctx)
	if err != nil {
		return err
	}
	for e, err := range entries(ctx, s.db, prefixList) {
		if err != nil {
			return err
		}
		for _, id := range places.bySubjectKeyID[strings.TrimPrefix(e.Key, prefixList)] {
			if err := s.copyList(ctx, e, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) copyList(ctx context.Context, e store.Entry, id pki.AuthorityID) error {
	was, err := decodeList(e)
	if err != nil {
		return err
	}
	was.Origin = "" // the places of its entries are new: it is not made again
	value, err := json.Marshal(was)
	if err != nil {
		return err
	}
	key, expect := prefixCRL+id.String(), int64(0)
	have, err := s.db.Get(ctx, key)
	switch {
	case err == nil:
		is, err := decodeList(have)
		if err != nil || !was.above(is) {
			return err
		}
		expect = have.Rev
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	_, err = s.db.Commit(ctx, store.Tx{Expect: []store.Expect{{Key: key, Rev: expect}}, Puts: []store.Put{{Key: key, Value: value}}})
	if errors.Is(err, store.ErrConflict) {
		return nil // a node that was faster
	}
	return err
}

// dropOld removes what the store still has of the older format, once each has its place.
func (s *Store) dropOld(ctx context.Context) (any bool, err error) {
	for _, prefix := range []string{prefixRevoked, prefixList} {
		for {
			page, err := s.db.Scan(ctx, store.Range{Prefix: prefix, Limit: maxCounted})
			if err != nil {
				return any, err
			}
			if len(page.Entries) == 0 {
				break
			}
			// Of a home that a backup replaced: what is in the older format is not all in its place.
			if !any && prefix == prefixRevoked {
				if err := s.placeRevocations(ctx); err != nil {
					return any, err
				}
			}
			if prefix == prefixList {
				if err := s.copyLists(ctx); err != nil {
					return any, err
				}
			}
			any = true
			var tx store.Tx
			for _, e := range page.Entries {
				tx.Deletes = append(tx.Deletes, e.Key)
			}
			if _, err := s.db.Commit(ctx, tx); err != nil {
				return any, err
			}
		}
	}
	return any, nil
}

// places are the CAs on record by the key identifiers that older builds know them by.
type places struct {
	byKeyID map[string][]pki.AuthorityID
	certs   map[pki.AuthorityID]ca.AuthorityRecord

	// Older builds keep the state of lists under the identifier that the certificate of
	// the CA has: "" for all CAs without one.
	bySubjectKeyID map[string][]pki.AuthorityID
}

func (s *Store) places(ctx context.Context) (places, error) {
	p := places{byKeyID: make(map[string][]pki.AuthorityID), certs: make(map[pki.AuthorityID]ca.AuthorityRecord), bySubjectKeyID: make(map[string][]pki.AuthorityID)}
	all, err := s.Authorities(ctx)
	if err != nil {
		return p, err
	}
	for _, a := range all {
		p.certs[a.ID] = a
		own := hex.EncodeToString(a.Chain[0].SubjectKeyId)
		p.bySubjectKeyID[own] = append(p.bySubjectKeyID[own], a.ID)
		for _, keyID := range ca.KeyIDs(a.Chain[0]) {
			p.byKeyID[keyID] = append(p.byKeyID[keyID], a.ID)
		}
	}
	return p, nil
}

// placed returns the revocations that an entry of the older format stands for: one,
// or, when nothing tells two CAs apart, one of each.
func (s *Store) placed(ctx context.Context, p places, e store.Entry) ([]ca.Revocation, error) {
	r, err := decodeRevocation(e.Key, prefixRevoked, e.Value, e.Rev)
	if err != nil {
		return nil, err
	}
	keyID := r.Authority
	ids := p.byKeyID[keyID]
	if len(ids) > 1 {
		record, err := s.Record(ctx, r.Serial)
		if err != nil && !errors.Is(err, ca.ErrNotFound) {
			return nil, err
		}
		for _, id := range ids {
			if err == nil && ca.SignedBy(record.Certificate, p.certs[id].Chain[0]) {
				ids = []pki.AuthorityID{id}
				break
			}
		}
	}
	if len(ids) == 0 {
		r.Authority = ca.Unplaced(keyID)
		return []ca.Revocation{r}, nil
	}
	var all []ca.Revocation
	for _, id := range ids {
		r.Authority = id.String()
		all = append(all, r)
	}
	return all, nil
}

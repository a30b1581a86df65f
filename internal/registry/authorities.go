package registry

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/store"
	"omca/pki"
)

// CAs on record lie apart from the objects that hold them: what they signed outlives
// an object, and so does the key that their lists are signed with.
const (
	prefixAuthority    = "authority/"     // authority/<id> → storedAuthority
	prefixAuthorityKey = "authority-key/" // authority-key/<id> → private key, PEM, sealed
)

// storedAuthority is what is kept of a CA beside its place.
type storedAuthority struct {
	Path    string      `json:"path"`
	Chain   [][]byte    `json:"chain"` // DER, its own certificate first
	KeyMade bool        `json:"key_made,omitempty"`
	Key     ca.KeyState `json:"key,omitempty"`
	Since   time.Time   `json:"since"`
	Lives   time.Time   `json:"lives,omitzero"` // see ca.AuthorityRecord
}

func authorityKey(id pki.AuthorityID) string    { return prefixAuthority + id.String() }
func authorityKeyKey(id pki.AuthorityID) string { return prefixAuthorityKey + id.String() }

func decodeAuthority(e store.Entry) (ca.AuthorityRecord, storedAuthority, error) {
	fail := func(err error) (ca.AuthorityRecord, storedAuthority, error) {
		return ca.AuthorityRecord{}, storedAuthority{}, fmt.Errorf("store key %q: %w", e.Key, err)
	}
	id, err := pki.ParseAuthorityID(strings.TrimPrefix(e.Key, prefixAuthority))
	if err != nil {
		return fail(err)
	}
	var kept storedAuthority
	if err := json.Unmarshal(e.Value, &kept); err != nil {
		return fail(err)
	}
	a := ca.AuthorityRecord{ID: id, Path: kept.Path, KeyMade: kept.KeyMade, Key: kept.Key, Lives: kept.Lives}
	for _, der := range kept.Chain {
		cert, err := x509.ParseCertificate(der)
		if err == nil {
			cert, err = pki.WithExtensions(cert)
		}
		if err != nil {
			return fail(err)
		}
		a.Chain = append(a.Chain, cert)
	}
	if len(a.Chain) == 0 || pki.AuthorityOf(a.Chain[0]) != id {
		return fail(errors.New("the certificate is that of another CA"))
	}
	return a, kept, nil
}

// Authorities implements [ca.Store].
func (s *Store) Authorities(ctx context.Context) ([]ca.AuthorityRecord, error) {
	var all []ca.AuthorityRecord
	for e, err := range entries(ctx, s.db, prefixAuthority) {
		if err != nil {
			return nil, err
		}
		a, _, err := decodeAuthority(e)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// AuthorityKey implements [ca.Store].
func (s *Store) AuthorityKey(ctx context.Context, id pki.AuthorityID) ([]byte, error) {
	e, err := s.db.Get(ctx, authorityKeyKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: the key of CA %s is not here", ca.ErrNotFound, id.Short())
	}
	if err != nil {
		return nil, err
	}
	key, err := s.keys.Open(e.Key, e.Value)
	if err != nil {
		return nil, fmt.Errorf("key of CA %s: %w", id.Short(), err)
	}
	return key, nil
}

// RecordAuthority implements [ca.Store].
func (s *Store) RecordAuthority(ctx context.Context, a ca.AuthorityRecord, key []byte) error {
	var tx store.Tx
	if err := s.putAuthority(ctx, &tx, a, key); err != nil || len(tx.Puts) == 0 {
		return err
	}
	return s.commit(ctx, tx)
}

// putAuthority adds to tx what puts a CA on record, with its key or without. A key
// that is here stays when none is given, and the newer of two certificates counts.
func (s *Store) putAuthority(ctx context.Context, tx *store.Tx, a ca.AuthorityRecord, key []byte) error {
	if len(a.Chain) == 0 {
		return fmt.Errorf("%w: a CA on record needs its certificate", ca.ErrInvalid)
	}
	name := authorityKey(a.ID)
	next := storedAuthority{Path: a.Path, KeyMade: a.KeyMade, Key: a.Key, Since: s.now().UTC(), Lives: a.Lives}
	for _, cert := range a.Chain {
		next.Chain = append(next.Chain, cert.Raw)
	}
	expect := store.Expect{Key: name}
	e, err := s.db.Get(ctx, name)
	switch {
	case err == nil:
		had, kept, err := decodeAuthority(e)
		if err != nil {
			return err
		}
		expect.Rev, next.Since, next.KeyMade = e.Rev, kept.Since, kept.KeyMade
		if had.Chain[0].NotAfter.After(a.Chain[0].NotAfter) {
			next.Chain = kept.Chain
		}
		if next.Key == ca.KeyElsewhere {
			next.Key = kept.Key
		}
		if kept.Lives.After(next.Lives) {
			next.Lives = kept.Lives
		}
		if same(next, kept) && (key == nil || kept.Key == ca.KeyHere) {
			return nil
		}
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	value, err := json.Marshal(next)
	if err != nil {
		return err
	}
	tx.Expect = append(tx.Expect, expect)
	tx.Puts = append(tx.Puts, store.Put{Key: name, Value: value})
	if key == nil {
		return nil
	}
	sealed, err := s.keys.Seal(authorityKeyKey(a.ID), key)
	if err != nil {
		return err
	}
	tx.Puts = append(tx.Puts, store.Put{Key: authorityKeyKey(a.ID), Value: sealed})
	return nil
}

func same(a, b storedAuthority) bool {
	return a.Path == b.Path && a.KeyMade == b.KeyMade && a.Key == b.Key && a.Lives.Equal(b.Lives) &&
		slices.EqualFunc(a.Chain, b.Chain, slices.Equal[[]byte])
}

// DestroyKeys destroys the keys of CAs on record that no object holds any more.
func (s *Store) DestroyKeys(ctx context.Context, ids []pki.AuthorityID) error {
	var tx store.Tx
	if err := s.destroyKeys(ctx, &tx, ids); err != nil {
		return err
	}
	return s.commit(ctx, tx)
}

// destroyKeys adds to tx what destroys the keys of CAs on record: their lists and OCSP
// answers end. What they signed stays on record, and what was revoked is refused.
func (s *Store) destroyKeys(ctx context.Context, tx *store.Tx, ids []pki.AuthorityID) error {
	for _, id := range ids {
		e, err := s.db.Get(ctx, authorityKey(id))
		if err != nil {
			return fromStore(err)
		}
		_, kept, err := decodeAuthority(e)
		if err != nil {
			return err
		}
		kept.Key = ca.KeyDestroyed
		value, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		tx.Expect = append(tx.Expect, store.Expect{Key: e.Key, Rev: e.Rev})
		tx.Puts = append(tx.Puts, store.Put{Key: e.Key, Value: value})
		tx.Deletes = append(tx.Deletes, authorityKeyKey(id))
	}
	return nil
}

package registry

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"omca/ca"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/pki"
)

// A LaterAuthority is a CA whose key came into the store that was there after the backup
// was made: the CA is new, was rekeyed, or its key was imported.
type LaterAuthority struct {
	ID      pki.AuthorityID
	Path    string // of the object that held it last
	Subject string
	Lost    error // why its key was not taken over; nil when it was
}

// authorities takes the CAs on record over from the store that was there, with their keys.
// No object of the backup holds such a key, so it signs lists and OCSP answers alone.
func (r *restorer) authorities(ctx context.Context) error {
	for e, err := range entries(ctx, r.Known, prefixAuthority) {
		if err == nil {
			err = r.authority(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// authority takes one CA over that is on record in the store that was there.
func (r *restorer) authority(ctx context.Context, e store.Entry) error {
	have, there, err := r.haveAuthority(ctx, e.Key)
	if err != nil {
		return err
	}
	a, next, err := decodeAuthority(e)
	if err != nil && there {
		return nil //nolint:nilerr // the backup has it whole: damage must not stand in the way of what else is kept
	}
	if err != nil {
		return err
	}
	if there {
		if next, err = r.merge(ctx, e.Key, have, next); err != nil {
			return err
		}
	}
	var tx store.Tx
	if next.Key == ca.KeyHere && have.Key != ca.KeyHere {
		if tx, err = r.bringKey(ctx, a, &next); err != nil {
			return err
		}
	}
	if there && same(next, have) {
		return nil
	}
	value, err := json.Marshal(next)
	if err != nil {
		return err
	}
	tx.Puts = append(tx.Puts, store.Put{Key: e.Key, Value: value})
	_, err = r.Into.Commit(ctx, tx)
	return err
}

// haveAuthority reads the CA on record that the backup has under a key, if it has it.
func (r *restorer) haveAuthority(ctx context.Context, key string) (have storedAuthority, there bool, err error) {
	e, err := r.Into.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return have, false, nil
	}
	if err == nil {
		_, have, err = decodeAuthority(e)
	}
	return have, err == nil, err
}

// merge returns what becomes of a CA that is on record in the backup and in the store that
// was there. The newer of two certificates counts if omca has written it there.
func (r *restorer) merge(ctx context.Context, key string, have, known storedAuthority) (storedAuthority, error) {
	next := have
	if have.Key == ca.KeyElsewhere {
		next.Key = known.Key
	}
	if known.Lives.After(have.Lives) {
		next.Lives = known.Lives
	}
	newer, err := newerChain(known, have)
	if err != nil || !newer {
		return next, err
	}
	e, err := r.raw.Get(ctx, key)
	if err != nil {
		return next, err
	}
	if mac := r.ring().MAC(); mac != nil {
		if _, _, ok := mac.Detach(key, e.Value); ok {
			next.Chain = known.Chain
		}
	}
	return next, nil
}

// newerChain reports whether the certificate of a ends after that of b.
func newerChain(a, b storedAuthority) (bool, error) {
	x, err := x509.ParseCertificate(a.Chain[0])
	if err != nil {
		return false, err
	}
	y, err := x509.ParseCertificate(b.Chain[0])
	return err == nil && x.NotAfter.After(y.NotAfter), err
}

// bringKey returns what puts the key of a CA into the restored store, or notes in next
// and in the answer that the key is lost.
func (r *restorer) bringKey(ctx context.Context, a ca.AuthorityRecord, next *storedAuthority) (tx store.Tx, err error) {
	key, lost, err := r.knownKey(ctx, a)
	if err != nil {
		return tx, err
	}
	if lost != nil {
		next.Key = ca.KeyElsewhere
	} else {
		sealed, err := r.ring().Seal(authorityKeyKey(a.ID), key)
		if err != nil {
			return tx, err
		}
		tx.Puts = append(tx.Puts, store.Put{Key: authorityKeyKey(a.ID), Value: sealed})
	}
	// A backup of an earlier build has no CA on record: one of its objects may hold this one.
	told := lost != nil || r.ring().StoreFormat() >= seal.FormatAuthority
	if told && r.Now().Before(a.Chain[0].NotAfter) { // nobody asks for the list of one that has ended
		r.done.Authorities = append(r.done.Authorities, LaterAuthority{a.ID, a.Path, a.Chain[0].Subject.String(), lost})
	}
	return tx, nil
}

// knownKey opens the private key, PEM, of a CA on record in the store that was there. lost
// is why it does not open; err is a store that cannot be read.
func (r *restorer) knownKey(ctx context.Context, a ca.AuthorityRecord) (key []byte, lost, err error) {
	e, err := r.Known.Get(ctx, authorityKeyKey(a.ID))
	if errors.Is(err, store.ErrNotFound) {
		return nil, errors.New("the store has no key of it"), nil
	}
	if err != nil {
		return nil, nil, err
	}
	// The backup has the data keys of its time, so the seal key of the home is not needed
	// unless the data key is a later one, or the home is another.
	key, lost = r.ring().Open(e.Key, e.Value)
	if errors.Is(lost, seal.ErrDataKey) {
		var keys *seal.Keyring
		if keys, lost = r.knownKeys(); lost == nil {
			key, lost = keys.Open(e.Key, e.Value)
		}
	}
	if lost != nil {
		return nil, lost, nil
	}
	signer, lost := pki.ParsePrivateKey(key, nil)
	if lost == nil && !pki.SameKey(a.Chain[0].PublicKey, signer.Public()) {
		lost = errors.New("the key is that of another CA")
	}
	return key, lost, nil
}

// ring returns the keyring of the restored store.
func (r *restorer) ring() *seal.Keyring { return r.Into.(*authentic).format.known().keys }

// openKnown opens the keyring of the store that was there.
func (r *restorer) openKnown(ctx context.Context) (*seal.Keyring, error) {
	if r.KnownMaster == nil {
		return nil, fmt.Errorf("%w: none was given", seal.ErrMaster)
	}
	e, err := r.Known.Get(ctx, keyKeyring)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	master, err := r.KnownMaster()
	if err != nil {
		return nil, err
	}
	return seal.LoadKeyring(e.Value, master)
}

// recorded reports whether the store that was there puts its CAs on record. The keyring
// says in the clear which format the store has.
func (r *restorer) recorded(ctx context.Context) (bool, error) {
	e, err := r.Known.Get(ctx, keyKeyring)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil // what is left of a store that was never begun
	}
	if err != nil {
		return false, err
	}
	var j seal.KeyringJSON
	if err := json.Unmarshal(e.Value, &j); err != nil {
		return false, errors.New("keyring: not JSON") // the error could quote it
	}
	return j.Version >= seal.FormatAuthority, nil
}

// outlives notes that a certificate lives on elsewhere that is not put on record: the list
// of its CA is needed until it ends. As for the inventory, responders do not count.
func (r *restorer) outlives(record ca.Record) {
	end := record.Certificate.NotAfter
	if record.Profile != ca.ProfileOCSP && pki.AuthorityOf(record.Certificate) != record.Authority && end.After(r.lives[record.Authority]) {
		r.lives[record.Authority] = end
	}
}

// keepLives records until when certificates live that are not on record.
func (r *restorer) keepLives(ctx context.Context) error {
	for id, end := range r.lives {
		kept, there, err := r.haveAuthority(ctx, authorityKey(id))
		if err != nil {
			return err
		}
		if !there || !end.After(kept.Lives) {
			continue
		}
		kept.Lives = end.UTC()
		value, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		if _, err := r.Into.Commit(ctx, store.Tx{Puts: []store.Put{{Key: authorityKey(id), Value: value}}}); err != nil {
			return err
		}
	}
	return nil
}

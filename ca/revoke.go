package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"omca/crl"
	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// A Revocation is a certificate that was taken back, for good.
type Revocation struct {
	crl.Revocation        // serial number, time, reason, and when the certificate expires
	Authority      string // identity of the CA that signed, as pki.AuthorityID writes it; Unplaced(…) when the CA is not on record
	By             string // name of the caller who asked
	Revision       int64  // of the store, since when it is there; 0 where that is not known

	// KeyID is the key identifier by which older builds know the CA, hexadecimal, for
	// as long as such builds may run.
	KeyID string

	// Block is the key of the certificate when it is not to be certified again; zero
	// for one that may be.
	Block pki.KeyHash
}

// Unplaced stands for the identity of a CA in a Revocation that an older build made,
// whose CA is known by its key identifier alone.
func Unplaced(keyID string) string { return unplacedPrefix + keyID }

const unplacedPrefix = "~"

// UnplacedKeyID returns the key identifier in what Unplaced made.
func UnplacedKeyID(authority string) (keyID []byte, ok bool) {
	text, ok := strings.CutPrefix(authority, unplacedPrefix)
	if !ok {
		return nil, false
	}
	keyID, err := hex.DecodeString(text)
	return keyID, err == nil
}

// ListState is what must not be forgotten of the revocation lists of one CA: the
// next number is greater, whatever happens to processes and clocks.
type ListState struct {
	Number     *big.Int
	ThisUpdate time.Time
	Previous   time.Time // thisUpdate of the list before; zero when there was none, or when that is not known
	Revision   int64     // of the store: what was taken back up to it is on the list

	// Alike says that the list can be made again, with the same content: the store is
	// the one in which it was numbered, and no copy of that with other revisions.
	Alike bool
}

// Revocations is the part of the Store that remembers what was taken back.
type Revocations interface {
	// Revoke makes r durable before it returns; it is in force in this process
	// then. ErrConflict when the certificate is revoked already, ErrOvertaken as for
	// [Store.Commit].
	Revoke(ctx context.Context, r Revocation) error

	// Revocation reads one revocation, or ErrNotFound.
	Revocation(ctx context.Context, authority string, serial pki.Serial) (Revocation, error)

	// Revocations yields all of a CA, in the order of their serial numbers.
	Revocations(ctx context.Context, authority string) iter.Seq2[Revocation, error]

	// ReserveList makes the number of the next list of a CA durable, before that
	// list is shown to anybody: one more than the last, whatever process asked. When
	// it returns, all revocations up to its revision have been told of; so with
	// LastList.
	ReserveList(ctx context.Context, id pki.AuthorityID, thisUpdate time.Time) (ListState, error)

	// LastList reads the state of the last list of a CA; zero when there is none.
	LastList(ctx context.Context, id pki.AuthorityID) (ListState, error)

	// Block makes durable that r.Block is not to be certified again, where r is in force
	// already and did not say so.
	Block(ctx context.Context, r Revocation) error

	// Blocked reports whether a key is not to be certified again.
	Blocked(ctx context.Context, key pki.KeyHash) (bool, error)
}

// Revoke takes a certificate back. It cannot be undone, and asking again
// changes nothing: the revocation that is in force is returned.
//
// Errors: ErrNotFound (no such certificate was issued here), ErrInvalid (a
// reason that is not for good).
func (a *Authority) Revoke(ctx context.Context, who usr.Caller, serial pki.Serial, reason crl.Reason) (Revocation, error) {
	if reason == crl.CertificateHold || reason == crl.RemoveFromCRL {
		return Revocation{}, hint.With(fmt.Errorf("%w: reason %q: a revocation is for good", ErrInvalid, reason),
			"to stop a user for a while: \"omca %sNAME config update --set disabled=true\"", userPrefix)
	}
	record, err := a.store.Record(ctx, serial)
	if err != nil {
		return Revocation{}, err
	}
	if selfSigned(record.Certificate) {
		return Revocation{}, hint.With(fmt.Errorf("%w: %s is a root: its own list would be signed with the key that is not to be believed", ErrInvalid, serial),
			"replace it: \"omca %s certificate renew --rekey\", and take it out wherever it is trusted", record.Owner)
	}
	r, err := a.revocationFor(ctx, record)
	if err != nil {
		return Revocation{}, err
	}
	r.By = who.By()
	if compromised(reason) {
		r.Block = pki.KeyHashOf(record.Certificate)
	}
	// RFC 5280, 5.3.1: the reason code extension is absent for unspecified, which crl sees to.
	r.Serial, r.At, r.Reason, r.NotAfter = serial, a.now().UTC().Truncate(time.Second), reason, record.Certificate.NotAfter
	err = a.store.Revoke(ctx, r)
	if errors.Is(err, ErrConflict) && !errors.Is(err, ErrOvertaken) {
		// The reason stays that of the list. That the key is in other hands may be found out later.
		if compromised(reason) {
			if err := a.store.Block(ctx, r); err != nil {
				return Revocation{}, fmt.Errorf("blocking the key of %s: %w", serial, err)
			}
		}
		return a.store.Revocation(ctx, r.Authority, serial)
	}
	if err != nil {
		return Revocation{}, fmt.Errorf("revoking %s: %w", serial, err)
	}
	a.log.InfoContext(ctx, "revoked", "serial", serial, "reason", reason.String(), "subject", record.Certificate.Subject.String(), "owner", record.Owner,
		"issuer", record.Issuer, "by", who.By(), "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
	return r, nil
}

// compromised reports whether the reason says that others may have the key.
func compromised(reason crl.Reason) bool {
	return reason == crl.KeyCompromise || reason == crl.CACompromise
}

// RevokeKey takes back, for the same reason, every other certificate on record over
// the key of one that was revoked as compromised, and returns them. For another reason
// it does nothing: then the key is not in question. It reads the whole inventory.
func (a *Authority) RevokeKey(ctx context.Context, who usr.Caller, of Record, reason crl.Reason) ([]Record, error) {
	if !compromised(reason) {
		return nil, nil
	}
	found := make(map[pki.Serial]Record)
	for r, err := range a.store.Records(ctx, Query{Key: of.Certificate}) {
		if err != nil {
			return nil, err
		}
		if r.Serial() != of.Serial() && !selfSigned(r.Certificate) {
			found[r.Serial()] = r.Record
		}
	}
	serials, err := a.RevokeEach(ctx, who, slices.Sorted(maps.Keys(found)), reason)
	if err != nil {
		err = fmt.Errorf("not every certificate over the key of %s is revoked yet: %w", of.Serial(), err)
	}
	var taken []Record
	for _, serial := range serials {
		taken = append(taken, found[serial])
	}
	return taken, err
}

// RevokeEach takes back those of the certificates that are not revoked yet, and returns
// which these were. It stops at the first that it cannot take back.
func (a *Authority) RevokeEach(ctx context.Context, who usr.Caller, serials []pki.Serial, reason crl.Reason) (taken []pki.Serial, err error) {
	for _, serial := range serials {
		revoked, err := a.Revoked(ctx, serial)
		if err != nil {
			return taken, err
		}
		if revoked {
			continue
		}
		if _, err := a.Revoke(ctx, who, serial, reason); err != nil {
			return taken, err
		}
		taken = append(taken, serial)
	}
	return taken, nil
}

// selfSigned reports whether the certificate is a root's.
func selfSigned(cert *x509.Certificate) bool {
	return cert.IsCA && bytes.Equal(cert.RawIssuer, cert.RawSubject)
}

// RevokeOwned takes back every certificate of the object at owner that was made at
// that time, but the one to keep ("" keeps none), and returns how many it took back.
// A certificate that speaks for another user is that user's, whatever its record says.
// Certificates of earlier objects of the same path stay as they are, unless made is the
// zero time, which selects all of them. Expired ones are taken back too: the clock that
// says so may be ahead, and be set back.
func (a *Authority) RevokeOwned(ctx context.Context, who usr.Caller, owner string, made time.Time, keep pki.Serial, reason crl.Reason) (int, error) {
	cluster, err := a.store.Cluster(ctx)
	if err != nil {
		return 0, err
	}
	var serials []pki.Serial
	for r, err := range a.store.Records(ctx, Query{Owner: owner}) {
		if err != nil {
			return 0, err
		}
		ours := r.Rightful(cluster.Name).Owner == owner && (made.IsZero() || r.BelongsTo(made))
		if serial := r.Serial(); ours && serial != keep && !selfSigned(r.Certificate) {
			serials = append(serials, serial)
		}
	}
	taken, err := a.RevokeEach(ctx, who, serials, reason)
	return len(taken), err
}

// Revoked reports whether the certificate of the inventory is revoked.
func (a *Authority) Revoked(ctx context.Context, serial pki.Serial) (bool, error) {
	record, err := a.store.Record(ctx, serial)
	if err != nil {
		return false, err
	}
	_, revoked, err := a.RevocationFor(ctx, record)
	return revoked, err
}

// revocationFor begins the revocation of the certificate of a record.
func (a *Authority) revocationFor(ctx context.Context, record Record) (Revocation, error) {
	id, ok, err := a.AuthorityOf(ctx, record)
	if err != nil {
		return Revocation{}, err
	}
	r := Revocation{Authority: id.String(), KeyID: record.keyID()}
	if !ok {
		r.Authority = Unplaced(record.keyID())
	}
	return r, nil
}

// RevocationOf returns the revocation of a certificate, if there is one.
func (a *Authority) RevocationOf(ctx context.Context, cert *x509.Certificate) (r Revocation, revoked bool, err error) {
	return a.RevocationBelow(ctx, cert, nil)
}

// RevocationFor is RevocationOf for a certificate of which the record is at hand.
func (a *Authority) RevocationFor(ctx context.Context, record Record) (r Revocation, revoked bool, err error) {
	if r, err = a.revocationFor(ctx, record); err != nil {
		return Revocation{}, false, err
	}
	r, err = a.store.Revocation(ctx, r.Authority, record.Serial())
	if errors.Is(err, ErrNotFound) {
		return Revocation{}, false, nil
	}
	return r, err == nil, err
}

// RevocationBelow is RevocationOf for a certificate of a chain: above is what is above
// it, issuer first, or nothing.
func (a *Authority) RevocationBelow(ctx context.Context, cert *x509.Certificate, above []*x509.Certificate) (r Revocation, revoked bool, err error) {
	record := Record{Certificate: cert}
	if len(above) > 0 {
		record.Authority = a.identities.get(above[0])
	} else if kept, ok, err := a.recordOf(ctx, cert); err != nil {
		return Revocation{}, false, err
	} else if ok {
		record = kept
	}
	return a.RevocationFor(ctx, record)
}

// signerUnblocked refuses an issuer whose own key, or the key of a CA above it, is
// blocked: others may sign with it too. Its answers about what it signed before go on.
func (a *Authority) signerUnblocked(ctx context.Context, o order) error {
	if o.profile.Name == ProfileOCSP || o.issuer.Certificate() == nil {
		return nil
	}
	for _, cert := range o.issuer.Chain() {
		if err := a.unblocked(ctx, cert.PublicKey); err != nil {
			return fmt.Errorf("%s cannot sign: the CA %q: %w", o.issuer.path, cert.Subject, err)
		}
	}
	return nil
}

// unblocked refuses a key that was revoked because it may be in other hands: what it
// proves is worth nothing, for good.
func (a *Authority) unblocked(ctx context.Context, key crypto.PublicKey) error {
	hash, err := pki.HashKey(key)
	if err != nil {
		return err
	}
	blocked, err := a.store.Blocked(ctx, hash)
	if err != nil || !blocked {
		return err
	}
	return errBlocked(key)
}

// refused explains the refusal of a commit that certified the keys of certs: one of
// them was blocked since it was looked at, or it is err.
func (a *Authority) refused(ctx context.Context, err error, certs ...*x509.Certificate) error {
	if !errors.Is(err, ErrConflict) {
		return err
	}
	for _, cert := range certs {
		if blocked := a.unblocked(ctx, cert.PublicKey); blocked != nil {
			return blocked
		}
	}
	return err
}

func errBlocked(key crypto.PublicKey) error {
	return hint.With(fmt.Errorf("%w: the key (%s) was revoked as compromised: it is never certified again", ErrConflict, pki.DescribeKey(key)),
		"make a new key: \"omca PATH certificate renew --rekey\", or a new request over a new key")
}

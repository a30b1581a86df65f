package ca

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"time"

	"omca/crl"
	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// A Revocation is a certificate that was taken back, for good.
type Revocation struct {
	crl.Revocation        // serial number, time, reason, and when the certificate expires
	KeyID          string // of the key that signed it: the subject key identifier, hexadecimal
	By             string // name of the caller who asked
	Revision       int64  // of the store, since when it is there; 0 where that is not known
}

// ListState is what must not be forgotten of the revocation lists of one key:
// the next number is greater, whatever happens to processes and clocks.
type ListState struct {
	Number     *big.Int
	ThisUpdate time.Time
	Previous   time.Time // thisUpdate of the list before; zero when there was none, or when that is not known
	Revision   int64     // of the store: what was taken back up to it is on the list
}

// Revocations is the part of the Store that remembers what was taken back.
type Revocations interface {
	// Revoke makes r durable before it returns; it is in force in this process
	// then. ErrConflict when the certificate is revoked already.
	Revoke(ctx context.Context, r Revocation) error

	// Revocation reads one revocation, or ErrNotFound.
	Revocation(ctx context.Context, keyID string, serial pki.Serial) (Revocation, error)

	// Revocations yields all of a key, in the order of their serial numbers.
	Revocations(ctx context.Context, keyID string) iter.Seq2[Revocation, error]

	// ReserveList makes the number of the next list of a key durable, before
	// that list is shown to anybody: one more than the last, whoever asked. Who
	// is told of revocations has been told of all up to its revision, when it
	// returns; so with LastList.
	ReserveList(ctx context.Context, keyID string, thisUpdate time.Time) (ListState, error)

	// LastList reads the state of the last list of a key; zero when there is none.
	LastList(ctx context.Context, keyID string) (ListState, error)
}

// keyIDOf names the key that signed cert, "" when it does not say: see [Record.KeyID].
func keyIDOf(cert *x509.Certificate) string { return hex.EncodeToString(cert.AuthorityKeyId) }

// KeyID names the key that a CA's certificate holds.
func KeyID(cert *x509.Certificate) string { return hex.EncodeToString(cert.SubjectKeyId) }

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
	r := Revocation{KeyID: record.KeyID(), By: who.Name}
	// RFC 5280, 5.3.1: the reason code extension is absent for unspecified, which crl sees to.
	r.Serial, r.At, r.Reason, r.NotAfter = serial, a.now().UTC().Truncate(time.Second), reason, record.Certificate.NotAfter
	err = a.store.Revoke(ctx, r)
	if errors.Is(err, ErrConflict) {
		return a.store.Revocation(ctx, r.KeyID, serial)
	}
	if err != nil {
		return Revocation{}, fmt.Errorf("revoking %s: %w", serial, err)
	}
	a.log.InfoContext(ctx, "revoked", "serial", serial, "reason", reason.String(), "subject", record.Certificate.Subject.String(), "owner", record.Owner,
		"issuer", record.Issuer, "by", who.Name, "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
	return r, nil
}

// selfSigned reports whether the certificate is a root's.
func selfSigned(cert *x509.Certificate) bool {
	return cert.IsCA && bytes.Equal(cert.RawIssuer, cert.RawSubject)
}

// RevokeOwned takes back every living certificate that was issued for owner but
// the one to keep ("" keeps none), and returns how many that were. A certificate
// that speaks for another user is that user's, whatever its record says.
func (a *Authority) RevokeOwned(ctx context.Context, who usr.Caller, owner string, keep pki.Serial, reason crl.Reason) (int, error) {
	cluster, err := a.store.Cluster(ctx)
	if err != nil {
		return 0, err
	}
	var serials []pki.Serial
	for r, err := range a.store.Records(ctx, Query{Owner: owner, ExpiresAfter: a.now()}) {
		if err != nil {
			return 0, err
		}
		user, speaks := r.SpeaksFor(cluster.Name)
		if serial := r.Serial(); serial != keep && !selfSigned(r.Certificate) && (!speaks || userPrefix+user == owner) {
			serials = append(serials, serial)
		}
	}
	n := 0
	for _, serial := range serials {
		revoked, err := a.Revoked(ctx, serial)
		if err != nil {
			return n, err
		}
		if revoked {
			continue
		}
		if _, err := a.Revoke(ctx, who, serial, reason); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Revoked reports whether the certificate of the inventory is revoked.
func (a *Authority) Revoked(ctx context.Context, serial pki.Serial) (bool, error) {
	record, err := a.store.Record(ctx, serial)
	if err != nil {
		return false, err
	}
	_, revoked, err := a.RevocationOf(ctx, record.Certificate)
	return revoked, err
}

// RevocationOf returns the revocation of a certificate, if there is one.
func (a *Authority) RevocationOf(ctx context.Context, cert *x509.Certificate) (r Revocation, revoked bool, err error) {
	keyID := keyIDOf(cert)
	if keyID == "" { // the inventory knows, if anybody
		record, err := a.store.Record(ctx, pki.SerialOf(cert))
		if errors.Is(err, ErrNotFound) || err == nil && !record.Certificate.Equal(cert) {
			return Revocation{}, false, nil
		}
		if err != nil {
			return Revocation{}, false, err
		}
		keyID = record.KeyID()
	}
	r, err = a.store.Revocation(ctx, keyID, pki.SerialOf(cert))
	if errors.Is(err, ErrNotFound) {
		return Revocation{}, false, nil
	}
	return r, err == nil, err
}

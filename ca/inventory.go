package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"iter"
	"time"

	"omca/pki"
)

// State says what a certificate is worth now.
type State string

// The states of a certificate, and of the set that an object holds.
const (
	StateNone    State = "none"    // the object holds no certificate
	StatePending State = "pending" // only imported parts that do not form a set yet
	StateValid   State = "valid"
	StateNotYet  State = "not_yet_valid"
	StateExpired State = "expired"
)

// StateAt returns the state of cert at the given time.
func StateAt(cert *x509.Certificate, now time.Time) State {
	switch {
	case now.Before(cert.NotBefore):
		return StateNotYet
	case now.After(cert.NotAfter):
		return StateExpired
	}
	return StateValid
}

// Held describes the certificate set of one object.
type Held struct {
	Path     string
	State    State
	Chain    []*x509.Certificate // leaf first; nil when there is none
	SignedBy string              // path of the CA object that signed; "" for another PKI
	Pending  []string            // what is imported and does not fit yet, in words
}

// Held explains the certificate set of the object at path.
func (a *Authority) Held(ctx context.Context, path string) (Held, error) {
	h, err := a.store.Holder(ctx, path)
	if err != nil {
		return Held{}, err
	}
	held := Held{Path: path, State: StateNone, Pending: a.explainPending(h)}
	if len(held.Pending) > 0 {
		held.State = StatePending
	}
	if h.Chain == nil {
		return held, nil
	}
	if held.Chain, err = pki.ParseCertificates(h.Chain); err != nil {
		return Held{}, err
	}
	leaf := held.Chain[0]
	held.State = StateAt(leaf, a.now())
	r, ours, err := a.recordOf(ctx, leaf)
	if err != nil {
		return Held{}, err
	}
	if ours {
		held.SignedBy = r.Issuer
	}
	return held, nil
}

// Record returns the inventory's record of one certificate, or ErrNotFound.
func (a *Authority) Record(ctx context.Context, serial pki.Serial) (Record, error) {
	return a.store.Record(ctx, serial)
}

// Records yields the selected part of the inventory, soonest expiry first.
func (a *Authority) Records(ctx context.Context, q Query) iter.Seq2[Listed, error] {
	return a.store.Records(ctx, q)
}

// Now is the authority's clock.
func (a *Authority) Now() time.Time { return a.now() }

// Serving returns the live set of the object at path, ready for TLS: the chain,
// leaf first, and the key. ErrConflict when the object holds none.
func (a *Authority) Serving(ctx context.Context, path string) ([]*x509.Certificate, crypto.Signer, error) {
	h, err := a.store.Holder(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	s, err := live(h)
	if err != nil {
		return nil, nil, err
	}
	if s.key == nil || len(s.chain) == 0 {
		return nil, nil, fmt.Errorf("%w: %s holds no complete certificate set", ErrConflict, path)
	}
	return s.chain, s.key, nil
}

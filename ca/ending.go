package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"omca/pki"
)

// An Ending is the live certificate of an object that comes to its end and that
// nothing here replaces.
type Ending struct {
	Path        string
	Certificate *x509.Certificate
	Renews      bool // it should have renewed itself, and did not
	Foreign     bool // another PKI signed it
}

// lastPart is the part of its life, at its end, in which a certificate that
// renews itself at two thirds of it is late.
const lastPart = 10

// Endings returns the live certificates of objects that expire within so long,
// or have expired less than so long ago, and do not renew themselves: those of
// users and of CAs, and those of other PKIs. One that renews itself is among
// them when a tenth of its life is left: every attempt since two thirds of it
// failed. Of users, those are looked at that were issued here.
func (a *Authority) Endings(ctx context.Context, within time.Duration) ([]Ending, error) {
	paths, err := a.store.Holders(ctx)
	if err != nil {
		return nil, err
	}
	soon := Query{ExpiresAfter: a.now().Add(-within), ExpiresBefore: a.now().Add(within)}
	for r, err := range a.store.Records(ctx, soon) {
		if err != nil {
			return nil, err
		}
		paths = append(paths, r.Owner)
	}
	slices.Sort(paths)
	var all []Ending
	for _, path := range slices.Compact(paths) {
		e, ends, err := a.ending(ctx, path, within)
		switch {
		case errors.Is(err, ErrNotFound): // deleted since
		case errors.Is(err, ErrInvalid): // of no object that holds certificates
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		case ends:
			all = append(all, e)
		}
	}
	return all, nil
}

func (a *Authority) ending(ctx context.Context, path string, within time.Duration) (e Ending, ends bool, err error) {
	h, err := a.store.Holder(ctx, path)
	if err != nil || h.Chain == nil {
		return e, false, err
	}
	chain, err := pki.ParseCertificates(h.Chain)
	if err != nil {
		return e, false, err
	}
	leaf := chain[0]
	e = Ending{Path: path, Certificate: leaf}
	if !a.now().Add(within).After(leaf.NotAfter) {
		return e, false, nil
	}
	ours, err := a.recorded(ctx, leaf)
	if err != nil {
		return e, false, err
	}
	e.Foreign, e.Renews = !ours, ours && renewsItself(h)
	if !e.Renews {
		return e, true, nil
	}
	late := leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / lastPart)
	return e, !a.now().Before(late), nil
}

// renewsItself reports whether RenewDue looks after the certificate of h, if we issued it.
func renewsItself(h Holder) bool {
	switch h.Profile {
	case ProfileListener, ProfileNode, ProfileOCSP:
		return h.PrivateKey != nil
	}
	return false
}

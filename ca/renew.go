package ca

import (
	"context"
	"errors"
	"fmt"
	"time"

	"omca/pki"
)

// DueAt is when a certificate renews itself: at two thirds of its life.
func DueAt(notBefore, notAfter time.Time) time.Time {
	return notBefore.Add(notAfter.Sub(notBefore) / 3 * 2)
}

// RenewDue reissues every listener and node certificate, signed by the
// cluster's own CAs, that has come to two thirds of its life, and every
// responder's, also when its CA is another than it was. It returns when
// the next one is due (zero: none), and goes on past a failure: the errors are
// joined, and what failed is due at once.
func (a *Authority) RenewDue(ctx context.Context) (next time.Time, err error) {
	paths, err := a.store.Holders(ctx)
	if err != nil {
		return time.Time{}, err
	}
	var failed []error
	for _, path := range paths {
		due, err := a.renewHolder(ctx, path)
		if err != nil {
			failed = append(failed, fmt.Errorf("renewing %s: %w", path, err))
		}
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	return next, errors.Join(failed...)
}

// renewHolder renews the certificate of one object if it is due, and returns
// when it is due again; zero when it does not renew itself.
func (a *Authority) renewHolder(ctx context.Context, path string) (time.Time, error) {
	h, err := a.store.Holder(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil // deleted meanwhile
	}
	if err != nil {
		return time.Time{}, err
	}
	if h.Profile == ProfileOCSP && h.Chain != nil {
		return a.renewResponder(ctx, h)
	}
	if h.Profile != ProfileListener && h.Profile != ProfileNode || h.Chain == nil {
		return time.Time{}, nil
	}
	have, err := live(h)
	if err != nil || have.key == nil || len(have.chain) == 0 {
		return time.Time{}, err
	}
	leaf := have.chain[0]
	if ours, err := a.recorded(ctx, leaf); err != nil || !ours {
		return time.Time{}, err
	}
	due := DueAt(leaf.NotBefore, leaf.NotAfter)
	if a.now().Before(due) {
		return due, nil
	}
	if _, revoked, err := a.RevocationBelow(ctx, leaf, have.chain[1:]); err != nil || revoked {
		return time.Time{}, err // what was taken back does not come again by itself: "doctor" tells of it
	}
	o, err := a.orderFor(ctx, a.self, h, have.key)
	if err != nil {
		return due, err
	}
	if end := o.issuer.end(); signed(o.issuer, leaf) && !leaf.NotAfter.Before(end) && a.now().Before(end) {
		return end, nil // another would not live longer, and be due as soon
	}
	// Nobody asked, so nobody's grants were looked at: it is the certificate
	// that was granted, again, and not what the keywords have come to say.
	if o.request, err = pki.RequestAgain(leaf, have.key.Public()); err != nil {
		return due, err
	}
	issued, err := a.issueTo(ctx, h, o, have.key, h.KeyMade)
	if err != nil {
		return due, err
	}
	return DueAt(issued.Certificate.NotBefore, issued.Certificate.NotAfter), nil
}

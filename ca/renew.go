package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"omca/pki"
)

// RenewDue reissues every listener and node certificate, signed by the
// cluster's own CAs, that has come to two thirds of its life, and every
// responder's, also when its CA is another than it was. It returns when
// the next one is due (zero: none), and goes on past a failure: the errors are
// joined. What failed waits for a pause, which grows with each try; an error that is
// the same as before is not returned again. Once it has looked at every object it looks at
// those that changed, are due, or depend on more than their object, until a CA changes.
func (a *Authority) RenewDue(ctx context.Context) (next time.Time, err error) {
	paths, err := a.toRenew(ctx)
	if err != nil {
		return time.Time{}, err
	}
	var failed []error
	for _, path := range paths {
		h, err := a.store.Holder(ctx, path)
		if errors.Is(err, ErrNotFound) { // deleted
			a.attempts.forget(path)
			a.due.set(path, time.Time{}, false)
			continue
		}
		responder := err == nil && h.Profile == ProfileOCSP && h.Chain != nil
		var due time.Time
		switch {
		case responder:
			due, err = a.renewResponder(ctx, h)
		case err == nil:
			due, err = a.renewHolder(ctx, h)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("renewing %s: %w", path, err))
		}
		a.due.set(path, due, responder || err != nil)
	}
	return a.due.next(), errors.Join(failed...)
}

// renewHolder renews the certificate of one object if it is due, and returns
// when it is due again; zero when it does not renew itself.
func (a *Authority) renewHolder(ctx context.Context, h Holder) (time.Time, error) {
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
	issuer, err := a.issuerFor(ctx, h, have.key)
	if err == nil {
		if ended, err := a.atEnd(issuer); ended {
			return time.Time{}, err
		}
		if end := issuer.end(); signed(issuer, leaf) && !leaf.NotAfter.Before(end.Truncate(time.Second)) {
			return end, nil // another would not live longer, and be due as soon
		}
	}
	return a.attempt(ctx, h, leaf.NotAfter, func() (Issued, error) { return a.renewAs(ctx, h, have.key, leaf) })
}

// renewAs gives h another certificate like leaf. No caller asked for it, and no
// grants were looked at: it is the certificate that was granted, again, and not what
// the keywords have come to say.
func (a *Authority) renewAs(ctx context.Context, h Holder, key crypto.Signer, leaf *x509.Certificate) (Issued, error) {
	o, err := a.orderFor(ctx, a.self, h, key)
	if err != nil {
		return Issued{}, err
	}
	if o.request, err = pki.RequestAgain(leaf, key.Public()); err != nil {
		return Issued{}, err
	}
	o.former = leaf
	return a.issueTo(ctx, h, o, key, h.KeyMade)
}

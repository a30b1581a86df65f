package ca

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"omca/internal/hint"
	"omca/usr"
)

// backdate is how far notBefore lies in the past at most, for clocks that are behind.
// That of a short life lies a tenth of it in the past.
const (
	backdate     = time.Minute
	backdatePart = 10
)

// backdated is how far the notBefore of a certificate that lives so long lies in the past.
func backdated(life time.Duration) time.Duration { return min(backdate, life/backdatePart) }

// DueAt returns when a certificate renews itself: at two thirds of its life, counted
// from when it was issued and not from its notBefore, which is in the past.
func DueAt(notBefore, notAfter time.Time) time.Time {
	whole := notAfter.Sub(notBefore)
	issued := notBefore.Add(min(backdate, whole/(backdatePart+1)))
	return issued.Add(notAfter.Sub(issued) / 3 * 2)
}

// Bounds are what the keywords of the cluster permit callers without root.
type Bounds struct {
	MinValidity  time.Duration            // of a certificate
	MaxValidity  map[string]time.Duration // the same, by profile; "" is any other profile, and 0 no bound
	Certificates int                      // that a user gets in an hour; 0 is no bound
}

// most is the longest validity of a certificate of that profile; 0 is no bound.
func (b Bounds) most(profile string) time.Duration {
	if most, ok := b.MaxValidity[profile]; ok {
		return most
	}
	return b.MaxValidity[""]
}

// life returns how long the certificate of o lives. Errors: usr.ErrDenied (the caller
// asked for less or more than the bounds), ErrConflict (the CA has ended).
func (a *Authority) life(ctx context.Context, o order, now time.Time) (time.Duration, error) {
	cluster, err := a.store.Cluster(ctx)
	if err != nil {
		return 0, err
	}
	life := cmp.Or(o.validity, o.profile.Lifetime)
	switch {
	case o.who.Method == usr.MethodDaemon:
		life = renewedLife(cluster.Bounds, o, life)
	case !isRoot(o.who):
		if life, err = boundedLife(cluster.Bounds, o, life); err != nil {
			return 0, err
		}
	}
	if o.issuer.Certificate() == nil { // a root: it signs itself
		return life, nil
	}
	if err := o.issuer.ended(now); err != nil {
		return 0, err
	}
	return min(life, o.issuer.end().Sub(now)), nil
}

// renewedLife is the life of a certificate that no caller asked for. A keyword alone
// makes it neither so short that it is renewed all the time, nor longer than what was
// granted before and the bounds permit.
func renewedLife(b Bounds, o order, life time.Duration) time.Duration {
	if most := b.most(o.profile.Name); most > 0 && o.former != nil {
		life = min(life, max(most, o.former.NotAfter.Sub(o.former.NotBefore)))
	}
	return max(life, b.MinValidity)
}

// boundedLife holds the validity that a caller without root asks for against the
// bounds. A default is cut to them.
func boundedLife(b Bounds, o order, life time.Duration) (time.Duration, error) {
	most, keyword := b.most(o.profile.Name), "cluster.max_validity"
	if o.most > 0 && (most == 0 || o.most < most) {
		most, keyword = o.most, "max_validity of "+userPrefix+o.who.Name
	}
	switch {
	case !o.asked && most > 0:
		return min(life, most), nil
	case o.asked && most > 0 && life > most:
		return 0, hint.With(fmt.Errorf("%w: a certificate of profile %q for %s is asked for, and %s is %s for callers without root",
			usr.ErrDenied, o.profile.Name, spell(life), keyword, spell(most)),
			"ask for a validity of %s at most; root may issue longer ones, or raise the keyword", spell(most))
	case o.asked && life < b.MinValidity:
		return 0, hint.With(fmt.Errorf("%w: a certificate for %s is asked for, and cluster.min_validity is %s for callers without root",
			usr.ErrDenied, spell(life), spell(b.MinValidity)),
			"ask for a validity of %s at least; root may issue shorter ones, or lower the keyword", spell(b.MinValidity))
	}
	return life, nil
}

// MayLive decides whether a caller may have certificates of that profile issued for
// that validity. Its errors are those of issuing: usr.ErrDenied.
func (a *Authority) MayLive(ctx context.Context, who usr.Caller, profile string, validity time.Duration) error {
	if isRoot(who) {
		return nil
	}
	cluster, err := a.store.Cluster(ctx)
	if err != nil {
		return err
	}
	o := order{who: who, asked: true}
	o.profile.Name = profile
	self, err := a.selfOf(ctx, who)
	if err != nil && !errors.Is(err, usr.ErrDenied) { // a caller without an object has no bound of its own
		return err
	}
	o.most = self.MaxValidity
	_, err = boundedLife(cluster.Bounds, o, validity)
	return err
}

// ended returns an error when the CA, or one above it, has come to its end: nothing
// that it signs from then on is accepted.
func (is *issuer) ended(now time.Time) error {
	end := is.end()
	if end.Sub(now) >= time.Second { // what is left holds one second of a certificate
		return nil
	}
	return hint.With(fmt.Errorf("%w: %s cannot sign: its certificate, or that of a CA above it, ended at %s", ErrConflict, is.path, end.UTC().Format(time.RFC3339)),
		"renew the CA with \"omca %s certificate renew\", or name another one in the keyword ca", is.path)
}

// cut reports whether cert has less than the validity that was asked for, since it
// ends with its CA.
func (o order) cut(cert *x509.Certificate) bool {
	if !o.asked || o.issuer.Certificate() == nil {
		return false
	}
	return !cert.NotAfter.Before(o.issuer.end().Truncate(time.Second)) && o.validity > cert.NotAfter.Sub(cert.NotBefore)
}

// spell writes a duration as keywords have it: "825d", "90m", "5m".
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	if d > 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

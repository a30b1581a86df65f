package ca_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/pki"
	"omca/pki/lint"
	"omca/usr"
)

// storm calls RenewDue as the daemon does: when the next certificate is due, and a
// second after the last call at the earliest. Changes of objects wake the daemon, so
// it also calls at every step. It returns the errors, one for each line of the log.
func (w *world) storm(a *ca.Authority, lasts, step time.Duration) (lines []string) {
	w.t.Helper()
	for end := w.now.Add(lasts); w.now.Before(end); w.now = w.now.Add(step) {
		if _, err := a.RenewDue(w.t.Context()); err != nil {
			lines = append(lines, err.Error())
		}
	}
	return lines
}

// issuedTo counts the certificates on record of an owner.
func (w *world) issuedTo(owner string) int {
	w.t.Helper()
	return len(w.records(ca.Query{Owner: owner}))
}

// TestShortValidityIsNoStorm: an object with a validity of one second, asked for by
// root or by a keyword set afterwards, is renewed for cluster.min_validity.
func TestShortValidityIsNoStorm(t *testing.T) {
	for name, make := range map[string]func(*world){
		"issued by root": func(w *world) {
			w.create("ns1/sec/web", "cn=web.example.com", "validity=1s")
			if got := w.mustIssue("ns1/sec/web").Certificate; got.NotAfter.After(w.now.Add(time.Second)) {
				t.Errorf("root asked for one second and got until %s, now %s", got.NotAfter, w.now)
			}
		},
		"set afterwards": func(w *world) {
			w.create("ns1/sec/web", "cn=web.example.com", "validity=10m")
			w.mustIssue("ns1/sec/web")
			w.set("ns1/sec/web", "validity=1s")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := bootstrapped(t)
			make(w)
			lines := w.storm(w.Authority, time.Hour, 5*time.Second)
			if n := w.issuedTo("ns1/sec/web"); n < 16 || n > 20 || len(lines) != 0 {
				t.Errorf("%d certificates in an hour, want one for each 200 s; errors %q", n, lines)
			}
			last, _, err := w.Serving(t.Context(), "ns1/sec/web")
			if err != nil || last[0].NotAfter.Sub(last[0].NotBefore) != 5*time.Minute+30*time.Second {
				t.Errorf("the last lives from %s to %s: %v", last[0].NotBefore, last[0].NotAfter, err)
			}
			w.set("cluster", "cluster.min_validity=20m")
			before := w.issuedTo("ns1/sec/web")
			w.storm(w.Authority, time.Hour, 5*time.Second)
			if n := w.issuedTo("ns1/sec/web") - before; n < 4 || n > 6 {
				t.Errorf("%d certificates in an hour with cluster.min_validity=20m", n)
			}
		})
	}
}

// TestMinValidity: a caller without root is refused less than the least, by request and
// by the keyword of an object, and is told both.
func TestMinValidity(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/usr/signer", "grant=admin:ns1", "names=*.example.com")
	signer := caller(t, "signer", "admin:ns1")
	sign := func(life time.Duration) error {
		_, err := w.Sign(t.Context(), signer, ca.SignRequest{CSR: csr(t, "a.example.com"), Validity: life})
		return err
	}
	w.create("ns1/sec/web", "cn=web.example.com", "validity=299s")
	_, created := w.Create(t.Context(), signer, "ns1/sec/web", ca.CreateOptions{})
	for _, err := range []error{sign(time.Second), sign(299 * time.Second), created, w.MayLive(t.Context(), signer, "listener", time.Second)} {
		if !errors.Is(err, usr.ErrDenied) || !strings.Contains(err.Error(), "cluster.min_validity is 5m for callers without root") {
			t.Errorf("less than the least: %v", err)
		}
	}
	if err := errors.Join(sign(5*time.Minute), sign(0), w.MayLive(t.Context(), signer, "listener", 5*time.Minute)); err != nil {
		t.Errorf("the least, and the default: %v", err)
	}
	w.set("cluster", "cluster.min_validity=1h")
	if err := sign(5 * time.Minute); !errors.Is(err, usr.ErrDenied) || !strings.Contains(err.Error(), "for 5m is asked for, and cluster.min_validity is 1h") {
		t.Errorf("after the keyword was raised: %v", err)
	}
}

// forgetful is a store in which one object always has the certificate that it had first.
type forgetful struct {
	ca.Store
	first ca.Holder
}

func (s forgetful) Holder(ctx context.Context, path string) (ca.Holder, error) {
	h, err := s.Store.Holder(ctx, path)
	if path == s.first.Path {
		h.Chain, h.Certificate = s.first.Chain, s.first.Certificate
	}
	return h, err
}

// TestDueForEver: an object whose certificate stays due after each renewal is renewed
// with pauses that grow.
func TestDueForEver(t *testing.T) {
	w := bootstrapped(t)
	w.create("ns1/sec/web", "cn=web.example.com", "validity=30d")
	w.mustIssue("ns1/sec/web")
	h, err := w.objects.Holder(t.Context(), "ns1/sec/web")
	if err != nil {
		t.Fatal(err)
	}
	a, err := ca.New(ca.Config{Store: forgetful{w.objects, h}, Linter: lint.New(), Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	w.more = append(w.more, a) // it follows the store
	w.now = w.now.Add(29 * 24 * time.Hour)
	w.log.Reset()
	lines := w.storm(a, 2*time.Hour, 10*time.Second)
	if n := w.issuedTo("ns1/sec/web"); n < 3 || n > 12 || len(lines) != 0 {
		t.Errorf("%d certificates in two hours, errors %q", n, lines)
	}
	if n := strings.Count(w.log.String(), "\n"); n > 12 {
		t.Errorf("%d lines in the log", n)
	}
}

// TestRenewalBacksOff: a renewal that fails at every try is tried with pauses that grow,
// returns its error once, and is tried at once when its object is changed.
func TestRenewalBacksOff(t *testing.T) {
	w := bootstrapped(t)
	w.create("ns1/sec/web", "cn=web.example.com", "validity=30d")
	w.mustIssue("ns1/sec/web")
	w.lose(w.key("ns1/sec/web"), crl.KeyCompromise)
	w.now = w.now.Add(21 * 24 * time.Hour)
	var errs []string
	tries := make(map[time.Time]bool)
	run := func(lasts time.Duration) {
		for end := w.now.Add(lasts); w.now.Before(end); w.now = w.now.Add(10 * time.Second) {
			next, err := w.RenewDue(t.Context())
			tries[next] = true
			if err != nil {
				errs = append(errs, err.Error())
			}
		}
	}
	run(3 * time.Hour)
	if n := len(tries); n < 6 || n > 12 {
		t.Errorf("%d tries in three hours", n)
	}
	if len(errs) != 1 || !strings.Contains(errs[0], "ns1/sec/web") || !strings.Contains(errs[0], neverAgain) {
		t.Errorf("errors of one state: %q", errs)
	}
	w.set("ns1/sec/web", "comment=looked at")
	n := len(tries)
	run(10 * time.Second)
	if len(tries) != n+1 || len(errs) != 1 {
		t.Errorf("%d tries after a change of the object, and errors %q", len(tries)-n, errs)
	}
	if _, err := w.Create(t.Context(), caller(t, "root", "root"), "ns1/sec/web", ca.CreateOptions{Rekey: true}); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(21 * 24 * time.Hour)
	if next, err := w.RenewDue(t.Context()); err != nil || !next.After(w.now.Add(24*time.Hour)) {
		t.Errorf("once it has another key: next %s, %v", next, err)
	}
}

// TestPauseOfAShortLife: when little of a life is left, the pauses are short, and there
// are few of them all the same.
func TestPauseOfAShortLife(t *testing.T) {
	w := bootstrapped(t)
	w.create("ns1/sec/web", "cn=web.example.com", "validity=5m")
	w.mustIssue("ns1/sec/web")
	w.lose(w.key("ns1/sec/web"), crl.KeyCompromise)
	tries := make(map[time.Time]bool)
	soon := 0
	for end := w.now.Add(time.Hour); w.now.Before(end); w.now = w.now.Add(3 * time.Second) {
		next, err := w.RenewDue(t.Context())
		if err != nil && !isBlocked(err) {
			t.Fatal(err)
		}
		tries[next] = true
		if w.now.Before(start().Add(5 * time.Minute)) {
			soon = len(tries)
		}
	}
	if n := len(tries); soon < 4 || n > 30 {
		t.Errorf("%d tries in an hour, %d of them while the certificate was valid", n, soon)
	}
}

// TestEndOfACA: in the last minutes of a CA certificates end with it, and after its end
// there are none, no tries, and one error.
func TestEndOfACA(t *testing.T) {
	w := newWorld(t)
	w.create("cluster", "cluster.name=testers", "cluster.id=0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a")
	w.create(ca.PathCA, "validity=1h")
	root := w.mustIssue(ca.PathCA).Certificate
	w.create(ca.PathListener, "cn=node1", "validity=5m")
	w.mustIssue(ca.PathListener)
	for _, path := range []string{"ns1/sec/a", "ns1/sec/b"} {
		w.create(path, "cn=web.example.com", "validity=90d")
		if !w.mustIssue(path).Cut {
			t.Errorf("%s ends with the CA, and its creator is not told", path)
		}
	}
	if _, _, err := w.ocsp.Staple(t.Context(), w.mustChainAt(ca.PathListener)); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(50 * time.Minute)
	w.log.Reset()
	before := len(w.records(ca.Query{}))
	lines := w.storm(w.Authority, 70*time.Minute, 5*time.Second)
	for _, r := range w.records(ca.Query{}) {
		if r.Certificate.NotAfter.After(root.NotAfter) {
			t.Errorf("%s until %s, the CA ends at %s", r.Owner, r.Certificate.NotAfter, root.NotAfter)
		}
	}
	if n := len(w.records(ca.Query{})) - before; n < 2 || n > 5 {
		t.Errorf("%d certificates in the last minutes", n)
	}
	if n := strings.Count(w.log.String(), "\n"); n > 5 {
		t.Errorf("%d lines in the log", n)
	}
	if len(lines) != 1 || strings.Count(lines[0], "ended at") != 1 || !strings.Contains(lines[0], ca.PathCA) {
		t.Errorf("after the end: %q", lines)
	}
	_, signed := w.Sign(t.Context(), caller(t, "root", "root"), ca.SignRequest{CSR: csr(t, "late.example.com")})
	_, created := w.Create(t.Context(), caller(t, "root", "root"), "ns1/sec/a", ca.CreateOptions{})
	for _, err := range []error{signed, created} {
		if !errors.Is(err, ca.ErrConflict) || !strings.Contains(err.Error(), "ended at") {
			t.Errorf("asked for after the end: %v", err)
		}
	}

	w.set(ca.PathCA, "validity=10y")
	w.mustIssue(ca.PathCA)
	if lines := w.storm(w.Authority, time.Minute, time.Second); len(lines) != 0 || w.mustChainAt("ns1/sec/a")[0].NotAfter.Before(w.now) {
		t.Errorf("once the CA is renewed: %q", lines)
	}
}

// TestShortLifeBeginsLate: notBefore lies a tenth of a short life in the past, and the
// renewal counts from the moment of issuing.
func TestShortLifeBeginsLate(t *testing.T) {
	w := bootstrapped(t)
	for _, c := range []struct{ life, back time.Duration }{
		{5 * time.Minute, 30 * time.Second}, {10 * time.Minute, time.Minute}, {24 * time.Hour, time.Minute},
	} {
		issued, err := w.Sign(t.Context(), caller(t, "root", "root"), ca.SignRequest{CSR: csr(t, "a.example.com"), Validity: c.life})
		if err != nil {
			t.Fatal(err)
		}
		cert := issued.Certificate
		// The end is what the CA puts: the bootstrap of the world is of this second.
		if got := w.now.Sub(cert.NotBefore); got != c.back && !cert.NotBefore.Equal(w.mustChainAt(ca.PathCA)[0].NotBefore) {
			t.Errorf("life %s: notBefore is %s in the past, want %s", c.life, got, c.back)
		}
		if got := ca.DueAt(cert.NotBefore, cert.NotAfter).Sub(w.now); got.Round(time.Second) != (c.life / 3 * 2).Round(time.Second) {
			t.Errorf("life %s: due %s after it was issued", c.life, got)
		}
	}
}

// mustChainAt is the live chain of an object.
func (w *world) mustChainAt(path string) []*x509.Certificate {
	w.t.Helper()
	chain, err := pki.ParseCertificates(w.value(path, ca.KeyChain))
	if err != nil {
		w.t.Fatal(err)
	}
	return chain
}

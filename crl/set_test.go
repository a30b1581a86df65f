package crl_test

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"omca/crl"
)

func set(lists ...*crl.Verified) *crl.Set { return crl.NewSet(crl.Sources{Lists: lists}) }

// TestNotCovered tells an issuer without lists from one whose lists do not settle it.
func TestNotCovered(t *testing.T) {
	ca, other := certify(t, nil, "CA", asCA), certify(t, nil, "other", asCA)
	twin := certify(t, nil, "CA", asCA) // the same name, another key
	ee, of, from := certify(t, ca, "EE", serial(5)), certify(t, other, "EE", serial(5)), certify(t, twin, "EE", serial(5))
	listed := set(list(ca, entry(5, crl.KeyCompromise)).verify(t))
	cases := []struct {
		name       string
		set        *crl.Set
		ee, issuer *identity
		want       crl.Status
		why        string
	}{
		{"no lists at all", set(), ee, ca, crl.NotCovered, "no lists"},
		// What a server must say between its start and the first list.
		{"expected, and not here yet", crl.NewSet(crl.Sources{Covered: []*x509.Certificate{ca.Certificate}}), ee, ca, crl.Undetermined, "no list"},
		{"listed", listed, ee, ca, crl.Revoked, "keyCompromise"},
		{"same serial of another issuer", listed, of, other, crl.NotCovered, "no lists"},
		{"same serial, same name, another key", listed, from, twin, crl.Undetermined, "no list signed with the key"},
		{"not the issuer", listed, of, ca, crl.Undetermined, "not of"},
	}
	for _, c := range cases {
		v := c.set.Check(c.ee.Certificate, c.issuer.Certificate, now())
		if v.Status != c.want || !strings.Contains(v.Why, c.why) {
			t.Errorf("%s: %v (%s), want %v (%s)", c.name, v.Status, v.Why, c.want, c.why)
		}
	}
}

func TestVerdict(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	ee := certify(t, ca, "EE", serial(5))
	v := set(list(ca, entry(5, crl.CertificateHold)).numbered(12).verify(t)).Check(ee.Certificate, ca.Certificate, now())
	if v.Status != crl.Revoked || v.Reason != crl.CertificateHold || !v.RevokedAt.Equal(now().Add(-25*hour)) || v.Number.Int64() != 12 {
		t.Errorf("%+v", v)
	}
	if (crl.Verdict{}).Status != crl.Undetermined {
		t.Error("nothing is something")
	}
}

// TestNewestList has several lists of one issuer and scope.
func TestNewestList(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	ee := certify(t, ca, "EE", serial(5))
	clean, bad := list(ca), list(ca, entry(5, crl.CertificateHold))
	aged := func(d draft, number int64, this, next time.Duration) *crl.Verified {
		return d.numbered(number).with(func(d *draft) { d.thisUpdate, d.nextUpdate = now().Add(this), now().Add(next) }).verify(t)
	}
	cases := []struct {
		name  string
		lists []*crl.Verified
		want  crl.Status
	}{
		{"released by the newer", []*crl.Verified{aged(bad, 1, -48*hour, 24*hour), aged(clean, 2, -24*hour, 24*hour)}, crl.Good},
		{"revoked by the newer", []*crl.Verified{aged(bad, 2, -24*hour, 24*hour), aged(clean, 1, -48*hour, 24*hour)}, crl.Revoked},
		{"numbers count, not dates", []*crl.Verified{aged(bad, 2, -48*hour, 24*hour), aged(clean, 1, -24*hour, 24*hour)}, crl.Revoked},
		{"dates count without numbers", []*crl.Verified{aged(bad, -1, -24*hour, 24*hour), aged(clean, -1, -48*hour, 24*hour)}, crl.Revoked},
		{"the newest is old", []*crl.Verified{aged(clean, 2, -24*hour, -hour), aged(clean, 1, -48*hour, 24*hour)}, crl.Undetermined},
		{"the newest is of the future", []*crl.Verified{aged(clean, 2, hour, 24*hour), aged(clean, 1, -48*hour, 24*hour)}, crl.Good},
		{"revoked in the future", []*crl.Verified{aged(bad, 2, hour, 24*hour), aged(clean, 1, -48*hour, 24*hour)}, crl.Revoked},
	}
	for _, c := range cases {
		for range 2 {
			if v := set(c.lists...).Check(ee.Certificate, ca.Certificate, now()); v.Status != c.want {
				t.Errorf("%s: %v (%s), want %v", c.name, v.Status, v.Why, c.want)
			}
			c.lists[0], c.lists[1] = c.lists[1], c.lists[0]
		}
	}
}

// TestUpdatePeriod stands on both ends of it, which are included.
func TestUpdatePeriod(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	ee := certify(t, ca, "EE", serial(5))
	d := list(ca)
	s := set(d.verify(t))
	for at, want := range map[time.Time]crl.Status{
		d.thisUpdate: crl.Good, d.thisUpdate.Add(-time.Second): crl.Undetermined,
		d.nextUpdate: crl.Good, d.nextUpdate.Add(time.Second): crl.Undetermined,
	} {
		if v := s.Check(ee.Certificate, ca.Certificate, at); v.Status != want {
			t.Errorf("at %s: %v (%s), want %v", at, v.Status, v.Why, want)
		}
	}
}

func TestCheckChain(t *testing.T) {
	w := newWorld(t)
	root, ca := list(w.root).verify(t), list(w.ca).verify(t)
	chain := w.chain()
	cases := []struct {
		name  string
		set   *crl.Set
		chain []*x509.Certificate
		want  crl.Status
		of    *x509.Certificate
	}{
		{"good", set(root, ca), chain, crl.Good, chain[0]},
		{"leaf not covered", set(root), chain, crl.NotCovered, chain[0]},
		{"CA not covered", set(ca), chain, crl.NotCovered, chain[1]},
		{"CA revoked, leaf good", set(list(w.root, entry(2, crl.CACompromise)).verify(t), ca), chain, crl.Revoked, chain[1]},
		{"CA revoked, leaf undetermined", set(list(w.root, entry(2, crl.CACompromise)).verify(t), list(w.ca).with(func(d *draft) { d.nextUpdate = time.Time{} }).verify(t)), chain, crl.Revoked, chain[1]},
		{"anchor alone", set(root, ca), chain[2:], crl.NotCovered, chain[2]},
		{"nothing", set(root, ca), nil, crl.Undetermined, nil},
		{"broken chain", set(root, ca), []*x509.Certificate{chain[0], chain[2]}, crl.Undetermined, chain[0]},
	}
	for _, c := range cases {
		if v := c.set.CheckChain(c.chain, now()); v.Status != c.want || v.Certificate != c.of {
			t.Errorf("%s: %v (%s), want %v", c.name, v.Status, v.Why, c.want)
		}
	}
}

// TestSignerValidity has lists signed with a key of their own, the certificate
// of which has expired.
func TestSignerValidity(t *testing.T) {
	w := newWorld(t)
	signer := certify(t, w.root, "CA", asCA, serial(3), func(c *x509.Certificate) { c.NotAfter = now().Add(-hour) })
	s := crl.NewSet(crl.Sources{
		Lists:       []*crl.Verified{list(w.root).verify(t), list(signer).verify(t)},
		Authorities: []*x509.Certificate{w.root.Certificate, w.ca.Certificate, signer.Certificate},
	})
	for at, want := range map[time.Time]crl.Status{now(): crl.Undetermined, now().Add(-2 * hour): crl.Good} {
		if v := s.CheckChain(w.chain(), at); v.Status != want {
			t.Errorf("at %s: %v (%s), want %v", at, v.Status, v.Why, want)
		}
	}
}

// TestRollover has a CA whose older key issued its newer one.
func TestRollover(t *testing.T) {
	old := certify(t, nil, "CA", asCA)
	fresh := certify(t, old, "CA", asCA, serial(3))
	ee := certify(t, fresh, "EE", serial(5))
	cas := []*x509.Certificate{old.Certificate, fresh.Certificate}
	check := func(lists ...*crl.Verified) crl.Verdict {
		s := crl.NewSet(crl.Sources{Lists: lists, Authorities: cas})
		return s.CheckChain([]*x509.Certificate{ee.Certificate, fresh.Certificate, old.Certificate}, now())
	}
	if v := check(list(old).verify(t)); v.Status != crl.Good {
		t.Errorf("signed with the old key: %v (%s)", v.Status, v.Why)
	}
	if v := check(list(old, entry(5, crl.KeyCompromise)).numbered(1).verify(t), list(fresh).numbered(9).verify(t)); v.Status != crl.Revoked {
		t.Errorf("revoked with the old key, which counts by itself: %v (%s)", v.Status, v.Why)
	}
	if v := check(list(old, entry(1, crl.KeyCompromise)).verify(t)); v.Status != crl.Good {
		t.Errorf("a trust anchor is not taken back by its own list: %v (%s)", v.Status, v.Why)
	}
	if v := crl.NewSet(crl.Sources{Lists: []*crl.Verified{list(old).verify(t)}}).Check(ee.Certificate, fresh.Certificate, now()); v.Status != crl.Undetermined {
		t.Errorf("nobody knows that it is the same CA: %v (%s)", v.Status, v.Why)
	}
}

// TestRolloverBelow has an intermediate CA whose older key issued its newer one,
// and signs only lists of CAs since.
func TestRolloverBelow(t *testing.T) {
	w := newWorld(t)
	fresh := certify(t, w.ca, "CA", asCA, serial(3))
	w.more = []*identity{fresh}
	w.lists = []draft{list(w.ca).idp(yes(0x82)), list(fresh)}
	if v := w.set().CheckChain(w.chain(), now()); v.Status != crl.Good {
		t.Errorf("%v (%s)", v.Status, v.Why)
	}
	w.lists[0].entries = [][]byte{entry(3, crl.KeyCompromise)}
	if v := w.set().CheckChain(w.chain(), now()); v.Status != crl.Undetermined {
		t.Errorf("the newer key is revoked: %v (%s)", v.Status, v.Why)
	}
	// Two that only share a name are two.
	stranger := certify(t, nil, "CA", asCA)
	w.more = []*identity{stranger}
	w.lists = []draft{list(stranger)}
	if v := w.set().CheckChain(w.chain(), now()); v.Status != crl.Undetermined {
		t.Errorf("a list of a stranger: %v (%s)", v.Status, v.Why)
	}
}

// TestSignersInACircle has two keys that certify each other, and nobody else
// them: no list can say that its own signer is good.
func TestSignersInACircle(t *testing.T) {
	a, b := certify(t, nil, "CA", asCA), certify(t, nil, "CA", asCA)
	crossA := certifyKey(t, b, "CA", a.key, asCA, serial(3))
	crossB := certifyKey(t, a, "CA", b.key, asCA, serial(4))
	ee := certify(t, b, "EE", serial(5))
	s := crl.NewSet(crl.Sources{Lists: []*crl.Verified{list(crossA).verify(t)}, Authorities: []*x509.Certificate{crossA.Certificate, crossB.Certificate}})
	if v := s.Check(ee.Certificate, b.Certificate, now()); v.Status != crl.Undetermined || !strings.Contains(v.Why, "certify each other") {
		t.Errorf("%v (%s)", v.Status, v.Why)
	}
}

// TestWhy reads the explanations that people act upon.
func TestWhy(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	ee := certify(t, ca, "EE", serial(5), points(seq(full(uri("http://a/1")))))
	for want, d := range map[string]draft{
		"has no nextUpdate":                           list(ca).with(func(d *draft) { d.nextUpdate = time.Time{} }),
		"was to be followed by another at 2026-06-01": list(ca).with(func(d *draft) { d.nextUpdate = now().Add(-hour) }),
		"is not valid yet":                            list(ca).with(func(d *draft) { d.thisUpdate = now().Add(hour) }),
		"unknown critical extension, 1.2.3.4":         list(ca).with(func(d *draft) { d.extensions = [][]byte{ext(unknownExtension, true, integerDER(1))} }),
		"its distribution point (http://b/1) is none": list(ca).idp(full(uri("http://b/1"))),
		"it is indirect":                              list(ca).idp(yes(0x84)),
		"some reasons":                                list(ca).idp(flags(0x83, 1)),
		"no complete one":                             list(ca).numbered(2).delta(1),
	} {
		v := set(d.verify(t)).Check(ee.Certificate, ca.Certificate, now())
		if v.Status != crl.Undetermined || !strings.Contains(v.Why, want) {
			t.Errorf("%v (%s), want %q", v.Status, v.Why, want)
		}
	}
	if got := fmt.Sprint(crl.Good, crl.Revoked, crl.Undetermined, crl.NotCovered); got != "good revoked undetermined not covered" {
		t.Error(got)
	}
}

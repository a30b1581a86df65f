package crl_test

import (
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/crl"
	"omca/pki"
)

// commonName is a Name of one attribute, in a string type.
func commonName(tag asn1.Tag, text string) []byte {
	return seq(element(asn1.SET, seq(element(asn1.OBJECT_IDENTIFIER, []byte("\x55\x04\x03")), element(tag, []byte(text)))))
}

func named(raw []byte) certOption { return func(c *x509.Certificate) { c.RawSubject = raw } }

func keyID(id string) certOption { return func(c *x509.Certificate) { c.SubjectKeyId = []byte(id) } }

// spelled is one CA in two certificates over one key, and two CAs that only look like it.
type spelled struct {
	utf8, printable *identity
	stranger        *identity // the name, and another key
	renamed         *identity // the key, and another name
}

func newSpelled(tb testing.TB) spelled {
	tb.Helper()
	s := spelled{utf8: certify(tb, nil, "", asCA, named(commonName(asn1.UTF8String, "Corp CA")))}
	s.printable = certifyKey(tb, nil, "", s.utf8.key, asCA, named(commonName(asn1.PrintableString, "corp  ca")))
	s.stranger = certify(tb, nil, "", asCA, named(commonName(asn1.PrintableString, "corp  ca")))
	s.renamed = certifyKey(tb, nil, "", s.utf8.key, asCA, named(commonName(asn1.UTF8String, "Corp CB")))
	return s
}

// TestSpelledNames has lists and certificates of one CA that spell its name in two
// ways (RFC 5280, 7.1).
func TestSpelledNames(t *testing.T) {
	s := newSpelled(t)
	for _, c := range []struct {
		name   string
		list   *identity // spells the name as the list does
		signer *identity // is the certificate that the list is held against
		issuer *identity // issued the certificate in question
		want   crl.Status
	}{
		{"one spelling", s.utf8, s.utf8, s.utf8, crl.Revoked},
		{"a list in another", s.printable, s.utf8, s.utf8, crl.Revoked},
		{"the issuer in another", s.utf8, s.utf8, s.printable, crl.Revoked},
		{"the signer in another", s.utf8, s.printable, s.utf8, crl.Revoked},
		{"another key", s.printable, s.utf8, s.stranger, crl.Undetermined},
		{"another name", s.printable, s.utf8, s.renamed, crl.NotCovered},
	} {
		verify := func(d draft) *crl.Verified {
			t.Helper()
			d.issuer = c.list.RawSubject
			return must[*crl.Verified](t)(d.parse(t).Verify(s.renamed.Certificate, s.stranger.Certificate, c.signer.Certificate))
		}
		ee := certify(t, c.issuer, "EE", serial(5))
		listed := verify(list(s.utf8, entry(5, crl.KeyCompromise)))
		if v := set(listed).Check(ee.Certificate, c.issuer.Certificate, now()); v.Status != c.want {
			t.Errorf("%s: %v (%s), want %v", c.name, v.Status, v.Why, c.want)
		}
		ledger := must[*crl.Ledger](t)(crl.NewLedger().With(pki.AuthorityOf(s.utf8.Certificate), crl.Entry{Serial: "5", At: now()}))
		if _, revoked := ledger.Check(ee.Certificate, c.issuer.Certificate); revoked != (c.issuer == s.utf8 || c.issuer == s.printable) {
			t.Errorf("%s, revoked here: %t", c.name, revoked)
		}
	}
}

// TestSpelledIssuer has a certificate whose issuer is spelled in another way than
// the subject of the CA that signed it.
func TestSpelledIssuer(t *testing.T) {
	s := newSpelled(t)
	ee := certify(t, s.printable, "EE", serial(5))
	if v := set(list(s.utf8, entry(5, crl.KeyCompromise)).verify(t)).Check(ee.Certificate, s.utf8.Certificate, now()); v.Status != crl.Revoked {
		t.Errorf("%v (%s), want revoked", v.Status, v.Why)
	}
	ee = certify(t, s.renamed, "EE", serial(5))
	if v := set(list(s.utf8).verify(t)).Check(ee.Certificate, s.utf8.Certificate, now()); v.Status != crl.Undetermined {
		t.Errorf("of another issuer: %v (%s), want undetermined", v.Status, v.Why)
	}
}

// TestSpelledCovered: a CA that is expected to have a list is so in every spelling.
func TestSpelledCovered(t *testing.T) {
	s := newSpelled(t)
	covered := crl.NewSet(crl.Sources{Covered: []*x509.Certificate{s.utf8.Certificate}})
	for _, c := range []struct {
		issuer *identity
		want   crl.Status
	}{{s.utf8, crl.Undetermined}, {s.printable, crl.Undetermined}, {s.stranger, crl.Undetermined}, {s.renamed, crl.NotCovered}} {
		ee := certify(t, c.issuer, "EE", serial(5))
		if v := covered.Check(ee.Certificate, c.issuer.Certificate, now()); v.Status != c.want {
			t.Errorf("%q: %v (%s), want %v", c.issuer.Subject, v.Status, v.Why, c.want)
		}
	}
	listed := set(list(s.utf8).verify(t))
	for id, want := range map[*identity]bool{s.utf8: true, s.printable: true, s.stranger: false, s.renamed: false} {
		if got := listed.HasList(id.Certificate); got != want {
			t.Errorf("%q has a list: %t, want %t", id.Subject, got, want)
		}
	}
}

// TestSpelledRollover has a CA with a newer key and another spelling, whose lists the older key signs.
func TestSpelledRollover(t *testing.T) {
	old := certify(t, nil, "", asCA, named(commonName(asn1.PrintableString, "Corp CA")))
	twice := &identity{certifyKey(t, nil, "", old.key, asCA, named(commonName(asn1.UTF8String, "Corp CA"))).Certificate, old.key}
	fresh := certify(t, twice, "", asCA, serial(3), named(commonName(asn1.UTF8String, "Corp CA")))
	ee := certify(t, fresh, "EE", serial(5))
	cas := []*x509.Certificate{old.Certificate, fresh.Certificate}
	s := crl.NewSet(crl.Sources{Lists: []*crl.Verified{list(old, entry(5, crl.KeyCompromise)).verify(t)}, Authorities: cas})
	if v := s.Check(ee.Certificate, fresh.Certificate, now()); v.Status != crl.Revoked {
		t.Errorf("%v (%s), want revoked", v.Status, v.Why)
	}
}

// TestSpelledPoints has distribution points whose directory names are spelled in two ways.
func TestSpelledPoints(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	point := func(tag asn1.Tag, text string) []byte { return full(dirName(commonName(tag, text))) }
	one := list(ca).idp(point(asn1.UTF8String, "Point 1"))
	for _, c := range []struct {
		name  string
		point []byte
		want  crl.Status
	}{
		{"one spelling", point(asn1.UTF8String, "Point 1"), crl.Good},
		{"another string type", point(asn1.PrintableString, "Point 1"), crl.Good},
		{"case and spaces", point(asn1.IA5String, " point  1"), crl.Good},
		{"another point", point(asn1.UTF8String, "Point 2"), crl.Undetermined},
		{"a URI of the same text", full(uri("Point 1")), crl.Undetermined},
	} {
		ee := certify(t, ca, "EE", serial(5), points(seq(c.point)))
		if v := set(one.verify(t)).Check(ee.Certificate, ca.Certificate, now()); v.Status != c.want {
			t.Errorf("%s: %v (%s), want %v", c.name, v.Status, v.Why, c.want)
		}
	}
	// RFC 5280, 5.2.4: a delta list has the scope of its base.
	delta := list(ca, entry(5, crl.RemoveFromCRL)).idp(point(asn1.PrintableString, "POINT 1")).numbered(2).delta(1)
	held := list(ca, entry(5, crl.CertificateHold)).idp(point(asn1.UTF8String, "Point 1"))
	ee := certify(t, ca, "EE", serial(5), points(seq(point(asn1.UTF8String, "Point 1"))))
	if v := set(held.verify(t), delta.verify(t)).Check(ee.Certificate, ca.Certificate, now()); v.Status != crl.Good {
		t.Errorf("released by a delta list that spells the scope in another way: %v (%s), want good", v.Status, v.Why)
	}
	other := list(ca, entry(5, crl.RemoveFromCRL)).idp(point(asn1.PrintableString, "Point 2")).numbered(2).delta(1)
	if v := set(held.verify(t), other.verify(t)).Check(ee.Certificate, ca.Certificate, now()); v.Status != crl.Revoked {
		t.Errorf("released by a delta list of another scope: %v (%s), want revoked", v.Status, v.Why)
	}
}

// TestScopeEqual holds scopes against each other.
func TestScopeEqual(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	scope := func(parts ...[]byte) *crl.Scope { return &list(ca).idp(parts...).parse(t).Scope }
	whole := &list(ca).parse(t).Scope
	a, b, dir := uri("http://a"), uri("http://b"), dirName(commonName(asn1.UTF8String, "Point"))
	for _, c := range []struct {
		name string
		x, y *crl.Scope
		want bool
	}{
		{"no extension, and one that leaves nothing out", whole, scope(), true},
		{"two names in another order", scope(full(a, dir)), scope(full(dir, a)), true},
		{"one name twice", scope(full(a, a)), scope(full(a)), true},
		{"another name", scope(full(a)), scope(full(b)), false},
		{"one name more", scope(full(a)), scope(full(a, b)), false},
		{"no distribution point", scope(full(a)), whole, false},
		{"users", scope(yes(0x81)), whole, false},
		{"CAs", scope(yes(0x82)), scope(yes(0x81)), false},
		{"attribute certificates", scope(yes(0x85)), whole, false},
		{"indirect", scope(yes(0x84)), whole, false},
		{"some reasons", scope(flags(0x83, 1)), whole, false},
		{"other reasons", scope(flags(0x83, 1)), scope(flags(0x83, 2)), false},
	} {
		if c.x.Equal(c.y) != c.want || c.y.Equal(c.x) != c.want {
			t.Errorf("%s: equal %t and %t, want %t", c.name, c.x.Equal(c.y), c.y.Equal(c.x), c.want)
		}
	}
}

// TestKeyIdentifiers: the signature decides which CA signed a list, not what the makers
// of a list and of a certificate call the key.
func TestKeyIdentifiers(t *testing.T) {
	ca := certify(t, nil, "CA", asCA, keyID("one"))
	other := certifyKey(t, nil, "CA", ca.key, asCA, keyID("two"))
	twin := certify(t, nil, "CA", asCA, keyID("one"))
	d := list(ca, entry(5, crl.KeyCompromise)) // names the key "one"
	if _, err := d.parse(t).Verify(twin.Certificate); err == nil {
		t.Error("a list of another key with the same identifier is taken")
	}
	v := must[*crl.Verified](t)(d.parse(t).Verify(twin.Certificate, other.Certificate))
	if !v.Signer().Equal(other.Certificate) {
		t.Errorf("signer is %x", v.Signer().SubjectKeyId)
	}
	ee := certify(t, ca, "EE", serial(5))
	if v := set(v).Check(ee.Certificate, ca.Certificate, now()); v.Status != crl.Revoked {
		t.Errorf("%v (%s), want revoked", v.Status, v.Why)
	}
	for id, want := range map[*identity]bool{ca: true, twin: true, other: false} {
		if got := d.parse(t).MayBeOfKey(id.Certificate); got != want {
			t.Errorf("may be of key %q: %t, want %t", id.SubjectKeyId, got, want)
		}
	}
}

// TestLearnedIssuers asks about more CAs than a set remembers, which have no lists:
// one that was asked about before costs no allocation, and each gets its own answer.
func TestLearnedIssuers(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	s := set(list(ca, entry(5, crl.KeyCompromise)).verify(t))
	leaf := &x509.Certificate{SerialNumber: big.NewInt(5)}
	ask := func(n int) crl.Verdict {
		name := commonName(asn1.UTF8String, time.Duration(n).String())
		leaf.RawIssuer = name
		return s.Check(leaf, &x509.Certificate{RawSubject: name, RawSubjectPublicKeyInfo: ca.RawSubjectPublicKeyInfo}, now())
	}
	for range 2 {
		for n := range 600 {
			if v := ask(n); v.Status != crl.NotCovered {
				t.Fatalf("CA %d: %v (%s), want not covered", n, v.Status, v.Why)
			}
		}
	}
	stranger := &x509.Certificate{RawSubject: commonName(asn1.UTF8String, "stranger"), RawSubjectPublicKeyInfo: ca.RawSubjectPublicKeyInfo}
	leaf.RawIssuer = stranger.RawSubject
	s.Check(leaf, stranger, now())
	if allocs := testing.AllocsPerRun(100, func() { s.Check(leaf, stranger, now()) }); allocs > 0 {
		t.Errorf("a check of a CA without lists allocates %v times", allocs)
	}
}

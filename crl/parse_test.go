package crl_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/crl"
	"omca/pki"
)

func TestParse(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	d := list(ca, entry(5, crl.KeyCompromise), entry(0, crl.Unspecified), bigEntry(new(big.Int).Lsh(big.NewInt(1), 159), crl.RemoveFromCRL)).
		idp(full(uri("http://a/1"), dirName(ca.RawSubject)), yes(0x81), flags(0x83, 1, 8)).numbered(7).delta(3).
		with(func(d *draft) {
			d.extensions = append(d.extensions, ext(freshest, false, seq(seq(full(uri("http://a/d"))))))
		})
	l := d.parse(t)
	var got []string
	for e := range l.Entries() {
		got = append(got, fmt.Sprint(e.Serial, " ", e.Reason, " ", e.At.Format(time.RFC3339)))
	}
	want := []string{
		"5 keyCompromise 2026-05-31T11:00:00Z",
		"0 unspecified 2026-05-31T11:00:00Z",
		"8000000000000000000000000000000000000000 removeFromCRL 2026-05-31T11:00:00Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s := l.Scope
	if !s.OnlyUser || s.OnlyCA || s.OnlyAttribute || s.Indirect || !s.Partial || s.Reasons != 1<<1|1<<8 {
		t.Errorf("scope: %+v", s)
	}
	if diff := cmp.Diff([]string{"http://a/1", "http://a/d"}, append(s.URLs, l.Freshest...)); diff != "" {
		t.Error(diff)
	}
	if l.Number.Int64() != 7 || l.BaseNumber.Int64() != 3 || !l.Delta() || !bytes.Equal(l.AuthorityKeyID, ca.SubjectKeyId) || !bytes.Equal(l.RawIssuer, ca.RawSubject) {
		t.Errorf("header: %+v", l.Header)
	}
}

func TestParsePEM(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	der := list(ca, entry(5, crl.KeyCompromise)).der(t)
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	for name, in := range map[string][]byte{"PEM": text, "DER": der, "text around": append([]byte("CRL of the company:\r\n"), text...)} {
		if l, err := crl.ParsePEM(in, crl.DefaultLimits()); err != nil || l.Len() != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	wrong := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	if _, err := crl.ParsePEM(wrong, crl.DefaultLimits()); !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), "X509 CRL") {
		t.Errorf("a certificate: %v", err)
	}
	if _, err := crl.ParsePEM(text, crl.Limits{Bytes: 10}); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("too long: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	good := list(ca, entry(5, crl.KeyCompromise))
	at := element(asn1.UTCTime, []byte("260531110000Z"))
	extended := func(e []byte) []byte {
		return good.with(func(d *draft) { d.extensions = append(d.extensions, e) }).der(t)
	}
	entries := func(e ...[]byte) []byte { return list(ca, e...).der(t) }
	timed := func(tag asn1.Tag, text string) []byte { return entries(seq(integerDER(5), element(tag, []byte(text)))) }
	tiny := bytes.Repeat(seq(), 1000)
	cases := map[string][]byte{
		"empty":                    {},
		"trailing":                 append(good.der(t), 0),
		"huge length":              {0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30},
		"indefinite length":        {0x30, 0x80, 0, 0},
		"long form of a length":    append([]byte{0x30, 0x81, 0x05}, make([]byte, 5)...),
		"nesting":                  nested(100_000),
		"version 1":                seq(seq([]byte(ecdsaWithSHA256), ca.RawSubject, at, at), []byte(ecdsaWithSHA256), []byte{3, 1, 0}),
		"version 3":                seq(seq(integerDER(2), []byte(ecdsaWithSHA256), ca.RawSubject, at, at), []byte(ecdsaWithSHA256), []byte{3, 1, 0}),
		"algorithms differ":        seq(seq(integerDER(1), []byte(ecdsaWithSHA256), ca.RawSubject, at, at), seq(element(asn1.OBJECT_IDENTIFIER, []byte("\x2a\x86\x48\xce\x3d\x04\x03\x03"))), []byte{3, 1, 0}),
		"unused bits":              seq(seq(integerDER(1), []byte(ecdsaWithSHA256), ca.RawSubject, at, at), []byte(ecdsaWithSHA256), []byte{3, 2, 1, 2}),
		"serial not minimal":       entries(seq([]byte{2, 2, 0, 5}, at)),
		"serial not minimal below": entries(seq([]byte{2, 2, 0xff, 0x85}, at)),
		"serial empty":             entries(seq([]byte{2, 0}, at)),
		"serial of 22 octets":      entries(bigEntry(new(big.Int).Lsh(big.NewInt(1), 170), crl.Unspecified)),
		"entry without time":       entries(seq(integerDER(5))),
		"month 13":                 timed(asn1.UTCTime, "261331110000Z"),
		"31 February":              timed(asn1.UTCTime, "260231110000Z"),
		"no seconds":               timed(asn1.UTCTime, "2605311100Z"),
		"zone":                     timed(asn1.UTCTime, "260531110000+0100"),
		"no Z":                     timed(asn1.UTCTime, "2605311100009"),
		"fraction":                 timed(asn1.GeneralizedTime, "20260531110000.5Z"),
		"sign in a time":           timed(asn1.UTCTime, "26053111000+Z"),
		"empty entry extensions":   entries(seq(integerDER(5), at, seq(), seq())),
		"two reasons":              entries(entry(5, crl.Superseded, ext("\x55\x1d\x15", false, []byte{0x0a, 1, 1}))),
		"reason no enumerated":     entries(seq(integerDER(5), at, seq(ext("\x55\x1d\x15", false, integerDER(1))))),
		"huge entry extension":     entries(seq(integerDER(5), at, seq(ext(unknownExtension, false, make([]byte, 5000))))),
		"huge extension":           extended(ext(unknownExtension, false, make([]byte, 70_000))),
		"many extensions":          good.with(func(d *draft) { d.extensions = manyExtensions(40) }).der(t),
		"tiny extensions":          seq(seq(integerDER(1), []byte(ecdsaWithSHA256), ca.RawSubject, at, at, element(0xa0, seq(tiny))), []byte(ecdsaWithSHA256), []byte{3, 1, 0}),
		"a million extensions":     seq(seq(integerDER(1), []byte(ecdsaWithSHA256), ca.RawSubject, at, at, element(0xa0, seq(bytes.Repeat(tiny, 1000)))), []byte(ecdsaWithSHA256), []byte{3, 1, 0}),
		"a million empty entries":  seq(seq(integerDER(1), []byte(ecdsaWithSHA256), ca.RawSubject, at, at, seq(bytes.Repeat(tiny, 1000))), []byte(ecdsaWithSHA256), []byte{3, 1, 0}),
		"twice the number":         extended(ext("\x55\x1d\x14", false, integerDER(2))),
		"negative number":          good.numbered(-1).with(func(d *draft) { d.extensions = append(d.extensions, ext("\x55\x1d\x14", false, integerDER(-2))) }).der(t),
		"scope of users and CAs":   good.idp(yes(0x81), yes(0x82)).der(t),
		"scope with a FALSE":       good.idp([]byte{0x81, 1, 0}).der(t),
		"scope out of order":       good.idp(yes(0x82), yes(0x81)).der(t),
		"scope with rest":          good.idp(yes(0x81), integerDER(1)).der(t),
		"point without names":      good.idp(element(0xa0, element(0xa0))).der(t),
		"point of no kind":         good.idp(element(0xa0, element(0xa2))).der(t),
		"huge issuer":              good.with(func(d *draft) { d.issuer = seq(make([]byte, 10_000)) }).der(t),
		"key id malformed":         good.with(func(d *draft) { d.noKeyID = true; d.extensions = [][]byte{ext("\x55\x1d\x23", false, integerDER(1))} }).der(t),
	}
	for name, der := range cases {
		if _, err := crl.Parse(der, crl.DefaultLimits()); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, limits := range map[string]crl.Limits{
		"bytes":   {Bytes: 10, Entries: 10, Extensions: 1000, EntryExtension: 100},
		"entries": {Bytes: 1000, Entries: 0, Extensions: 1000, EntryExtension: 100},
	} {
		if _, err := crl.Parse(good.der(t), limits); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func nested(depth int) []byte {
	der := []byte{0x30, 0}
	for range depth {
		if len(der) > 60_000 {
			break
		}
		der = seq(der)
	}
	return der
}

func manyExtensions(n int) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, ext(unknownExtension+string(rune(i+1)), false, []byte{5, 0}))
	}
	return all
}

// TestParseCut cuts a list everywhere: no part of one is a list.
func TestParseCut(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	der := list(ca, entry(5, crl.KeyCompromise), entry(6, crl.Unspecified)).idp(full(uri("http://a/1")), flags(0x83, 1)).numbered(7).delta(3).der(t)
	for n := range der {
		if _, err := crl.Parse(der[:n], crl.DefaultLimits()); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	// The same with the lengths around it put right.
	inner := seq(der[:len(der)/2])
	if _, err := crl.Parse(inner, crl.DefaultLimits()); err == nil {
		t.Error("half of a list in a sequence is a list")
	}
}

func TestDuplicateEntries(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	l := list(ca, entry(5, crl.RemoveFromCRL), entry(5, crl.KeyCompromise), entry(5, crl.Superseded), entry(5, crl.RemoveFromCRL)).parse(t)
	for e := range l.Entries() {
		if e.Reason != crl.KeyCompromise || l.Len() != 1 {
			t.Errorf("%d entries, first %v", l.Len(), e)
		}
	}
}

// TestIssuerOf reads the issuer of what is no good list, as far as there is one.
func TestIssuerOf(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	good := list(ca, entry(5, crl.KeyCompromise))
	one := func(issuer []byte) []byte { return seq(seq([]byte(ecdsaWithSHA256), issuer), []byte(ecdsaWithSHA256)) }
	for name, c := range map[string]struct{ der, want []byte }{
		"a good list":                      {good.der(t), ca.RawSubject},
		"badly signed":                     {good.with(func(d *draft) { d.badSignature = true }).der(t), ca.RawSubject},
		"of version 1":                     {one(ca.RawSubject), ca.RawSubject},
		"of a name without parts":          {one(seq()), seq()},
		"a name that is not one":           {one(seq(element(asn1.SET, []byte{1, 2, 3}))), nil},
		"a name with more than its values": {one(seq(element(asn1.SET, seq(element(asn1.OBJECT_IDENTIFIER, []byte("\x55\x04\x03")), integerDER(1), integerDER(1))))), nil},
		"no name":                          {one(integerDER(1)), nil},
		"a certificate":                    {ca.Raw, nil},
		"cut off":                          {good.der(t)[:100], nil},
		"nothing":                          {nil, nil},
	} {
		if got := crl.IssuerOf(c.der); !bytes.Equal(got, c.want) {
			t.Errorf("%s: %x, want %x", name, got, c.want)
		}
	}
}

func TestCheckSignature(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	twin := certify(t, nil, "CA", asCA)
	plain := certifyKey(t, nil, "CA", ca.key, asCA, usage(x509.KeyUsageCertSign))
	silent := certifyKey(t, nil, "CA", ca.key, asCA, usage(0))
	good := list(ca)
	cases := []struct {
		name   string
		list   draft
		signer *identity
		want   string
	}{
		{"good", good, ca, ""},
		{"no key usage at all", good, silent, ""},
		{"no key identifier", good.with(func(d *draft) { d.noKeyID = true }), ca, ""},
		{"another key", good, twin, "is signed with key"},
		{"another key, no identifier", good.with(func(d *draft) { d.noKeyID = true }), twin, "is not of"},
		{"another name", good.with(func(d *draft) { d.issuer = within(ca, "x") }), ca, "not of"},
		{"no cRLSign", good, plain, "cRLSign"},
		{"bad signature", good.with(func(d *draft) { d.badSignature = true }), ca, "is not of"},
	}
	for _, c := range cases {
		err := c.list.parse(t).CheckSignature(c.signer.Certificate)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := good.parse(t).Verify(); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("nobody could have signed it: %v", err)
	}
	if v := must[*crl.Verified](t)(good.parse(t).Verify(twin.Certificate, plain.Certificate, ca.Certificate)); !v.Signer().Equal(ca.Certificate) {
		t.Errorf("signer is %q", v.Signer().Subject)
	}
	if _, err := good.parse(t).Verify(ca.Certificate, certify(t, nil, "other", asCA).Certificate); err != nil {
		t.Error(err)
	}
	// SHA-1 is not among the algorithms.
	old := bytes.ReplaceAll(good.der(t), []byte("\x2a\x86\x48\xce\x3d\x04\x03\x02"), []byte("\x2a\x86\x48\xce\x3d\x04\x03\x01"))
	if err := must[*crl.List](t)(crl.Parse(old, crl.DefaultLimits())).CheckSignature(ca.Certificate); err == nil || !strings.Contains(err.Error(), "algorithm") {
		t.Errorf("another algorithm: %v", err)
	}
}

func TestParseReason(t *testing.T) {
	for _, r := range crl.Reasons() {
		for _, s := range []string{r.String(), strings.ToUpper(r.String())} {
			if got, err := crl.ParseReason(s); err != nil || got != r {
				t.Errorf("%s: %v, %v", s, got, err)
			}
		}
	}
	for in, want := range map[string]string{
		"key-compromise": "keyCompromise", "CA_Compromise": "cACompromise",
	} {
		if got, err := crl.ParseReason(in); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for in, want := range map[string]string{
		"keyCompromize": `did you mean "keyCompromise"?`, "superceded": `did you mean "superseded"?`, "hold": "want one of",
		"": "want one of", strings.Repeat("x", 100): "of 100 characters",
	} {
		if _, err := crl.ParseReason(in); !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
	if s := crl.Reason(7).String(); s != "reason(7)" {
		t.Error(s)
	}
}

package pki_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"omca/pki"
)

// family is a leaf, its two CAs and a stranger.
func family(t testing.TB) (leaf, sub, top, stranger *x509.Certificate) {
	t.Helper()
	ca := root(t, pki.ECP256, nil)
	k := key(t, pki.ECP256)
	sub = issue(t, ca, request(t, k.Public(), "sub CA"), terms(t, "ca"))
	issuer := must[*pki.Issuer](t)(pki.NewIssuer([]*x509.Certificate{sub, ca.Certificate()}, k, linter()))
	leaf = issue(t, issuer, request(t, key(t, pki.ECP256).Public(), "alice"), terms(t, "usr"))
	stranger = issue(t, root(t, pki.ECP256, nil), request(t, key(t, pki.ECP256).Public(), "bob"), terms(t, "usr"))
	return leaf, sub, ca.Certificate(), stranger
}

func subjects(chain []*x509.Certificate) string {
	var list []string
	for _, c := range chain {
		list = append(list, c.Subject.CommonName)
	}
	return strings.Join(list, " < ")
}

func TestOrderChain(t *testing.T) {
	leaf, sub, top, stranger := family(t)
	for _, in := range [][]*x509.Certificate{
		{leaf, sub, top}, {top, sub, leaf}, {sub, leaf, top}, {top, leaf, sub}, {leaf, leaf, sub, top, sub},
	} {
		got, err := pki.OrderChain(in)
		if err != nil || subjects(got) != "alice < sub CA < test CA" {
			t.Errorf("%s: got %s, %v", subjects(in), subjects(got), err)
		}
		if got := pki.WithoutRoot(got); subjects(got) != "alice < sub CA" {
			t.Errorf("without the root: %s", subjects(got))
		}
	}
	if got := pki.WithoutRoot([]*x509.Certificate{top}); len(got) != 1 {
		t.Error("a lone root was dropped")
	}
	if got := pki.WithoutRoot([]*x509.Certificate{leaf, sub}); len(got) != 2 {
		t.Error("an intermediate was dropped for a root")
	}
	for name, in := range map[string][]*x509.Certificate{
		"nothing": nil, "a missing link": {leaf, top}, "a stranger": {leaf, sub, stranger}, "two leaves": {stranger, leaf},
	} {
		_, err := pki.OrderChain(in)
		if !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := pki.OrderChain([]*x509.Certificate{leaf, top})
	for _, name := range []string{`"CN=alice"`, `"CN=sub CA"`, `"CN=test CA"`} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v: want %s named", err, name)
		}
	}
}

func TestVerifyChain(t *testing.T) {
	leaf, sub, top, stranger := family(t)
	at := epoch.Add(day)
	for name, chain := range map[string][]*x509.Certificate{"all": {leaf, sub, top}, "no root": {leaf, sub}, "a CA": {sub, top}, "a root": {top}, "a leaf alone": {leaf}} {
		if err := pki.VerifyChain(chain, at); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := pki.VerifyChain([]*x509.Certificate{leaf, sub, top}, leaf.NotAfter); err != nil {
		t.Errorf("in its last second: %v", err)
	}
	forged := *leaf
	forged.Signature = bytes.Clone(leaf.Signature)
	forged.Signature[8] ^= 1
	for name, tt := range map[string]struct {
		chain []*x509.Certificate
		days  int
		want  string
	}{
		"nothing":            {nil, 1, "0 certificates"},
		"too early":          {[]*x509.Certificate{leaf, sub}, -1, "not valid before"},
		"too late":           {[]*x509.Certificate{leaf, sub}, 31, "expired"},
		"wrong order":        {[]*x509.Certificate{leaf, top, sub}, 1, `"CN=alice" is signed by "CN=sub CA", not by the next in the chain, "CN=test CA"`},
		"a stranger":         {[]*x509.Certificate{stranger, sub}, 1, `"CN=bob"`},
		"signed by a leaf":   {[]*x509.Certificate{leaf, stranger}, 1, "signed by"},
		"a forged signature": {[]*x509.Certificate{&forged, sub}, 1, "signed by"},
	} {
		err := pki.VerifyChain(tt.chain, epoch.AddDate(0, 0, tt.days))
		if !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestVerifyChainHoldsCAsToTheirLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*x509.Certificate)
		want string
	}{
		"no CA":          {func(c *x509.Certificate) { c.IsCA = false; c.KeyUsage = 0 }, "CA:TRUE"},
		"no keyCertSign": {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, "keyCertSign"},
		"path length":    {func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }, "path length 0"},
		"names":          {func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.org"} }, "not permitted"},
	} {
		top, sub := key(t, pki.ECP256), key(t, pki.ECP256)
		rootTemplate := caTemplate(t, "top", top.Public())
		subTemplate := caTemplate(t, "sub", sub.Public())
		if name == "path length" || name == "names" {
			tt.edit(rootTemplate)
		} else {
			tt.edit(subTemplate)
		}
		rootCert := raw(t, rootTemplate, rootTemplate, top.Public(), top)
		subCert := raw(t, subTemplate, rootCert, sub.Public(), top)
		leaf := raw(t, leafTemplate("a.example.com"), subCert, key(t, pki.ECP256).Public(), sub)
		err := pki.VerifyChain([]*x509.Certificate{leaf, subCert, rootCert}, epoch.Add(day))
		if !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestParseCertificates(t *testing.T) {
	leaf, sub, top, _ := family(t)
	text := pki.EncodeCertificates(leaf, sub, top)
	crlf := append([]byte("subject=alice\n"), bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))...)
	got := must[[]*x509.Certificate](t)(pki.ParseCertificates(crlf))
	if subjects(got) != "alice < sub CA < test CA" {
		t.Errorf("got %s", subjects(got))
	}
	for name, in := range map[string][]byte{
		"nothing": nil, "DER": leaf.Raw, "noise in a block": encode("CERTIFICATE", []byte("noise")),
		"a key too":        append(bytes.Clone(text), must[[]byte](t)(pki.EncodePrivateKey(key(t, pki.ECP256)))...),
		"11 certificates":  bytes.Repeat(pki.EncodeCertificates(leaf), 11),
		"too many bytes":   append(bytes.Repeat([]byte("\n"), 256<<10), text...),
		"an empty message": []byte("hello"),
	} {
		if _, err := pki.ParseCertificates(in); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDaysLeft(t *testing.T) {
	leaf, _, _, _ := family(t)
	for days, want := range map[int]int{0: 29, 29: 0, 30: -1, 31: -2} {
		if got := pki.DaysLeft(leaf, epoch.AddDate(0, 0, days)); got != want {
			t.Errorf("after %d days: %d left, want %d", days, got, want)
		}
	}
}

func FuzzParseCertificates(f *testing.F) {
	leaf, sub, top, _ := family(f)
	f.Add(pki.EncodeCertificates(leaf))
	f.Add(pki.EncodeCertificates(top, sub, leaf))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := pki.ParseCertificates(text)
		if err != nil {
			return
		}
		for _, cert := range certs {
			pki.Lint(linter(), cert, nil, pki.Profile{})
			if info := pki.Info(cert); info.Serial != pki.SerialOf(cert) {
				t.Fatalf("serial %s", info.Serial)
			}
		}
		if chain, err := pki.OrderChain(certs); err == nil && len(chain) > len(certs) {
			t.Fatalf("%d certificates became %d", len(certs), len(chain))
		}
	})
}

// EncodeCertificates writes what encoding/pem does, whatever the length.
func TestEncodeCertificatesAsPEM(t *testing.T) {
	var want []byte
	var certs []*x509.Certificate
	for n := range 200 {
		cert := &x509.Certificate{Raw: bytes.Repeat([]byte{byte(n)}, n)}
		certs = append(certs, cert)
		want = append(want, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	if got := pki.EncodeCertificates(certs...); !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

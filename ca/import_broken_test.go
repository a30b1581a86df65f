package ca_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/pki"
)

// company is another PKI, which makes what it is told to, right or wrong.
type company struct {
	t               testing.TB
	root, sub       *x509.Certificate
	rootKey, subKey crypto.Signer
}

func newCompany(t testing.TB) *company {
	t.Helper()
	c := &company{t: t, rootKey: newKey(t), subKey: newKey(t)}
	c.root = c.sign(c.authority("MyCorp Root", -1), nil, c.rootKey.Public(), c.rootKey)
	c.sub = c.sign(c.authority("MyCorp Servers", -1), c.root, c.subKey.Public(), c.rootKey)
	return c
}

// authority is the template of a CA; a negative path length is none.
func (c *company) authority(cn string, pathLen int) *x509.Certificate {
	t := c.server(cn)
	t.IsCA, t.MaxPathLen, t.MaxPathLenZero = true, pathLen, pathLen == 0
	t.KeyUsage, t.ExtKeyUsage, t.DNSNames = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil, nil
	return t
}

// server is the template of the certificate of a TLS server.
func (c *company) server(cn string) *x509.Certificate {
	c.t.Helper()
	serial, err := pki.NewSerial(time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	return &x509.Certificate{
		SerialNumber: serial.Int(), Subject: pkix.Name{CommonName: cn}, DNSNames: []string{cn},
		NotBefore: start().Add(-time.Hour), NotAfter: start().Add(24 * time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// sign signs a template; without a parent, by itself.
func (c *company) sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	c.t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert
}

// leaf is a server's certificate signed by the company's intermediate CA, and edited before.
func (c *company) leaf(key crypto.Signer, edit func(*x509.Certificate)) *x509.Certificate {
	c.t.Helper()
	template := c.server("vip.example.com")
	if edit != nil {
		edit(template)
	}
	return c.sign(template, c.sub, key.Public(), c.subKey)
}

// value is one import.
type value struct {
	name string
	text []byte
}

func chainOf(certs ...*x509.Certificate) value {
	return value{ca.KeyChain, pki.EncodeCertificates(certs...)}
}

func keyOf(t testing.TB, key crypto.Signer) value {
	t.Helper()
	text, err := pki.EncodePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return value{ca.KeyPrivate, text}
}

func generated(t testing.TB, kind pki.KeyType) crypto.Signer {
	t.Helper()
	key, err := pki.GenerateKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// broken is one import that an operator may try, of one or more values, and what
// must become of the last of them. The others must be pending.
type broken struct {
	name   string
	path   string // "" is the listener's
	values []value
	state  string // "refused", "pending" or "live"
	want   string // in the text of the refusal, or of what is missing
	certs  int    // of the live chain afterwards
}

// Every import ends as it must: refused or pending with the reason, and the live
// set as it was, or live as a whole.
func TestImportBroken(t *testing.T) {
	c, key := newCompany(t), newKey(t)
	good := c.leaf(key, nil)
	for _, tt := range slices.Concat(brokenCertificates(c, key), brokenAuthorities(c, key), brokenForms(c, key, good), oddKeys(c)) {
		t.Run(tt.name, func(t *testing.T) { tt.check(t) })
	}
}

func (tt broken) check(t *testing.T) {
	w := bootstrapped(t)
	path := tt.path
	if path == "" {
		path = ca.PathListener
	}
	before, keyBefore := w.value(path, ca.KeyChain), w.value(path, ca.KeyPrivate)
	state, text := "", ""
	for i, v := range tt.values {
		got, err := w.Import(t.Context(), caller(t, "root", "root"), path, v.name, v.text)
		switch {
		case err != nil && !errors.Is(err, ca.ErrInvalid):
			t.Fatal(err)
		case err != nil:
			state, text = "refused", err.Error()+" "+hint.Of(err)
		case got.Live:
			state, text = "live", ""
		default:
			state, text = "pending", strings.Join(got.Pending, "; ")
		}
		if i < len(tt.values)-1 && state != "pending" {
			t.Fatalf("%s: %s %s", v.name, state, text)
		}
		changed := !bytes.Equal(before, w.value(path, ca.KeyChain)) || !bytes.Equal(keyBefore, w.value(path, ca.KeyPrivate))
		if changed != (state == "live") {
			t.Errorf("%s is %s, and the live set changed: %t", v.name, state, changed)
		}
	}
	if state != tt.state || !strings.Contains(text, tt.want) {
		t.Errorf("%s %q, expected %s with %q", state, text, tt.state, tt.want)
	}
	if state != "live" {
		return
	}
	chain, err := pki.ParseCertificates(w.value(path, ca.KeyChain))
	if err != nil || len(chain) != tt.certs {
		t.Errorf("%d certificates are live, expected %d, %v", len(chain), tt.certs, err)
	}
	live, err := pki.ParsePrivateKey(w.value(path, ca.KeyPrivate), nil)
	if err != nil || !pki.SameKey(chain[0].PublicKey, live.Public()) {
		t.Errorf("the live key is not the certificate's, %v", err)
	}
}

// brokenCertificates are imports of a certificate that is wrong in itself.
func brokenCertificates(c *company, key crypto.Signer) []broken {
	k := keyOf(c.t, key)
	expired := c.leaf(key, func(x *x509.Certificate) { x.NotAfter = start().Add(-time.Minute) })
	future := c.leaf(key, func(x *x509.Certificate) { x.NotBefore = start().Add(time.Hour) })
	clients := c.leaf(key, func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	unrestricted := c.leaf(key, func(x *x509.Certificate) { x.ExtKeyUsage = nil })
	other := c.leaf(newKey(c.t), nil)
	return []broken{
		{name: "expired", values: []value{k, chainOf(expired, c.sub)}, state: "refused", want: "expired"},
		{name: "expired, before its key", values: []value{chainOf(expired, c.sub)}, state: "refused", want: "expired"},
		{name: "not yet valid", values: []value{k, chainOf(future, c.sub)}, state: "refused", want: "not valid before"},
		{name: "not yet valid, before its key", values: []value{chainOf(future, c.sub)}, state: "refused", want: "not valid before"},
		{name: "wrong key", values: []value{k, chainOf(other, c.sub)}, state: "pending", want: "is for another key"},
		{name: "wrong key, after the chain", values: []value{chainOf(other, c.sub), k}, state: "pending", want: "is for another key"},
		{name: "wrong EKU", values: []value{k, chainOf(clients, c.sub)}, state: "refused", want: "serverAuth is missing"},
		{name: "wrong EKU, before its key", values: []value{chainOf(clients, c.sub)}, state: "refused", want: "serverAuth is missing"},
		{name: "no EKU at all", values: []value{k, chainOf(unrestricted, c.sub)}, state: "live", certs: 2},
	}
}

// brokenAuthorities are imports of a CA, and of chains with the wrong CAs.
func brokenAuthorities(c *company, key crypto.Signer) []broken {
	k, leaf := keyOf(c.t, key), c.leaf(key, nil)
	narrow := c.sign(c.authority("Narrow Root", 0), nil, c.rootKey.Public(), c.rootKey)
	below := c.sign(c.authority("Below", -1), narrow, key.Public(), c.rootKey)
	under := c.sign(c.authority("Under", -1), narrow, c.subKey.Public(), c.rootKey)
	deep := c.sign(c.authority("Deeper", -1), under, key.Public(), c.subKey)
	tooLow := c.sign(c.server("vip.example.com"), deep, key.Public(), key)
	mute := c.authority("Mute", -1)
	mute.KeyUsage = x509.KeyUsageCRLSign
	stranger := newCompany(c.t)
	return []broken{
		{name: "not a CA", path: ca.PathCA, values: []value{k, chainOf(leaf, c.sub)}, state: "refused", want: "is not a CA's"},
		{name: "not a CA, before its key", path: ca.PathCA, values: []value{chainOf(leaf, c.sub)}, state: "refused", want: "is not a CA's"},
		{name: "a CA that signs no certificates", path: ca.PathCA, values: []value{k, chainOf(c.sign(mute, c.root, key.Public(), c.rootKey), c.root)}, state: "refused", want: "keyCertSign"},
		{name: "path length of the root, for a CA", path: ca.PathCA, values: []value{k, chainOf(below, narrow)}, state: "refused", want: "path length 0"},
		{name: "path length of the root, for a leaf", values: []value{k, chainOf(tooLow, deep, under, narrow)}, state: "refused", want: "path length 0"},
		{name: "an intermediate CA", path: ca.PathCA, values: []value{chainOf(c.sub, c.root), keyOf(c.t, c.subKey)}, state: "live", certs: 1},
		{name: "missing intermediate", values: []value{k, chainOf(leaf, c.root)}, state: "refused", want: "the next must be the issuer \"CN=MyCorp Servers\""},
		{name: "a chain of another PKI", values: []value{k, chainOf(leaf, stranger.sub)}, state: "refused", want: "CN=MyCorp Servers"},
		{name: "the certificate alone", values: []value{k, {ca.KeyCertificate, pki.EncodeCertificates(leaf)}}, state: "pending", want: "certificate_chain is missing"},
		{name: "the issuers alone", values: []value{chainOf(c.sub, c.root), k, {ca.KeyCertificate, pki.EncodeCertificates(leaf)}}, state: "live", certs: 2},
	}
}

// brokenForms are imports whose text is odd, or no certificate's.
func brokenForms(c *company, key crypto.Signer, leaf *x509.Certificate) []broken {
	k, whole := keyOf(c.t, key), chainOf(leaf, c.sub, c.root)
	text := func(s string) []value { return []value{k, {ca.KeyChain, []byte(s)}} }
	chain := string(whole.text)
	two := slices.Concat(k.text, keyOf(c.t, newKey(c.t)).text)
	return []broken{
		{name: "in order", values: []value{k, whole}, state: "live", certs: 2},
		{name: "reversed", values: []value{k, chainOf(c.root, c.sub, leaf)}, state: "live", certs: 2},
		{name: "shuffled", values: []value{k, chainOf(c.sub, leaf, c.root)}, state: "live", certs: 2},
		{name: "duplicate", values: []value{k, chainOf(leaf, leaf, c.sub, c.root, c.sub)}, state: "live", certs: 2},
		{name: "CRLF", values: text(strings.ReplaceAll(chain, "\n", "\r\n")), state: "live", certs: 2},
		{name: "CRLF in a key", values: []value{whole, {ca.KeyPrivate, bytes.ReplaceAll(k.text, []byte("\n"), []byte("\r\n"))}}, state: "live", certs: 2},
		{name: "trailing comment", values: text(chain + "issued by MyCorp\n"), state: "live", certs: 2},
		{name: "trailing junk", values: text(chain + "-----BEGIN CERTIFICATE-----\nMIIB"), state: "refused", want: "4 PEM blocks begin, and 3 can be read"},
		{name: "cut short", values: text(chain[:len(chain)-40]), state: "refused", want: "cut short"},
		{name: "trailing junk in the DER", values: text(string(block("CERTIFICATE", append(slices.Clone(leaf.Raw), 0)))), state: "refused", want: "trailing data"},
		{name: "a key after the chain", values: text(chain + string(k.text)), state: "refused", want: "\"PRIVATE KEY\""},
		{name: "two keys", values: []value{{ca.KeyPrivate, two}}, state: "refused", want: "more than one private key"},
		{name: "DER", values: []value{k, {ca.KeyChain, leaf.Raw}}, state: "refused", want: "openssl x509 -inform DER"},
		{name: "empty", values: text(""), state: "refused", want: "empty"},
		{name: "an empty key", values: []value{{ca.KeyPrivate, nil}}, state: "refused", want: "empty"},
		{name: "a key that is encrypted", values: []value{{ca.KeyPrivate, encryptedKey()}}, state: "refused", want: "encrypted"},
	}
}

// encryptedKey is a key as OpenSSL writes it when asked for a password; what is
// in it is not looked at without one.
func encryptedKey() []byte { return block("ENCRYPTED PRIVATE KEY", bytes.Repeat([]byte{0x30, 0}, 50)) }

// oddKeys are sets of every kind and form of key, which all go live.
func oddKeys(c *company) []broken {
	set := func(name string, key crypto.Signer, text []byte) broken {
		return broken{name: name, values: []value{chainOf(c.leaf(key, nil), c.sub), {ca.KeyPrivate, text}}, state: "live", certs: 2}
	}
	var all []broken
	for name, kind := range map[string]pki.KeyType{"EC P-384": pki.ECP384, "Ed25519": pki.Ed25519} {
		key := generated(c.t, kind)
		all = append(all, set(name, key, keyOf(c.t, key).text))
	}
	if key, ok := generated(c.t, pki.ECP256).(*ecdsa.PrivateKey); ok {
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, set("SEC 1", key, block("EC PRIVATE KEY", der)))
	}
	if key, ok := generated(c.t, pki.RSA4096).(*rsa.PrivateKey); ok {
		all = append(all, set("RSA 4096", key, keyOf(c.t, key).text),
			set("PKCS#1", key, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))))
	}
	return all
}

// The parts of a set that is live already change nothing, and cut nothing off.
func TestImportAgain(t *testing.T) {
	c, key := newCompany(t), newKey(t)
	leaf := c.leaf(key, nil)
	w, root := bootstrapped(t), caller(t, "root", "root")
	certificate := value{ca.KeyCertificate, pki.EncodeCertificates(leaf)}
	for i, v := range []value{keyOf(t, key), chainOf(leaf, c.sub, c.root), certificate, keyOf(t, key), chainOf(leaf, c.sub, c.root)} {
		got, err := w.Import(t.Context(), root, ca.PathListener, v.name, v.text)
		if err != nil || got.Live != (i > 0) {
			t.Fatalf("%d: %+v, %v", i, got, err)
		}
		if i > 0 && !bytes.Equal(w.value(ca.PathListener, ca.KeyChain), chainOf(leaf, c.sub).text) {
			t.Fatalf("%d: the live chain is not what was imported", i)
		}
	}
	if n := strings.Count(w.log.String(), "msg=imported"); n != 1 {
		t.Errorf("%d switches, expected one", n)
	}
	// The next certificate of the same issuer and key needs no chain of its own.
	next := c.leaf(key, nil)
	got, err := w.Import(t.Context(), root, ca.PathListener, ca.KeyCertificate, pki.EncodeCertificates(next))
	if err != nil || !got.Live || !bytes.Equal(w.value(ca.PathListener, ca.KeyChain), chainOf(next, c.sub).text) {
		t.Errorf("%+v, %v", got, err)
	}
}

// What waited until it expired is told so.
func TestImportExpiresWhilePending(t *testing.T) {
	c, key := newCompany(t), newKey(t)
	w, root := bootstrapped(t), caller(t, "root", "root")
	if got, err := w.Import(t.Context(), root, ca.PathListener, ca.KeyChain, chainOf(c.leaf(key, nil), c.sub).text); err != nil || got.Live {
		t.Fatalf("%+v, %v", got, err)
	}
	w.now = w.now.Add(25 * time.Hour)
	k := keyOf(t, key)
	if _, err := w.Import(t.Context(), root, ca.PathListener, k.name, k.text); !errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("got %v, want that it expired", err)
	}
	held, err := w.Held(t.Context(), ca.PathListener)
	if err != nil || len(held.Pending) != 1 || !strings.Contains(held.Pending[0], "expired") {
		t.Errorf("held %+v, %v", held, err)
	}
}

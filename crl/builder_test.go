package crl_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/crl"
	"omca/pki"
)

// revoked is a revocation of a serial number, an hour ago, of a certificate that
// is good for a long time.
func revoked(serial string, reason crl.Reason) crl.Revocation {
	return crl.Revocation{Entry: crl.Entry{Serial: pki.Serial(serial), At: now().Add(-hour), Reason: reason}, NotAfter: now().Add(1000 * hour)}
}

func builder(tb testing.TB, ca *identity, more ...crl.Revocation) *crl.Builder {
	tb.Helper()
	b := must[*crl.Builder](tb)(crl.NewBuilder(crl.BuilderConfig{Issuer: ca.Certificate, Key: ca.key}))
	if err := b.Add(more...); err != nil {
		tb.Fatal(err)
	}
	return b
}

func build(tb testing.TB, b *crl.Builder, at time.Time) *crl.Published {
	tb.Helper()
	return must[*crl.Published](tb)(b.Build(b.Next(), at, at.Add(24*hour)))
}

func entriesOf(tb testing.TB, p *crl.Published) map[pki.Serial]crl.Reason {
	tb.Helper()
	l := must[*crl.List](tb)(crl.Parse(p.DER, crl.DefaultLimits()))
	all := make(map[pki.Serial]crl.Reason)
	for e := range l.Entries() {
		all[e.Serial] = e.Reason
	}
	return all
}

func TestBuild(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	b := builder(t, ca, revoked("0a", crl.KeyCompromise), revoked("ff", crl.Unspecified))
	first := build(t, b, now())
	if err := b.Add(revoked("1", crl.Superseded), revoked("a", crl.Superseded)); err != nil {
		t.Fatal(err)
	}
	second := build(t, b, now())
	want := map[pki.Serial]crl.Reason{"1": crl.Superseded, "a": crl.KeyCompromise, "ff": crl.Unspecified}
	if diff := cmp.Diff(want, entriesOf(t, second)); diff != "" {
		t.Error(diff)
	}
	if len(entriesOf(t, first)) != 2 || first.ETag() == second.ETag() {
		t.Error("the first list changed, or has the tag of the second")
	}
	h := second.Header
	if h.Number.Int64() != 2 || !h.ThisUpdate.Equal(now()) || !h.NextUpdate.Equal(now().Add(24*hour)) {
		t.Errorf("header: %+v", h)
	}
	if diff := cmp.Diff(ca.SubjectKeyId, h.AuthorityKeyID); diff != "" {
		t.Error(diff)
	}
	if v := must[*crl.List](t)(crl.ParsePEM(second.PEM(), crl.DefaultLimits())); v.Len() != 3 {
		t.Errorf("PEM has %d entries", v.Len())
	}
}

func TestBuildDropsExpired(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	expired := revoked("1", crl.KeyCompromise)
	expired.NotAfter = now().Add(-time.Minute)
	late := expired
	late.Serial, late.At = "2", now().Add(time.Minute)
	b := builder(t, ca, expired, revoked("3", crl.KeyCompromise))
	steps := []struct {
		at   time.Time
		want string
	}{
		{now().Add(-time.Hour), "map[1:keyCompromise 3:keyCompromise]"}, // before its end
		{now(), "map[1:keyCompromise 3:keyCompromise]"},                 // the one list after it
		{now().Add(hour), "map[2:keyCompromise 3:keyCompromise]"},       // revoked after the end: on one list
		{now().Add(2 * hour), "map[3:keyCompromise]"},
	}
	for i, step := range steps {
		if i == 2 {
			if err := b.Add(late); err != nil {
				t.Fatal(err)
			}
		}
		if got := fmt.Sprint(entriesOf(t, build(t, b, step.at))); got != step.want {
			t.Errorf("list %d has %s, want %s", i, got, step.want)
		}
	}
	again := must[*crl.Builder](t)(crl.NewBuilder(crl.BuilderConfig{Issuer: ca.Certificate, Key: ca.key, Number: big.NewInt(4), ThisUpdate: now().Add(2 * hour)}))
	if err := again.Add(expired, late); err != nil {
		t.Fatal(err)
	}
	p := build(t, again, now().Add(3*hour))
	if n := p.Entries; n != 0 || p.Header.Number.Int64() != 5 {
		t.Errorf("after a restart: %d entries, number %s", n, p.Header.Number)
	}
}

// TestBuildKeeps: a list that a clock ahead made takes nothing away from those after it.
func TestBuildKeeps(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	living := revoked("1", crl.KeyCompromise)
	living.NotAfter = now().Add(48 * hour)
	b := builder(t, ca, living)
	build(t, b, now())
	for i, at := range []time.Time{now().Add(1000 * hour), now().Add(1001 * hour), now().Add(hour), now().Add(2 * hour)} {
		want := 1
		if i == 1 {
			want = 0 // it had expired when the list before was made, as far as that clock knows
		}
		if got := len(entriesOf(t, build(t, b, at))); got != want {
			t.Errorf("list %d, of %s: %d entries, want %d", i, at, got, want)
		}
	}
}

// TestBuildDates: no entry is dated after its list, whatever clock dated the revocation.
func TestBuildDates(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	ahead := revoked("2", crl.KeyCompromise)
	ahead.At, ahead.NotAfter = now().Add(24*hour), now().Add(1000*hour)
	b := builder(t, ca, revoked("1", crl.Superseded), ahead, revoked("3", crl.Unspecified))
	for i, want := range []time.Time{now().Add(hour), now().Add(2 * hour), now().Add(24 * hour), now().Add(24 * hour)} {
		at := want
		if i == 3 {
			at = now().Add(30 * hour) // the date of the revocation is in the past by then
		}
		l := must[*crl.List](t)(crl.Parse(build(t, b, at).DER, crl.DefaultLimits()))
		dates := make(map[pki.Serial]time.Time)
		for e := range l.Entries() {
			dates[e.Serial] = e.At
		}
		if len(dates) != 3 || !dates["2"].Equal(want) || !dates["1"].Equal(revoked("1", crl.Superseded).At) {
			t.Errorf("list of %s: %v, want serial 2 at %s", at, dates, want)
		}
	}
}

// TestBuildAlike: two builders make the same octets of the same facts.
func TestBuildAlike(t *testing.T) {
	for _, kind := range []pki.KeyType{pki.ECP256, "ec-p384", "ed25519", "rsa-2048"} {
		key := must[crypto.Signer](t)(pki.GenerateKey(kind))
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: now(), NotAfter: now().Add(hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign}
		der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
		ca := must[*x509.Certificate](t)(x509.ParseCertificate(der))
		var lists [][]byte
		for range 2 {
			b := must[*crl.Builder](t)(crl.NewBuilder(crl.BuilderConfig{Issuer: ca, Key: key}))
			if err := b.Add(revoked("5", crl.KeyCompromise)); err != nil {
				t.Fatal(err)
			}
			lists = append(lists, build(t, b, now()).DER)
		}
		if !bytes.Equal(lists[0], lists[1]) {
			t.Errorf("%s: two lists of one number differ", kind)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	ca, other := certify(t, nil, "CA", asCA), certify(t, nil, "other", asCA)
	leaf := certify(t, ca, "leaf")
	for name, c := range map[string]crl.BuilderConfig{
		"another key":       {Issuer: ca.Certificate, Key: other.key},
		"no cRLSign":        {Issuer: leaf.Certificate, Key: leaf.key},
		"no URI":            {Issuer: ca.Certificate, Key: ca.key, DistributionPoint: "crl/ca.crl"},
		"URI with a letter": {Issuer: ca.Certificate, Key: ca.key, DistributionPoint: "http://exämple/ca.crl"},
	} {
		if _, err := crl.NewBuilder(c); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := builder(t, ca, revoked("1", crl.KeyCompromise))
	for name, r := range map[string]crl.Revocation{
		"removed":       revoked("2", crl.RemoveFromCRL),
		"reason 7":      revoked("2", 7),
		"no serial":     revoked("", crl.KeyCompromise),
		"not hex":       revoked("xyz", crl.KeyCompromise),
		"21 octets":     revoked(strings.Repeat("ff", 21), crl.KeyCompromise),
		"no time":       {Entry: crl.Entry{Serial: "2"}},
		"time too late": {Entry: crl.Entry{Serial: "2", At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}},
	} {
		if err := b.Add(revoked("3", crl.KeyCompromise), r); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b.Len() != 1 {
		t.Errorf("%d entries after refusals, want 1", b.Len())
	}
	build(t, b, now())
	for name, try := range map[string]func() (*crl.Published, error){
		"same number": func() (*crl.Published, error) { return b.Build(big.NewInt(1), now(), now().Add(hour)) },
		"huge number": func() (*crl.Published, error) {
			return b.Build(new(big.Int).Lsh(big.NewInt(1), 160), now(), now().Add(hour))
		},
		"no time": func() (*crl.Published, error) { return b.Build(big.NewInt(2), now(), now()) },
	} {
		if _, err := try(); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBuildOpenSSL has a stranger read lists of every kind of key.
func TestBuildOpenSSL(t *testing.T) {
	require(t, "openssl")
	for _, kind := range []pki.KeyType{pki.ECP256, pki.ECP384, pki.Ed25519, pki.RSA2048} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ca := certifyKey(t, nil, "CA", must[crypto.Signer](t)(pki.GenerateKey(kind)), asCA)
			b := must[*crl.Builder](t)(crl.NewBuilder(crl.BuilderConfig{Issuer: ca.Certificate, Key: ca.key, DistributionPoint: "http://n1.example.com:1216/crl/ca.crl"}))
			if err := b.Add(revoked("deadbeef", crl.KeyCompromise), revoked("80", crl.Unspecified)); err != nil {
				t.Fatal(err)
			}
			p := build(t, b, now())
			dir := t.TempDir()
			file(t, dir, "ca.pem", "CERTIFICATE", ca.Raw)
			if err := os.WriteFile(filepath.Join(dir, "ca.crl"), p.DER, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := openssl(t, dir, "crl", "-inform", "DER", "-in", "ca.crl", "-CAfile", "ca.pem", "-verify", "-noout", "-text")
			if err != nil {
				t.Fatal(err, out)
			}
			for _, want := range []string{"verify OK", "Serial Number: DEADBEEF", "Serial Number: 80", "Key Compromise", "URI:http://n1.example.com:1216/crl/ca.crl", "Version 2"} {
				if !strings.Contains(out, want) {
					t.Errorf("%q is missing in %s", want, out)
				}
			}
		})
	}
}

// faulty is a signing device that signs something else.
type faulty struct{ crypto.Signer }

func (f faulty) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	other := bytes.Clone(digest)
	other[0] ^= 1
	return f.Signer.Sign(random, other, opts)
}

func TestFaultySigner(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	b := must[*crl.Builder](t)(crl.NewBuilder(crl.BuilderConfig{Issuer: ca.Certificate, Key: faulty{ca.key}}))
	if p, err := b.Build(b.Next(), now(), now().Add(hour)); err == nil || p != nil {
		t.Errorf("a list with a bad signature came out: %v", err)
	}
	if b.Next().Int64() != 1 {
		t.Errorf("the list that failed counts: the next is %s", b.Next())
	}
	signer := certify(t, ca, "OCSP", asResponder)
	r := must[*crl.Responder](t)(crl.NewResponder(ca.Certificate, signer.Certificate, faulty{signer.key}))
	request := must[*crl.OCSPRequest](t)(crl.ParseOCSPRequest(ask(nil, sha1ID(ca, 5))))
	if der, err := r.Respond(request, window(), statuses); err == nil || der != nil {
		t.Errorf("an OCSP answer with a bad signature came out: %v", err)
	}
}

// TestBuildKeyID has an issuer whose certificate says nothing of its key identifier.
func TestBuildKeyID(t *testing.T) {
	ca := certify(t, nil, "CA", asCA)
	silent := *ca.Certificate
	silent.SubjectKeyId = nil
	p := build(t, builder(t, &identity{&silent, ca.key}), now())
	if diff := cmp.Diff(must[[]byte](t)(pki.SubjectKeyID(ca.key.Public())), p.Header.AuthorityKeyID); diff != "" {
		t.Error(diff)
	}
}

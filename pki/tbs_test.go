package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// leafTemplate is what the template of a leaf is made of, as a fuzzer can turn it.
type leafTemplate struct {
	cn, org, dns, email, uri string
	ip                       []byte
	profile                  string
	notBefore, life          int64
	serial                   []byte
}

// sameAsStandard encodes the template both ways.
func (l leafTemplate) sameAsStandard(t *testing.T, issuer *Issuer, subject crypto.PublicKey) {
	t.Helper()
	profile, err := LookupProfile(l.profile)
	if err != nil {
		t.Skip("no such profile")
	}
	names := Names{}
	for _, name := range []string{"DNS:" + l.dns, "email:" + l.email, "URI:" + l.uri} {
		_ = names.Add(name) // one that is no name is left out
	}
	if ip, ok := netip.AddrFromSlice(l.ip); ok {
		_ = names.Add("IP:" + ip.String())
	}
	s := Subject{CommonName: l.cn, Organization: l.org}
	if l.org != "" {
		s.Country = "FR" // else the subject can be empty
	}
	r, err := NewRequest(subject, s, names)
	if err != nil {
		t.Skip("no request of ours")
	}
	serial := new(big.Int).SetBytes(l.serial)
	from := time.Unix(l.notBefore%(1<<33), 0)
	template, err := issuer.template(r, Terms{Profile: profile, Serial: Serial(fmt.Sprintf("%x", serial)), NotBefore: from, NotAfter: from.Add(time.Duration(l.life))})
	if err != nil || !plainLeaf(template) {
		t.Skip("no leaf of ours")
	}
	template.NotBefore, template.NotAfter = from, from.Add(time.Duration(l.life)&(1<<60)).Truncate(time.Second) // also beyond the issuer's
	want, err := encodeTBS(template, issuer.Certificate(), r.key, issuer.key.Public())
	if err != nil {
		t.Skip("not encoded by crypto/x509 either")
	}
	got, err := encodeLeaf(template, issuer.Certificate().RawSubject, r.encoded, issuer.key.Public())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v: got\n%x, want\n%x", err, got, want)
	}
}

// passing is a linter for the tests inside the package, which pki/lint imports: it has nothing against anything.
type passing struct{}

func (passing) Lint(*x509.Certificate) []Finding { return nil }

// fuzzIssuers are one issuer and one leaf key of each type that is quick to make.
func fuzzIssuers(t testing.TB) (issuers []*Issuer, leaves []crypto.PublicKey) {
	t.Helper()
	for _, kind := range []KeyType{ECP256, ECP384, Ed25519, RSA2048} {
		key, err := GenerateKey(kind)
		if err != nil {
			t.Fatal(err)
		}
		root, err := NewRoot(key, passing{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewRequest(key.Public(), Subject{CommonName: "CA " + string(kind)}, Names{})
		if err != nil {
			t.Fatal(err)
		}
		profile, err := LookupProfile("ca")
		if err != nil {
			t.Fatal(err)
		}
		from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		draft, err := root.Draft(r, Terms{Profile: profile, Serial: "80000000000000000000000000000001", NotBefore: from, NotAfter: from.AddDate(10, 0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		cert, err := root.Sign(draft)
		if err != nil {
			t.Fatal(err)
		}
		issuer, err := NewIssuer([]*x509.Certificate{cert}, key, passing{})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := GenerateKey(kind)
		if err != nil {
			t.Fatal(err)
		}
		issuers, leaves = append(issuers, issuer), append(leaves, leaf.Public())
	}
	return issuers, leaves
}

// FuzzEncodeLeaf holds our encoder against crypto/x509, byte for byte.
func FuzzEncodeLeaf(f *testing.F) {
	issuers, leaves := fuzzIssuers(f)
	f.Add("node1", "MyCorp", "node1.example.com", "a@example.com", "https://example.com/x", []byte{192, 0, 2, 1}, "listener", int64(1795000000), int64(time.Hour), []byte{0x80, 1}, uint8(0))
	f.Add("", "", "x.example.com", "", "", []byte{}, "listener", int64(1795000000), int64(time.Hour), []byte{1}, uint8(1))
	f.Add("alice", "Ünïcode", "", "", "", make([]byte, 16), "usr", int64(2524607999), int64(2*time.Second), bytes.Repeat([]byte{0xff}, 16), uint8(2))
	f.Add("node7", "a*b", "*.example.com", "", "", []byte{}, "node", int64(1795000000), int64(time.Hour), bytes.Repeat([]byte{0x7f}, 20), uint8(3))
	f.Fuzz(func(t *testing.T, cn, org, dns, email, uri string, ip []byte, profile string, notBefore, life int64, serial []byte, which uint8) {
		if len(serial) == 0 || len(serial) > maxSerialOctets || len(serial) == maxSerialOctets && serial[0] >= 0x80 || life < 0 || notBefore < 0 {
			t.Skip("no terms of ours")
		}
		i := int(which) % len(issuers)
		leafTemplate{cn, org, dns, email, uri, ip, profile, notBefore, life, serial}.sameAsStandard(t, issuers[i], leaves[(i+int(which)/4)%len(leaves)])
	})
}

// What no leaf of ours has goes the way of crypto/x509.
func TestPlainLeaf(t *testing.T) {
	plain := func() *x509.Certificate {
		return &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, SubjectKeyId: []byte{1}, AuthorityKeyId: []byte{2}}
	}
	if !plainLeaf(plain()) {
		t.Fatal("a plain leaf is none")
	}
	for name, spoil := range map[string]func(*x509.Certificate){
		"a CA":          func(c *x509.Certificate) { c.IsCA = true },
		"no usage":      func(c *x509.Certificate) { c.KeyUsage = 0 },
		"decipherOnly":  func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDecipherOnly },
		"a CRL":         func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://x/"} },
		"OCSP":          func(c *x509.Certificate) { c.OCSPServer = []string{"http://x/"} },
		"no key id":     func(c *x509.Certificate) { c.SubjectKeyId = nil },
		"no authority":  func(c *x509.Certificate) { c.AuthorityKeyId = nil },
		"an OID policy": func(c *x509.Certificate) { c.Policies = []x509.OID{{}} },
	} {
		c := plain()
		spoil(c)
		if plainLeaf(c) {
			t.Errorf("%s is taken for plain", name)
		}
	}
}

// The certificate that Sign returns is what its DER says, though only the draft
// was parsed.
func TestSignReturnsWhatItSigned(t *testing.T) {
	issuers, leaves := fuzzIssuers(t)
	profile, err := LookupProfile("listener")
	if err != nil {
		t.Fatal(err)
	}
	for i, issuer := range issuers {
		names, err := ParseNames([]string{"a.example.com", "192.0.2.1", "URI:https://a.example.com/", "email:a@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewRequest(leaves[i], Subject{CommonName: "a.example.com"}, names)
		if err != nil {
			t.Fatal(err)
		}
		from := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
		draft, err := issuer.Draft(r, Terms{Profile: profile, Serial: "80000000000000000000000000000003", NotBefore: from, NotAfter: from.AddDate(1, 0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := issuer.Sign(draft)
		if err != nil {
			t.Fatal(err)
		}
		want, err := x509.ParseCertificate(got.Raw)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("issuer %d: %v: got %+v, want %+v", i, err, got, want)
		}
		if err := got.CheckSignatureFrom(issuer.Certificate()); err != nil {
			t.Errorf("issuer %d: %v", i, err)
		}
	}
}

package lint

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	zcrypto "github.com/zmap/zcrypto/x509"

	"omca/pki"
)

// extended signs a certificate with as many extensions as the library writes, but the name
// constraints, and with those given.
func extended(t *testing.T, ca bool, more ...pkix.Extension) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 << 60), Subject: pkix.Name{CommonName: "n1.example.com", Organization: []string{"o"}},
		NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(1710000000, 0), BasicConstraintsValid: true, IsCA: ca,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		SubjectKeyId: []byte("a key identifier"), AuthorityKeyId: []byte("another"), DNSNames: []string{"n1.example.com", "*.example.com"},
		EmailAddresses: []string{"a@example.com"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}, URIs: []*url.URL{{Scheme: "spiffe", Host: "c", Path: "/a"}},
		OCSPServer: []string{"http://ocsp.example.com"}, IssuingCertificateURL: []string{"http://ca.example.com"}, CRLDistributionPoints: []string{"http://crl.example.com"},
		Policies: []x509.OID{mustOID(t, 2, 5, 29, 32, 0)}, ExtraExtensions: more,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func mustOID(t *testing.T, parts ...uint64) x509.OID {
	t.Helper()
	oid, err := x509.OIDFromInts(parts)
	if err != nil {
		t.Fatal(err)
	}
	return oid
}

// TestTopicsAreTheirLintsAlone: a lint that is not asked about a certificate without an extension
// would not have spoken of it.
func TestTopicsAreTheirLintsAlone(t *testing.T) {
	l := New()
	counts := make([]int, len(l.topics))
	for i, lint := range l.lints {
		if l.about[i] < 0 {
			continue
		}
		counts[l.about[i]]++
		for _, ca := range []bool{true, false} {
			for _, cert := range []*x509.Certificate{extended(t, ca), extended(t, ca, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}})} {
				parsed, err := zcrypto.ParseCertificate(cert.Raw)
				if err != nil {
					t.Fatal(err)
				}
				if lint.Lint().CheckApplies(parsed) {
					t.Errorf("%s speaks of a certificate without the extension of %q", lint.Name, l.topics[l.about[i]].word)
				}
			}
		}
	}
	for i, n := range counts {
		if n == 0 {
			t.Errorf("no lint is about %q", l.topics[i].word)
		}
	}
}

// TestTopicsAreAsked: with the extension, its lints are asked.
func TestTopicsAreAsked(t *testing.T) {
	for lint, e := range map[string]pkix.Extension{
		"e_ext_ian_no_entries":                  {Id: asn1.ObjectIdentifier{2, 5, 29, 18}, Value: []byte{0x30, 0}},
		"e_ext_name_constraints_not_critical":   {Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Value: []byte{0x30, 9, 0xa0, 7, 0x30, 5, 0x82, 3, 'c', 'o', 'm'}},
		"w_ext_policy_map_not_critical":         {Id: asn1.ObjectIdentifier{2, 5, 29, 33}, Value: []byte{0x30, 0x0c, 0x30, 0x0a, 6, 3, 0x55, 0x1d, 1, 6, 3, 0x55, 0x1d, 2}},
		"e_ext_policy_constraints_not_critical": {Id: asn1.ObjectIdentifier{2, 5, 29, 36}, Value: []byte{0x30, 3, 0x80, 1, 0}},
	} {
		found := New().Lint(extended(t, true, e))
		if !slices.ContainsFunc(found, func(f pki.Finding) bool { return f.Lint == lint }) {
			t.Errorf("%s is not among %v", lint, found)
		}
	}
}

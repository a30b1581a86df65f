package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testCertificate is valid for the day after the Unix epoch, with a name of each type.
func testCertificate(t testing.TB) []byte {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xa0b), Subject: pkix.Name{CommonName: "n"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(86400, 0),
		DNSNames: []string{"n"}, IPAddresses: []net.IP{net.IPv6loopback}, EmailAddresses: []string{"a@n"},
		URIs:     []*url.URL{{Scheme: "spiffe", Host: "n"}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestView(t *testing.T) {
	der := testCertificate(t)
	certs, err := parseCertificates(der)
	if err != nil || len(certs) != 1 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	for _, tt := range []struct {
		now  time.Time
		want string
	}{
		{time.Unix(-1, 0), "not yet valid"},
		{time.Unix(0, 0), "valid"},
		{time.Unix(86400, 0), "valid"}, // RFC 5280, 4.1.2.5: the period is inclusive
		{time.Unix(86401, 0), "expired"},
	} {
		if got := view(certs[0], tt.now).State; got != tt.want {
			t.Errorf("state at %v is %q, want %q", tt.now.UTC(), got, tt.want)
		}
	}
	v := view(certs[0], time.Unix(0, 0))
	got := []any{v.Serial, v.Names, v.DaysLeft, v.Key, v.Usages, v.CA}
	want := []any{"a0b", []string{"DNS:n", "IP:::1", "URI:spiffe://n", "email:a@n"}, 1, "Ed25519", []string{"digitalSignature", "clientAuth"}, false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func FuzzParseCertificates(f *testing.F) {
	der := testCertificate(f)
	f.Add(der)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("nothing"))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := parseCertificates(text)
		if (err == nil) != (len(certs) > 0) {
			t.Errorf("%d certificates and %v", len(certs), err)
		}
		for _, cert := range certs {
			if v := view(cert, time.Unix(0, 0)); v.SHA256 == "" || v.State == "" {
				t.Errorf("view is %+v", v)
			}
		}
	})
}

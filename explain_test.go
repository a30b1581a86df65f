package omca_test

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

	"omca"
	"omca/ca"
)

// aDay is valid for the day after the Unix epoch, with a name of each type.
func aDay(t testing.TB) []byte {
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

func TestExplain(t *testing.T) {
	der := aDay(t)
	for _, tt := range []struct {
		now  time.Time
		want ca.State
	}{
		{time.Unix(-1, 0), ca.StateNotYet},
		{time.Unix(0, 0), ca.StateValid},
		{time.Unix(86400, 0), ca.StateValid}, // RFC 5280, 4.1.2.5: the period is inclusive
		{time.Unix(86401, 0), ca.StateExpired},
	} {
		all, err := omca.Explain(der, tt.now)
		if err != nil || len(all) != 1 || all[0].State != tt.want {
			t.Errorf("at %v: %+v, %v, want %s", tt.now.UTC(), all, err, tt.want)
		}
	}
	all, err := omca.Explain(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	e := all[0]
	got := []any{string(e.Serial), e.SANs, e.DaysLeft, e.Key, e.ExtKeyUsage, e.IsCA, e.SubjectDN}
	want := []any{"a0b", []string{"n", "::1", "a@n", "spiffe://n"}, 1, "Ed25519", []string{"clientAuth"}, false, "CN=n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func FuzzExplain(f *testing.F) {
	der := aDay(f)
	f.Add(der)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("nothing"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := omca.Explain(text, time.Unix(0, 0))
		if (err == nil) != (len(all) > 0) {
			t.Errorf("%d certificates and %v", len(all), err)
		}
		for _, e := range all {
			if e.Fingerprint == "" || e.State == "" {
				t.Errorf("%+v", e)
			}
		}
	})
}

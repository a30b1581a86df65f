package pki_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"omca/pki"
)

func TestPKCS12ReadByOpenSSL(t *testing.T) {
	ca := root(t, pki.ECP256, nil)
	for _, kind := range []pki.KeyType{pki.ECP256, pki.RSA2048} {
		k := key(t, kind)
		chain := []*x509.Certificate{issue(t, ca, request(t, k.Public(), "alice"), terms(t, "usr")), ca.Certificate()}
		for _, format := range []pki.PKCS12Format{pki.PKCS12Modern, pki.PKCS12Legacy} {
			der := must[[]byte](t)(pki.EncodePKCS12(k, chain, "sesame", format))
			out := openssl(t, "pkcs12", "-in", write(t, "alice.p12", der), "-passin", "pass:sesame", "-nodes")
			if strings.Count(out, "BEGIN CERTIFICATE") != 2 || !strings.Contains(out, "BEGIN PRIVATE KEY") {
				t.Errorf("%s, %s: openssl reads\n%s", kind, format, out)
			}
		}
	}
}

func TestEncodePKCS12Refuses(t *testing.T) {
	ca := root(t, pki.ECP256, nil)
	k := key(t, pki.ECP256)
	chain := []*x509.Certificate{issue(t, ca, request(t, k.Public(), "alice"), terms(t, "usr"))}
	for name, call := range map[string]func() ([]byte, error){
		"no certificate": func() ([]byte, error) { return pki.EncodePKCS12(k, nil, "sesame", pki.PKCS12Modern) },
		"no password":    func() ([]byte, error) { return pki.EncodePKCS12(k, chain, "", pki.PKCS12Modern) },
		"no format":      func() ([]byte, error) { return pki.EncodePKCS12(k, chain, "sesame", "") },
		"another key": func() ([]byte, error) {
			return pki.EncodePKCS12(key(t, pki.ECP256), chain, "sesame", pki.PKCS12Modern)
		},
	} {
		if _, err := call(); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInfo(t *testing.T) {
	ca := root(t, pki.ECP256, nil)
	cert := issue(t, ca, request(t, key(t, pki.ECP256).Public(), "n1", "n1.example.com", "10.0.0.1", "spare@mycorp", "https://a.example.com/"), terms(t, "node"))
	text := must[[]byte](t)(json.Marshal(pki.Info(cert)))
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"serial": string(pki.SerialOf(cert)), "serial_number": cert.SerialNumber.String(), "key": "EC P-256",
		"sha256_fingerprint": pki.Fingerprint(cert), "pem": string(pki.EncodeCertificates(cert)),
	} {
		if s, ok := got[field].(string); !ok || strings.TrimSpace(s) != strings.TrimSpace(want) {
			t.Errorf("%s: %v, want %q", field, got[field], want)
		}
	}
	for _, name := range []string{"n1.example.com", "10.0.0.1", "spare@mycorp", "https://a.example.com/"} {
		if !strings.Contains(string(text), name) {
			t.Errorf("%s is missing in %s", name, text)
		}
	}
}

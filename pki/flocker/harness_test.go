package flocker_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"testing"
	"time"

	"omca/pki"
)

func generate() (crypto.Signer, error) { return pki.GenerateKey(pki.ECP256) }

func pkixName(cn string) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: cn}
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		cert, err = pki.WithExtensions(cert)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue signs a certificate of a profile.
func issue(t *testing.T, issuer *pki.Issuer, cn, profile string, names []string) *x509.Certificate {
	t.Helper()
	key, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	list, err := pki.ParseNames(names)
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.NewRequest(key.Public(), pki.Subject{CommonName: cn}, list)
	if err != nil {
		t.Fatal(err)
	}
	terms := pki.Terms{NotBefore: start(), NotAfter: start().Add(48 * time.Hour)}
	if terms.Profile, err = pki.LookupProfile(profile); err != nil {
		t.Fatal(err)
	}
	if terms.Serial, err = pki.NewSerial(time.Now()); err != nil {
		t.Fatal(err)
	}
	draft, err := issuer.Draft(request, terms)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := issuer.Sign(draft)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

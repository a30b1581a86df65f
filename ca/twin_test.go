package ca_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

// twin is the certificate with the other signature that an ECDSA signature (r, s) of a P-256 key gives to anybody: (r, n-s).
func twin(t *testing.T, cert *x509.Certificate) *x509.Certificate {
	t.Helper()
	var signature struct{ R, S *big.Int }
	var parts struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.Raw, &parts); err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(parts.Signature.Bytes, &signature); err != nil {
		t.Fatal(err)
	}
	signature.S.Sub(elliptic.P256().Params().N, signature.S)
	der, err := asn1.Marshal(signature)
	if err != nil {
		t.Fatal(err)
	}
	parts.Signature = asn1.BitString{Bytes: der, BitLength: 8 * len(der)}
	if der, err = asn1.Marshal(parts); err != nil {
		t.Fatal(err)
	}
	other, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(other.Raw, cert.Raw) || !bytes.Equal(other.RawTBSCertificate, cert.RawTBSCertificate) {
		t.Fatal("no twin")
	}
	return other
}

// TestTwinSignature: a certificate is that of its record whichever of its two signatures it has. Taken for another one, which an imported
// CA may have signed elsewhere, it would speak for the user that has the name by now.
func TestTwinSignature(t *testing.T) {
	for name, imported := range map[string]bool{"a CA made here": false, "an imported CA": true} {
		w := bootstrapped(t)
		if imported {
			w.importFrom(bootstrapped(t), ca.KeyPrivate, ca.KeyChain)
		}
		alice := w.alice()
		h, err := w.objects.Holder(t.Context(), "system/usr/alice")
		if err != nil {
			t.Fatal(err)
		}
		other := twin(t, alice.Certificate)
		id, err := w.Identify(t.Context(), w.verified(other))
		if err != nil || id.User != "alice" || id.IssuedAt.IsZero() || !id.BelongsTo(h.Created) || id.BelongsTo(h.Created.Add(time.Second)) {
			t.Errorf("%s: %+v, %v; alice was made at %v", name, id, err, h.Created)
		}
		w.revoke(pki.SerialOf(alice.Certificate), crl.Superseded)
		for _, cert := range []*x509.Certificate{alice.Certificate, other} {
			if id, err := w.Identify(t.Context(), w.verified(cert)); !errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), "revoked") {
				t.Errorf("%s, revoked: %+v, %v", name, id, err)
			}
		}
	}
}

// TestSerialOfAnother: a certificate with the serial number of another of the same CA speaks for no user.
func TestSerialOfAnother(t *testing.T) {
	w := bootstrapped(t)
	w.importFrom(bootstrapped(t), ca.KeyPrivate, ca.KeyChain)
	alice := w.alice()
	chain, key, err := w.Serving(t.Context(), ca.PathCA)
	if err != nil {
		t.Fatal(err)
	}
	template := *alice.Certificate
	for what, want := range map[string]string{"another key": "another certificate", "another serial number": ""} {
		if want == "" {
			template.SerialNumber = new(big.Int).Add(template.SerialNumber, big.NewInt(1))
		}
		id, err := w.Identify(t.Context(), w.verified(forged(t, &template, newKey(t).Public(), chain[0], key)))
		if want == "" && (err != nil || id.User != "alice") || want != "" && (!errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %+v, %v", what, id, err)
		}
		template = *alice.Certificate
	}
}

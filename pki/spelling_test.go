package pki_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"omca/pki"
)

// respelled returns the certificate with other octets for its public key. Nothing asks whether the signature still fits.
func respelled(t *testing.T, cert *x509.Certificate, spki []byte) *x509.Certificate {
	t.Helper()
	parts := func(der []byte) (all []asn1.RawValue) {
		var seq asn1.RawValue
		if _, err := asn1.Unmarshal(der, &seq); err != nil {
			t.Fatal(err)
		}
		for rest := seq.Bytes; len(rest) > 0; {
			var one asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &one); err != nil {
				t.Fatal(err)
			}
			all = append(all, one)
		}
		return all
	}
	sequence := func(all []asn1.RawValue) []byte {
		var content []byte
		for _, one := range all {
			content = append(content, one.FullBytes...)
		}
		der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	tbs := parts(cert.RawTBSCertificate)
	for i := range tbs {
		if bytes.Equal(tbs[i].FullBytes, cert.RawSubjectPublicKeyInfo) {
			tbs[i].FullBytes = spki
		}
	}
	whole := parts(cert.Raw)
	whole[0].FullBytes = sequence(tbs)
	again, err := x509.ParseCertificate(sequence(whole))
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// keyInfo is a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
type keyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Key       asn1.BitString
}

// TestKeySpelledAnew: one key has one identity, in whatever octets a certificate has it, and a CA with it is one CA. An external CA, or
// an import, would otherwise bring back what the CA revoked.
func TestKeySpelledAnew(t *testing.T) {
	for kind, spell := range map[string]func(asn1.BitString) asn1.BitString{
		// One bit that is not used, at the end of the point.
		"ec-p256": func(key asn1.BitString) asn1.BitString {
			shifted := new(big.Int).Lsh(new(big.Int).SetBytes(key.Bytes), 1)
			return asn1.BitString{Bytes: shifted.FillBytes(make([]byte, len(key.Bytes))), BitLength: key.BitLength - 1}
		},
		// A third element behind modulus and exponent.
		"rsa-2048": func(key asn1.BitString) asn1.BitString {
			var numbers asn1.RawValue
			if _, err := asn1.Unmarshal(key.Bytes, &numbers); err != nil {
				t.Fatal(err)
			}
			der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(bytes.Clone(numbers.Bytes), 5, 0)})
			if err != nil {
				t.Fatal(err)
			}
			return asn1.BitString{Bytes: der, BitLength: 8 * len(der)}
		},
	} {
		key, err := pki.GenerateKey(pki.KeyType(kind))
		if err != nil {
			t.Fatal(err)
		}
		cert := selfSigned(t, key)
		var info keyInfo
		if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &info); err != nil {
			t.Fatal(err)
		}
		info.Key = spell(info.Key)
		spki, err := asn1.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		again := respelled(t, cert, spki)
		if bytes.Equal(again.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo) || !pki.SameKey(again.PublicKey, cert.PublicKey) {
			t.Fatalf("%s: not the same key in other octets", kind)
		}
		if pki.AuthorityOf(again) != pki.AuthorityOf(cert) {
			t.Errorf("%s: another CA", kind)
		}
		made, err := pki.HashKey(key.Public())
		if err != nil || pki.KeyHashOf(again) != made || pki.KeyHashOf(cert) != made {
			t.Errorf("%s: keys %v and %v, made as %v, %v", kind, pki.KeyHashOf(again), pki.KeyHashOf(cert), made, err)
		}
	}
}

func selfSigned(t *testing.T, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<31, 0),
		IsCA: true, BasicConstraintsValid: true,
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

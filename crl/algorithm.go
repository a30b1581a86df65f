package crl

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"

	"omca/pki"
)

// oidValue is the type that cryptobyte reads object identifiers into.
type oidValue = asn1.ObjectIdentifier

// An algorithm is one that lists and OCSP answers are signed with.
type algorithm struct {
	x509 x509.SignatureAlgorithm
	hash crypto.Hash // 0 for Ed25519, which signs the message itself
	der  string      // AlgorithmIdentifier
}

// algorithms returns all that are accepted. MD5 and SHA-1 are not among them.
// RFC 4055, 5480 and 8410 leave one DER form to each.
func algorithms() [10]algorithm {
	const (
		rsaWith   = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01"
		ecdsaWith = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03"
		pss       = "\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\xa0\x0f"
		mgf1      = "\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
		sha256    = "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"
		sha384    = "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00"
		sha512    = "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00"
		salt      = "\xa2\x03\x02\x01"
	)
	return [...]algorithm{
		{x509.SHA256WithRSA, crypto.SHA256, rsaWith + "\x0b\x05\x00"},
		{x509.SHA384WithRSA, crypto.SHA384, rsaWith + "\x0c\x05\x00"},
		{x509.SHA512WithRSA, crypto.SHA512, rsaWith + "\x0d\x05\x00"},
		{x509.ECDSAWithSHA256, crypto.SHA256, ecdsaWith + "\x02"},
		{x509.ECDSAWithSHA384, crypto.SHA384, ecdsaWith + "\x03"},
		{x509.ECDSAWithSHA512, crypto.SHA512, ecdsaWith + "\x04"},
		{x509.PureEd25519, 0, "\x30\x05\x06\x03\x2b\x65\x70"},
		{x509.SHA256WithRSAPSS, crypto.SHA256, pss + sha256 + mgf1 + sha256 + salt + "\x20"},
		{x509.SHA384WithRSAPSS, crypto.SHA384, pss + sha384 + mgf1 + sha384 + salt + "\x30"},
		{x509.SHA512WithRSAPSS, crypto.SHA512, pss + sha512 + mgf1 + sha512 + salt + "\x40"},
	}
}

// lookupAlgorithm returns what an AlgorithmIdentifier stands for.
func lookupAlgorithm(der []byte) (x509.SignatureAlgorithm, bool) {
	for _, a := range algorithms() {
		if a.der == string(der) {
			return a.x509, true
		}
	}
	return 0, false
}

// signingAlgorithm returns what a key signs with: SHA-256 with RSA and P-256,
// SHA-384 with P-384, SHA-512 with P-521 (RFC 5758). Errors: pki.ErrInvalid.
func signingAlgorithm(pub crypto.PublicKey) (algorithm, error) {
	if err := pki.CheckPublicKey(pub); err != nil {
		return algorithm{}, err
	}
	want := x509.UnknownSignatureAlgorithm
	switch k := pub.(type) {
	case *rsa.PublicKey:
		want = x509.SHA256WithRSA
	case ed25519.PublicKey:
		want = x509.PureEd25519
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			want = x509.ECDSAWithSHA256
		case elliptic.P384():
			want = x509.ECDSAWithSHA384
		case elliptic.P521():
			want = x509.ECDSAWithSHA512
		}
	}
	for _, a := range algorithms() {
		if a.x509 == want {
			return a, nil
		}
	}
	return algorithm{}, fmt.Errorf("%w: no signature algorithm for a key of type %s", pki.ErrInvalid, pki.DescribeKey(pub))
}

// sign returns the signature of message, which the caller verifies: a faulty
// device must not get a bad one out of here, nor leak its key by it.
func (a algorithm) sign(key crypto.Signer, message []byte) ([]byte, error) {
	return crypto.SignMessage(key, rand.Reader, message, a.hash)
}

// signAlike is sign for what several processes make of the same facts: a key of
// this process signs one message always alike (RFC 6979; RSA and Ed25519 do anyway).
func (a algorithm) signAlike(key crypto.Signer, message []byte) ([]byte, error) {
	if _, here := key.(*ecdsa.PrivateKey); here {
		return crypto.SignMessage(key, nil, message, a.hash)
	}
	return a.sign(key, message)
}

// assemble puts a signature to what was signed. A CertificateList and a
// BasicOCSPResponse have the same form, but for what the latter has after it:
// more, which may be nil.
func assemble(tbs []byte, a algorithm, signature []byte, more func(*cryptobyte.Builder)) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(signature)+128))
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes([]byte(a.der))
		b.AddASN1BitString(signature)
		if more != nil {
			more(b)
		}
	})
	return b.Bytes()
}

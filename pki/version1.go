package pki

import (
	"crypto/x509"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// WithExtensions returns cert with the extensions of a version 1 certificate,
// which crypto/x509 passes over: any other certificate is returned as it is.
//
// RFC 5280, 4.1.2.1: a certificate with extensions is of version 3. Programs
// that never set the version, Flocker's among them, made certificates of
// version 1 that have extensions all the same. OpenSSL obeys them; who does not
// see them takes a CA for none, and a user's certificate for one without limits.
// Bytes and signature stay the original's. Errors: ErrInvalid.
func WithExtensions(cert *x509.Certificate) (*x509.Certificate, error) {
	if cert.Version != 1 {
		return cert, nil
	}
	in := cryptobyte.String(cert.RawTBSCertificate)
	var tbs cryptobyte.String
	if !in.ReadASN1(&tbs, cryptobyte_asn1.SEQUENCE) {
		return nil, fmt.Errorf("%w: the certificate of %q has no TBSCertificate", ErrInvalid, cert.Subject)
	}
	rest := tbs
	version := cryptobyte_asn1.Tag(0).Constructed().ContextSpecific()
	if !rest.SkipOptionalASN1(version) {
		return nil, fmt.Errorf("%w: the certificate of %q has a malformed version", ErrInvalid, cert.Subject)
	}
	again, err := asVersion3(rest, cert)
	if err != nil {
		return nil, err
	}
	if len(again.Extensions) == 0 {
		return cert, nil
	}
	again.Version = cert.Version
	again.Raw, again.RawTBSCertificate = cert.Raw, cert.RawTBSCertificate
	return again, nil
}

// asVersion3 reads the fields behind the version as those of version 3.
func asVersion3(fields cryptobyte.String, cert *x509.Certificate) (*x509.Certificate, error) {
	outer := cryptobyte.String(cert.Raw)
	var algorithm cryptobyte.String
	if !outer.ReadASN1(&outer, cryptobyte_asn1.SEQUENCE) || !outer.SkipASN1(cryptobyte_asn1.SEQUENCE) ||
		!outer.ReadASN1Element(&algorithm, cryptobyte_asn1.SEQUENCE) {
		return nil, fmt.Errorf("%w: the certificate of %q is malformed", ErrInvalid, cert.Subject)
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyte_asn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
				b.AddASN1Int64(2) // version 3
			})
			b.AddBytes(fields)
		})
		b.AddBytes(algorithm)
		b.AddASN1BitString(cert.Signature)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: the certificate of %q: %v", ErrInvalid, cert.Subject, err)
	}
	again, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: the extensions of the version 1 certificate of %q: %v", ErrInvalid, cert.Subject, err)
	}
	return again, nil
}

package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/bits"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// encodeLeaf returns the DER TBSCertificate (RFC 5280, 4.1) of a template for a
// leaf and its encoded key, byte for byte as [encodeTBS] does, which the tests
// hold it against, and in a quarter of the time: issuing does little else. A
// template that has what no leaf of ours has is for encodeTBS.
func encodeLeaf(t *x509.Certificate, rawIssuer, subjectKey []byte, issuerKey crypto.PublicKey) ([]byte, error) {
	algorithm, err := algorithmIdentifier(issuerKey)
	if err != nil {
		return nil, err
	}
	subject, err := asn1.Marshal(t.Subject.ToRDNSequence())
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 1024))
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cryptobyte_asn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1Int64(2) // version 3
		})
		b.AddASN1BigInt(t.SerialNumber)
		b.AddBytes(algorithm)
		b.AddBytes(rawIssuer)
		b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, t.NotBefore)
			addTime(b, t.NotAfter)
		})
		b.AddBytes(subject)
		b.AddBytes(subjectKey)
		b.AddASN1(cryptobyte_asn1.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) { addLeafExtensions(b, t, len(subject) == emptySequence) })
		})
	})
	return b.Bytes()
}

// emptySequence is the length of a SEQUENCE of nothing.
const emptySequence = 2

// plainLeaf reports whether a template has nothing but what encodeLeaf encodes.
func plainLeaf(t *x509.Certificate) bool {
	return !t.IsCA && t.KeyUsage != 0 && t.KeyUsage < 1<<8 && t.BasicConstraintsValid && len(t.SubjectKeyId) > 0 && len(t.AuthorityKeyId) > 0 &&
		len(t.CRLDistributionPoints)+len(t.OCSPServer)+len(t.IssuingCertificateURL)+len(t.ExtraExtensions)+
			len(t.UnknownExtKeyUsage)+len(t.PolicyIdentifiers)+len(t.Policies) == 0
}

// addTime adds a Time. RFC 5280, 4.1.2.5: UTCTime through the year 2049.
func addTime(b *cryptobyte.Builder, at time.Time) {
	if at = at.UTC(); at.Year() < 2050 {
		b.AddASN1UTCTime(at)
		return
	}
	b.AddASN1GeneralizedTime(at)
}

// addLeafExtensions adds the extensions in the order of crypto/x509.
func addLeafExtensions(b *cryptobyte.Builder, t *x509.Certificate, anonymous bool) {
	extension(b, []int{2, 5, 29, 15}, true, func(b *cryptobyte.Builder) { // keyUsage
		usage := bits.Reverse8(uint8(t.KeyUsage))
		b.AddASN1(cryptobyte_asn1.BIT_STRING, func(b *cryptobyte.Builder) {
			b.AddUint8(uint8(bits.TrailingZeros8(usage)))
			b.AddUint8(usage)
		})
	})
	if len(t.ExtKeyUsage) > 0 {
		extension(b, []int{2, 5, 29, 37}, false, func(b *cryptobyte.Builder) { // extKeyUsage
			b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, usage := range t.ExtKeyUsage {
					oid, err := usageOID(usage)
					if err != nil {
						b.SetError(err)
						return
					}
					b.AddASN1ObjectIdentifier(oid)
				}
			})
		})
	}
	extension(b, []int{2, 5, 29, 19}, true, func(b *cryptobyte.Builder) { // basicConstraints: CA:FALSE is the default, so left out
		b.AddASN1(cryptobyte_asn1.SEQUENCE, func(*cryptobyte.Builder) {})
	})
	extension(b, []int{2, 5, 29, 14}, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(t.SubjectKeyId) })
	extension(b, []int{2, 5, 29, 35}, false, func(b *cryptobyte.Builder) { // authorityKeyIdentifier
		b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyte_asn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(t.AuthorityKeyId) })
		})
	})
	if len(t.DNSNames)+len(t.EmailAddresses)+len(t.IPAddresses)+len(t.URIs) > 0 {
		// RFC 5280, 4.1.2.6: critical when there is no subject.
		extension(b, []int{2, 5, 29, 17}, anonymous, func(b *cryptobyte.Builder) { addAlternativeNames(b, t) })
	}
}

// extension adds an Extension (RFC 5280, 4.1); critical is left out when false,
// its default.
func extension(b *cryptobyte.Builder, id asn1.ObjectIdentifier, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(id)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(cryptobyte_asn1.OCTET_STRING, value)
	})
}

// addAlternativeNames adds GeneralNames (RFC 5280, 4.2.1.6). They are ASCII:
// names are canonical when they come here.
func addAlternativeNames(b *cryptobyte.Builder, t *x509.Certificate) {
	name := func(b *cryptobyte.Builder, tag uint8, value []byte) {
		b.AddASN1(cryptobyte_asn1.Tag(tag).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(value) })
	}
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, dns := range t.DNSNames {
			name(b, 2, []byte(dns))
		}
		for _, address := range t.EmailAddresses {
			name(b, 1, []byte(address))
		}
		for _, ip := range t.IPAddresses {
			if four := ip.To4(); four != nil {
				ip = four
			}
			name(b, 7, ip)
		}
		for _, uri := range t.URIs {
			name(b, 6, []byte(uri.String()))
		}
	})
}

// usageOID is the key purpose of the usages that leaves have (RFC 5280, 4.2.1.12).
func usageOID(usage x509.ExtKeyUsage) (asn1.ObjectIdentifier, error) {
	switch usage {
	case x509.ExtKeyUsageServerAuth:
		return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}, nil
	case x509.ExtKeyUsageClientAuth:
		return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}, nil
	case x509.ExtKeyUsageOCSPSigning:
		return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 9}, nil
	}
	return nil, fmt.Errorf("%w: extended key usage %d is none of a leaf", ErrInvalid, usage)
}

// algorithmIdentifier is the DER of the algorithm that a key signs with, as
// signatureAlgorithm chooses it.
func algorithmIdentifier(pub crypto.PublicKey) ([]byte, error) {
	var oid asn1.ObjectIdentifier
	null := false
	switch signatureAlgorithm(pub) {
	case x509.ECDSAWithSHA256:
		oid = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2} // RFC 5758, 3.2: no parameters
	case x509.ECDSAWithSHA384:
		oid = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	case x509.ECDSAWithSHA512:
		oid = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}
	case x509.PureEd25519:
		oid = asn1.ObjectIdentifier{1, 3, 101, 112} // RFC 8410, 3: no parameters
	case x509.SHA256WithRSA:
		oid, null = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, true // RFC 4055, 5: NULL
	default:
		return nil, fmt.Errorf("%w: no signature algorithm for a key of type %T", ErrInvalid, pub)
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if null {
			b.AddASN1NULL()
		}
	})
	return b.Bytes()
}

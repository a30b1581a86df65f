package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// An AuthorityID is the identity of a CA: a SHA-256 over its subject, in the form of [CanonicalName], and
// its public key, in the form of [CanonicalKey]. Certificates of one CA that were renewed over the same key,
// or that spell name or key in other octets, have the same AuthorityID. Nothing in it is chosen by the maker
// of the certificate alone: the subjectKeyIdentifier is not, and neither is the path of an object.
type AuthorityID [sha256.Size]byte

// AuthorityOf returns the identity of the CA with that certificate. It takes a few microseconds.
func AuthorityOf(cert *x509.Certificate) AuthorityID {
	name := CanonicalName(cert.RawSubject)
	h := sha256.New()
	h.Write([]byte("omca authority\x00"))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(name))))
	h.Write(name)
	h.Write(CanonicalKey(cert))
	return AuthorityID(h.Sum(nil))
}

// ParseAuthorityID reads what String wrote. Errors: ErrInvalid.
func ParseAuthorityID(s string) (AuthorityID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size {
		return AuthorityID{}, fmt.Errorf("%w: %.80q is not the identity of a CA: expected %d hexadecimal digits", ErrInvalid, s, 2*sha256.Size)
	}
	return AuthorityID(b), nil
}

// String returns the identity as 64 lower-case hexadecimal digits.
func (id AuthorityID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first 16 digits of String, for names of files and addresses.
func (id AuthorityID) Short() string { return hex.EncodeToString(id[:8]) }

// IsZero reports whether id is the zero value, which is the identity of no CA.
func (id AuthorityID) IsZero() bool { return id == AuthorityID{} }

// CanonicalKey returns the public key of the certificate as a SubjectPublicKeyInfo in DER that depends on the
// key alone. The octets in a certificate do not: a BIT STRING with unused bits, or an RSAPublicKey with
// more in it than two numbers, are read as the same key. A key that crypto/x509 does not know stays as it is.
func CanonicalKey(cert *x509.Certificate) []byte {
	der, err := encodePublicKey(cert.PublicKey)
	if err != nil {
		return cert.RawSubjectPublicKeyInfo
	}
	return der
}

// A KeyHash is a SHA-256 over a SubjectPublicKeyInfo in the form of [CanonicalKey]: the identity of a key.
type KeyHash [sha256.Size]byte

// KeyHashOf returns the identity of the key that the certificate certifies.
func KeyHashOf(cert *x509.Certificate) KeyHash { return sha256.Sum256(CanonicalKey(cert)) }

// KeyOctets returns octets that every encoding of a certificate over the key contains; nil for a type of key that is not supported.
func KeyOctets(public any) []byte {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			return nil
		}
		return point
	case *rsa.PublicKey:
		return key.N.Bytes()
	case ed25519.PublicKey:
		return key
	}
	return nil
}

// HashKey returns the identity of a public key. Errors: ErrInvalid for a type of key that is not supported.
func HashKey(public any) (KeyHash, error) {
	der, err := encodePublicKey(public)
	if err != nil {
		return KeyHash{}, err
	}
	return sha256.Sum256(der), nil
}

// String returns the identity as 64 lower-case hexadecimal digits.
func (h KeyHash) String() string { return hex.EncodeToString(h[:]) }

// EqualNames reports whether two Names, DER, are equal by RFC 5280, section 7.1: string types, case and
// insignificant spaces do not count.
func EqualNames(a, b []byte) bool {
	return bytes.Equal(a, b) || bytes.Equal(CanonicalName(a), CanonicalName(b))
}

// CanonicalName returns a Name, DER, in the form in which RFC 5280, section 7.1 compares it: two Names are
// equal when their canonical forms are. A Name that cannot be read is its own form, and equals itself alone.
// The result is no DER.
func CanonicalName(der []byte) []byte {
	form, err := canonicalName(der)
	if err != nil {
		return append([]byte{0}, der...)
	}
	return append([]byte{1}, form...)
}

var errName = errors.New("not a Name")

func canonicalName(der []byte) ([]byte, error) {
	in := cryptobyte.String(der)
	var rdns cryptobyte.String
	if !in.ReadASN1(&rdns, asn1.SEQUENCE) || !in.Empty() {
		return nil, errName
	}
	var form []byte
	for !rdns.Empty() {
		var set cryptobyte.String
		if !rdns.ReadASN1(&set, asn1.SET) {
			return nil, errName
		}
		var attributes [][]byte
		for !set.Empty() {
			var attribute, oid, value cryptobyte.String
			var tag asn1.Tag
			if !set.ReadASN1(&attribute, asn1.SEQUENCE) || !attribute.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
				!attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
				return nil, errName
			}
			attributes = append(attributes, slices.Concat(sized(oid), canonicalValue(tag, value)))
		}
		// A relative name is a set: its order does not count.
		slices.SortFunc(attributes, bytes.Compare)
		form = append(form, sized(bytes.Join(attributes, nil))...)
	}
	return form, nil
}

// sized puts the length in front, so that no two sequences of parts read the same.
func sized(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }

// canonicalValue is one attribute value. What is no string of characters is compared octet by octet.
func canonicalValue(tag asn1.Tag, value []byte) []byte {
	text, ok := decodeText(tag, value)
	if !ok {
		return append([]byte{0, byte(tag)}, sized(value)...)
	}
	return append([]byte{1}, sized([]byte(prepare(text)))...)
}

// ASN.1 tags of character strings that cryptobyte does not name.
const (
	tagNumericString   = asn1.Tag(18)
	tagVisibleString   = asn1.Tag(26)
	tagUniversalString = asn1.Tag(28)
	tagBMPString       = asn1.Tag(30)
)

// decodeText returns the characters of a string. T61String is read as Latin-1, as other implementations do.
func decodeText(tag asn1.Tag, value []byte) (string, bool) {
	switch tag {
	case asn1.UTF8String:
		return string(value), utf8.Valid(value)
	case asn1.PrintableString, asn1.IA5String, tagVisibleString, tagNumericString:
		return string(value), !slices.ContainsFunc(value, func(b byte) bool { return b >= utf8.RuneSelf })
	case asn1.T61String:
		runes := make([]rune, len(value))
		for i, b := range value {
			runes[i] = rune(b)
		}
		return string(runes), true
	case tagBMPString:
		if len(value)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(value)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(value[2*i:])
		}
		return string(utf16.Decode(units)), true
	case tagUniversalString:
		if len(value)%4 != 0 {
			return "", false
		}
		runes := make([]rune, len(value)/4)
		for i := range runes {
			runes[i] = rune(binary.BigEndian.Uint32(value[4*i:]))
		}
		return string(runes), true
	}
	return "", false
}

// prepare is the string preparation of RFC 4518, section 2, for caseIgnoreMatch: map, fold, normalize, and
// make spaces insignificant. Characters that it prohibits are kept: they make a name differ.
func prepare(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\v' || r == '\f' || r == '\r' || r == 0x85 || unicode.Is(unicode.Z, r):
			return ' '
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r), r == 0x034f, r >= 0x180b && r <= 0x180d, r >= 0xfe00 && r <= 0xfe0f, r == 0xfffc:
			return -1
		}
		return r
	}, s)
	s = norm.NFKC.String(cases.Fold().String(norm.NFKC.String(s)))
	return strings.Join(strings.Fields(s), " ")
}

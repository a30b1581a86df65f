package crl

import (
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Context-specific tags, primitive as IMPLICIT simple types have them.
const (
	tag0 = asn1.Tag(0x80 | iota)
	tag1
	tag2
	tag3
	tag4
	tag5
	tag6
)

// constructed is the bit of a tag whose content is made of elements.
const constructed = asn1.Tag(0x20)

// onlySequence returns the content of a SEQUENCE that is all of der.
func onlySequence(der []byte) (cryptobyte.String, bool) {
	in := cryptobyte.String(der)
	var content cryptobyte.String
	ok := in.ReadASN1(&content, asn1.SEQUENCE) && in.Empty()
	return content, ok
}

// readTime reads a Time as RFC 5280, 5.1.2.4 demands it: UTCTime
// "YYMMDDHHMMSSZ" or GeneralizedTime "YYYYMMDDHHMMSSZ".
func readTime(s *cryptobyte.String) (time.Time, bool) {
	var content cryptobyte.String
	var tag asn1.Tag
	if !s.ReadAnyASN1(&content, &tag) {
		return time.Time{}, false
	}
	switch {
	case tag == asn1.UTCTime && len(content) == len("YYMMDDHHMMSSZ"):
		year, ok := digits(content[:2])
		if year < 50 {
			year += 100
		}
		return clockTime(1900+year, content[2:], ok)
	case tag == asn1.GeneralizedTime && len(content) == len("YYYYMMDDHHMMSSZ"):
		year, ok := digits(content[:4])
		return clockTime(year, content[4:], ok)
	}
	return time.Time{}, false
}

// clockTime reads "MMDDHHMMSSZ" of a year.
func clockTime(year int, s []byte, ok bool) (time.Time, bool) {
	var field [5]int
	for i := range field {
		n, is := digits(s[2*i : 2*i+2])
		field[i], ok = n, ok && is
	}
	if !ok || s[10] != 'Z' || field[0] < 1 || field[0] > 12 || field[1] < 1 || field[2] > 23 || field[3] > 59 || field[4] > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(field[0]), field[1], field[2], field[3], field[4], 0, time.UTC)
	// time.Date makes 3 March of 31 February.
	return t, t.Day() == field[1]
}

func digits(s []byte) (int, bool) {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// addTime writes a Time: UTCTime until 2049, GeneralizedTime from 2050 on
// (RFC 5280, 5.1.2.4).
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC(); t.Year() >= 1950 && t.Year() < 2050 {
		b.AddASN1UTCTime(t)
		return
	}
	b.AddASN1GeneralizedTime(t)
}

// stamp writes a time for people.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// minimalInteger reports whether content is how DER writes an INTEGER.
func minimalInteger(content []byte) bool {
	if len(content) < 2 {
		return len(content) == 1
	}
	return !(content[0] == 0 && content[1] < 0x80) && !(content[0] == 0xff && content[1] >= 0x80)
}

// integer returns the number that the content octets of an INTEGER stand for.
func integer(content []byte) *big.Int {
	n := new(big.Int).SetBytes(content)
	if len(content) > 0 && content[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(content))))
	}
	return n
}

// readBool reads an IMPLICIT BOOLEAN DEFAULT FALSE with the tag: absent is
// false, and present must be TRUE, since DER leaves a default out.
func readBool(s *cryptobyte.String, tag asn1.Tag, out *bool) bool {
	if !s.PeekASN1Tag(tag) {
		return true
	}
	var content cryptobyte.String
	*out = s.ReadASN1(&content, tag) && len(content) == 1 && content[0] == 0xff
	return *out
}

// An extension is one of an Extensions field: what its OID stands for, and the
// DER in its OCTET STRING.
type extension struct {
	id       cryptobyte.String // content octets of the OID
	critical bool
	value    cryptobyte.String
}

// readExtension reads an Extension (RFC 5280, 4.1).
func readExtension(s *cryptobyte.String) (e extension, ok bool) {
	var in cryptobyte.String
	ok = s.ReadASN1(&in, asn1.SEQUENCE) && in.ReadASN1(&e.id, asn1.OBJECT_IDENTIFIER) &&
		// A written FALSE is not DER, and common.
		(!in.PeekASN1Tag(asn1.BOOLEAN) || in.ReadASN1Boolean(&e.critical)) &&
		in.ReadASN1(&e.value, asn1.OCTET_STRING) && in.Empty()
	return e, ok
}

// oidText returns the content octets of an OID as people write it, for errors.
func oidText(content []byte) string {
	var b cryptobyte.Builder
	b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	der, err := b.Bytes()
	if err != nil {
		return "of an unreadable type"
	}
	var oid oidValue
	if s := cryptobyte.String(der); !s.ReadASN1ObjectIdentifier(&oid) {
		return "of an unreadable type"
	}
	return oid.String()
}

package crl

import (
	"bytes"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// spellings returns a Name, DER, as it is, with its strings in UTF8String, and with
// them in PrintableString, each once. CAs go from one to the other when they are
// renewed (RFC 5280, 4.1.2.4), and a hash of a Name can be compared in no other way.
func spellings(name []byte) [][]byte {
	all := [][]byte{name}
	for _, tag := range []asn1.Tag{asn1.UTF8String, asn1.PrintableString} {
		if other, ok := respell(name, tag); ok && !bytes.Equal(other, name) {
			all = append(all, other)
		}
	}
	return all
}

// respell returns a Name with its strings in one type; false if that cannot be.
func respell(name []byte, tag asn1.Tag) ([]byte, bool) {
	rdns, ok := onlySequence(name)
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for ok && !rdns.Empty() {
			var set cryptobyte.String
			ok = rdns.ReadASN1(&set, asn1.SET)
			b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
				for ok && !set.Empty() {
					ok = respellAttribute(b, &set, tag)
				}
			})
		}
	})
	out, err := b.Bytes()
	return out, ok && err == nil
}

// respellAttribute copies an AttributeTypeAndValue from in to b.
func respellAttribute(b *cryptobyte.Builder, in *cryptobyte.String, tag asn1.Tag) bool {
	var attribute, id, value cryptobyte.String
	var is asn1.Tag
	if !in.ReadASN1(&attribute, asn1.SEQUENCE) || !attribute.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) ||
		!attribute.ReadAnyASN1(&value, &is) || !attribute.Empty() {
		return false
	}
	switch string(id) {
	case "\x55\x04\x06", "\x55\x04\x05", "\x55\x04\x2e": // countryName, serialNumber, dnQualifier: PrintableString always
	default:
		if is == asn1.UTF8String || is == asn1.PrintableString {
			if is = tag; tag == asn1.PrintableString && !printable(value) {
				return false
			}
		}
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(id) })
		b.AddASN1(is, func(b *cryptobyte.Builder) { b.AddBytes(value) })
	})
	return true
}

// printable reports whether a PrintableString may have a text (X.680, 41.4).
func printable(text []byte) bool {
	for _, c := range text {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || bytes.IndexByte([]byte(" '()+,-./:=?"), c) >= 0) {
			return false
		}
	}
	return true
}

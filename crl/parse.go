package crl

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/pki"
)

// ParsePEM reads the first PEM block of text, which must be an X509 CRL, or
// text itself as DER when it has no PEM block. Errors: pki.ErrInvalid.
func ParsePEM(text []byte, limits Limits) (*List, error) {
	if limit := 2 * limits.Bytes; len(text) > limit {
		return nil, fmt.Errorf("%w: revocation list of %d bytes of text, at most %d are read", pki.ErrInvalid, len(text), limit)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return Parse(text, limits)
	}
	if block.Type != "X509 CRL" {
		return nil, fmt.Errorf("%w: PEM block %.40q where X509 CRL is expected", pki.ErrInvalid, block.Type)
	}
	return Parse(block.Bytes, limits)
}

// Parse reads a CertificateList, version 2 (RFC 5280, 5.1), DER. The list keeps
// parts of der, which must not change afterwards, until it is verified. Errors:
// pki.ErrInvalid.
func Parse(der []byte, limits Limits) (*List, error) {
	if len(der) > limits.Bytes {
		return nil, fmt.Errorf("%w: revocation list of %d bytes, at most %d are read", pki.ErrInvalid, len(der), limits.Bytes)
	}
	outer, ok := onlySequence(der)
	if !ok {
		return nil, malformed("not one DER sequence")
	}
	l := new(List)
	var tbs, outerAlgorithm cryptobyte.String
	if !outer.ReadASN1Element(&tbs, asn1.SEQUENCE) || !outer.ReadASN1Element(&outerAlgorithm, asn1.SEQUENCE) ||
		!outer.ReadASN1BitStringAsBytes(&l.signature) || !outer.Empty() {
		return nil, malformed("CertificateList")
	}
	l.tbs, l.algorithm = tbs, outerAlgorithm
	if err := l.parseTBS(limits); err != nil {
		return nil, err
	}
	return l, nil
}

// IssuerOf returns the issuer's name of a CertificateList, DER, also of one that
// Parse refuses, as one of version 1; nil if the name cannot be read. The result
// aliases der.
func IssuerOf(der []byte) []byte {
	outer, ok := onlySequence(der)
	var tbs, issuer cryptobyte.String
	if !ok || !outer.ReadASN1(&tbs, asn1.SEQUENCE) || !tbs.SkipOptionalASN1(asn1.INTEGER) ||
		!tbs.SkipASN1(asn1.SEQUENCE) || !tbs.ReadASN1Element(&issuer, asn1.SEQUENCE) || len(issuer) > maxName || !isName(issuer) {
		return nil
	}
	return issuer
}

// isName reports whether der is a Name: relative names, of types and values.
func isName(der []byte) bool {
	rdns, ok := onlySequence(der)
	for ok && !rdns.Empty() {
		var set cryptobyte.String
		ok = rdns.ReadASN1(&set, asn1.SET)
		for ok && !set.Empty() {
			var attribute, value cryptobyte.String
			var tag asn1.Tag
			ok = set.ReadASN1(&attribute, asn1.SEQUENCE) && attribute.SkipASN1(asn1.OBJECT_IDENTIFIER) &&
				attribute.ReadAnyASN1(&value, &tag) && attribute.Empty()
		}
	}
	return ok
}

// malformed is the error for DER that is not what RFC 5280 asks for.
func malformed(what string) error {
	return fmt.Errorf("%w: malformed revocation list: %s", pki.ErrInvalid, what)
}

// maxName bounds the issuer's name, in octets of DER.
const maxName = 8 << 10

// parseTBS reads l.tbs, a TBSCertList (RFC 5280, 5.1.2).
func (l *List) parseTBS(limits Limits) error {
	in, _ := onlySequence(l.tbs)
	var version int
	if !in.PeekASN1Tag(asn1.INTEGER) {
		return malformed("it is of version 1, which has no numbers and no scope: have its CA write version 2")
	}
	if !in.ReadASN1Integer(&version) || version != 1 {
		return malformed("its version is not 2")
	}
	var inner, issuer cryptobyte.String
	if !in.ReadASN1Element(&inner, asn1.SEQUENCE) || !bytes.Equal(inner, l.algorithm) {
		// RFC 5280, 5.1.1.2: the algorithm beside the signature is the one inside.
		return malformed("the signature algorithms inside and outside differ")
	}
	if !in.ReadASN1Element(&issuer, asn1.SEQUENCE) || len(issuer) > maxName {
		return malformed("issuer")
	}
	l.RawIssuer = bytes.Clone(issuer)
	var ok bool
	if l.ThisUpdate, ok = readTime(&in); !ok {
		return malformed("thisUpdate")
	}
	if in.PeekASN1Tag(asn1.UTCTime) || in.PeekASN1Tag(asn1.GeneralizedTime) {
		if l.NextUpdate, ok = readTime(&in); !ok {
			return malformed("nextUpdate")
		}
	}
	var entries, extensions cryptobyte.String
	var hasExtensions bool
	if in.PeekASN1Tag(asn1.SEQUENCE) && !in.ReadASN1(&entries, asn1.SEQUENCE) ||
		!in.ReadOptionalASN1(&extensions, &hasExtensions, tag0|constructed) || !in.Empty() {
		return malformed("TBSCertList")
	}
	if hasExtensions {
		if err := l.parseExtensions(extensions, limits); err != nil {
			return err
		}
	}
	return l.parseEntries(entries, limits)
}

// parseEntries reads the content of revokedCertificates into l.entries.
func (l *List) parseEntries(in cryptobyte.String, limits Limits) error {
	count := 0
	for rest := in; !rest.Empty(); count++ {
		if count == limits.Entries {
			return fmt.Errorf("%w: revocation list with more than %d entries", pki.ErrInvalid, limits.Entries)
		}
		if !rest.SkipASN1(asn1.SEQUENCE) {
			return malformed(fmt.Sprintf("entry %d", count+1))
		}
	}
	l.entries = newTable(count)
	var of issuerOfEntry
	for n := range count {
		var entry cryptobyte.String
		if !in.ReadASN1(&entry, asn1.SEQUENCE) || !l.parseEntry(entry, limits, &of) {
			return malformed(fmt.Sprintf("entry %d", n+1))
		}
	}
	return nil
}

// issuerOfEntry is what the certificateIssuer of an entry says, which holds for the entries behind it, too (RFC 5280,
// 5.3.3).
type issuerOfEntry struct{ another bool } // it is not the issuer of the list

// parseEntry reads the content of one entry (RFC 5280, 5.1.2.6). Those of an indirect list about certificates of
// others are left out.
func (l *List) parseEntry(in cryptobyte.String, limits Limits, of *issuerOfEntry) bool {
	var serial cryptobyte.String
	if !in.ReadASN1(&serial, asn1.INTEGER) || !minimalInteger(serial) || len(serial) > maxSerial {
		return false
	}
	at, ok := readTime(&in)
	if !ok {
		return false
	}
	reason := Unspecified
	if !in.Empty() {
		var extensions cryptobyte.String
		if len(in) > limits.EntryExtension || !in.ReadASN1(&extensions, asn1.SEQUENCE) || !in.Empty() {
			return false
		}
		if reason, ok = l.parseEntryExtensions(extensions, of); !ok {
			return false
		}
	}
	if l.Scope.Indirect && of.another {
		return true
	}
	l.entries.add(newRecord(serial, at, reason))
	return true
}

// parseEntryExtensions returns the reason among the extensions of an entry, and
// notes in l what is critical and unknown (RFC 5280, 5.3).
func (l *List) parseEntryExtensions(in cryptobyte.String, of *issuerOfEntry) (Reason, bool) {
	reason, seen := Unspecified, false
	for !in.Empty() {
		e, ok := readExtension(&in)
		if !ok {
			return 0, false
		}
		switch string(e.id) {
		case "\x55\x1d\x15": // reasonCode
			if reason, ok = readReason(e.value); !ok || seen {
				return 0, false
			}
			seen = true
		case "\x55\x1d\x18": // invalidityDate: nothing is decided by it
		case "\x55\x1d\x1d": // certificateIssuer
			of.another = !l.isIssuer(e.value)
			l.foreign = l.foreign || !l.Scope.Indirect
		default:
			if e.critical && l.UnknownCritical == "" {
				l.UnknownCritical = oidText(e.id)
			}
		}
	}
	return reason, true
}

// isIssuer reports whether GeneralNames (RFC 5280, 5.3.3) have the name of the issuer of the list.
func (l *List) isIssuer(value cryptobyte.String) bool {
	in, ok := onlySequence(value)
	for ok && !in.Empty() {
		var name cryptobyte.String
		if in.PeekASN1Tag(tag4 | constructed) {
			if ok = in.ReadASN1(&name, tag4|constructed); ok && pki.EqualNames(name, l.RawIssuer) {
				return true
			}
			continue
		}
		var tag asn1.Tag
		ok = in.ReadAnyASN1(&name, &tag)
	}
	return false
}

// readReason reads a CRLReason. A number that RFC 5280 does not know is
// Unspecified: the certificate is revoked all the same.
func readReason(in cryptobyte.String) (Reason, bool) {
	var content cryptobyte.String
	if !in.ReadASN1(&content, asn1.ENUM) || !minimalInteger(content) || !in.Empty() {
		return 0, false
	}
	if r := Reason(content[0]); len(content) == 1 && r.known() {
		return r, true
	}
	return Unspecified, true
}

// maxExtensions is how many extensions a list may have; RFC 5280 knows seven.
const maxExtensions = 32

// parseExtensions reads the extensions of a list (RFC 5280, 5.2), in is the
// content of the [0] around them.
func (l *List) parseExtensions(in cryptobyte.String, limits Limits) error {
	if len(in) > limits.Extensions {
		return fmt.Errorf("%w: revocation list with extensions of %d bytes, at most %d are read", pki.ErrInvalid, len(in), limits.Extensions)
	}
	in, ok := onlySequence(in)
	if !ok {
		return malformed("extensions")
	}
	seen := make(map[string]bool, maxExtensions)
	for !in.Empty() {
		e, ok := readExtension(&in)
		// RFC 5280, 4.2: not more than one of a kind.
		if !ok || seen[string(e.id)] || len(seen) == maxExtensions {
			return malformed("extensions")
		}
		seen[string(e.id)] = true
		if !l.parseExtension(e) {
			return malformed("extension " + oidText(e.id))
		}
	}
	return nil
}

// parseExtension takes one extension of a list.
func (l *List) parseExtension(e extension) (ok bool) {
	switch string(e.id) {
	case "\x55\x1d\x23": // authorityKeyIdentifier
		l.AuthorityKeyID, ok = readKeyID(e.value)
	case "\x55\x1d\x14": // cRLNumber
		l.Number, ok = readNumber(e.value)
	case "\x55\x1d\x1b": // deltaCRLIndicator
		l.BaseNumber, ok = readNumber(e.value)
	case "\x55\x1d\x1c": // issuingDistributionPoint
		l.Scope, ok = parseScope(e.value, l.RawIssuer)
	case "\x55\x1d\x2e": // freshestCRL
		var points []distributionPoint
		points, ok = parsePoints(e.value, l.RawIssuer)
		for _, p := range points {
			l.Freshest = append(l.Freshest, urlsOf(p.names)...)
		}
	default:
		if ok = true; e.critical && l.UnknownCritical == "" && !informative(e) {
			l.UnknownCritical = oidText(e.id)
		}
	}
	return ok
}

// informative reports whether nothing can be decided by an extension:
// issuerAltName and authorityInfoAccess.
func informative(e extension) bool {
	return string(e.id) == "\x55\x1d\x12" || string(e.id) == "\x2b\x06\x01\x05\x05\x07\x01\x01"
}

// readKeyID returns the keyIdentifier of an AuthorityKeyIdentifier (RFC 5280,
// 4.2.1.1), nil if it has none.
func readKeyID(value []byte) ([]byte, bool) {
	in, ok := onlySequence(value)
	var id cryptobyte.String
	var has bool
	if !ok || !in.ReadOptionalASN1(&id, &has, tag0) ||
		!in.SkipOptionalASN1(tag1|constructed) || !in.SkipOptionalASN1(tag2) || !in.Empty() {
		return nil, false
	}
	if !has {
		return nil, true
	}
	return bytes.Clone(id), true
}

// readNumber reads a CRLNumber or BaseCRLNumber: not negative, at most 20 octets
// (RFC 5280, 5.2.3).
func readNumber(in cryptobyte.String) (*big.Int, bool) {
	var content cryptobyte.String
	if !in.ReadASN1(&content, asn1.INTEGER) || !in.Empty() || !minimalInteger(content) || len(content) > maxSerial || content[0] >= 0x80 {
		return nil, false
	}
	return integer(content), true
}

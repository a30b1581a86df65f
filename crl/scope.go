package crl

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/pki"
)

// A Scope says which certificates of its issuer a list speaks for, and for
// which reasons (RFC 5280, 5.2.5: IssuingDistributionPoint). The zero Scope
// is that of a list without the extension: all of them, for all reasons.
type Scope struct {
	OnlyUser, OnlyCA, OnlyAttribute bool // at most one is true
	Indirect                        bool // it speaks for other issuers, too
	Reasons                         ReasonSet
	Partial                         bool     // Reasons are all it speaks for (onlySomeReasons)
	URLs                            []string // of the distribution point

	partition bool     // it has a distribution point
	points    [][]byte // all names of that, sorted, in the form of comparableName
	raw       string   // the extension's value
}

// Equal reports whether two scopes are one: names of distribution points are
// compared by RFC 5280, 7.1, and in any order.
func (s *Scope) Equal(other *Scope) bool {
	return s.OnlyUser == other.OnlyUser && s.OnlyCA == other.OnlyCA && s.OnlyAttribute == other.OnlyAttribute &&
		s.Indirect == other.Indirect && s.Partial == other.Partial && s.Reasons == other.Reasons &&
		s.partition == other.partition && slices.EqualFunc(s.points, other.points, bytes.Equal)
}

// reasons returns what a list of this scope covers at most.
func (s *Scope) reasons() ReasonSet {
	if s.Partial {
		return s.Reasons
	}
	return AllReasons
}

// parseScope reads an IssuingDistributionPoint of a list of issuer.
func parseScope(value, issuer []byte) (s Scope, ok bool) {
	s.raw = string(value)
	in, ok := onlySequence(value)
	if !ok {
		return s, false
	}
	if in.PeekASN1Tag(tag0 | constructed) {
		var name cryptobyte.String
		if !in.ReadASN1(&name, tag0|constructed) {
			return s, false
		}
		if s.points, ok = pointNames(name, issuer); !ok {
			return s, false
		}
		s.partition, s.URLs = true, urlsOf(s.points)
		slices.SortFunc(s.points, bytes.Compare)
		s.points = slices.CompactFunc(s.points, bytes.Equal)
	}
	if !readBool(&in, tag1, &s.OnlyUser) || !readBool(&in, tag2, &s.OnlyCA) {
		return s, false
	}
	if in.PeekASN1Tag(tag3) {
		var flags cryptobyte.String
		if !in.ReadASN1(&flags, tag3) {
			return s, false
		}
		if s.Reasons, ok = parseReasonSet(flags); !ok {
			return s, false
		}
		s.Partial = true
	}
	if !readBool(&in, tag4, &s.Indirect) || !readBool(&in, tag5, &s.OnlyAttribute) || !in.Empty() {
		return s, false
	}
	// RFC 5280, 5.2.5: at most one of them.
	one := !(s.OnlyUser && s.OnlyCA || s.OnlyUser && s.OnlyAttribute || s.OnlyCA && s.OnlyAttribute)
	return s, one
}

// pointNames reads the content of a DistributionPointName (RFC 5280, 4.2.1.13)
// and returns its names in the form of comparableName. A name relative to the issuer
// is given in full, as a directoryName.
func pointNames(in cryptobyte.String, issuer []byte) ([][]byte, bool) {
	var content cryptobyte.String
	var tag asn1.Tag
	if !in.ReadAnyASN1(&content, &tag) || !in.Empty() {
		return nil, false
	}
	switch tag {
	case tag0 | constructed:
		return generalNames(content)
	case tag1 | constructed:
		name, ok := relativeName(content, issuer)
		return [][]byte{directoryName(name)}, ok
	}
	return nil, false
}

// generalNames splits the content of GeneralNames into its elements, each in the
// form of comparableName.
func generalNames(in cryptobyte.String) ([][]byte, bool) {
	var names [][]byte
	for !in.Empty() {
		var name cryptobyte.String
		var tag asn1.Tag
		if !in.ReadAnyASN1Element(&name, &tag) || tag&0xc0 != 0x80 {
			return nil, false
		}
		names = append(names, comparableName(name))
	}
	return names, len(names) > 0
}

// comparableName returns a GeneralName, DER, in a form in which equal names are equal
// octets. All but a directoryName are compared as they are written.
func comparableName(name cryptobyte.String) []byte {
	var directory cryptobyte.String
	if in := name; in.ReadASN1(&directory, tag4|constructed) {
		return directoryName(directory)
	}
	return bytes.Clone(name)
}

// directoryName returns a Name, DER, as comparableName returns a directoryName.
func directoryName(name []byte) []byte {
	return append([]byte{byte(tag4 | constructed)}, pki.CanonicalName(name)...)
}

// relativeName returns the Name that issuer and one more
// RelativeDistinguishedName, of which rdn is the content, make.
func relativeName(rdn, issuer []byte) ([]byte, bool) {
	in := cryptobyte.String(issuer)
	if !in.ReadASN1(&in, asn1.SEQUENCE) {
		return nil, false
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(in)
		b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(rdn) })
	})
	name, err := b.Bytes()
	return name, err == nil
}

// urlsOf returns the uniformResourceIdentifiers among names.
func urlsOf(names [][]byte) []string {
	var urls []string
	for _, name := range names {
		in := cryptobyte.String(name)
		if in.ReadASN1(&in, tag6) {
			urls = append(urls, string(in))
		}
	}
	return urls
}

// about says why a list of this scope says nothing of cert, whatever its entries are; "" if it does.
func (s *Scope) about(cert *x509.Certificate) string {
	isCA := cert.BasicConstraintsValid && cert.IsCA
	switch {
	case s.OnlyAttribute:
		return "it speaks for attribute certificates only"
	case s.OnlyUser && isCA:
		return "it speaks for certificates of users only"
	case s.OnlyCA && !isCA:
		return "it speaks for certificates of CAs only"
	}
	return ""
}

// covers returns the reasons for which a list of this scope speaks about cert
// (RFC 5280, 6.3.3 (b) and (d)), and why not when that is none.
func (s *Scope) covers(cert *x509.Certificate) (ReasonSet, string) {
	if why := s.about(cert); why != "" {
		return 0, why
	}
	switch {
	case s.Indirect:
		return 0, "it is indirect, and what it says of other issuers is not read"
	case !s.partition:
		return s.reasons(), ""
	}
	mask := s.pointReasons(cert) & s.reasons()
	if mask == 0 {
		return 0, fmt.Sprintf("its distribution point (%s) is none of the certificate's", s.pointText())
	}
	return mask, ""
}

func (s *Scope) pointText() string {
	if len(s.URLs) > 0 {
		return s.URLs[0]
	}
	return "a directory name"
}

// pointReasons returns the reasons of all distribution points of cert that share
// a name with the list's.
func (s *Scope) pointReasons(cert *x509.Certificate) ReasonSet {
	// RFC 5280, 6.3.3, last paragraph: a list is also in the place that has the issuer's name.
	if slices.ContainsFunc(s.points, func(name []byte) bool {
		return name[0] == byte(tag4|constructed) && bytes.Equal(name, directoryName(cert.RawIssuer))
	}) {
		return AllReasons
	}
	var mask ReasonSet
	for _, p := range distributionPoints(cert) {
		if !p.indirect && slices.ContainsFunc(p.names, func(name []byte) bool {
			return slices.ContainsFunc(s.points, func(own []byte) bool { return bytes.Equal(name, own) })
		}) {
			mask |= p.reasons
		}
	}
	return mask
}

// A distributionPoint is one of CRLDistributionPoints or FreshestCRL.
type distributionPoint struct {
	names    [][]byte // as in Scope.points
	reasons  ReasonSet
	indirect bool // it names a cRLIssuer
}

// distributionPoints returns those of a certificate; none if they are malformed.
func distributionPoints(cert *x509.Certificate) []distributionPoint {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidValue{2, 5, 29, 31}) {
			points, ok := parsePoints(e.Value, cert.RawIssuer)
			if ok {
				return points
			}
		}
	}
	return nil
}

// parsePoints reads CRLDistributionPoints (RFC 5280, 4.2.1.13).
func parsePoints(value, issuer []byte) ([]distributionPoint, bool) {
	in, ok := onlySequence(value)
	if !ok {
		return nil, false
	}
	var points []distributionPoint
	for !in.Empty() {
		var point, name, flags, issuers cryptobyte.String
		var hasName, hasFlags bool
		p := distributionPoint{reasons: AllReasons}
		if !in.ReadASN1(&point, asn1.SEQUENCE) ||
			!point.ReadOptionalASN1(&name, &hasName, tag0|constructed) ||
			!point.ReadOptionalASN1(&flags, &hasFlags, tag1) ||
			!point.ReadOptionalASN1(&issuers, &p.indirect, tag2|constructed) || !point.Empty() {
			return nil, false
		}
		if hasName {
			if p.names, ok = pointNames(name, issuer); !ok {
				return nil, false
			}
		}
		if hasFlags {
			if p.reasons, ok = parseReasonSet(flags); !ok {
				return nil, false
			}
		}
		points = append(points, p)
	}
	return points, true
}

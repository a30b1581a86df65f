package crl

import (
	"crypto/x509"
	"slices"
)

// Sources are what a Set is made of.
type Sources struct {
	Lists []*Verified

	// Covered are the CAs whose lists are expected, whether one is among Lists or
	// not: what they issued is Undetermined, not NotCovered, while there is none.
	// A CA that signed one of Lists is covered anyway.
	Covered []*x509.Certificate

	// Authorities are CAs that the caller trusts, of any level. They tell which
	// certificates of one name belong to one CA, so that lists signed with a key of
	// their own (RFC 5280, 6.3.3 (f)) or with the key before a rollover count. Only
	// CAs that do so, and who issued them, need be here.
	Authorities []*x509.Certificate
}

// A Set answers what lists say about certificates. It never changes; any number
// of goroutines may use it. Keep it behind an atomic.Pointer.
type Set struct {
	series map[authority][]*series
	names  map[string]bool // of the CAs that have, or should have, lists
}

// A series is the lists of one signer and one scope.
type series struct {
	scope    *Scope
	key      string  // of the signer
	complete []*List // newest first
	deltas   []*List // newest first

	// If the lists are not signed with the key that signs the certificates:
	signer *x509.Certificate
	parent *x509.Certificate // who issued the signer; nil if nobody above it is known
}

// An authority is an issuer: a name and a key, both DER.
type authority struct{ name, key string }

func authorityOf(cert *x509.Certificate) authority {
	return authority{string(cert.RawSubject), string(cert.RawSubjectPublicKeyInfo)}
}

// NewSet returns the set of lists.
func NewSet(from Sources) *Set {
	s := &Set{series: make(map[authority][]*series), names: make(map[string]bool)}
	for _, ca := range from.Covered {
		s.names[string(ca.RawSubject)] = true
	}
	for _, v := range from.Lists {
		s.names[string(v.list.RawIssuer)] = true
		s.add(authorityOf(v.signer), series{scope: &v.list.Scope, key: keyOf(v.signer)}, &v.list)
		for _, kin := range kinOf(v.signer, from.Authorities) {
			s.add(authorityOf(kin.ca), series{scope: &v.list.Scope, key: keyOf(v.signer), signer: v.signer, parent: kin.parent}, &v.list)
		}
	}
	for _, all := range s.series {
		for _, one := range all {
			slices.SortStableFunc(one.complete, func(a, b *List) int { return b.compare(&a.Header) })
			slices.SortStableFunc(one.deltas, func(a, b *List) int { return b.compare(&a.Header) })
		}
	}
	return s
}

// add puts a list into the series of its key and scope among those of a CA,
// which is new if there is none.
func (s *Set) add(ca authority, fresh series, list *List) {
	all := s.series[ca]
	i := slices.IndexFunc(all, func(one *series) bool { return one.key == fresh.key && one.scope.raw == fresh.scope.raw })
	if i < 0 {
		i, all = len(all), append(all, &fresh)
		s.series[ca] = all
	}
	if list.Delta() {
		all[i].deltas = append(all[i].deltas, list)
	} else {
		all[i].complete = append(all[i].complete, list)
	}
}

// newest describes a series for people.
func (one *series) newest() *Header { return &slices.Concat(one.complete, one.deltas)[0].Header }

// Covered reports whether lists of issuer are here, or expected.
func (s *Set) Covered(issuer *x509.Certificate) bool { return s.names[string(issuer.RawSubject)] }

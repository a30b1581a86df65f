package crl

import (
	"crypto/x509"
	"slices"

	"omca/pki"
)

// Sources are what a Set is made of.
type Sources struct {
	Lists []*Verified

	// Covered are the CAs whose lists are expected, whether one is among Lists or
	// not: what they issued is Undetermined, not NotCovered, while there is none.
	// A CA that signed one of Lists is covered anyway. All CAs of a name are covered
	// with one of them: a list that cannot be verified has no more than a name.
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
	known  *known
	series map[pki.AuthorityID][]*series
	names  map[string]bool // of the CAs that have, or should have, lists, in the form of pki.CanonicalName
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

// NewSet returns the set of lists.
func NewSet(from Sources) *Set {
	s := &Set{known: newKnown(from.cas()...), series: make(map[pki.AuthorityID][]*series), names: make(map[string]bool)}
	for _, ca := range from.Covered {
		s.names[s.known.of(ca).name] = true
	}
	for _, v := range from.Lists {
		signer := s.known.of(v.signer)
		s.names[signer.name] = true
		s.add(signer.id, series{scope: &v.list.Scope, key: keyOf(v.signer)}, &v.list)
		for _, kin := range s.known.kinOf(v.signer, from.Authorities) {
			s.add(kin.id, series{scope: &v.list.Scope, key: keyOf(v.signer), signer: v.signer, parent: kin.parent}, &v.list)
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

// cas returns all certificates that from names.
func (from Sources) cas() []*x509.Certificate {
	all := slices.Concat(from.Covered, from.Authorities)
	for _, list := range from.Lists {
		all = append(all, list.signer)
	}
	return all
}

// add puts a list into the series of its key and scope among those of a CA,
// which is new if there is none.
func (s *Set) add(ca pki.AuthorityID, fresh series, list *List) {
	all := s.series[ca]
	i := slices.IndexFunc(all, func(one *series) bool { return one.key == fresh.key && one.scope.Equal(fresh.scope) })
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

// Covered reports whether lists of issuer, or of another CA of its name, are here, or expected.
func (s *Set) Covered(issuer *x509.Certificate) bool { return s.names[s.known.of(issuer).name] }

// HasList reports whether a list is here that is signed with the key of issuer, or with another that is
// known to be of the same CA.
func (s *Set) HasList(issuer *x509.Certificate) bool { return len(s.series[s.known.of(issuer).id]) > 0 }

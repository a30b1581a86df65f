package crl

import (
	"crypto/x509"
	"slices"

	"omca/pki"
)

// kin is another key of the CA that a signer of lists has, and the certificate of
// the CA that issued the signer; nil if none above it is known.
type kin struct {
	id     pki.AuthorityID
	parent *x509.Certificate
}

// kinOf returns those of cas that have the name of signer and another key, and
// are the same CA nevertheless: one of the two issued the other (a rollover, as
// RFC 4210, 4.4 has it), or a third issued both. A name alone proves nothing: two
// CAs may choose the same.
func (k *known) kinOf(signer *x509.Certificate, cas []*x509.Certificate) []kin {
	own, issuer := k.of(signer), string(pki.CanonicalName(signer.RawIssuer))
	var parent *x509.Certificate
	for _, c := range cas {
		if k.of(c).name == issuer && keyOf(c) != keyOf(signer) && issued(c, signer) {
			parent = c
			break
		}
	}
	var list []kin
	for _, ca := range cas {
		is := k.of(ca)
		if is.name != own.name || is.id == own.id || slices.ContainsFunc(list, func(one kin) bool { return one.id == is.id }) {
			continue
		}
		if issued(ca, signer) || issued(signer, ca) || parent != nil && issued(parent, ca) {
			list = append(list, kin{is.id, parent})
		}
	}
	return list
}

func keyOf(cert *x509.Certificate) string { return string(pki.CanonicalKey(cert)) }

// issued reports whether parent signed child, by name and signature, and may.
func issued(parent, child *x509.Certificate) bool {
	return pki.EqualNames(child.RawIssuer, parent.RawSubject) && pki.CheckPublicKey(parent.PublicKey) == nil &&
		child.CheckSignatureFrom(parent) == nil
}

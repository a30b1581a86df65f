package crl

import (
	"bytes"
	"crypto/x509"

	"omca/pki"
)

// kin is a CA certificate that belongs to the same CA as a signer of lists, and
// who issued that signer; nil if nobody above it is known.
type kin struct{ ca, parent *x509.Certificate }

// kinOf returns those of known that have the name of signer and another key, and
// are the same CA nevertheless: one of the two issued the other (a rollover, as
// RFC 4210, 4.4 has it), or a third issued both. A name alone proves nothing: two
// CAs may choose the same.
func kinOf(signer *x509.Certificate, known []*x509.Certificate) []kin {
	var parent *x509.Certificate
	for _, c := range known {
		if keyOf(c) != keyOf(signer) && issued(c, signer) {
			parent = c
			break
		}
	}
	var list []kin
	for _, ca := range known {
		if !bytes.Equal(ca.RawSubject, signer.RawSubject) || keyOf(ca) == keyOf(signer) {
			continue
		}
		if issued(ca, signer) || issued(signer, ca) || parent != nil && issued(parent, ca) {
			list = append(list, kin{ca, parent})
		}
	}
	return list
}

func keyOf(cert *x509.Certificate) string { return string(cert.RawSubjectPublicKeyInfo) }

// issued reports whether parent signed child, by name and signature, and may.
func issued(parent, child *x509.Certificate) bool {
	return bytes.Equal(child.RawIssuer, parent.RawSubject) && pki.CheckPublicKey(parent.PublicKey) == nil &&
		child.CheckSignatureFrom(parent) == nil
}

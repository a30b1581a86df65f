package crl

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"iter"

	"omca/pki"
)

// CheckSignature reports whether issuer signed l, and may: the names are equal
// (RFC 5280, 7.1), its key usage, if it has one, includes cRLSign, and the
// signature verifies over the very octets that were parsed. Key identifiers decide
// nothing: the makers of certificates choose them, and RFC 5280, 4.2.1.1 has them
// for finding a key. Errors: pki.ErrInvalid, saying both sides.
func (l *List) CheckSignature(issuer *x509.Certificate) error {
	if !pki.EqualNames(l.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%w: %s is of %s, not of %q", pki.ErrInvalid, &l.Header, nameText(l.RawIssuer), issuer.Subject)
	}
	if issuer.KeyUsage != 0 && issuer.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return fmt.Errorf("%w: %q may not sign revocation lists: it lacks the key usage cRLSign", pki.ErrInvalid, issuer.Subject)
	}
	algorithm, ok := lookupAlgorithm(l.algorithm)
	if !ok {
		return fmt.Errorf("%w: %s is signed with an algorithm that is not accepted", pki.ErrInvalid, &l.Header)
	}
	// A huge key makes verifying expensive.
	if err := pki.CheckPublicKey(issuer.PublicKey); err != nil {
		return err
	}
	if err := issuer.CheckSignature(algorithm, l.tbs, l.signature); err != nil {
		if !l.MayBeOfKey(issuer) {
			return fmt.Errorf("%w: %s is signed with key %x, the key of %q is %x",
				pki.ErrInvalid, &l.Header, l.AuthorityKeyID, issuer.Subject, issuer.SubjectKeyId)
		}
		return fmt.Errorf("%w: the signature on %s is not of %q: %v", pki.ErrInvalid, &l.Header, issuer.Subject, err)
	}
	return nil
}

// MayBeOfKey reports whether the key identifiers of l and of issuer leave open that
// one signed the other: they are equal, or one of them is absent.
func (h *Header) MayBeOfKey(issuer *x509.Certificate) bool {
	return len(h.AuthorityKeyID) == 0 || len(issuer.SubjectKeyId) == 0 || bytes.Equal(h.AuthorityKeyID, issuer.SubjectKeyId)
}

// A Verified list is one that its issuer signed. It no longer holds the octets
// that were parsed.
type Verified struct {
	list   List
	signer *x509.Certificate
}

// Verify returns l as a list of the first of signers for which CheckSignature
// passes. Errors: pki.ErrInvalid with the reason for each.
func (l *List) Verify(signers ...*x509.Certificate) (*Verified, error) {
	if len(signers) == 0 {
		return nil, fmt.Errorf("%w: nobody is known who could have signed %s of %s", pki.ErrInvalid, &l.Header, nameText(l.RawIssuer))
	}
	var last error
	for _, signer := range signers {
		err := l.CheckSignature(signer)
		if err == nil {
			return &Verified{list: List{Header: l.Header, entries: l.entries, because: l.becauses()}, signer: signer}, nil
		}
		// The one of the right name says most.
		if last == nil || pki.EqualNames(l.RawIssuer, signer.RawSubject) {
			last = err
		}
	}
	return nil, last
}

// Header returns what the list says about itself.
func (v *Verified) Header() *Header { return &v.list.Header }

// Signer returns the certificate that the signature was verified with.
func (v *Verified) Signer() *x509.Certificate { return v.signer }

// Len returns the number of entries.
func (v *Verified) Len() int { return v.list.Len() }

// Entries returns the entries in the order of the list.
func (v *Verified) Entries() iter.Seq[Entry] { return v.list.Entries() }

// nameText returns a Name, DER, as people write it.
func nameText(der []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return "an unreadable name"
	}
	return fmt.Sprintf("%q", name.String())
}

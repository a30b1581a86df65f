package ca

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"slices"

	"omca/pki"
)

// What is left of a CA that no object holds any more: certificates that others may
// still trust. Nothing here signs with its key but what tells of their revocation, and
// that for as long as one of them lives.

// LastingName is the name under which the list of the CA with that certificate, in
// the object at path, is published for good: "ca-5d2c8e1f0a9b3c47" for system/sec/ca.
// What is signed says it, since [ListName] is that of whatever the object holds.
func LastingName(path string, cert *x509.Certificate) string {
	return ListName(path) + "-" + pki.AuthorityOf(cert).Short()
}

// formerListID is the end of the lasting name that builds before 2026-12 gave the
// list of a CA. Certificates of that time point to it.
func formerListID(cert *x509.Certificate) string {
	sum := sha256.Sum256(slices.Concat(cert.SubjectKeyId, cert.RawSubject))
	return hex.EncodeToString(sum[:8])
}

// formerNumbers are the numbers of the sets that h had before, ascending.
func (h Holder) formerNumbers() []int { return slices.Sorted(maps.Keys(h.Former)) }

// formerNumber returns the number of the set of a CA in the history of the object at
// path; -1 when it is not there, or the object is not.
func (a *Authority) formerNumber(ctx context.Context, path string, id pki.AuthorityID) int {
	h, err := a.store.Holder(ctx, path)
	if err != nil {
		return -1
	}
	sets, err := h.former()
	if err != nil {
		return -1
	}
	for _, n := range slices.Backward(h.formerNumbers()) {
		if chain, err := sets[n].certificates(); err == nil && pki.AuthorityOf(chain[0]) == id {
			return n
		}
	}
	return -1
}

// makeResponder makes what answers for a dormant CA. Its key is in memory only: the
// object of the responder belongs to the CA that took its place.
func (a *Authority) makeResponder(ctx context.Context, is *issuer) (set, error) {
	key, err := pki.GenerateKey(pki.DefaultKeyType)
	if err != nil {
		return set{}, err
	}
	cluster, err := a.store.Cluster(ctx)
	if err != nil {
		return set{}, err
	}
	o := order{who: a.self, issuer: is, owner: PathOCSP}
	if o.profile, err = pki.LookupProfile(ProfileOCSP); err != nil {
		return set{}, err
	}
	if o.request, err = pki.NewRequest(key.Public(), pki.Subject{CommonName: cluster.Name + " OCSP"}, pki.Names{}); err != nil {
		return set{}, err
	}
	cert, err := a.walk(ctx, o, nil)
	if err != nil {
		return set{}, err
	}
	return set{chain: []*x509.Certificate{cert}, key: key}, nil
}

package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"omca/internal/hint"
	"omca/pki"
)

// A Lineage tells which CAs that are known here issued a CA certificate: a trust anchor has
// nothing above it in a verified chain, and is not a root for that. A Lineage does not
// change; any number of goroutines may use it.
type Lineage struct {
	anchors []*x509.Certificate
	known   []*x509.Certificate            // the anchors first
	issuers map[string][]*x509.Certificate // of the anchors and of all above them, by the octets of the certificate
	serials map[pki.Serial]bool            // of all above the anchors
}

// NewLineage returns the lineage of trust anchors among certificates of CAs.
func NewLineage(anchors, known []*x509.Certificate) *Lineage {
	l := &Lineage{anchors: anchors, known: slices.Concat(anchors, known), issuers: make(map[string][]*x509.Certificate), serials: make(map[pki.Serial]bool)}
	for queue := slices.Clone(anchors); len(queue) > 0; queue = queue[1:] {
		if _, met := l.issuers[string(queue[0].Raw)]; met {
			continue
		}
		found := l.find(queue[0])
		l.issuers[string(queue[0].Raw)] = found
		for _, issuer := range found {
			l.serials[pki.SerialOf(issuer)] = true
		}
		queue = append(slices.Clip(queue), found...)
	}
	return l
}

// Of reports whether l is the lineage of the same certificates.
func (l *Lineage) Of(anchors, known []*x509.Certificate) bool {
	return slices.EqualFunc(l.anchors, anchors, (*x509.Certificate).Equal) &&
		slices.EqualFunc(l.known[len(l.anchors):], known, (*x509.Certificate).Equal)
}

// Issuers returns the certificates of known CAs that issued cert: none for a root. For a
// trust anchor, and for what is above one, it takes some ten nanoseconds.
func (l *Lineage) Issuers(cert *x509.Certificate) []*x509.Certificate {
	if found, ok := l.issuers[string(cert.Raw)]; ok {
		return found
	}
	return l.find(cert)
}

// Above reports whether a known certificate above a trust anchor has the serial number.
func (l *Lineage) Above(serial pki.Serial) bool {
	return l.serials[serial]
}

func (l *Lineage) find(cert *x509.Certificate) []*x509.Certificate {
	var found []*x509.Certificate
	for _, one := range l.known {
		itself := pki.SameKey(one.PublicKey, cert.PublicKey) && pki.EqualNames(one.RawSubject, cert.RawSubject)
		if !itself && maySign(one, cert) && !slices.ContainsFunc(found, one.Equal) {
			found = append(found, one)
		}
	}
	return found
}

// maySign reports whether issuer signed cert, by name and signature. Of a signature that
// cannot be checked, such as one over SHA-1, the name decides: a revocation of that issuer
// names the serial number as well.
func maySign(issuer, cert *x509.Certificate) bool {
	if !pki.EqualNames(cert.RawIssuer, issuer.RawSubject) {
		return false
	}
	err := issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	return err == nil || errors.Is(err, x509.ErrUnsupportedAlgorithm) || errors.As(err, new(x509.InsecureAlgorithmError))
}

// Lineage returns the lineage of the trusted CAs among those and the CAs on record: last
// when that is what it is. Errors: as for Trust, beside the lineage of those that can be
// read; nil then only when nothing can be read.
func (a *Authority) Lineage(ctx context.Context, last *Lineage) (*Lineage, error) {
	trusted, err := a.Trust(ctx)
	if err != nil && len(trusted) == 0 {
		return nil, err
	}
	roll, bad := a.onRecord(ctx)
	if bad != nil {
		return nil, bad
	}
	if known := roll.certificates(); last == nil || !last.Of(trusted, known) {
		last = NewLineage(trusted, known)
	}
	return last, err
}

// certificates returns the certificates of the CAs on record and those above them, in the
// order of the identities.
func (r *roll) certificates() []*x509.Certificate {
	ids := make([]pki.AuthorityID, 0, len(r.byID))
	for id := range r.byID {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y pki.AuthorityID) int { return slices.Compare(x[:], y[:]) })
	var all []*x509.Certificate
	for _, id := range ids {
		all = append(all, r.byID[id].Chain...)
	}
	return all
}

// unrevoked refuses a chain with a CA certificate that was revoked here, by record or below
// any known CA that issued it: a trust anchor with it would be refused, with all below it.
func (a *Authority) unrevoked(ctx context.Context, chain []*x509.Certificate) error {
	roll, err := a.onRecord(ctx)
	if err != nil {
		return err
	}
	known := NewLineage(nil, slices.Concat(chain, roll.certificates()))
	for _, cert := range chain {
		if !cert.IsCA || selfSigned(cert) {
			continue
		}
		_, revoked, err := a.RevocationOf(ctx, cert)
		for _, issuer := range known.Issuers(cert) {
			if err == nil && !revoked {
				_, revoked, err = a.RevocationBelow(ctx, cert, []*x509.Certificate{issuer})
			}
		}
		if err != nil {
			return err
		}
		if revoked {
			return hint.With(fmt.Errorf("%w: the certificate %s of the CA %q was revoked", ErrConflict, pki.SerialOf(cert), cert.Subject),
				"have a new certificate made for a new key: \"omca PATH certificate renew --rekey\", or at the CA that signed it")
		}
	}
	return nil
}

package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// pendingPrefix marks the stored keys that wait for the rest of their set.
const pendingPrefix = "pending/"

func pendingKey(name string) string { return pendingPrefix + name }

// WaitingKey reports whether a stored key holds an imported value that waits
// for the rest of its set, and of which part. Operators have no such keys.
func WaitingKey(stored string) (part string, ok bool) {
	return strings.CutPrefix(stored, pendingPrefix)
}

// Imports reports whether name is a key that Import looks after.
func Imports(name string) bool {
	return name == KeyPrivate || name == KeyCertificate || name == KeyChain
}

// Imported says what an import led to.
type Imported struct {
	Live    bool     // the set is complete: it is what the object serves and signs with now
	Pending []string // else what is still missing, in words
}

// Import takes one part of a certificate set made elsewhere: private_key,
// certificate or certificate_chain, PEM, in any order of calls. The live set
// stays as it is until key, certificate and chain agree; then all of it is
// replaced in one commit.
//
// ErrInvalid: the value can never be part of a valid set of this object.
func (a *Authority) Import(ctx context.Context, who usr.Caller, path, name string, value []byte) (Imported, error) {
	h, err := a.store.Holder(ctx, path)
	if err != nil {
		return Imported{}, err
	}
	if h.Profile == ProfileOCSP {
		return Imported{}, fmt.Errorf("%w: %s: %s: what answers for a CA has a key and a certificate that are made here", ErrInvalid, path, name)
	}
	parts, err := a.parts(h, name, value)
	if err != nil {
		return Imported{}, fmt.Errorf("%w: %s: %s: %w", ErrInvalid, path, name, err)
	}
	chain, key, missing := assemble(h, parts)
	if len(missing) > 0 {
		c := Change{Path: path, Revision: h.Revision, KeyMade: h.KeyMade, Put: map[string][]byte{pendingKey(name): value}}
		if err := a.store.Commit(ctx, c); err != nil {
			return Imported{}, err
		}
		a.log.InfoContext(ctx, "import pending", "path", path, "key", name, "by", who.Name, "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
		return Imported{Pending: missing}, nil
	}
	chain = pki.WithoutRoot(chain) // whoever trusts the root has it
	if err := a.fits(h, chain); err != nil {
		return Imported{}, fmt.Errorf("%w: %s: %s: %w", ErrInvalid, path, name, err)
	}
	c := install(h, chain)
	if key != nil {
		if c.Put[KeyPrivate], err = pki.EncodePrivateKey(key); err != nil {
			return Imported{}, err
		}
		c.KeyMade = h.KeyMade && h.PrivateKey != nil && sameKeyPEM(h.PrivateKey, key)
	}
	if err := a.store.Commit(ctx, c); err != nil {
		return Imported{}, err
	}
	a.log.InfoContext(ctx, "imported", "path", path, "serial", pki.SerialOf(chain[0]), "subject", chain[0].Subject.String(),
		"not_after", chain[0].NotAfter, "by", who.Name, "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
	return Imported{Live: true}, nil
}

// parts are the imported values of one object that wait for each other.
type parts struct {
	key   crypto.Signer
	certs []*x509.Certificate // of certificate and certificate_chain, in that order
}

// parts parses what is pending for h with the new value in its place, and
// refuses what can never become valid.
func (a *Authority) parts(h Holder, name string, value []byte) (parts, error) {
	waiting := maps.Clone(h.Pending)
	if waiting == nil {
		waiting = make(map[string][]byte)
	}
	waiting[name] = value
	var p parts
	var err error
	if v, ok := waiting[KeyPrivate]; ok {
		if p.key, err = pki.ParsePrivateKey(v, nil); err != nil {
			return parts{}, err
		}
	}
	for _, part := range []string{KeyCertificate, KeyChain} {
		v, ok := waiting[part]
		if !ok {
			continue
		}
		certs, err := pki.ParseCertificates(v)
		if err != nil {
			return parts{}, err
		}
		if part == name && a.now().After(certs[0].NotAfter) {
			return parts{}, fmt.Errorf("the certificate of %q expired on %s", certs[0].Subject, certs[0].NotAfter.UTC().Format("2006-01-02"))
		}
		p.certs = append(p.certs, certs...)
	}
	return p, nil
}

// assemble puts the parts together with what is live: the chain in order, and
// the key of its leaf, nil for a CA whose key is elsewhere. What is missing is
// told in words, and nothing else is returned then.
func assemble(h Holder, p parts) (chain []*x509.Certificate, key crypto.Signer, missing []string) {
	key = p.key
	if key == nil && h.PrivateKey != nil {
		var err error
		if key, err = pki.ParsePrivateKey(h.PrivateKey, nil); err != nil {
			return nil, nil, []string{"the private_key that the object has cannot be read: import it too"}
		}
	}
	certs := p.certs
	if len(certs) == 0 && h.Chain != nil {
		var err error
		if certs, err = pki.ParseCertificates(h.Chain); err != nil {
			return nil, nil, []string{"the certificate_chain that the object has cannot be read: import it too"}
		}
	}
	if key == nil && h.Profile != ProfileCA {
		missing = append(missing, "private_key is missing")
	}
	if len(certs) == 0 {
		missing = append(missing, "certificate_chain is missing")
	}
	if missing != nil {
		return nil, nil, missing
	}
	chain, err := pki.OrderChain(certs)
	if err != nil {
		return nil, nil, []string{"certificate_chain: " + err.Error()}
	}
	if key == nil {
		return chain, nil, nil // a CA whose key is elsewhere: it is trusted, and signs nothing here
	}
	if !pki.SameKey(chain[0].PublicKey, key.Public()) {
		return nil, nil, []string{fmt.Sprintf("the certificate of %q is for another key (%s) than private_key (%s)",
			chain[0].Subject, pki.DescribeKey(chain[0].PublicKey), pki.DescribeKey(key.Public()))}
	}
	return chain, key, nil
}

// fits checks that a complete set can do what the object is for.
func (a *Authority) fits(h Holder, chain []*x509.Certificate) error {
	leaf := chain[0]
	if err := pki.VerifyChain(chain, a.now()); err != nil {
		return err
	}
	switch {
	case h.Profile == ProfileCA && !leaf.IsCA:
		return fmt.Errorf("the certificate of %q is not a CA's (basicConstraints CA:TRUE is missing)", leaf.Subject)
	case h.Profile != ProfileCA && leaf.IsCA:
		return fmt.Errorf("the certificate of %q is a CA's, and the profile of the object is %q", leaf.Subject, h.Profile)
	case h.Profile == ProfileListener && !allows(leaf, x509.ExtKeyUsageServerAuth):
		return hint.With(errors.New("the certificate is not for servers (extendedKeyUsage serverAuth is missing)"), "have it signed for TLS servers")
	case h.Profile == ProfileUser && !allows(leaf, x509.ExtKeyUsageClientAuth):
		return errors.New("the certificate is not for clients (extendedKeyUsage clientAuth is missing)")
	}
	return nil
}

// allows reports whether the certificate may be used for use. RFC 5280,
// 4.2.1.12: a certificate without the extension is not restricted.
func allows(cert *x509.Certificate, use x509.ExtKeyUsage) bool {
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 ||
		slices.Contains(cert.ExtKeyUsage, use) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func sameKeyPEM(pem []byte, key crypto.Signer) bool {
	have, err := pki.ParsePrivateKey(pem, nil)
	return err == nil && pki.SameKey(have.Public(), key.Public())
}

// explainPending says why the pending values of h are not live.
func (a *Authority) explainPending(h Holder) []string {
	if len(h.Pending) == 0 {
		return nil
	}
	name := slices.Sorted(maps.Keys(h.Pending))[0]
	p, err := a.parts(h, name, h.Pending[name])
	if err != nil {
		return []string{err.Error()}
	}
	_, _, missing := assemble(h, p)
	return missing
}

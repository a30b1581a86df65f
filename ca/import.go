package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
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
		a.log.InfoContext(ctx, "import pending", "path", path, "key", name, "by", who.By(), "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
		return Imported{Pending: missing}, nil
	}
	if err := a.fits(h, chain); err != nil {
		return Imported{}, fmt.Errorf("%w: %s: %s: %w", ErrInvalid, path, name, err)
	}
	if err := a.unblocked(ctx, chain[0].PublicKey); err != nil {
		return Imported{}, fmt.Errorf("%s: %s: %w", path, name, err)
	}
	if err := a.unrevoked(ctx, chain); err != nil {
		return Imported{}, fmt.Errorf("%s: %s: %w", path, name, err)
	}
	if err := a.goLive(ctx, who, h, chain, key); err != nil {
		return Imported{}, err
	}
	return Imported{Live: true}, nil
}

// goLive makes a complete set that fits what h serves and signs with, in one
// commit. What is live already stays as it is. The key is nil where it is elsewhere.
func (a *Authority) goLive(ctx context.Context, who usr.Caller, h Holder, chain []*x509.Certificate, key crypto.Signer) error {
	chain = pki.WithoutRoot(chain) // whoever trusts the root has it
	if h.has(chain, key) {
		return nil // the part of the live set that came last
	}
	c := install(h, chain)
	if err := a.keepFormer(ctx, who, h, &c); err != nil {
		return err
	}
	if key != nil {
		var err error
		if c.Put[KeyPrivate], err = pki.EncodePrivateKey(key); err != nil {
			return err
		}
		c.KeyMade = h.KeyMade && h.PrivateKey != nil && sameKeyPEM(h.PrivateKey, key)
		h.becomes(&c, chain, c.Put[KeyPrivate], c.KeyMade)
	}
	c.Keys = []pki.KeyHash{pki.KeyHashOf(chain[0])}
	if err := a.commit(ctx, c); err != nil {
		return a.refused(ctx, err, chain[0])
	}
	a.log.InfoContext(ctx, "imported", "path", h.Path, "serial", pki.SerialOf(chain[0]), "subject", chain[0].Subject.String(),
		"not_after", chain[0].NotAfter, "by", who.By(), "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
	return nil
}

// has reports whether chain and key are what is live, with nothing waiting.
func (h Holder) has(chain []*x509.Certificate, key crypto.Signer) bool {
	return len(h.Pending) == 0 && bytes.Equal(h.Chain, pki.EncodeCertificates(chain...)) &&
		(key == nil || h.PrivateKey != nil && sameKeyPEM(h.PrivateKey, key))
}

// parts are the imported values of one object that wait for each other.
type parts struct {
	key     crypto.Signer
	certs   []*x509.Certificate // of certificate and certificate_chain, in that order
	chained bool                // certificate_chain is among them
}

// parts parses what is pending for h with the new value in its place, and
// refuses what can never become valid.
func (a *Authority) parts(h Holder, name string, value []byte) (parts, error) {
	if err := checkPEM(value); err != nil {
		return parts{}, err
	}
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
		if part == name {
			if err := a.possible(h, part, certs); err != nil {
				return parts{}, err
			}
		}
		p.chained = p.chained || part == KeyChain
		p.certs = append(p.certs, certs...)
	}
	return p, nil
}

// checkPEM refuses what the reader of PEM would pass over in silence: a block
// that is cut short or damaged would be missing from the chain. Other text
// beside the blocks is a comment.
func checkPEM(value []byte) error {
	switch {
	case len(value) == 0:
		return errors.New("the value is empty")
	case value[0] == 0x30: // a DER SEQUENCE
		return hint.With(errors.New("the value is DER, not PEM"), "convert it with \"openssl x509 -inform DER\" or \"openssl pkey -inform DER\"")
	}
	blocks := 0
	for block, rest := pem.Decode(value); block != nil; block, rest = pem.Decode(rest) {
		blocks++
	}
	if begun := bytes.Count(value, []byte("-----BEGIN ")); begun != blocks {
		return fmt.Errorf("%d PEM blocks begin, and %d can be read: the value is cut short or damaged", begun, blocks)
	}
	return nil
}

// possible refuses the certificates of one part when no other part could make
// a valid set of them.
func (a *Authority) possible(h Holder, part string, certs []*x509.Certificate) error {
	chain, err := pki.OrderChain(certs)
	if err != nil {
		return err
	}
	if err := pki.VerifyChain(chain, a.now()); err != nil {
		return err
	}
	if part == KeyChain && h.Profile != ProfileCA && chain[0].IsCA {
		return nil // the issuers alone, for a certificate of its own
	}
	return suits(h, chain)
}

// gather returns the chain of the set, in order: of what was imported and,
// where that says nothing else, of what is live. What is missing is told in words.
func gather(h Holder, p parts) (chain []*x509.Certificate, missing string) {
	var live []*x509.Certificate
	if h.Chain != nil && !p.chained {
		var err error
		if live, err = pki.ParseCertificates(h.Chain); err != nil {
			return nil, "the certificate_chain that the object has cannot be read: import it too"
		}
	}
	if len(p.certs) == 0 {
		if live == nil {
			return nil, "certificate_chain is missing"
		}
		return live, ""
	}
	chain, err := pki.OrderChain(p.certs)
	if err != nil {
		return nil, "certificate_chain: " + err.Error()
	}
	leaf := chain[0]
	switch {
	case p.chained || len(chain) > 1 || bytes.Equal(leaf.RawIssuer, leaf.RawSubject):
		return chain, ""
	case live != nil && bytes.Equal(leaf.RawIssuer, live[0].RawIssuer) && bytes.Equal(leaf.AuthorityKeyId, live[0].AuthorityKeyId):
		return append(chain, live[1:]...), "" // of the same issuer as the one before it
	}
	// A certificate alone would cut its issuers off from the live set.
	return nil, "certificate_chain is missing"
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
	if key == nil && h.Profile != ProfileCA {
		missing = append(missing, "private_key is missing")
	}
	chain, lacks := gather(h, p)
	if lacks != "" {
		missing = append(missing, lacks)
	}
	if missing != nil {
		return nil, nil, missing
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
	if err := pki.VerifyChain(chain, a.now()); err != nil {
		return err
	}
	return suits(h, chain)
}

// suits checks that the first certificate of a chain is one for the profile of
// the object.
func suits(h Holder, chain []*x509.Certificate) error {
	leaf := chain[0]
	switch {
	case h.Profile == ProfileCA && leaf.IsCA:
		return mayIssue(chain)
	case h.Profile == ProfileCA:
		return fmt.Errorf("the certificate of %q is not a CA's (basicConstraints CA:TRUE is missing)", leaf.Subject)
	case leaf.IsCA:
		return fmt.Errorf("the certificate of %q is a CA's, and the profile of the object is %q", leaf.Subject, h.Profile)
	case h.Profile == ProfileListener && !allows(leaf, x509.ExtKeyUsageServerAuth):
		return hint.With(errors.New("the certificate is not for servers (extendedKeyUsage serverAuth is missing)"), "have it signed for TLS servers")
	case h.Profile == ProfileUser && !allows(leaf, x509.ExtKeyUsageClientAuth):
		return errors.New("the certificate is not for clients (extendedKeyUsage clientAuth is missing)")
	}
	return nil
}

// mayIssue checks that the first certificate of a chain may sign others, by its
// own key usage and by the path lengths above it (RFC 5280, 4.2.1.3 and 4.2.1.9).
func mayIssue(chain []*x509.Certificate) error {
	if usage := chain[0].KeyUsage; usage != 0 && usage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("the certificate of %q may not sign certificates (keyUsage keyCertSign is missing)", chain[0].Subject)
	}
	for i, above := range chain[1:] {
		limited := above.MaxPathLen > 0 || above.MaxPathLenZero
		if below := i + 1; limited && above.MaxPathLen < below {
			return fmt.Errorf("%q has path length %d, and %d CAs follow below it", above.Subject, above.MaxPathLen, below)
		}
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
	chain, _, missing := assemble(h, p)
	if missing == nil {
		if err := a.fits(h, chain); err != nil { // time has passed since
			return []string{err.Error()}
		}
	}
	return missing
}

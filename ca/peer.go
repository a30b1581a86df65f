package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// PathPeers is the CA that the members of the cluster know each other by, and
// PathNode what the certificates of members are kept under: PathNode + NAME. It
// signs these and nothing else, because whatever it has signed is spoken to
// (docs/adr/0030-peers-are-checked-at-both-ends.md). The name is none that
// SPEC's older manuals give to another CA, which are of the form ca-CLUSTER.
const (
	PathPeers = "system/sec/peer-ca"
	PathNode  = "system/sec/node-"
)

// bySelfOrPeers keeps the CA of the members to its purpose: it signs itself,
// what answers for it, and for root the certificates of members.
func bySelfOrPeers(o order) error {
	if o.issuer.path != PathPeers || o.owner == PathPeers || o.profile.Name == ProfileOCSP {
		return nil // a responder's certificate is for no connection
	}
	if o.profile.Name != ProfileNode || !strings.HasPrefix(o.owner, PathNode) || !isRoot(o.who) {
		return hint.With(fmt.Errorf("%w: %s signs certificates of profile %q for %sNAME, and only for root: this one is of profile %q, for %s",
			usr.ErrDenied, PathPeers, ProfileNode, PathNode, o.profile.Name, o.owner), "name another CA in the keyword ca, or none for the CA of the cluster")
	}
	return nil
}

// nodeName is the name that the SPIFFE ID of h has: of a member, that of its node.
func nodeName(h Holder) string {
	if node, ok := strings.CutPrefix(h.Path, PathNode); ok && h.Profile == ProfileNode && h.IssuerPath == PathPeers {
		return node
	}
	return h.Name
}

// SignNode issues the certificate that the keywords of the object at path ask for
// over the key of a request made elsewhere, and installs it there without the
// key: a new member keeps that until it is one, and brings it then. The names in
// the request count for nothing. Errors: as for Create.
func (a *Authority) SignNode(ctx context.Context, who usr.Caller, path string, csr []byte) (Issued, error) {
	h, err := a.store.Holder(ctx, path)
	if err != nil {
		return Issued{}, err
	}
	if h.Profile != ProfileNode || h.IssuerPath != PathPeers {
		return Issued{}, fmt.Errorf("%w: %s is not for the certificate of a member", ErrInvalid, path)
	}
	proven, err := pki.ParseRequest(csr)
	if err != nil {
		return Issued{}, fmt.Errorf("%w: certificate request: %w", ErrInvalid, err)
	}
	o, err := a.orderOver(ctx, who, h, proven.PublicKey(), nil)
	if err != nil {
		return Issued{}, err
	}
	cert, err := a.walk(ctx, o, func(cert *x509.Certificate) Change {
		c := install(h, append([]*x509.Certificate{cert}, o.issuer.set.chain...))
		c.KeyMade = false
		if h.PrivateKey != nil {
			c.Remove = append(c.Remove, KeyPrivate) // of a machine that was to become this node before
		}
		return c
	})
	if err != nil {
		return Issued{}, fmt.Errorf("%s: %w", path, err)
	}
	return Issued{Path: path, Certificate: cert, Chain: append([]*x509.Certificate{cert}, o.issuer.set.chain...)}, nil
}

// BringKey puts the private key, PEM, of the certificate that the object at path
// holds beside it, where SignNode left it out. Doing it again changes nothing.
func (a *Authority) BringKey(ctx context.Context, path string, key []byte) error {
	h, err := a.store.Holder(ctx, path)
	if err != nil || h.PrivateKey != nil {
		return err
	}
	have, err := live(h)
	if err != nil {
		return err
	}
	signer, err := pki.ParsePrivateKey(key, nil)
	if err != nil {
		return fmt.Errorf("%w: %s: private_key: %w", ErrInvalid, path, err)
	}
	if len(have.chain) == 0 || !pki.SameKey(have.chain[0].PublicKey, signer.Public()) {
		return fmt.Errorf("%w: %s: the key is not that of its certificate", ErrInvalid, path)
	}
	return a.store.Commit(ctx, Change{Path: path, Revision: h.Revision, Put: map[string][]byte{KeyPrivate: key}, KeyMade: true})
}

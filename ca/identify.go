package ca

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"omca/pki"
)

// Identity says whom a verified client certificate speaks for.
type Identity struct {
	User     string // name of system/usr/NAME
	Serial   pki.Serial
	IssuedAt time.Time // when it was issued here; zero for another PKI's

	record Record // whose it is and since when, without the certificate
}

// BelongsTo reports whether the certificate speaks for the user of that name who was
// made at that time, and not for an earlier one. One of another PKI speaks for any.
func (i Identity) BelongsTo(made time.Time) bool {
	switch {
	case i.IssuedAt.IsZero():
		return true
	case i.record.Owner != userPrefix+i.User:
		return !i.IssuedAt.Before(made) // when its owner was made says nothing of the user
	}
	return i.record.BelongsTo(made)
}

// Trust returns the certificates that client certificates may chain to: the
// cluster's CA, and every CA that the keyword cluster.ca adds. A CA that
// cannot be read is left out and reported: the others go on.
func (a *Authority) Trust(ctx context.Context) ([]*x509.Certificate, error) {
	cluster, err := a.store.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	own, err := a.ClusterCA(ctx)
	if err != nil {
		return nil, err
	}
	var trusted []*x509.Certificate
	var missing []error
	for i, path := range append([]string{own}, cluster.Trusted...) {
		chain, err := a.chainOf(ctx, path)
		switch {
		case err != nil:
			missing = append(missing, err)
		case i == 0:
			// What stands above the cluster's CA is another PKI's: it is trusted
			// only when cluster.ca says so.
			trusted = append(trusted, chain[0])
		default:
			trusted = append(trusted, chain...)
		}
	}
	return trusted, errors.Join(missing...)
}

func (a *Authority) chainOf(ctx context.Context, path string) ([]*x509.Certificate, error) {
	h, err := a.store.Holder(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("trusted CA: %w", err)
	}
	// Only the chain: an external CA has no key here.
	chain, err := pki.ParseCertificates(h.Chain)
	if err != nil {
		return nil, fmt.Errorf("trusted CA %s: certificate_chain: %w", path, err)
	}
	return chain, nil
}

// Identify names the user that the verified chain (leaf first, as crypto/tls
// verified it) speaks for, or says why it speaks for nobody. The user's object
// is the caller's to look up.
func (a *Authority) Identify(ctx context.Context, chain []*x509.Certificate) (Identity, error) {
	if len(chain) < 2 {
		return Identity{}, fmt.Errorf("%w: the client certificate is a trust anchor itself", ErrInvalid)
	}
	leaf, err := pki.WithExtensions(chain[0])
	if err != nil {
		return Identity{}, err
	}
	if leaf.IsCA || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return Identity{}, fmt.Errorf("%w: the certificate is not for client authentication", ErrInvalid)
	}
	if err := personal(leaf); err != nil {
		return Identity{}, err
	}
	cluster, err := a.store.Cluster(ctx)
	if err != nil {
		return Identity{}, err
	}
	user, marked, err := markedUser(leaf, cluster.Name)
	if err != nil {
		return Identity{}, err
	}
	if !marked {
		if id, ok, err := a.adoptedUser(ctx, leaf); ok || err != nil {
			return id, err
		}
	}
	id, err := a.vouched(ctx, chain, leaf, marked)
	if err != nil {
		return Identity{}, err
	}
	if id.User = user; !marked {
		id.User = leaf.Subject.CommonName // an external CA knows no SPIFFE ID of ours
	}
	if id.User == "" || id.User != leaf.Subject.CommonName {
		return Identity{}, fmt.Errorf("%w: the certificate has common name %q and is marked for user %q", ErrInvalid, leaf.Subject.CommonName, id.User)
	}
	return id, nil
}

// vouched says when the leaf of a chain was issued here, if it was, and refuses
// one that its CAs cannot vouch for: of a CA of ours it has to be marked, and
// recorded if the key was made here, and of any other it has not to be marked,
// unless it is recorded: then it was issued here, with a key that is elsewhere too.
func (a *Authority) vouched(ctx context.Context, chain []*x509.Certificate, leaf *x509.Certificate, marked bool) (Identity, error) {
	own, made, err := a.ours(ctx, chain[1:])
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Serial: pki.SerialOf(leaf)}
	if !marked && (own || made) {
		return Identity{}, fmt.Errorf("%w: the certificate is not marked as a user's", ErrInvalid)
	}
	r, there, err := a.recordBelow(ctx, leaf, chain[1])
	switch {
	case err != nil:
		return Identity{}, err
	case there && r.Profile != ProfileUser:
		return Identity{}, fmt.Errorf("%w: the certificate is on record with profile %q, not %q", ErrInvalid, r.Profile, ProfileUser)
	case there:
		id.IssuedAt, id.record = r.IssuedAt, r.whose()
	case !marked:
		return id, nil
	case made:
		return Identity{}, fmt.Errorf("%w: the certificate is not in the inventory", ErrInvalid)
	case !own:
		return Identity{}, fmt.Errorf("%w: an external CA marked the certificate as one of this cluster", ErrInvalid)
	}
	return id, nil
}

// recordBelow returns the record of a certificate of issuer, if there is one. It is
// ErrInvalid for a certificate that was revoked, by the CA that its record names, and
// for one with the serial number of another certificate of that CA.
func (a *Authority) recordBelow(ctx context.Context, cert, issuer *x509.Certificate) (r Record, there bool, err error) {
	r, err = a.store.Record(ctx, pki.SerialOf(cert))
	if errors.Is(err, ErrNotFound) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, err
	}
	if !r.Is(cert) {
		if id, known, err := a.AuthorityOf(ctx, r); err != nil || !known || id != pki.AuthorityOf(issuer) {
			return Record{}, false, err // of another CA, which numbers by itself
		}
		return Record{}, false, fmt.Errorf("%w: serial number %s is that of another certificate of the CA", ErrInvalid, r.Serial())
	}
	if _, revoked, err := a.RevocationFor(ctx, r); err != nil || revoked {
		return Record{}, false, cmp.Or(err, fmt.Errorf("%w: certificate %s was revoked", ErrInvalid, r.Serial()))
	}
	return r, true, nil
}

// ours looks at all the CAs of a chain, issuer first: with the key of one, any number
// of CAs can be made below it. It reports whether the certificate below them is one of
// ours to mark (own), and whether it has to be in the inventory, as the key of one of
// them was made here (made). What is on record decides, and not which object holds a CA.
func (a *Authority) ours(ctx context.Context, cas []*x509.Certificate) (own, made bool, err error) {
	known, err := a.onRecord(ctx)
	if err != nil {
		return false, false, err
	}
	for i, cert := range cas {
		if known.byID[pki.AuthorityOf(cert)].KeyMade {
			return true, true, nil
		}
		if i > 0 {
			continue
		}
		is, err := a.ownIssuer(ctx, cert)
		if err != nil {
			return false, false, err
		}
		own, made = is != nil, is != nil && is.made
	}
	return own, made, nil
}

// ownIssuer returns the cluster's CA when cert is its certificate, else nil.
func (a *Authority) ownIssuer(ctx context.Context, cert *x509.Certificate) (*issuer, error) {
	path, err := a.ClusterCA(ctx)
	if err != nil {
		return nil, err
	}
	is, err := a.issuerAt(ctx, path)
	if err != nil {
		return nil, err
	}
	if !pki.SameKey(is.set.chain[0].PublicKey, cert.PublicKey) {
		return nil, nil
	}
	return is, nil
}

// markedUser reads the SPIFFE ID: whose user the certificate is for, if it
// bears an ID of this cluster. An ID of a node or a listener is refused: such
// a certificate is never taken for a user's.
func markedUser(leaf *x509.Certificate, cluster string) (user string, marked bool, err error) {
	for _, uri := range leaf.URIs {
		name, ours := userIn(uri, cluster)
		if !ours {
			continue
		}
		if name == "" || marked {
			return "", false, fmt.Errorf("%w: the certificate is for %q, not for one user", ErrInvalid, uri)
		}
		user, marked = name, true
	}
	return user, marked, nil
}

// recorded reports whether cert is in the inventory.
func (a *Authority) recorded(ctx context.Context, cert *x509.Certificate) (bool, error) {
	_, ok, err := a.recordOf(ctx, cert)
	return ok, err
}

// recordOf returns the record of cert, if it is in the inventory.
func (a *Authority) recordOf(ctx context.Context, cert *x509.Certificate) (r Record, ok bool, err error) {
	r, err = a.store.Record(ctx, pki.SerialOf(cert))
	if errors.Is(err, ErrNotFound) {
		return Record{}, false, nil
	}
	if err != nil || !r.Is(cert) {
		return Record{}, false, err
	}
	return r, true, nil
}

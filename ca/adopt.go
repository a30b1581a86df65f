package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"omca/internal/hint"
	"omca/pki"
	"omca/pki/flocker"
	"omca/usr"
)

// maxAdopted bounds the certificates of one adoption.
const maxAdopted = 2000

// adoptedAtOnce is how many records one commit takes.
const adoptedAtOnce = 25

// An Adoption is a Flocker cluster that lived without a daemon: its CA, a root,
// and what that signed.
type Adoption struct {
	Path        string // of the object that becomes the CA
	PrivateKey  []byte // PEM, like all of these
	Certificate []byte
	Signed      []AdoptedFile

	// Stage returns a context in which there is a new object at the path of a user,
	// for the commit that gives it its certificate; ErrInvalid where no object can
	// have that path. Required.
	Stage func(ctx context.Context, path string) (context.Context, error)
}

// An AdoptedFile is one certificate, and what the operator calls it.
type AdoptedFile struct {
	Name        string
	Certificate []byte
}

// Adopted says what an adoption did.
type Adopted struct {
	Changed  bool     // the object at Path has another key and certificate than before
	Users    []string // paths of the objects that were made
	Recorded int      // certificates that are in the inventory now, and were not
	Known    int      // that were there already
	Unnamed  []string // users without an object, as none can have their name
}

// foundling is a certificate on its way into the inventory.
type foundling struct {
	file    string
	cert    *x509.Certificate
	id      flocker.Identity
	profile string
	owner   string
	known   time.Time // since when the inventory has it; zero: it does not
}

// Adopt takes over a cluster: its users become objects that hold their
// certificates, everything that it signed comes into the inventory, so that it can
// be revoked, and last the object at Path becomes its CA. Private keys of others
// than the CA are not asked for. All of it is checked before anything is written;
// what a failure of the store leaves is not in force, and the same call again
// finishes it. With an error it returns how far it came.
//
// Errors: usr.ErrDenied unless the caller is root; ErrInvalid; ErrConflict for a
// user or a serial number that is somebody else's here.
func (a *Authority) Adopt(ctx context.Context, who usr.Caller, ad Adoption) (Adopted, error) {
	if err := who.May(usr.Root()); err != nil {
		return Adopted{}, err
	}
	h, err := a.store.Holder(ctx, ad.Path)
	if err != nil {
		return Adopted{}, err
	}
	root, key, err := a.orphanedCA(h, ad)
	if err != nil {
		return Adopted{}, fmt.Errorf("%w: %s: %w", ErrInvalid, ad.Path, err)
	}
	if err := a.unblocked(ctx, root.PublicKey); err != nil {
		return Adopted{}, fmt.Errorf("%s: %w", ad.Path, err)
	}
	found, err := a.foundlings(ctx, root, ad)
	if err != nil {
		return Adopted{}, err
	}
	done := Adopted{Changed: !h.has([]*x509.Certificate{root}, key)}
	if err := a.takeIn(ctx, who, root, ad, found, &done); err != nil {
		return done, hint.With(fmt.Errorf("%w; %d of %d certificates are recorded, and %s is as it was", err, done.Recorded+done.Known, len(found), ad.Path),
			"repeat the command: it goes on from there")
	}
	return done, a.goLive(ctx, who, h, []*x509.Certificate{root}, key)
}

// orphanedCA reads the CA of an adoption: a root that is valid now, with its key.
func (a *Authority) orphanedCA(h Holder, ad Adoption) (*x509.Certificate, crypto.Signer, error) {
	if h.Profile != ProfileCA {
		return nil, nil, fmt.Errorf("its profile is %q, and only one of profile %q becomes a CA", h.Profile, ProfileCA)
	}
	certs, err := pki.ParseCertificates(ad.Certificate)
	if err != nil {
		return nil, nil, err
	}
	if len(certs) != 1 {
		return nil, nil, fmt.Errorf("%d certificates where the CA's own is expected", len(certs))
	}
	root := certs[0]
	if err := flocker.CheckAuthority(root); err != nil {
		return nil, nil, err
	}
	// RFC 5280, 4.2.1.2: a CA must have it. Revocations are kept under it.
	if len(root.SubjectKeyId) == 0 {
		return nil, nil, fmt.Errorf("the certificate of %q has no subject key identifier", root.Subject)
	}
	key, err := pki.ParsePrivateKey(ad.PrivateKey, nil)
	if err != nil {
		return nil, nil, err
	}
	if !pki.SameKey(root.PublicKey, key.Public()) {
		return nil, nil, fmt.Errorf("the certificate of %q is for another key (%s) than private_key (%s)",
			root.Subject, pki.DescribeKey(root.PublicKey), pki.DescribeKey(key.Public()))
	}
	return root, key, a.fits(h, certs)
}

// foundlings reads what the CA signed, and looks for what stands in the way.
func (a *Authority) foundlings(ctx context.Context, root *x509.Certificate, ad Adoption) ([]foundling, error) {
	if len(ad.Signed) > maxAdopted {
		return nil, fmt.Errorf("%w: %d certificates, at most %d are adopted at once", ErrInvalid, len(ad.Signed), maxAdopted)
	}
	serials := make(map[pki.Serial]*x509.Certificate)
	var found []foundling
	for _, file := range ad.Signed {
		f, err := a.foundling(root, file)
		if err != nil {
			return nil, hint.With(fmt.Errorf("%w: %s: %w", ErrInvalid, file.Name, err), "only what this CA signed is adopted: take the file out, and repeat")
		}
		serial := pki.SerialOf(f.cert)
		if twin := serials[serial]; twin != nil {
			if twin.Equal(f.cert) {
				continue // a copy
			}
			return nil, fmt.Errorf("%w: %s: another certificate has the same serial number %s", ErrInvalid, file.Name, serial)
		}
		serials[serial] = f.cert
		if f.known, err = a.knownSince(ctx, f.cert); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name, err)
		}
		if f.known.IsZero() {
			if err := a.unblocked(ctx, f.cert.PublicKey); err != nil {
				return nil, fmt.Errorf("%s: %w", file.Name, err)
			}
		}
		f.owner = ad.Path
		if f.id.Role == flocker.User {
			path := userPrefix + f.id.Name
			if _, err := ad.Stage(ctx, path); err == nil {
				f.owner = path
			} else if !errors.Is(err, ErrInvalid) {
				return nil, err
			}
		}
		found = append(found, f)
	}
	return found, a.strangers(ctx, found)
}

// foundling reads one certificate that root must have signed. One that has expired
// was good in its time.
func (a *Authority) foundling(root *x509.Certificate, file AdoptedFile) (foundling, error) {
	certs, err := pki.ParseCertificates(file.Certificate)
	if err != nil {
		return foundling{}, err
	}
	if len(certs) != 1 {
		return foundling{}, fmt.Errorf("%d certificates in one file, want one", len(certs))
	}
	f := foundling{file: file.Name, cert: certs[0]}
	at := a.now()
	for _, c := range []*x509.Certificate{f.cert, root} {
		if at.After(c.NotAfter) {
			at = c.NotAfter
		}
	}
	if f.id, err = flocker.Verify(f.cert, root, at); err != nil {
		return foundling{}, err
	}
	if f.id.Role == flocker.User {
		leaf, err := pki.WithExtensions(f.cert)
		if err == nil {
			err = personal(leaf)
		}
		if err != nil {
			return foundling{}, err
		}
	}
	f.profile = map[flocker.Role]string{flocker.Control: ProfileListener, flocker.Node: ProfileNode, flocker.User: ProfileUser}[f.id.Role]
	return f, nil
}

// knownSince says since when the certificate is in the inventory, zero when it is
// not. ErrConflict when its serial number is another's.
func (a *Authority) knownSince(ctx context.Context, cert *x509.Certificate) (time.Time, error) {
	r, err := a.store.Record(ctx, pki.SerialOf(cert))
	switch {
	case errors.Is(err, ErrNotFound):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	case !r.Is(cert):
		return time.Time{}, fmt.Errorf("%w: its serial number %s is that of a certificate for %q here", ErrConflict, pki.SerialOf(cert), r.Certificate.Subject)
	}
	return r.IssuedAt, nil
}

// strangers refuses users that have the name of a user who is here already: who
// holds the certificate would become somebody else. One whom an earlier adoption
// made has a certificate in the inventory since it exists.
func (a *Authority) strangers(ctx context.Context, found []foundling) error {
	for _, f := range found {
		if !strings.HasPrefix(f.owner, userPrefix) {
			continue
		}
		h, err := a.store.Holder(ctx, f.owner)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := notStranger(h, f, found); err != nil {
			return err
		}
	}
	return nil
}

// notStranger refuses f when h, its owner, was here before the adoption.
func notStranger(h Holder, f foundling, found []foundling) error {
	adopted := slices.ContainsFunc(found, func(g foundling) bool {
		return g.owner == f.owner && !g.known.IsZero() && !g.known.Before(h.Created)
	})
	if adopted {
		return nil
	}
	return hint.With(fmt.Errorf("%w: %s: %s exists already, and was not adopted: its rights would go to whoever holds this certificate", ErrConflict, f.file, f.owner),
		"delete it, or take the file out, and repeat")
}

// takeIn records what was found: each user with the object that holds it, the rest
// by the handful.
func (a *Authority) takeIn(ctx context.Context, who usr.Caller, root *x509.Certificate, ad Adoption, found []foundling, done *Adopted) error {
	users := make(map[string][]foundling)
	var rest []foundling
	for _, f := range found {
		switch {
		case f.owner != ad.Path:
			users[f.owner] = append(users[f.owner], f)
			continue
		case f.id.Role == flocker.User:
			done.Unnamed = append(done.Unnamed, f.id.Name)
		}
		rest = append(rest, f)
	}
	slices.Sort(done.Unnamed)
	done.Unnamed = slices.Compact(done.Unnamed)
	for _, owner := range slices.Sorted(maps.Keys(users)) {
		if err := a.takeUser(ctx, who, root, ad, users[owner], done); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(rest, adoptedAtOnce) {
		if err := a.record(ctx, who, root, ad, some, Change{}, done); err != nil {
			return err
		}
	}
	return nil
}

// takeUser makes the object of a user with the newest of its certificates, and
// records all of them.
func (a *Authority) takeUser(ctx context.Context, who usr.Caller, root *x509.Certificate, ad Adoption, found []foundling, done *Adopted) error {
	owner := found[0].owner
	h, err := a.store.Holder(ctx, owner)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	expect := []ObjectRevision{{owner, h.Revision}}
	if err == nil {
		// The user may have been made since [Authority.strangers] looked.
		if err := notStranger(h, found[0], found); err != nil {
			return err
		}
	}
	// A user who was deleted since stays deleted.
	unknown := slices.ContainsFunc(found, func(f foundling) bool { return f.known.IsZero() })
	if err != nil && unknown {
		staged, err := ad.Stage(ctx, owner)
		if err != nil {
			return err
		}
		newest := slices.MaxFunc(found, func(f, g foundling) int { return f.cert.NotBefore.Compare(g.cert.NotBefore) })
		change := install(Holder{Path: owner}, []*x509.Certificate{newest.cert, root})
		if err := a.record(staged, who, root, ad, found[:min(len(found), adoptedAtOnce)], change, done); err != nil {
			return err
		}
		done.Users = append(done.Users, owner)
		found = found[min(len(found), adoptedAtOnce):]
		if h, err = a.store.Holder(ctx, owner); err != nil {
			return err
		}
		expect[0].Revision = h.Revision
	}
	for some := range slices.Chunk(found, adoptedAtOnce) {
		if err := a.record(ctx, who, root, ad, some, Change{Expect: expect}, done); err != nil {
			return err
		}
	}
	return nil
}

// record commits a change with the records of what was found, less those that are
// there already.
func (a *Authority) record(ctx context.Context, who usr.Caller, root *x509.Certificate, ad Adoption, found []foundling, c Change, done *Adopted) error {
	now := a.now().UTC()
	var certs []*x509.Certificate
	for _, f := range found {
		if !f.known.IsZero() {
			continue
		}
		r := Record{Certificate: f.cert, Issuer: ad.Path, Owner: f.owner, Profile: f.profile, By: who.By(), IssuedAt: now}
		r.Authority = pki.AuthorityOf(root)
		if len(f.cert.AuthorityKeyId) == 0 {
			r.Signer = hex.EncodeToString(root.SubjectKeyId) // for older builds of other nodes
		}
		c.Records = append(c.Records, r)
		c.Keys = append(c.Keys, pki.KeyHashOf(f.cert))
		certs = append(certs, f.cert)
	}
	if len(c.Records) > 0 || c.Path != "" {
		if err := a.store.Commit(ctx, c); err != nil {
			return a.refused(ctx, err, certs...)
		}
	}
	for _, r := range c.Records {
		a.log.InfoContext(ctx, "adopted", "serial", r.Serial(), "profile", r.Profile, "subject", r.Certificate.Subject.String(), "owner", r.Owner,
			"issuer", r.Issuer, "not_after", r.Certificate.NotAfter, "by", who.By(), "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
	}
	done.Recorded += len(c.Records)
	done.Known += len(found) - len(c.Records)
	return nil
}

// adoptedUser names the user that a certificate without a mark of ours was adopted
// for: it is in the inventory as the user's.
func (a *Authority) adoptedUser(ctx context.Context, leaf *x509.Certificate) (id Identity, ok bool, err error) {
	holder, err := flocker.Identify(leaf)
	if err != nil || holder.Role != flocker.User {
		return Identity{}, false, nil //nolint:nilerr // then it was not
	}
	r, there, err := a.recordOf(ctx, leaf)
	if err != nil || !there || r.Profile != ProfileUser || r.Owner != userPrefix+holder.Name {
		return Identity{}, false, err
	}
	return Identity{User: holder.Name, Serial: r.Serial(), IssuedAt: r.IssuedAt, record: r.whose()}, true, nil
}

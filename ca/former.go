package ca

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"omca/pki"
)

// What is left of a CA that was replaced: certificates that others may still
// trust. Nothing here signs with its key any more but what tells of their
// revocation, and that for as long as one of them lives.

// listID tells one CA from every other that its object ever was: by its name and
// its key, so that a certificate that is renewed over the same key keeps it.
func listID(cert *x509.Certificate) string {
	sum := sha256.Sum256(slices.Concat(cert.SubjectKeyId, cert.RawSubject))
	return hex.EncodeToString(sum[:8])
}

// LastingName is the name under which the list of the CA with that certificate,
// in the object at path, is published for good: "ca-5d2c8e1f0a9b3c47" for
// system/sec/ca. What is signed says it, since [ListName] is that of whatever
// the object holds.
func LastingName(path string, cert *x509.Certificate) string {
	return ListName(path) + "-" + listID(cert)
}

func (is *issuer) lastingName() string { return LastingName(is.path, is.Certificate()) }

// sameCA reports whether two certificates are of one CA: what the one signed,
// the other verifies.
func sameCA(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubject, b.RawSubject) && bytes.Equal(a.SubjectKeyId, b.SubjectKeyId)
}

// formerSigners lists the CAs that the objects which hold CAs had before, whose
// keys are kept, and of whose certificates one at least may still be believed
// by somebody. None is one that an object has now. It goes on past a failure.
func (a *Authority) formerSigners(ctx context.Context, paths []string) ([]*issuer, error) {
	now := a.now()
	var all []*issuer
	var failed []error
	for _, path := range paths {
		formers, err := a.formersAt(ctx, path)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for _, is := range formers {
			if now.Before(is.until) {
				all = append(all, is)
			}
		}
	}
	return all, errors.Join(failed...)
}

// formersAt returns what the CA at path was before, with its keys: the newest
// first, each once, and not what it is now.
func (a *Authority) formersAt(ctx context.Context, path string) ([]*issuer, error) {
	a.mu.Lock()
	ready, known := a.formers[path]
	epoch := a.epoch
	a.mu.Unlock()
	if known {
		return ready, nil
	}
	h, err := a.store.Holder(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := a.readFormers(ctx, h)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch == epoch {
		a.formers[path] = all
	}
	return all, nil
}

func (a *Authority) readFormers(ctx context.Context, h Holder) ([]*issuer, error) {
	if h.Profile != ProfileCA || len(h.Former) == 0 {
		return nil, nil
	}
	sets, err := h.former()
	if err != nil {
		return nil, err
	}
	var seen []*x509.Certificate
	if is, err := newIssuer(h); err == nil { // else it has no key now, and publishes nothing
		seen = append(seen, is.Certificate())
	}
	var all []*issuer
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(sets))) {
		f := sets[n]
		if f.Key == nil {
			continue
		}
		then := h
		then.Chain, then.PrivateKey, then.KeyMade = f.Chain, f.Key, f.KeyMade
		is, err := newIssuer(then)
		if err != nil {
			return nil, fmt.Errorf("%s: former set %d: %w", h.Path, n, err)
		}
		if slices.ContainsFunc(seen, func(c *x509.Certificate) bool { return sameCA(c, is.Certificate()) }) {
			continue
		}
		seen = append(seen, is.Certificate())
		is.former = n
		all = append(all, is)
	}
	return all, a.setEnds(ctx, h.Path, all)
}

// setEnds finds out until when the lists of former CAs are needed. RFC 5280,
// 3.3: an entry is on one list at least that is issued after its certificate
// expired, so there is one more list after the last of them; and none after
// the CA itself has expired, for nobody would believe it.
func (a *Authority) setEnds(ctx context.Context, path string, formers []*issuer) error {
	if len(formers) == 0 {
		return nil
	}
	last := make(map[string]time.Time)
	for r, err := range a.Records(ctx, Query{Issuer: path, ExpiresAfter: a.now().Add(-listLife)}) {
		if err != nil {
			return err
		}
		// Responders live on as long as there is a list, and not the other way round.
		if own := r.Profile == ProfileOCSP || selfSigned(r.Certificate); own {
			continue
		}
		if id := r.KeyID(); r.Certificate.NotAfter.After(last[id]) {
			last[id] = r.Certificate.NotAfter
		}
	}
	for _, is := range formers {
		end, signed := last[KeyID(is.Certificate())]
		if !signed {
			continue // until stays zero: there is nobody to tell of
		}
		is.until = end.Add(listLife)
		if own := is.end(); own.Before(is.until) {
			is.until = own
		}
	}
	return nil
}

// makeResponder makes what answers for a former CA. Its key is in memory only:
// the object of the responder belongs to the CA that took its place.
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

// FormerAuthorities returns the certificates of the former CAs whose keys are
// here and of whose certificates one at least may still be believed. Those that
// cannot be read are reported, beside the others.
func (a *Authority) FormerAuthorities(ctx context.Context) ([]*x509.Certificate, error) {
	paths, err := a.store.Holders(ctx)
	if err != nil {
		return nil, err
	}
	formers, err := a.formerSigners(ctx, paths)
	var all []*x509.Certificate
	for _, is := range formers {
		all = append(all, is.Certificate())
	}
	return all, err
}

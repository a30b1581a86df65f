package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"omca/pki"
)

// The keywords allow_names and deny_names of a CA bind what is signed anywhere
// below it. They are read when something is signed, so a change of them binds the
// CAs that were made before it too. A CA is above another one when its key signed
// the certificate, whatever the keyword ca says: both may have been imported.

// tier is a CA object as far as it bounds what is signed below it.
type tier struct {
	path   string
	id     pki.AuthorityID     // of what it holds now
	certs  []*x509.Certificate // its own first, then those that it had before
	policy *pki.Policy
	bounds bool // allow_names or deny_names are set
}

// tiers is what is known of the CA objects. What changes is noted at once and read
// again when it is asked for: an object that is no CA costs that one reading.
type tiers struct {
	reading sync.Mutex // held while objects are read, so that no answer comes from what is being read again
	known   map[string]tier
	above   map[*issuer][]tier // answers, until a CA changes

	noting sync.Mutex
	stale  map[string]struct{} // paths that have changed
	all    bool                // nothing was read yet, or too much has changed
}

// mostStale bounds the paths that are noted one by one.
const mostStale = 4096

// changed notes that the object at path is not what it was; "" means any of them.
func (t *tiers) changed(path string) {
	t.noting.Lock()
	defer t.noting.Unlock()
	if path == "" || len(t.stale) >= mostStale {
		t.all, t.stale = true, nil
		return
	}
	if t.all || !mayBeCA(path) {
		return
	}
	if t.stale == nil {
		t.stale = make(map[string]struct{})
	}
	t.stale[path] = struct{}{}
}

// mayBeCA reports whether an object with that path can be a CA.
func mayBeCA(path string) bool {
	part := strings.Split(path, "/")
	return len(part) == 3 && part[1] == "sec"
}

// take returns what has changed since it was called last.
func (t *tiers) take() (stale []string, all bool) {
	t.noting.Lock()
	defer t.noting.Unlock()
	stale, all = slices.Sorted(maps.Keys(t.stale)), t.all
	t.stale, t.all = nil, false
	return stale, all
}

// above returns the CA objects above an issuer, in the order of their paths. It is
// nil for one that stands on top, which costs nothing.
func (a *Authority) above(ctx context.Context, is *issuer) ([]tier, error) {
	chain := is.Chain()
	if len(chain) == 0 || len(chain) == 1 && selfSigned(chain[0]) {
		return nil, nil
	}
	t := &a.tiers
	t.reading.Lock()
	defer t.reading.Unlock()
	if err := a.readTiers(ctx); err != nil {
		return nil, fmt.Errorf("the CAs above %s: %w", is.path, err)
	}
	if found, ok := t.above[is]; ok {
		return found, nil
	}
	found := t.find(is.path, chain)
	const most = 256 // issuers that are no longer used are among them
	if t.above == nil || len(t.above) >= most {
		t.above = make(map[*issuer][]tier)
	}
	t.above[is] = found
	return found, nil
}

// holdersOf returns the paths of the objects that hold the certificate of a CA, in order.
func (a *Authority) holdersOf(ctx context.Context, id pki.AuthorityID) ([]string, error) {
	t := &a.tiers
	t.reading.Lock()
	defer t.reading.Unlock()
	if err := a.readTiers(ctx); err != nil {
		return nil, err
	}
	var paths []string
	for path, one := range t.known {
		if one.id == id {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// has reports whether the object at path is a CA, or was when it was last read.
func (t *tiers) has(path string, read func() error) (bool, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	_, was := t.known[path]
	err := read()
	_, is := t.known[path]
	return was || is, err
}

// readTiers reads the objects that have changed. The caller holds t.reading.
func (a *Authority) readTiers(ctx context.Context) error {
	t := &a.tiers
	paths, all := t.take()
	known := t.known
	if all || known == nil {
		var err error
		if paths, err = a.store.Holders(ctx); err != nil {
			t.changed("")
			return err
		}
		known = make(map[string]tier)
	}
	for _, path := range paths {
		one, err := a.readTier(ctx, path)
		if err != nil {
			t.changed("") // nothing of it was read
			return err
		}
		_, was := known[path]
		if one.path == "" && !was {
			continue
		}
		t.above = nil
		if delete(known, path); one.path != "" {
			known[path] = one
		}
	}
	if all {
		t.above = nil
	}
	t.known = known
	return nil
}

// readTier reads the object at path; the tier has no path when it is no CA.
func (a *Authority) readTier(ctx context.Context, path string) (tier, error) {
	h, err := a.store.Holder(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return tier{}, nil // deleted
	}
	if err != nil || h.Profile != ProfileCA || h.Chain == nil {
		return tier{}, err
	}
	sets, err := h.former()
	if err != nil {
		return tier{}, err
	}
	texts := [][]byte{h.Chain}
	for _, f := range sets {
		texts = append(texts, f.Chain)
	}
	one := tier{path: path}
	for _, text := range texts {
		chain, err := pki.ParseCertificates(text)
		if err != nil {
			return tier{}, fmt.Errorf("%s: certificate_chain: %w", path, err)
		}
		one.certs = append(one.certs, chain[0])
	}
	one.id = pki.AuthorityOf(one.certs[0])
	if one.policy, err = pki.NewPolicy(pki.PolicyRules{Allow: h.AllowNames, Deny: h.DenyNames}); err != nil {
		return tier{}, fmt.Errorf("%s: allow_names, deny_names: %w", path, err)
	}
	one.bounds = len(h.AllowNames)+len(h.DenyNames) > 0
	return one, nil
}

// Bounded returns the path of a CA object that can sign, and that the keywords allow_names
// and deny_names of the CA at path bind: "" when there is none, or path has neither. They end
// with the object at path, and so does what they forbid.
func (a *Authority) Bounded(ctx context.Context, path string) (below string, err error) {
	bounds, paths, err := a.bounds(ctx, path)
	if err != nil || !bounds {
		return "", err
	}
	for _, other := range paths {
		if other == path {
			continue
		}
		is, err := a.issuerAt(ctx, other)
		if err != nil {
			continue //nolint:nilerr // it signs nothing
		}
		above, err := a.above(ctx, is)
		if err != nil {
			return "", err
		}
		if slices.ContainsFunc(above, func(one tier) bool { return one.path == path }) {
			return other, nil
		}
	}
	return "", nil
}

// bounds reports whether the CA at path has names that it allows or denies, and returns the
// paths of all.
func (a *Authority) bounds(ctx context.Context, path string) (bounds bool, paths []string, err error) {
	t := &a.tiers
	t.reading.Lock()
	defer t.reading.Unlock()
	if err := a.readTiers(ctx); err != nil {
		return false, nil, err
	}
	return t.known[path].bounds, slices.Sorted(maps.Keys(t.known)), nil
}

// find returns the tiers above the first certificate of a chain, which the object
// at path holds: those whose key signed it, or one of the certificates above it. A
// chain may end before its root, which goes on at the object that holds that.
func (t *tiers) find(path string, chain []*x509.Certificate) []tier {
	met := map[string]bool{path: true}
	var found []tier
	for queue := chain; len(queue) > 0; queue = queue[1:] {
		for _, one := range t.known {
			if met[one.path] {
				continue
			}
			signer := slices.IndexFunc(one.certs, func(c *x509.Certificate) bool {
				return c.CheckSignature(queue[0].SignatureAlgorithm, queue[0].RawTBSCertificate, queue[0].Signature) == nil
			})
			if signer < 0 {
				continue
			}
			met[one.path] = true
			found = append(found, one)
			queue = append(slices.Clip(queue), one.certs[signer])
		}
	}
	slices.SortFunc(found, func(a, b tier) int { return strings.Compare(a.path, b.path) })
	return found
}

package ca

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// The CAs on record: what was signed decides about revocation, lists and OCSP, and
// not which object holds a CA now.

// roll is the CAs on record, as they were read. It does not change.
type roll struct {
	byID    map[pki.AuthorityID]AuthorityRecord
	byKeyID map[string][]pki.AuthorityID // by the key identifiers that certificates may name
}

// KeyIDs returns the key identifiers, hexadecimal, that certificates of a CA may
// name: the one that its certificate has, and the one that is made of its key. They
// are a hint where to look, and no identity.
func KeyIDs(cert *x509.Certificate) []string {
	var ids []string
	if len(cert.SubjectKeyId) > 0 {
		ids = append(ids, hex.EncodeToString(cert.SubjectKeyId))
	}
	if made, err := pki.SubjectKeyID(cert.PublicKey); err == nil {
		if id := hex.EncodeToString(made); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// SignedBy reports whether issuer signed cert: by name and signature.
func SignedBy(cert, issuer *x509.Certificate) bool {
	return pki.EqualNames(cert.RawIssuer, issuer.RawSubject) &&
		issuer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// at reports whether a CA on record was held by the object at path.
func (r *roll) at(path string) bool {
	for _, one := range r.byID {
		if one.Path == path {
			return true
		}
	}
	return false
}

// onRecord returns the CAs on record.
func (a *Authority) onRecord(ctx context.Context) (*roll, error) {
	a.mu.Lock()
	known, epoch, recording := a.roll, a.rolls, a.recording > 0
	a.mu.Unlock()
	if known != nil && !recording {
		return known, nil
	}
	all, err := a.store.Authorities(ctx)
	if err != nil {
		return nil, fmt.Errorf("CAs on record: %w", err)
	}
	r := &roll{byID: make(map[pki.AuthorityID]AuthorityRecord), byKeyID: make(map[string][]pki.AuthorityID)}
	for _, one := range all {
		r.byID[one.ID] = one
		for _, keyID := range KeyIDs(one.Chain[0]) {
			r.byKeyID[keyID] = append(r.byKeyID[keyID], one.ID)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rolls == epoch && a.recording == 0 {
		a.roll = r
	}
	return r, nil
}

// recordsAuthority runs a commit that puts a CA on record. Until it returns, the CAs on record are
// read from the store: those who are told of the change before that find the CA there.
func (a *Authority) recordsAuthority(commit func() error) error {
	a.mu.Lock()
	a.recording++
	a.mu.Unlock()
	defer func() {
		a.forgetRoll()
		a.mu.Lock()
		a.recording--
		a.mu.Unlock()
	}()
	return commit()
}

// forgetRoll has the CAs on record read again.
func (a *Authority) forgetRoll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rolls++
	a.roll, a.endings = nil, endings{} // what an object holds now may sign
	clear(a.dormant)
}

// OnRecord returns the CAs on record by their identity.
func (a *Authority) OnRecord(ctx context.Context) (map[pki.AuthorityID]AuthorityRecord, error) {
	r, err := a.onRecord(ctx)
	if err != nil {
		return nil, err
	}
	return r.byID, nil
}

// AuthorityOf returns the identity of the CA that signed the certificate of a
// record; false when that CA is not on record.
func (a *Authority) AuthorityOf(ctx context.Context, r Record) (pki.AuthorityID, bool, error) {
	if !r.Authority.IsZero() {
		return r.Authority, true, nil
	}
	if selfSigned(r.Certificate) {
		return pki.AuthorityOf(r.Certificate), true, nil
	}
	known, err := a.onRecord(ctx)
	if err != nil {
		return pki.AuthorityID{}, false, err
	}
	id, ok := known.signer(r.Certificate, r.keyID())
	return id, ok, nil
}

// signer finds the CA that signed a certificate, which names a key identifier, or "".
func (r *roll) signer(cert *x509.Certificate, keyID string) (pki.AuthorityID, bool) {
	for _, id := range r.byKeyID[keyID] {
		if SignedBy(cert, r.byID[id].Chain[0]) {
			return id, true
		}
	}
	if keyID != "" && len(r.byKeyID[keyID]) > 0 {
		return pki.AuthorityID{}, false
	}
	for id, one := range r.byID { // it names none, or one that another program chose
		if SignedBy(cert, one.Chain[0]) {
			return id, true
		}
	}
	return pki.AuthorityID{}, false
}

// RecordAuthorities puts every CA on record that an object holds, or held before,
// with its key: of a store that an older build has written. all has the inventory
// searched too, for CAs whose objects are gone. What is on record already costs a look.
func (a *Authority) RecordAuthorities(ctx context.Context, all bool) error {
	paths, err := a.store.Holders(ctx)
	if err != nil {
		return err
	}
	defer a.forgetRoll()
	if all {
		for r, err := range a.store.Records(ctx, Query{Profile: ProfileCA}) {
			if err != nil {
				return err
			}
			one := AuthorityRecord{ID: pki.AuthorityOf(r.Certificate), Path: r.Owner, Chain: []*x509.Certificate{r.Certificate}, KeyMade: true}
			if err := a.store.RecordAuthority(ctx, one, nil); err != nil {
				return err
			}
		}
	}
	for _, path := range paths {
		if err := a.recordHolder(ctx, path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// recordHolder puts what the object at path is and was on record, oldest first.
func (a *Authority) recordHolder(ctx context.Context, path string) error {
	h, err := a.store.Holder(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err != nil || h.Profile != ProfileCA {
		return err
	}
	sets, err := h.former()
	if err != nil {
		return err
	}
	for _, n := range h.formerNumbers() {
		f := sets[n]
		chain, err := f.certificates()
		if err != nil {
			return fmt.Errorf("former set %d: %w", n, err)
		}
		if f.Key == nil {
			continue // it was trusted, and signed nothing here
		}
		if err := a.store.RecordAuthority(ctx, recordOf(path, chain, f.KeyMade), f.Key); err != nil {
			return err
		}
	}
	have, err := live(h)
	if err != nil || have.key == nil || len(have.chain) == 0 {
		return nil //nolint:nilerr // doctor tells of a set that cannot be read; it signs nothing
	}
	return a.store.RecordAuthority(ctx, recordOf(path, have.chain, h.KeyMade), h.PrivateKey)
}

// recordOf is the record of a CA whose key is here.
func recordOf(path string, chain []*x509.Certificate, made bool) AuthorityRecord {
	return AuthorityRecord{ID: pki.AuthorityOf(chain[0]), Path: path, Chain: chain, KeyMade: made, Key: KeyHere}
}

// becomes notes in a change of the object h that it becomes a CA, with a key, PEM.
func (h Holder) becomes(c *Change, chain []*x509.Certificate, key []byte, made bool) {
	if h.Profile == ProfileCA && key != nil {
		r := recordOf(h.Path, chain, made)
		c.Authority, c.AuthorityKey = &r, key
	}
}

// commit commits a change, and forgets what it made untrue.
func (a *Authority) commit(ctx context.Context, c Change) error {
	if c.Authority == nil {
		return a.store.Commit(ctx, c)
	}
	return a.recordsAuthority(func() error { return a.store.Commit(ctx, c) })
}

// speakers lists the CAs that tell of revocations: those that objects hold, then the
// dormant ones that still have living certificates. It goes on past a failure.
func (a *Authority) speakers(ctx context.Context) ([]*issuer, error) {
	known, err := a.onRecord(ctx)
	if err != nil {
		return nil, err
	}
	var held, dormant []*issuer
	var failed []error
	for _, r := range known.byID {
		if r.Key != KeyHere {
			continue
		}
		is, err := a.heldAs(ctx, r)
		if err == nil && is == nil {
			if is, err = a.dormantIssuer(ctx, r); err == nil {
				dormant = append(dormant, is)
				continue
			}
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("CA of %s: %w", r.Path, err))
			continue
		}
		held = append(held, is)
	}
	living, err := a.living(ctx, dormant)
	byPath := func(x, y *issuer) int {
		return slices.Compare([]string{x.path, x.id.String()}, []string{y.path, y.id.String()})
	}
	slices.SortFunc(held, byPath)
	slices.SortFunc(living, byPath)
	return append(held, living...), errors.Join(errors.Join(failed...), err)
}

// heldAs returns the CA on record as an object holds it: the one that held it last, or any
// other, for several objects may hold one CA; nil when none does.
func (a *Authority) heldAs(ctx context.Context, r AuthorityRecord) (*issuer, error) {
	if is, err := a.heldAt(ctx, r.Path, r.ID); is != nil || err != nil {
		return is, err
	}
	paths, err := a.holdersOf(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if is, err := a.heldAt(ctx, path, r.ID); is != nil || err != nil {
			return is, err
		}
	}
	return nil, nil
}

// heldBy returns the paths of the objects that hold a CA with its key; none for a dormant one.
func (a *Authority) heldBy(ctx context.Context, is *issuer) ([]string, error) {
	if is.dormant {
		return nil, nil
	}
	paths, err := a.holdersOf(ctx, is.id)
	if err != nil {
		return nil, err
	}
	held := []string{is.path}
	for _, path := range paths {
		if same, err := a.heldAt(ctx, path, is.id); err != nil {
			return nil, err
		} else if same != nil && path != is.path {
			held = append(held, path)
		}
	}
	return held, nil
}

// heldAt returns the CA as the object at path holds it; nil when that does not.
func (a *Authority) heldAt(ctx context.Context, path string, id pki.AuthorityID) (*issuer, error) {
	is, err := a.issuerAt(ctx, path)
	switch {
	case err == nil && is.id == id:
		return is, nil
	case err == nil, errors.Is(err, ErrInvalid), errors.Is(err, ErrConflict), errors.Is(err, ErrNotFound):
		return nil, nil // another CA, none, or no object
	}
	return nil, err
}

// dormantIssuer returns a CA that no object holds, ready to sign lists and its responder.
func (a *Authority) dormantIssuer(ctx context.Context, r AuthorityRecord) (*issuer, error) {
	a.mu.Lock()
	ready, epoch := a.dormant[r.ID], a.rolls
	a.mu.Unlock()
	if ready != nil {
		return ready, nil
	}
	text, err := a.store.AuthorityKey(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	key, err := pki.ParsePrivateKey(text, nil)
	if err != nil {
		return nil, fmt.Errorf("its key on record: %w", err)
	}
	signer, err := pki.NewIssuer(r.Chain, key, a.linter)
	if err != nil {
		return nil, err
	}
	policy, err := pki.NewPolicy(pki.PolicyRules{})
	if err != nil {
		return nil, err
	}
	is := &issuer{Issuer: signer, id: r.ID, path: r.Path, made: r.KeyMade, policy: policy, set: set{chain: r.Chain, key: key}, dormant: true, lives: r.Lives}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rolls == epoch {
		a.dormant[r.ID] = is
	}
	return is, nil
}

// endings is until when the lists of dormant CAs are needed, as one scan found it.
type endings struct {
	at   time.Time // when that was
	last map[pki.AuthorityID]time.Time
}

// endsLast is how long endings count: a dormant CA signs nothing but its responder.
const endsLast = time.Hour

// forgetEndings has the ends of dormant CAs looked up again.
func (a *Authority) forgetEndings() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endings = endings{}
}

// living returns those of dormant CAs of whose certificates one at least may still
// be believed by somebody.
func (a *Authority) living(ctx context.Context, dormant []*issuer) ([]*issuer, error) {
	if len(dormant) == 0 {
		return nil, nil
	}
	last, err := a.lastOf(ctx, dormant)
	if err != nil {
		return nil, err
	}
	var all []*issuer
	for _, is := range dormant {
		end := last[is.id]
		if is.lives.After(end) {
			end = is.lives
		}
		if until := is.needed(end); a.now().Before(until) {
			all = append(all, is)
		}
	}
	return all, nil
}

// needed is until when the list of a CA is needed whose last certificate ends at last;
// zero for a CA that signed nothing. RFC 5280, 3.3: an entry is on one list at least
// that is issued after its certificate expired, so there is one more list after the
// last of them; and none after the CA itself has expired, for it is not believed then.
func (is *issuer) needed(last time.Time) time.Time {
	if last.IsZero() {
		return last
	}
	until := last.Add(listLife)
	if own := is.end(); own.Before(until) {
		return own
	}
	return until
}

// lastOf returns when the last certificate of each CA ends, for those that may still
// be asked about. One scan of the living inventory answers for a while, unless it is
// asked about a CA that was not dormant then, or the clock went back.
func (a *Authority) lastOf(ctx context.Context, dormant []*issuer) (map[pki.AuthorityID]time.Time, error) {
	now := a.now()
	a.mu.Lock()
	known, epoch := a.endings, a.rolls
	a.mu.Unlock()
	asked := func(is *issuer) bool { _, ok := known.last[is.id]; return ok }
	fresh := !known.at.IsZero() && !now.Before(known.at) && now.Sub(known.at) < endsLast
	if fresh && !slices.ContainsFunc(dormant, func(is *issuer) bool { return !asked(is) }) {
		return known.last, nil
	}
	next := endings{at: now, last: make(map[pki.AuthorityID]time.Time)}
	for _, is := range dormant {
		next.last[is.id] = time.Time{}
	}
	for r, err := range a.store.Records(ctx, Query{ExpiresAfter: now.Add(-listLife)}) {
		if err != nil {
			return nil, err
		}
		// Responders live on as long as there is a list, and not the other way round.
		if r.Profile == ProfileOCSP || selfSigned(r.Certificate) {
			continue
		}
		id, ok, err := a.AuthorityOf(ctx, r.Record)
		if err != nil {
			return nil, err
		}
		if end, dormant := next.last[id]; ok && dormant && r.Certificate.NotAfter.After(end) {
			next.last[id] = r.Certificate.NotAfter
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rolls == epoch { // else one of them may have become the CA of an object, and sign
		a.endings = next
	}
	return next.last, nil
}

// DestroyableKeys returns the identities of the CAs on record whose keys go when the
// object at path is deleted with its keys: what it is, and what it was before. Of an
// object that is gone, those are the CAs that it held last.
func (a *Authority) DestroyableKeys(ctx context.Context, path string) ([]pki.AuthorityID, error) {
	known, err := a.onRecord(ctx)
	if err != nil {
		return nil, err
	}
	if !mayBeCA(path) && !known.at(path) {
		return nil, nil
	}
	has, err := a.holds(ctx, path)
	if err != nil {
		return nil, err
	}
	var ids []pki.AuthorityID
	for id, r := range known.byID {
		key, held := has[id]
		if r.Key == KeyHere && (key || r.Path == path && (held || has == nil)) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y pki.AuthorityID) int { return slices.Compare(x[:], y[:]) })
	return ids, nil
}

// MayDestroyKeys refuses to destroy the keys of CAs with the object at path when another
// object has the key of one of them, now or in its history: it would go on to sign
// without list and OCSP. Errors: ErrConflict.
func (a *Authority) MayDestroyKeys(ctx context.Context, path string, ids []pki.AuthorityID) error {
	paths, err := a.store.Holders(ctx)
	if err != nil {
		return err
	}
	for _, other := range paths {
		if other == path {
			continue
		}
		keys, err := a.holds(ctx, other)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(ids, func(id pki.AuthorityID) bool { return keys[id] }) {
			return hint.With(fmt.Errorf("%w: %s holds the key of the same CA: without it on record, that object would sign and have neither list nor OCSP", ErrConflict, other),
				"leave the key, or delete %s first", other)
		}
	}
	return nil
}

// holds returns the CAs that the object at path holds or held before, and of each whether
// it has the key; nil when there is no such object.
func (a *Authority) holds(ctx context.Context, path string) (keys map[pki.AuthorityID]bool, err error) {
	h, err := a.store.Holder(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	keys = make(map[pki.AuthorityID]bool)
	note := func(cert *x509.Certificate, key bool) {
		id := pki.AuthorityOf(cert)
		keys[id] = keys[id] || key
	}
	if have, err := live(h); err == nil && len(have.chain) > 0 {
		note(have.chain[0], have.key != nil)
	}
	sets, err := h.former()
	if err != nil {
		return nil, err
	}
	for n, f := range sets {
		chain, err := f.certificates()
		if err != nil {
			return nil, fmt.Errorf("%s: former set %d: %w", path, n, err)
		}
		note(chain[0], f.Key != nil)
	}
	return keys, nil
}

// KeysDestroyed has the authority notice that keys of CAs on record were destroyed with
// the object that held them, and writes the audit line.
func (a *Authority) KeysDestroyed(ctx context.Context, who usr.Caller, path string, ids []pki.AuthorityID) {
	a.Changed("")
	for _, id := range ids {
		a.log.InfoContext(ctx, "key destroyed", "path", path, "authority", id.String(),
			"by", who.Name, "auth", who.Method, "address", who.Address, "request_id", who.RequestID)
	}
}

// Lists reports whether a list of the CA of a revocation is published here: its key is.
func (a *Authority) Lists(ctx context.Context, r Revocation) (bool, error) {
	id, err := pki.ParseAuthorityID(r.Authority)
	if err != nil {
		return false, nil //nolint:nilerr // it is not on record
	}
	known, err := a.onRecord(ctx)
	if err != nil {
		return false, err
	}
	return known.byID[id].Key == KeyHere, nil
}

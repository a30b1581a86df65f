package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"omca/crl"
	"omca/internal/hint"
	"omca/pki"
)

const (
	answerLife = time.Hour   // from thisUpdate to nextUpdate
	deskRetry  = time.Minute // after a failure
)

// OCSP answers for every CA whose key is here (RFC 6960). Each has a responder
// of its own, an object that is made when it is first needed: system/sec/ocsp
// for the cluster's CA, system/sec/ocsp-NAME for another, and none for a CA that
// no object holds, whose responder is in memory. It is safe for concurrent use.
type OCSP struct {
	a     *Authority
	stage Stage

	counts ocspCounters

	making sync.Mutex // one goroutine at a time looks at the CAs and makes responders

	mu      sync.Mutex
	epoch   uint64    // of the authority when issuers was read
	read    time.Time // when issuers was read: dormant CAs have their end
	issuers []*issuer // CAs whose keys are here, the cluster's first; never written to
	desks   map[pki.AuthorityID]*desk
}

// A Stage returns a context in which the object at path, which does not exist,
// is about to be made by the commit that issues to it. Its keyword ca is issuer;
// "" leaves it to the cluster's CA.
type Stage func(ctx context.Context, path, issuer string) (context.Context, error)

// desk is what answers for one CA, as of one epoch.
type desk struct {
	issuer    *issuer
	cert      *x509.Certificate // of the responder
	responder *crl.Responder
	err       error // why there is no responder
	epoch     uint64
	look      time.Time // when to look again in any case
	answers   *answers
}

// NewOCSP returns what answers for the CAs of the authority. Tell it of each
// revocation with [OCSP.Revoked].
func (a *Authority) NewOCSP(stage Stage) *OCSP {
	return &OCSP{a: a, stage: stage, desks: make(map[pki.AuthorityID]*desk)}
}

// Answers reports whether the object at path is a responder: no other may have
// the profile ocsp.
func Answers(path string) bool {
	return path == PathOCSP || strings.HasPrefix(path, PathOCSP+"-")
}

// responderPath is where the responder of the CA at path is, own being the
// cluster's CA. The keyword ca tells apart what this does not.
func responderPath(own, path string) string {
	if path == own {
		return PathOCSP
	}
	namespace, rest, _ := strings.Cut(path, "/")
	_, name, _ := strings.Cut(rest, "/")
	if namespace != "system" {
		name = namespace + "." + name
	}
	return PathOCSP + "-" + name
}

// Answer answers a request, DER, and says when there will be a newer answer:
// zero for one with a nonce, which is for this request alone.
//
// Errors: pki.ErrInvalid (no request), crl.ErrNotOurs (it asks about no CA
// whose key is here, or about several); any other is a failure here.
func (o *OCSP) Answer(ctx context.Context, request []byte) (answer []byte, next time.Time, err error) {
	answer, next, said, err := o.answer(ctx, request)
	if err != nil {
		o.counts.refused.Add(1)
		return nil, time.Time{}, err
	}
	for _, status := range said {
		o.counts.add(status)
	}
	return answer, next, nil
}

// answer is Answer, and says what the answer gives of each certificate.
func (o *OCSP) answer(ctx context.Context, request []byte) (answer []byte, next time.Time, said []crl.Status, err error) {
	r, err := crl.ParseOCSPRequest(request)
	if err != nil {
		return nil, time.Time{}, nil, err
	}
	d, err := o.desk(ctx, func(is *issuer) bool {
		return slices.ContainsFunc(r.IDs, func(id crl.CertID) bool { return id.IssuedBy(is.Certificate()) })
	})
	if err != nil {
		return nil, time.Time{}, nil, err
	}
	if other := o.another(d, r); other != nil {
		return nil, time.Time{}, nil, fmt.Errorf("%w alone: the request asks about certificates of %s and of %s", crl.ErrNotOurs, d.issuer.path, other.path)
	}
	now := o.a.now()
	key, plain := r.CacheKey()
	single := plain && len(r.IDs) == 1
	if single {
		if k, ok := d.answers.find(key, now); ok {
			return k.answer, k.window.Next, []crl.Status{k.status}, nil
		}
	}
	seen := d.answers.count()
	verdicts, err := o.verdicts(ctx, d, r)
	if err != nil {
		return nil, time.Time{}, nil, err
	}
	w := crl.Window{Produced: now, This: now, Next: now.Add(answerLife)}
	if w.Next.After(d.cert.NotAfter) {
		w.Next = d.cert.NotAfter
	}
	answer, err = d.responder.Respond(r, w, func(s pki.Serial) crl.Verdict { return verdicts[s] })
	if err != nil {
		return nil, time.Time{}, nil, failed(d.issuer, err)
	}
	said = statuses(r, verdicts, d.responder.Issued)
	if serial := r.IDs[0].Serial; single && verdicts[serial].Status != crl.Undetermined {
		d.answers.keep(key, kept{serial, answer, w, said[0]}, seen)
	}
	if !plain {
		return answer, time.Time{}, said, nil
	}
	return answer, w.Next, said, nil
}

// another returns a CA whose key is here, beside that of d, of which r asks about
// a certificate; nil if there is none. An answer has one signer, and none may
// speak for two CAs (RFC 6960, 4.2.2.2): clients refuse the whole of such an
// answer, and "unknown" would be untrue of a certificate that is known here.
func (o *OCSP) another(d *desk, r *crl.OCSPRequest) *issuer {
	if len(r.IDs) == 1 {
		return nil
	}
	o.mu.Lock()
	issuers := o.issuers
	o.mu.Unlock()
	for _, id := range r.IDs {
		if d.responder.Issued(id) {
			continue
		}
		if i := slices.IndexFunc(issuers, func(is *issuer) bool { return id.IssuedBy(is.Certificate()) }); i >= 0 {
			return issuers[i]
		}
	}
	return nil
}

// Staple returns the answer about the first certificate of chain, for a TLS
// server to present, and when it ends.
//
// Errors: crl.ErrNotOurs (signed elsewhere, not in the inventory, or expired: a
// staple that says unknown does harm); any other is a failure here.
func (o *OCSP) Staple(ctx context.Context, chain []*x509.Certificate) (staple []byte, next time.Time, err error) {
	if len(chain) == 0 {
		return nil, time.Time{}, fmt.Errorf("%w: no certificate to staple an answer to", ErrInvalid)
	}
	leaf := chain[0]
	if !o.a.now().Before(leaf.NotAfter) {
		return nil, time.Time{}, fmt.Errorf("%w: %q ended at %s, and an answer about it is of no use", crl.ErrNotOurs, leaf.Subject, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	d, err := o.desk(ctx, func(is *issuer) bool { return signed(is, leaf) })
	if err != nil {
		return nil, time.Time{}, err
	}
	v, err := o.verdict(ctx, d.issuer, pki.SerialOf(leaf))
	if err != nil {
		return nil, time.Time{}, err
	}
	if v.Status == crl.Undetermined {
		return nil, time.Time{}, fmt.Errorf("%w: %q is not in the inventory", crl.ErrNotOurs, leaf.Subject)
	}
	// SHA-1, as every client hashes (RFC 5019, 2.1.1); nothing rests on it.
	request, err := ocsp.CreateRequest(leaf, d.issuer.Certificate(), nil)
	if err != nil {
		return nil, time.Time{}, failed(d.issuer, err)
	}
	staple, next, _, err = o.answer(ctx, request)
	return staple, next, err
}

// Revoked puts a revocation in force: no answer that it makes wrong is given
// again. It never waits for the store.
func (o *OCSP) Revoked(r Revocation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id, err := pki.ParseAuthorityID(r.Authority)
	d := o.desks[id]
	if err != nil || d == nil {
		return // nothing is kept that it makes wrong
	}
	d.answers.drop(r.Serial)
	if d.cert != nil && pki.SerialOf(d.cert) == r.Serial {
		delete(o.desks, id) // the next request makes another responder
	}
}

// verdicts says what is known of each certificate that r asks about.
func (o *OCSP) verdicts(ctx context.Context, d *desk, r *crl.OCSPRequest) (map[pki.Serial]crl.Verdict, error) {
	known := make(map[pki.Serial]crl.Verdict)
	for _, id := range r.IDs {
		if !d.responder.Issued(id) {
			continue
		}
		v, err := o.verdict(ctx, d.issuer, id.Serial)
		if err != nil {
			return nil, failed(d.issuer, err)
		}
		known[id.Serial] = v
	}
	return known, nil
}

// verdict says what is known of a serial number of is. RFC 6960, 2.2: good would
// be a promise that such a certificate was issued, so what the inventory lacks
// is undetermined, which the answer calls unknown. That holds for an imported CA
// too: what it signed elsewhere is taken back elsewhere.
func (o *OCSP) verdict(ctx context.Context, is *issuer, serial pki.Serial) (crl.Verdict, error) {
	r, err := o.a.store.Revocation(ctx, is.id.String(), serial)
	if err == nil {
		return crl.Verdict{Status: crl.Revoked, Reason: r.Reason, RevokedAt: r.At}, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return crl.Verdict{}, err
	}
	record, err := o.a.store.Record(ctx, serial)
	switch {
	case errors.Is(err, ErrNotFound):
		return crl.Verdict{Status: crl.Undetermined}, nil
	case err != nil:
		return crl.Verdict{}, err
	}
	id, ok, err := o.a.AuthorityOf(ctx, record)
	switch {
	case err != nil:
		return crl.Verdict{}, err
	case !ok || id != is.id:
		return crl.Verdict{Status: crl.Undetermined}, nil // another CA's serial number
	}
	return crl.Verdict{Status: crl.Good}, nil
}

// failed says that answering for is failed here. Whatever the cause is called,
// it is not that the request is bad.
func failed(is *issuer, err error) error {
	if errors.Is(err, pki.ErrInvalid) || errors.Is(err, ErrNotFound) || errors.Is(err, crl.ErrNotOurs) {
		return fmt.Errorf("OCSP responder of %s: %v", is.path, err)
	}
	return fmt.Errorf("OCSP responder of %s: %w", is.path, err)
}

// desk returns what answers for the CA that is meant, or crl.ErrNotOurs.
func (o *OCSP) desk(ctx context.Context, meant func(*issuer) bool) (*desk, error) {
	if d, err := o.ready(meant); d != nil || err != nil {
		return d, err
	}
	o.making.Lock()
	defer o.making.Unlock()
	if d, err := o.ready(meant); d != nil || err != nil {
		return d, err // somebody else was first
	}
	ctx = context.WithoutCancel(ctx) // it is for those who come after, too
	epoch := o.a.changes()
	issuers, err := o.signers(ctx)
	if err != nil {
		return nil, err
	}
	o.know(issuers, epoch)
	i := slices.IndexFunc(issuers, meant)
	if i < 0 {
		return nil, crl.ErrNotOurs
	}
	d := o.open(ctx, issuers[i], epoch)
	o.mu.Lock()
	o.desks[d.issuer.id] = d
	o.mu.Unlock()
	return o.usable(d)
}

// know takes in what CAs there are, and forgets the desks of all others.
func (o *OCSP) know(issuers []*issuer, epoch uint64) {
	known := make(map[pki.AuthorityID]bool)
	for _, is := range issuers {
		known[is.id] = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.epoch, o.issuers, o.read = epoch, issuers, o.a.now()
	maps.DeleteFunc(o.desks, func(id pki.AuthorityID, _ *desk) bool { return !known[id] })
}

// ready returns the desk of the CA that is meant if it is known to be as it
// was; neither desk nor error when somebody must look.
func (o *OCSP) ready(meant func(*issuer) bool) (*desk, error) {
	epoch, now := o.a.changes(), o.a.now()
	o.mu.Lock()
	known, issuers, read := o.epoch == epoch && o.issuers != nil, o.issuers, o.read
	o.mu.Unlock()
	known = known && now.Sub(read).Abs() < endsLast
	if !known {
		return nil, nil
	}
	i := slices.IndexFunc(issuers, meant)
	if i < 0 {
		return nil, crl.ErrNotOurs
	}
	o.mu.Lock()
	d := o.desks[issuers[i].id]
	o.mu.Unlock()
	if d == nil || d.epoch != epoch || !now.Before(d.look) || d.cert != nil && now.Before(d.cert.NotBefore) {
		return nil, nil
	}
	return o.usable(d)
}

// usable returns the desk if it can answer, else why it cannot.
func (o *OCSP) usable(d *desk) (*desk, error) {
	if d.err != nil {
		return nil, d.err
	}
	if d.responder == nil {
		return nil, failed(d.issuer, errors.New("it has no responder"))
	}
	return d, nil
}

// signers lists the CAs whose keys are here, the cluster's first and the dormant
// ones last. It is never nil.
func (o *OCSP) signers(ctx context.Context) ([]*issuer, error) {
	own, err := o.a.ClusterCA(ctx)
	if err != nil {
		return nil, err
	}
	all, err := o.a.speakers(ctx)
	if err != nil {
		o.a.log.ErrorContext(ctx, "no OCSP answers for a CA", "error", err)
	}
	if i := slices.IndexFunc(all, func(is *issuer) bool { return is.path == own && !is.dormant }); i > 0 {
		all[0], all[i] = all[i], all[0]
	}
	return append([]*issuer{}, all...), nil
}

// open opens the desk of is: it makes or renews the responder as needed. A
// failure is remembered for a while, so that requests do not repeat it.
func (o *OCSP) open(ctx context.Context, is *issuer, epoch uint64) *desk {
	d := &desk{issuer: is, epoch: epoch, look: o.a.now().Add(deskRetry), answers: newAnswers()}
	if is.dormant {
		return o.openDormant(ctx, d)
	}
	own, err := o.a.ClusterCA(ctx)
	if err != nil {
		d.err = failed(is, err)
		return d
	}
	path := responderPath(own, is.path)
	due, tended := o.tend(ctx, path, own, is)
	if err := o.take(ctx, d, path); err != nil {
		d.err = failed(is, cmp.Or(tended, err))
		return d
	}
	if tended != nil { // what there is still answers
		o.a.log.ErrorContext(ctx, "OCSP responder not renewed", "path", path, "error", tended)
	} else if !due.IsZero() {
		d.look = due
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if old := o.desks[is.id]; old != nil && old.cert.Equal(d.cert) && old.issuer.Certificate().Equal(is.Certificate()) {
		d.answers = old.answers
	}
	return d
}

// openDormant gives the desk of a CA that no object holds the responder that it had,
// or another when that is due.
func (o *OCSP) openDormant(ctx context.Context, d *desk) *desk {
	is, now := d.issuer, o.a.now()
	o.mu.Lock()
	old := o.desks[is.id]
	o.mu.Unlock()
	if old != nil && old.responder != nil && old.issuer.Certificate().Equal(is.Certificate()) {
		due := DueAt(old.cert.NotBefore, old.cert.NotAfter)
		if end := is.end(); !old.cert.NotAfter.Before(end) {
			due = end // another would not live longer
		}
		if !now.Before(old.cert.NotBefore) && now.Before(due) { // a revoked one is gone already
			d.cert, d.responder, d.answers, d.look = old.cert, old.responder, old.answers, due
			return d
		}
	}
	made, err := o.a.makeResponder(ctx, is)
	if err != nil {
		d.err = failed(is, err)
		return d
	}
	if err := d.equip(made); err != nil {
		d.err = failed(is, err)
		return d
	}
	d.look = DueAt(d.cert.NotBefore, d.cert.NotAfter)
	return d
}

// equip gives the desk its responder: certificate and responder together, or neither,
// so that a desk with the one has the other.
func (d *desk) equip(s set) error {
	responder, err := crl.NewResponder(d.issuer.Certificate(), s.chain[0], s.key)
	if err != nil {
		return err
	}
	d.cert, d.responder = s.chain[0], responder
	return nil
}

// tend makes the responder at path if there is none, or renews it if it is due.
func (o *OCSP) tend(ctx context.Context, path, own string, is *issuer) (due time.Time, err error) {
	h, err := o.a.store.Holder(ctx, path)
	switch {
	case err == nil && h.Profile != ProfileOCSP:
		return time.Time{}, noResponder(h)
	case err == nil:
		return o.a.renewResponder(ctx, h)
	case !errors.Is(err, ErrNotFound):
		return time.Time{}, err
	}
	issuer := is.path
	if issuer == own {
		issuer = "" // it follows when the cluster's CA becomes another
	}
	if ctx, err = o.stage(ctx, path, issuer); err != nil {
		return time.Time{}, err
	}
	issued, err := o.a.Create(ctx, o.a.self, path, CreateOptions{})
	if err != nil {
		return time.Time{}, err
	}
	return DueAt(issued.Certificate.NotBefore, issued.Certificate.NotAfter), nil
}

// take takes what the object at path holds for the responder of the desk. The
// key must have been made there: a key has one role.
func (o *OCSP) take(ctx context.Context, d *desk, path string) error {
	h, err := o.a.store.Holder(ctx, path)
	if err != nil {
		return err
	}
	have, err := live(h)
	switch {
	case err != nil:
		return err
	case h.Profile != ProfileOCSP:
		return noResponder(h)
	case have.key == nil || len(have.chain) == 0 || !h.KeyMade:
		return fmt.Errorf("%w: %s holds no certificate over a key that was made there", ErrConflict, path)
	}
	return d.equip(have)
}

// noResponder says that h is in the place of a responder and is something else.
func noResponder(h Holder) error {
	return hint.With(fmt.Errorf("%w: %s has profile %q, not %q", ErrConflict, h.Path, h.Profile, ProfileOCSP),
		"unset its keyword profile: \"omca %s config update --unset profile\"", h.Path)
}

// fitsDesk reports whether a set can answer for is.
func fitsDesk(is *issuer, s set) bool {
	if s.key == nil || len(s.chain) == 0 {
		return false
	}
	_, err := crl.NewResponder(is.Certificate(), s.chain[0], s.key)
	return err == nil
}

// signed reports whether is signed cert.
func signed(is *issuer, cert *x509.Certificate) bool {
	own := is.Certificate()
	return bytes.Equal(cert.RawIssuer, own.RawSubject) && cert.CheckSignatureFrom(own) == nil
}

// changes counts the calls of Changed.
func (a *Authority) changes() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.epoch
}

// renewResponder gives a responder a new key and certificate when it is due, or
// when what it has no longer answers for its CA: that is another one, the
// certificate is revoked or not valid yet (a clock was ahead), or the key came
// from elsewhere. It returns when the next is due; zero when the key of its CA
// is not here, so that there is nobody to answer for.
//
// The key is new each time: RFC 6960, 4.2.2.2.1, nobody asks whether the
// certificate is revoked, so a stolen key is good for as long as it lives.
func (a *Authority) renewResponder(ctx context.Context, h Holder) (time.Time, error) {
	is, err := a.issuerFor(ctx, h, nil)
	if errors.Is(err, ErrInvalid) || errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	have, err := live(h)
	if err != nil {
		return time.Time{}, err
	}
	if ended, err := a.atEnd(is); ended {
		return time.Time{}, err
	}
	var until time.Time
	if h.KeyMade && fitsDesk(is, have) {
		leaf, now := have.chain[0], a.now()
		_, revoked, err := a.RevocationOf(ctx, leaf)
		if err != nil {
			return time.Time{}, err
		}
		due := DueAt(leaf.NotBefore, leaf.NotAfter)
		if end := is.end().Truncate(time.Second); !leaf.NotAfter.Before(end) {
			due = end // another would not live longer
		}
		if !revoked && !now.Before(leaf.NotBefore) && now.Before(due) {
			return due, nil
		}
		if !revoked {
			until = leaf.NotAfter
		}
	}
	return a.attempt(ctx, h, until, func() (Issued, error) {
		return a.Create(ctx, a.self, h.Path, CreateOptions{Rekey: true, ReplaceExternal: true})
	})
}

package enforce

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

// ErrRevoked refuses a connection; the text is for the log.
var ErrRevoked = errors.New("revoked")

// Records is what is revoked here, as it is kept.
type Records interface {
	AllRevocations(context.Context) iter.Seq2[ca.Revocation, error] // those of one CA together
	AllBlocked(context.Context) iter.Seq2[pki.KeyHash, error]
}

// Authorities knows the CAs on record, and what is above the trusted ones.
type Authorities interface {
	OnRecord(context.Context) (map[pki.AuthorityID]ca.AuthorityRecord, error)

	// Lineage returns what is above the trusted CAs: before itself when that has not changed,
	// nil when it cannot be read. With a lineage, an error is about a CA that is left out.
	Lineage(ctx context.Context, before *ca.Lineage) (*ca.Lineage, error)
}

// Connections are the open ones. Both methods close those that lost says true of, by the verified
// chains of the client certificate, and return how many.
type Connections interface {
	CloseCertificate(serial pki.Serial, lost func(chains [][]*x509.Certificate) bool) int
	CloseConnections(lost func(chains [][]*x509.Certificate) bool) int
}

// Config is what an [Enforcer] works with. Every field is required.
type Config struct {
	Records     Records
	Authorities Authorities
	Connections Connections
	Now         func() time.Time
	Log         *slog.Logger
	Begin       func(task string, work func(context.Context)) // beside the calls
}

// An Enforcer holds every client certificate against what was taken back: here, by what
// is on record, and by the lists of others.
//
// The two are kept apart. The record knows CAs by their identity and convicts alone,
// whatever becomes of an object or of a list of ours. Lists of others also leave a
// certificate undetermined, which the policy decides about.
type Enforcer struct {
	config  Config
	ledger  atomic.Pointer[crl.Ledger] // of our own record
	foreign atomic.Pointer[crl.Set]    // of the keyword cluster.crl
	lineage atomic.Pointer[ca.Lineage] // of the trusted CAs
	blocked *blockedKeys
	loaded  atomic.Bool // all of it is in force, once
	tracing sync.Mutex  // held while a lineage is made, so that the last one is of what was read last

	mu         sync.Mutex
	compacting bool
	soft       bool                                  // the policy: what is not settled is let in, with a warning
	own        map[pki.AuthorityID]*x509.Certificate // CAs on record whose key is, or was, here
	external   []*crl.Verified
	covered    []*x509.Certificate // CAs whose external lists are expected

	authorities []*x509.Certificate // CAs that are trusted for client certificates
}

// New returns an Enforcer that refuses nothing: see Load.
func New(c Config) *Enforcer {
	e := &Enforcer{config: c, own: make(map[pki.AuthorityID]*x509.Certificate), blocked: new(blockedKeys)}
	e.ledger.Store(crl.NewLedger())
	e.foreign.Store(crl.NewSet(crl.Sources{}))
	e.lineage.Store(ca.NewLineage(nil, nil))
	return e
}

// rebuild makes a new snapshot of the lists of others; the caller holds mu.
func (e *Enforcer) rebuild() {
	authorities := slices.Clone(e.authorities)
	for _, cert := range e.own {
		authorities = append(authorities, cert)
	}
	e.foreign.Store(crl.NewSet(crl.Sources{Lists: e.external, Covered: e.covered, Authorities: authorities}))
}

// mostRecent is how many revocations may be in the ledger that are in no table: each
// takes ten times the memory there.
const mostRecent = 8192

// add puts one revocation in force, and reports whether the ledger wants compacting.
func (e *Enforcer) add(r ca.Revocation) (compact bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next, err := recorded(e.ledger.Load(), r)
	if err != nil {
		return false, err
	}
	e.ledger.Store(next)
	compact = next.Recent() >= mostRecent && !e.compacting
	e.compacting = e.compacting || compact
	return compact, nil
}

// recorded returns the ledger that also holds r.
func recorded(l *crl.Ledger, r ca.Revocation) (*crl.Ledger, error) {
	if keyID, ok := ca.UnplacedKeyID(r.Authority); ok {
		return l.WithUnplaced(keyID, r.Entry)
	}
	id, err := pki.ParseAuthorityID(r.Authority)
	if err != nil {
		return nil, err
	}
	return l.With(id, r.Entry)
}

// compact moves what came one by one into tables. Revocations go on meanwhile.
func (e *Enforcer) compact() {
	compacted := e.ledger.Load().Compacted()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ledger.Store(e.ledger.Load().Rebased(compacted))
	e.compacting = false
}

// load puts all revocations in force, those of one CA together. What comes meanwhile
// waits.
func (e *Enforcer) load(all iter.Seq2[ca.Revocation, error]) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.ledger.Load()
	next, stop := iter.Pull2(all)
	defer stop()
	r, err, more := next()
	for more {
		if err != nil {
			return err
		}
		if _, unplaced := ca.UnplacedKeyID(r.Authority); unplaced {
			if l, err = recorded(l, r); err != nil {
				return err
			}
			r, err, more = next()
			continue
		}
		id, bad := pki.ParseAuthorityID(r.Authority)
		if bad != nil {
			return bad
		}
		authority := r.Authority
		l, err = l.WithAll(id, func(yield func(crl.Entry, error) bool) {
			for more && r.Authority == authority {
				if !yield(r.Entry, err) {
					return
				}
				r, err, more = next()
			}
		})
		if err != nil {
			return err
		}
	}
	e.ledger.Store(l)
	return nil
}

// Alone reports whether no list of others speaks for a CA whose key is here.
func (e *Enforcer) Alone(issuer *x509.Certificate) bool {
	_, alone := e.standing(issuer)
	return alone
}

// standing tells the policy, and whether issuer is a CA in whose name we alone take
// back: its key is here, and no list of others speaks for it. One that was imported may
// have another list, of the company that has the key too; when that one lapses, what is
// on the next is not known here.
func (e *Enforcer) standing(issuer *x509.Certificate) (soft, alone bool) {
	id := pki.AuthorityOf(issuer)
	e.mu.Lock()
	defer e.mu.Unlock()
	alone = e.own[id] != nil &&
		!slices.ContainsFunc(e.external, func(l *crl.Verified) bool { return pki.SameKey(l.Signer().PublicKey, issuer.PublicKey) })
	return e.soft, alone
}

// Revoke puts a revocation in force: in the snapshot first, so that no handshake slips in, then on
// the open connections.
func (e *Enforcer) Revoke(ctx context.Context, r ca.Revocation) {
	compact, err := e.add(r)
	if err != nil {
		e.config.Log.ErrorContext(ctx, "revocation not enforced", "serial", r.Serial, "error", err)
	}
	if compact {
		e.config.Begin("compacting revocations", func(context.Context) { e.compact() })
	}
	if n := e.closeCertificate(r); n > 0 {
		e.config.Log.InfoContext(ctx, "connections closed", "serial", r.Serial, "count", n)
	}
	if e.lineage.Load().Above(r.Serial) { // it is in no chain of a connection
		e.CloseRevoked(ctx)
	}
}

// Block puts the block of a key in force, as Revoke does for a revocation.
func (e *Enforcer) Block(ctx context.Context, key pki.KeyHash) {
	e.blocked.add(key)
	e.CloseRevoked(ctx)
}

// closeCertificate ends the open connections with a certificate in their chains, and
// returns how many those were.
func (e *Enforcer) closeCertificate(r ca.Revocation) int {
	return e.config.Connections.CloseCertificate(r.Serial, func(chains [][]*x509.Certificate) bool { return e.Check(chains) != nil })
}

// Load reads, before the first connection, what was taken back.
func (e *Enforcer) Load(ctx context.Context) error {
	if err := e.load(e.config.Records.AllRevocations(ctx)); err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	if err := e.blocked.load(e.config.Records.AllBlocked(ctx)); err != nil {
		return fmt.Errorf("blocked keys: %w", err)
	}
	if err := e.KnowAuthorities(ctx); err != nil {
		return err
	}
	e.loaded.Store(true)
	return nil
}

// Loaded reports whether Load has come to its end.
func (e *Enforcer) Loaded() bool { return e.loaded.Load() }

// KnowAuthorities reads which CAs are ours, and what is above those that are trusted.
func (e *Enforcer) KnowAuthorities(ctx context.Context) error {
	if err := e.knowLineage(ctx); err != nil {
		return err
	}
	known, err := e.config.Authorities.OnRecord(ctx)
	if err != nil {
		return err
	}
	own := make(map[pki.AuthorityID]*x509.Certificate)
	for id, r := range known {
		if r.Key != ca.KeyElsewhere || r.KeyMade {
			own[id] = r.Chain[0]
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !maps.EqualFunc(e.own, own, (*x509.Certificate).Equal) {
		e.own = own
		e.rebuild()
	}
	return nil
}

// knowLineage reads what is above the trusted CAs. One that cannot be read is reported
// with the listener's generation.
func (e *Enforcer) knowLineage(ctx context.Context) error {
	e.tracing.Lock()
	defer e.tracing.Unlock()
	before := e.lineage.Load()
	now, err := e.config.Authorities.Lineage(ctx, before)
	if now == nil {
		return err
	}
	if now != before {
		e.lineage.Store(now)
		e.CloseRevoked(ctx)
	}
	return nil
}

// CloseRevoked ends the open connections whose certificates the snapshot no
// longer lets in.
func (e *Enforcer) CloseRevoked(ctx context.Context) {
	n := e.config.Connections.CloseConnections(func(chains [][]*x509.Certificate) bool { return e.Check(chains) != nil })
	if n > 0 {
		e.config.Log.InfoContext(ctx, "connections closed", "count", n)
	}
}

// SetPolicy sets whether a certificate of which a list of others leaves open whether it is revoked
// is let in, with a warning.
func (e *Enforcer) SetPolicy(soft bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.soft = soft
}

// SetLists takes the lists of others. They are in force with the next call of Expect.
func (e *Enforcer) SetLists(lists []*crl.Verified) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.external = lists
}

// Expect sets the CAs whose lists are believed, and those of them that need one, and ends the
// connections that are refused by that.
func (e *Enforcer) Expect(ctx context.Context, trusted, awaited []*x509.Certificate) {
	e.expect(trusted, awaited)
	e.CloseRevoked(ctx)
}

func (e *Enforcer) expect(trusted, awaited []*x509.Certificate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.authorities, e.covered = trusted, awaited
	e.rebuild()
}

// Above calls note for each CA certificate above a trust anchor that Check asks about, with the
// one below it.
func (e *Enforcer) Above(anchor *x509.Certificate, note func(cert, issuer *x509.Certificate) error) error {
	return e.above(anchor, mostAbove, note)
}

func (e *Enforcer) above(anchor *x509.Certificate, most int, note func(cert, issuer *x509.Certificate) error) error {
	for _, issuer := range e.lineage.Load().Issuers(anchor) {
		if err := note(anchor, issuer); err != nil {
			return err
		}
		if most == 0 {
			continue
		}
		if err := e.above(issuer, most-1, note); err != nil {
			return err
		}
	}
	return nil
}

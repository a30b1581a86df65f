package omca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"omca/ca"
	"omca/crl"
	"omca/internal/object"
	"omca/listener"
	"omca/pki"
)

// errRevoked refuses a connection; the text is for the log.
var errRevoked = errors.New("revoked")

// enforcer holds every client certificate against what was taken back: here, by what
// is on record, and by the lists of others.
//
// The two are kept apart. The record knows CAs by their identity and convicts alone,
// whatever becomes of an object or of a list of ours. Lists of others also leave a
// certificate undetermined, which the policy decides about.
type enforcer struct {
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

func newEnforcer() *enforcer {
	e := &enforcer{own: make(map[pki.AuthorityID]*x509.Certificate), blocked: new(blockedKeys)}
	e.ledger.Store(crl.NewLedger())
	e.foreign.Store(crl.NewSet(crl.Sources{}))
	e.lineage.Store(ca.NewLineage(nil, nil))
	return e
}

// rebuild makes a new snapshot of the lists of others; the caller holds mu.
func (e *enforcer) rebuild() {
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
func (e *enforcer) add(r ca.Revocation) (compact bool, err error) {
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
func (e *enforcer) compact() {
	compacted := e.ledger.Load().Compacted()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ledger.Store(e.ledger.Load().Rebased(compacted))
	e.compacting = false
}

// load puts all revocations in force, those of one CA together. What comes meanwhile
// waits.
func (e *enforcer) load(all iter.Seq2[ca.Revocation, error]) error {
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

// check refuses unless one of the verified chains has nothing against it. A leaf that
// our own record convicts in one chain is refused in each: another chain has the same
// leaf, below a certificate that spells the CA another way.
func (s *Server) check(chains [][]*x509.Certificate) error {
	if len(chains) > 1 {
		own := s.enforcer.ledger.Load()
		for _, chain := range chains {
			if len(chain) < 2 {
				continue
			}
			if err := onRecord(own, chain[0], chain[1]); err != nil {
				return err
			}
		}
	}
	var worst error
	for _, chain := range chains {
		if worst = s.checkChain(chain); worst == nil {
			return nil
		}
	}
	return worst
}

// checkChain asks about every certificate of a chain. The trust anchor has none above it
// there, and may have been issued all the same.
func (s *Server) checkChain(chain []*x509.Certificate) error {
	if err := s.checkBelow(chain); err != nil {
		return err
	}
	return s.checkAnchor(chain[len(chain)-1], mostAbove)
}

// checkBelow asks about every certificate below the trust anchor.
func (s *Server) checkBelow(chain []*x509.Certificate) error {
	for i, cert := range chain[:len(chain)-1] {
		if err := s.checkIssued(cert, chain[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// checkIssued asks about a certificate of issuer, and about its key.
func (s *Server) checkIssued(cert, issuer *x509.Certificate) error {
	if err := s.enforcer.blocked.check(cert); err != nil {
		return err
	}
	own, foreign := s.enforcer.ledger.Load(), s.enforcer.foreign.Load()
	if err := onRecord(own, cert, issuer); err != nil {
		return err
	}
	return s.judge(foreign.Check(cert, issuer, s.config.Now()), issuer)
}

// mostAbove is how many CAs above a trust anchor are asked about: CAs may have certified
// each other.
const mostAbove = 8

// checkAnchor asks about a trust anchor what the CAs known here that issued it say, then
// about those, up to a root. An issuer with several certificates needs one that nothing is
// against. A root is trusted because an operator says so: its own list has no say.
func (s *Server) checkAnchor(cert *x509.Certificate, most int) error {
	if err := s.enforcer.blocked.check(cert); err != nil {
		return err
	}
	issuers := s.enforcer.lineage.Load().Issuers(cert)
	if len(issuers) == 0 {
		if e, revoked := s.enforcer.ledger.Load().CheckUnplaced(cert); revoked {
			return takenBack(e)
		}
		return nil
	}
	for _, issuer := range issuers {
		if err := s.checkIssued(cert, issuer); err != nil {
			return fmt.Errorf("trust anchor %q: %w", cert.Subject, err)
		}
	}
	if most == 0 {
		return nil
	}
	var worst error
	for _, issuer := range issuers {
		if worst = s.checkAnchor(issuer, most-1); worst == nil {
			return nil
		}
	}
	return worst
}

// onRecord refuses a certificate of issuer that our own record convicts.
func onRecord(own *crl.Ledger, cert, issuer *x509.Certificate) error {
	if e, revoked := own.Check(cert, issuer); revoked {
		return takenBack(e)
	}
	return nil
}

func takenBack(e crl.Entry) error {
	return fmt.Errorf("%w: %s was taken back here (%s)", errRevoked, e.Serial, e.Reason)
}

// judge says what a verdict of the lists of others about a certificate of issuer
// means here.
func (s *Server) judge(v crl.Verdict, issuer *x509.Certificate) error {
	switch v.Status {
	case crl.Good, crl.NotCovered:
		return nil
	case crl.Revoked:
		return fmt.Errorf("%w: %s (%s)", errRevoked, v.Why, v.Reason)
	}
	soft, alone := s.enforcer.standing(issuer)
	if alone {
		return nil // no list of others speaks for it
	}
	if !soft {
		return fmt.Errorf("revocation not settled, and the policy is hard: %s", v.Why)
	}
	s.config.Log.Warn("revocation not settled", "why", v.Why, "policy", "soft")
	return nil
}

// standing tells the policy, and whether issuer is a CA in whose name we alone take
// back: its key is here, and no list of others speaks for it. One that was imported may
// have another list, of the company that has the key too; when that one lapses, what is
// on the next is not known here.
func (e *enforcer) standing(issuer *x509.Certificate) (soft, alone bool) {
	id := pki.AuthorityOf(issuer)
	e.mu.Lock()
	defer e.mu.Unlock()
	alone = e.own[id] != nil &&
		!slices.ContainsFunc(e.external, func(l *crl.Verified) bool { return pki.SameKey(l.Signer().PublicKey, issuer.PublicKey) })
	return e.soft, alone
}

// revoked puts a revocation in force: in the snapshot first, so that no
// handshake slips in, then on the open connections and on the next list.
func (s *Server) revoked(r ca.Revocation) {
	compact, err := s.enforcer.add(r)
	if err != nil {
		s.config.Log.ErrorContext(s.background, "revocation not enforced", "serial", r.Serial, "error", err)
	}
	if compact {
		s.run("compacting revocations", func(context.Context) { s.enforcer.compact() })
	}
	if l := s.listener.Load(); l != nil {
		if n := s.closeCertificate(l, r); n > 0 {
			s.config.Log.InfoContext(s.background, "connections closed", "serial", r.Serial, "count", n)
		}
	}
	if s.enforcer.lineage.Load().Above(r.Serial) { // it is in no chain of a connection
		s.closeRevoked(s.background)
	}
	s.memberRevoked(r)
	s.publisher.Add(r)
	s.answersRevoked(r)
}

// closeCertificate ends the open connections with a certificate in their chains, and
// returns how many those were.
func (s *Server) closeCertificate(l *listener.Listener, r ca.Revocation) int {
	return l.CloseCertificate(r.Serial.Int(), func(p listener.Peer) bool { return s.check(p.Chains) != nil })
}

// loadRevocations reads, before the first connection, what was taken back.
func (s *Server) loadRevocations(ctx context.Context) error {
	if err := s.enforcer.load(s.objects.AllRevocations(ctx)); err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	if err := s.enforcer.blocked.load(s.objects.AllBlocked(ctx)); err != nil {
		return fmt.Errorf("blocked keys: %w", err)
	}
	if err := s.knowAuthorities(ctx); err != nil {
		return err
	}
	s.enforcer.loaded.Store(true)
	return nil
}

// authoritiesChanged follows what another node did to the CAs on record.
func (s *Server) authoritiesChanged() {
	s.authority.Changed("")
	if err := s.knowAuthorities(s.background); err != nil && s.background.Err() == nil {
		s.config.Log.ErrorContext(s.background, "CAs not read", "error", err)
	}
	s.publisher.Reload()
}

// knowAuthorities reads which CAs are ours, and what is above those that are trusted.
func (s *Server) knowAuthorities(ctx context.Context) error {
	if err := s.knowLineage(ctx); err != nil {
		return err
	}
	known, err := s.authority.OnRecord(ctx)
	if err != nil {
		return err
	}
	own := make(map[pki.AuthorityID]*x509.Certificate)
	for id, r := range known {
		if r.Key != ca.KeyElsewhere || r.KeyMade {
			own[id] = r.Chain[0]
		}
	}
	s.enforcer.mu.Lock()
	defer s.enforcer.mu.Unlock()
	if !maps.EqualFunc(s.enforcer.own, own, (*x509.Certificate).Equal) {
		s.enforcer.own = own
		s.enforcer.rebuild()
	}
	return nil
}

// knowLineage reads what is above the trusted CAs. One that cannot be read is reported
// with the listener's generation.
func (s *Server) knowLineage(ctx context.Context) error {
	s.enforcer.tracing.Lock()
	defer s.enforcer.tracing.Unlock()
	before := s.enforcer.lineage.Load()
	now, err := s.authority.Lineage(ctx, before)
	if now == nil {
		return err
	}
	if now != before {
		s.enforcer.lineage.Store(now)
		s.closeRevoked(ctx)
	}
	return nil
}

// closeRevoked ends the open connections whose certificates the snapshot no
// longer lets in.
func (s *Server) closeRevoked(ctx context.Context) {
	l := s.listener.Load()
	if l == nil {
		return
	}
	n := l.CloseConnections(func(p listener.Peer) bool { return s.check(p.Chains) != nil })
	if n > 0 {
		s.config.Log.InfoContext(ctx, "connections closed", "count", n)
	}
}

// readPolicy reads the keyword listener.crl_policy; anything but soft is hard.
func (s *Server) readPolicy(ctx context.Context) error {
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return err
	}
	policy, err := cluster.Config.Eval("listener.crl_policy")
	s.enforcer.mu.Lock()
	s.enforcer.soft = policy == "soft"
	s.enforcer.mu.Unlock()
	return err
}

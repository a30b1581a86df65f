package omca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
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

// enforcer holds every client certificate against what was taken back: by our
// own CAs, at once, and by the lists of others.
//
// The two are kept apart. A CA that was imported has two who take back in its
// name, with one key: the newest list of each is in force, and neither acquits of
// what is on the other's.
type enforcer struct {
	set     atomic.Pointer[crl.Set] // of our own CAs
	foreign atomic.Pointer[crl.Set] // of the keyword cluster.crl

	mu       sync.Mutex
	soft     bool                         // the policy: what is not settled is let in, with a warning
	issuers  map[string]*x509.Certificate // our CAs by key identifier, those that were replaced only when they are trusted
	internal []*crl.Verified
	external []*crl.Verified
	covered  []*x509.Certificate // CAs whose external lists are expected

	authorities []*x509.Certificate // CAs that are trusted for client certificates
}

func newEnforcer() *enforcer {
	e := &enforcer{issuers: make(map[string]*x509.Certificate)}
	e.set.Store(crl.NewSet(crl.Sources{}))
	e.foreign.Store(crl.NewSet(crl.Sources{}))
	return e
}

// rebuild makes a new snapshot of all sources; the caller holds mu. The
// revocations that no list has yet are carried over.
func (e *enforcer) rebuild() {
	authorities := slices.Clone(e.authorities)
	for _, cert := range e.issuers {
		authorities = append(authorities, cert)
	}
	var lists []*crl.Verified
	for _, l := range e.internal {
		// That of a CA nobody trusts would speak for all of its name.
		if e.issuers[ca.KeyID(l.Signer())] != nil {
			lists = append(lists, l)
		}
	}
	e.set.Store(e.set.Load().Rebuilt(crl.Sources{Lists: lists, Authorities: authorities}))
	e.foreign.Store(crl.NewSet(crl.Sources{Lists: e.external, Covered: e.covered, Authorities: authorities}))
}

// add puts one revocation in force.
func (e *enforcer) add(r ca.Revocation) (issuer *x509.Certificate, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	issuer = e.issuers[r.KeyID]
	if issuer == nil {
		return nil, nil // a CA that is no longer here is no longer trusted
	}
	next, err := e.set.Load().With(issuer, r.Entry)
	if err != nil {
		return nil, err
	}
	e.set.Store(next)
	return issuer, nil
}

// check refuses unless one of the verified chains has nothing against it.
func (s *Server) check(chains [][]*x509.Certificate) error {
	var worst error
	for _, chain := range chains {
		if worst = s.checkChain(chain); worst == nil {
			return nil
		}
	}
	return worst
}

// checkChain asks about every certificate below the trust anchor.
func (s *Server) checkChain(chain []*x509.Certificate) error {
	sets, now := [...]*crl.Set{s.enforcer.set.Load(), s.enforcer.foreign.Load()}, s.config.Now()
	for i, cert := range chain[:len(chain)-1] {
		for _, set := range sets {
			if err := s.judge(set.Check(cert, chain[i+1], now), chain[i+1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge says what a verdict about a certificate of issuer means here.
func (s *Server) judge(v crl.Verdict, issuer *x509.Certificate) error {
	switch v.Status {
	case crl.Good, crl.NotCovered:
		return nil
	case crl.Revoked:
		return fmt.Errorf("%w: %s (%s)", errRevoked, v.Why, v.Reason)
	}
	soft, alone := s.enforcer.standing(issuer)
	if alone {
		return nil // what we took back is known here, whatever the dates on our list: only clocks make it unsettled
	}
	if !soft {
		return fmt.Errorf("revocation not settled, and the policy is hard: %s", v.Why)
	}
	s.config.Log.Warn("revocation not settled", "why", v.Why, "policy", "soft")
	return nil
}

// standing tells the policy, and whether issuer is a CA in whose name we alone
// take back: one of our own, and no list of others speaks for it. One that was
// imported may have another list, of the company that has the key too; when that
// one lapses, nobody here knows what is on the next.
func (e *enforcer) standing(issuer *x509.Certificate) (soft, alone bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.issuers[ca.KeyID(issuer)]
	alone = known != nil && known.Equal(issuer) &&
		!slices.ContainsFunc(e.external, func(l *crl.Verified) bool { return pki.SameKey(l.Signer().PublicKey, issuer.PublicKey) })
	return e.soft, alone
}

// revoked puts a revocation in force: in the snapshot first, so that no
// handshake slips in, then on the open connections and on the next list.
func (s *Server) revoked(r ca.Revocation) {
	issuer, err := s.enforcer.add(r)
	if err != nil {
		s.config.Log.ErrorContext(s.background, "revocation not enforced", "serial", r.Serial, "error", err)
	}
	if l := s.listener.Load(); l != nil && issuer != nil {
		if n := l.CloseCertificate(issuer.RawSubject, r.Serial.Int()); n > 0 {
			s.config.Log.InfoContext(s.background, "connections closed", "serial", r.Serial, "count", n)
		}
	}
	s.memberRevoked(r)
	s.publisher.Add(r)
	s.answersRevoked(r)
}

// published takes the new lists of our own CAs into the snapshot.
func (s *Server) published(lists []*crl.Verified) {
	s.enforcer.mu.Lock()
	s.enforcer.internal = lists
	s.enforcer.rebuild()
	s.enforcer.mu.Unlock()
}

// loadRevocations reads, before the first connection, which CAs are ours and
// what they took back.
func (s *Server) loadRevocations(ctx context.Context) error {
	own, err := s.authority.Authorities(ctx)
	if err != nil && ctx.Err() == nil {
		s.config.Log.ErrorContext(ctx, "CAs not read", "error", err)
	}
	issuers, unread := s.trustedFormers(ctx)
	if unread != nil && ctx.Err() == nil {
		s.config.Log.ErrorContext(ctx, "former CAs not read", "error", unread)
	}
	for _, cert := range own {
		issuers[ca.KeyID(cert)] = cert
	}
	s.enforcer.mu.Lock()
	known := s.enforcer.issuers
	for id, cert := range known {
		if issuers[id] == nil && errors.Join(err, unread) != nil {
			issuers[id] = cert // it may only not have been read
		}
	}
	s.enforcer.issuers = issuers
	if !maps.EqualFunc(known, issuers, (*x509.Certificate).Equal) {
		s.enforcer.rebuild()
	}
	s.enforcer.mu.Unlock()
	for id := range issuers {
		if known[id] != nil && known[id].Equal(issuers[id]) {
			continue
		}
		for r, err := range s.objects.Revocations(ctx, id) {
			if err != nil {
				return err
			}
			if _, err := s.enforcer.add(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// trustedFormers are the CAs that were replaced, and that the keyword cluster.ca
// has us go on trusting: what they signed and what was taken back is in force.
func (s *Server) trustedFormers(ctx context.Context) (map[string]*x509.Certificate, error) {
	found := make(map[string]*x509.Certificate)
	formers, failed := s.authority.FormerAuthorities(ctx)
	if len(formers) == 0 {
		return found, failed
	}
	trusted, err := s.authority.Trust(ctx)
	for _, cert := range formers {
		if slices.ContainsFunc(trusted, func(t *x509.Certificate) bool { return pki.SameKey(t.PublicKey, cert.PublicKey) }) {
			found[ca.KeyID(cert)] = cert
		}
	}
	return found, errors.Join(failed, err)
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

package omca

import (
	"context"
	"crypto/x509"
	"sync/atomic"

	"omca/ca"
	"omca/internal/enforce"
	"omca/internal/object"
	"omca/listener"
	"omca/pki"
)

// newEnforcer makes what refuses revoked certificates.
func (s *Server) newEnforcer() *enforce.Enforcer {
	return enforce.New(enforce.Config{
		Records: s.objects, Authorities: s.authority, Connections: connections{&s.listener}, Now: s.config.Now, Log: s.config.Log, Begin: s.run,
	})
}

// connections are those of the listener, once there is one. It implements [enforce.Connections].
type connections struct {
	of *atomic.Pointer[listener.Listener]
}

// CloseCertificate is [listener.Listener.CloseCertificate].
func (c connections) CloseCertificate(serial pki.Serial, lost func([][]*x509.Certificate) bool) int {
	l := c.of.Load()
	if l == nil {
		return 0
	}
	return l.CloseCertificate(serial.Int(), func(p listener.Peer) bool { return lost(p.Chains) })
}

// CloseConnections is [listener.Listener.CloseConnections].
func (c connections) CloseConnections(lost func([][]*x509.Certificate) bool) int {
	l := c.of.Load()
	if l == nil {
		return 0
	}
	return l.CloseConnections(func(p listener.Peer) bool { return lost(p.Chains) })
}

// revoked puts a revocation in force, and then on the next list.
func (s *Server) revoked(r ca.Revocation) {
	s.enforcer.Revoke(s.background, r)
	s.memberRevoked(r)
	s.publisher.Add(r)
	s.answersRevoked(r)
}

// keyBlocked puts the block of a key in force, as revoked does for a revocation.
func (s *Server) keyBlocked(key pki.KeyHash) {
	s.enforcer.Block(s.background, key)
	if s.db.node != nil {
		s.db.node.Check()
	}
}

// authoritiesChanged follows what another node did to the CAs on record.
func (s *Server) authoritiesChanged() {
	s.authority.Changed("")
	if err := s.enforcer.KnowAuthorities(s.background); err != nil && s.background.Err() == nil {
		s.config.Log.ErrorContext(s.background, "CAs not read", "error", err)
	}
	s.publisher.Reload()
}

// readPolicy reads the keyword listener.crl_policy; anything but soft is hard.
func (s *Server) readPolicy(ctx context.Context) error {
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return err
	}
	policy, err := cluster.Config.Eval("listener.crl_policy")
	s.enforcer.SetPolicy(policy == "soft")
	return err
}

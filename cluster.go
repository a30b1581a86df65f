package omca

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/api"
	"omca/internal/hint"
	"omca/internal/join"
	"omca/internal/member"
	"omca/internal/object"
	"omca/internal/seal"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

// members are the members of the cluster, for the API.
type members struct {
	*Server
	n      *node
	server join.Server
}

// newMembers returns nil when the store is not kept by a member.
func (s *Server) newMembers(ctx context.Context) (api.Members, error) {
	n := s.db.node
	if n == nil {
		return nil, nil
	}
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return nil, err
	}
	id, _ := cluster.Config.Get("cluster.id")
	return &members{Server: s, n: n, server: join.Server{
		Cluster: id, Store: s.objects.JoinTokens(), Now: s.config.Now, Limit: joinLimit(s.config.Now), Check: s.readsTheStore,
	}}, nil
}

// joinLimit counts the requests of an address to join. The address is that of the
// client: a port is not in it, and behind a trusted proxy it is what the proxy says.
// Callers whose address cannot be known count as one.
func joinLimit(now func() time.Time) func(netip.Addr) error {
	tries := usr.NewGuesses(now)
	return func(from netip.Addr) error {
		_, err := tries.Take(usr.GuessLimit{Rate: 0.2, Burst: 10}, from.String(), from)
		return err
	}
}

// readsTheStore refuses a machine whose build cannot read the store of the cluster.
func (s *Server) readsTheStore(r join.Request) error {
	if format := s.objects.Format(); r.Version < format {
		return hint.With(fmt.Errorf("%w: node %q runs a build that reads stores up to format %d, and this cluster has format %d", ca.ErrConflict, r.Node, r.Version, format),
			"install on it the build that the other nodes run, and join again: the token is still good")
	}
	return nil
}

// Token implements [api.Members].
func (m *members) Token(ctx context.Context, who usr.Caller, life time.Duration) (wire.JoinToken, error) {
	authority, err := m.leaf(ctx, m.authority.ClusterCA)
	if err != nil {
		return wire.JoinToken{}, err
	}
	addresses, err := m.reachable(ctx)
	if err != nil {
		return wire.JoinToken{}, err
	}
	token, err := join.Mint(authority, m.server.Cluster, addresses, m.config.Now().Add(life))
	if err != nil {
		return wire.JoinToken{}, err
	}
	if err := m.objects.JoinTokens().Add(ctx, token.Record(who.By())); err != nil {
		return wire.JoinToken{}, err
	}
	return wire.JoinToken{Token: token.Text(), ID: token.ID(), Addresses: addresses, ExpiresAt: token.Expires}, nil
}

// reachable is where a machine finds this node's listener.
func (m *members) reachable(ctx context.Context) ([]string, error) {
	address, err := m.listenAddress(ctx)
	if err != nil {
		return nil, err
	}
	if heard := m.heard.Load(); heard != nil {
		address = (*heard)[0]
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if a, err := netip.ParseAddr(host); err != nil || a.IsUnspecified() {
		u, err := url.Parse(m.n.as.URL)
		if err != nil {
			return nil, err
		}
		host = u.Hostname()
	}
	return []string{net.JoinHostPort(host, port)}, nil
}

// Join implements [api.Members].
func (m *members) Join(ctx context.Context, from wire.Address, request []byte) ([]byte, error) {
	server := m.server
	if from.Local {
		server.Limit = nil // root may try as often as it likes
	}
	redeemed, err := server.Redeem(ctx, from.IP, request)
	if err != nil {
		return nil, err
	}
	// The daemon acts for the maker of the token, which may have had fewer rights.
	by := usr.Caller{Name: redeemed.By, Method: usr.MethodDaemon, Grants: usr.RootGrants(), Address: from.Shown}
	peer := member.Peer{Name: redeemed.Node, URL: redeemed.URL}
	if err := m.makeRoom(ctx, peer); err != nil {
		return nil, err
	}
	issued, err := m.makeNode(ctx, by, peer, []byte(redeemed.CSR))
	if err != nil {
		return nil, err
	}
	if err := m.n.Add(ctx, peer); err != nil {
		return nil, fromMember(errors.Join(err, m.dropNode(ctx, by, peer.Name)))
	}
	if err := m.listNode(ctx, peer.Name, "+="); err != nil {
		return nil, err
	}
	m.config.Log.InfoContext(ctx, "node admitted", "node", peer.Name, "url", peer.URL, "by", redeemed.By, "address", from.Shown)
	grant := join.Grant{
		Certificate: string(pki.EncodeCertificates(issued.Chain...)),
		CA:          string(pki.EncodeCertificates(issued.Chain[len(issued.Chain)-1])),
	}
	for _, i := range m.n.Members() {
		if i.Name != "" {
			grant.Members = append(grant.Members, join.Member{Name: i.Name, URL: i.URL})
		}
	}
	master, err := seal.ExportMaster(m.master)
	if errors.Is(err, seal.ErrMaster) {
		master = []byte(sealedByPassphrase)
	} else if err != nil {
		return nil, err
	}
	return redeemed.Answer(grant, master)
}

// makeRoom takes out a node of that name that was admitted and has never come: its
// machine failed on the way, and tries again. A name or an address that is in use
// is refused.
func (m *members) makeRoom(ctx context.Context, peer member.Peer) error {
	for _, i := range m.n.Members() {
		same := i.Name == peer.Name
		if !same && i.URL != peer.URL {
			continue
		}
		if i.Started || !same {
			return hint.With(fmt.Errorf("%w: node %q is a member at %s", ca.ErrConflict, i.Name, i.URL),
				"join under another name with --node-name, or remove that one first: \"omca cluster remove %s\"", i.Name)
		}
		if err := m.n.Remove(ctx, i.Name); err != nil {
			return fromMember(err)
		}
	}
	return nil
}

// List implements [api.Members].
func (m *members) List(ctx context.Context) ([]wire.ClusterMember, error) {
	var list []wire.ClusterMember
	clocks := m.nodeClocks()
	for _, i := range m.n.Members() {
		one := wire.ClusterMember{Node: i.Name, URL: i.URL, State: "member"}
		switch {
		case i.ID == 0:
			one.State = "admitted"
		case !i.Started:
			one.State = "awaited"
		case i.Learner:
			one.State = "learning"
		case i.Leader:
			one.State = "leader"
		}
		if h, err := m.objects.Holder(ctx, ca.PathNode+i.Name); err == nil && h.Chain != nil {
			if certs, err := pki.ParseCertificates(h.Chain); err == nil {
				one.Serial = string(pki.SerialOf(certs[0]))
			}
		}
		one.ClockOffset, one.ClockOff = clocks[i.Name].Offset, clocks[i.Name].Off
		list = append(list, one)
	}
	return list, nil
}

// Status implements [api.Members].
func (m *members) Status(context.Context) (wire.ClusterStatus, error) {
	is := m.n.Status()
	s := wire.ClusterStatus{
		Node: is.Name, Leader: is.Leader, Members: is.Members, State: "member",
		SizeBytes: is.Size, InUseBytes: is.InUse, QuotaBytes: is.Quota,
		Behind: is.Behind, Term: is.Term, Alarms: is.Alarms, Warnings: is.Warnings,
	}
	if is.Learner {
		s.State = "learning"
	}
	return s, nil
}

// Remove implements [api.Members].
func (m *members) Remove(ctx context.Context, who usr.Caller, name string) error {
	if err := m.n.Remove(ctx, name); err != nil {
		return fromMember(err)
	}
	if err := m.dropNode(ctx, who, name); err != nil {
		return fmt.Errorf("node %q is removed, and something of it is left: %w", name, err)
	}
	return m.listNode(ctx, name, "-=")
}

// dropNode takes back the certificates of a node, and forgets its objects.
func (s *Server) dropNode(ctx context.Context, who usr.Caller, name string) error {
	member, err := nodePath(name)
	if err != nil {
		return err
	}
	for _, p := range []object.Path{member, object.NodeListenerPath(name)} {
		if _, err := s.authority.RevokeOwned(ctx, who, p.String(), time.Time{}, "", crl.CessationOfOperation); err != nil {
			return err
		}
		if err := s.objects.Delete(ctx, p); err != nil && !errors.Is(err, ca.ErrNotFound) {
			return err
		}
	}
	return s.objects.ForgetNode(ctx, name)
}

// listNode adds a node to, or takes it out of, the keyword cluster.nodes.
func (s *Server) listNode(ctx context.Context, name, operator string) error {
	set, err := object.ParseExprs([]string{"cluster.nodes" + operator + name})
	if err != nil {
		return err
	}
	for range 10 {
		o, err := s.objects.Get(ctx, object.ClusterPath())
		if err != nil {
			return err
		}
		next, changed, err := o.Config.Apply(object.Update{Set: set})
		if err != nil || len(changed) == 0 {
			return err
		}
		if err = s.objects.Configure(ctx, o.Path, o.Revision, next); !errors.Is(err, ca.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("%w: cluster.nodes changes all the time", ca.ErrConflict)
}

// fromMember says an error of the membership in the words of the API.
func fromMember(err error) error {
	switch {
	case errors.Is(err, member.ErrNotFound):
		return errors.Join(ca.ErrNotFound, err)
	case errors.Is(err, member.ErrInvalid), errors.Is(err, member.ErrUnwell):
		return errors.Join(ca.ErrConflict, err)
	}
	return err
}

// beMember has this member show the certificate that the store has for it,
// holds the others against the revocations, and ends the daemon with the member.
func (s *Server) beMember(ctx context.Context) error {
	n := s.db.node
	if n == nil {
		return nil
	}
	// Below a CA of the cluster that is revoked, the members go on until it has another
	// key: without each other they could not even make that.
	refused := func(chain member.Chain) error { return s.enforcer.CheckBelow(chain) }
	n.refused.Store(&refused)
	n.Check()
	s.run("member", func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-n.Done():
			err := n.ended()
			s.config.Log.ErrorContext(ctx, "member ended", "error", err)
			s.fail(err)
		}
	})
	return s.presentNode(ctx)
}

// presentNode takes the certificate of this member over from the store, and brings
// the key there that the machine joined with.
func (s *Server) presentNode(ctx context.Context) error {
	n := s.db.node
	path := ca.PathNode + n.as.Node
	h, err := s.objects.Holder(ctx, path)
	if err != nil {
		return err
	}
	if h.PrivateKey == nil {
		key, ok := n.identity.Load().Certificate.PrivateKey.(crypto.Signer)
		if !ok {
			return fmt.Errorf("%s: no private key", peerFiles(n.home).Key)
		}
		pem, err := pki.EncodePrivateKey(key)
		if err != nil {
			return err
		}
		if err := s.authority.BringKey(ctx, path, pem); err != nil {
			return err
		}
	}
	changed, err := s.writePeerFiles(ctx, n.home, path)
	if err != nil {
		return err
	}
	if changed {
		if err := n.readIdentity(); err != nil {
			return err
		}
		n.Check()
	}
	return nil
}

// memberChanged follows a change of an object, which may be what this member shows.
func (s *Server) memberChanged(p object.Path) {
	n := s.db.node
	if n == nil || !p.IsZero() && p.String() != ca.PathNode+n.as.Node {
		return
	}
	s.run("member certificate", func(ctx context.Context) { // it may commit, which waits for whoever calls this
		if err := s.presentNode(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ca.ErrNotFound) {
			s.config.Log.ErrorContext(ctx, "this member keeps its certificate", "error", err)
		}
	})
}

// memberRevoked cuts off who was revoked. A member whose certificate is revoked is
// none any more: who dials would not ask about it. It is removed before its
// connections are closed, if that can be done soon: it may lead, and what is decided
// without it takes an election.
func (s *Server) memberRevoked(r ca.Revocation) {
	n := s.db.node
	if n == nil {
		return
	}
	const soon, pause, tries = 3 * time.Second, time.Second, 30
	s.run(taskRemoval, func(ctx context.Context) {
		remove := func(ctx context.Context) error { // a panic counts as one of the tries
			return s.panics.Guard(taskRemoval, func() error { return s.removeRevoked(ctx, n, r) })
		}
		bounded, cancel := context.WithTimeout(ctx, soon)
		err := remove(bounded)
		cancel()
		n.Check()
		for i := 1; err != nil && i < tries; i++ {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			err = remove(ctx)
		}
		if err != nil {
			s.config.Log.ErrorContext(ctx, "member with a revoked certificate not removed", "serial", r.Serial, "error", err)
		}
	})
}

func (s *Server) removeRevoked(ctx context.Context, n *node, r ca.Revocation) error {
	for _, i := range n.Members() {
		if i.Name == n.as.Node {
			continue // the others do it
		}
		h, err := s.objects.Holder(ctx, ca.PathNode+i.Name)
		if errors.Is(err, ca.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		certs, err := pki.ParseCertificates(h.Chain)
		if err != nil || pki.SerialOf(certs[0]) != r.Serial {
			continue
		}
		if _, revoked, err := s.authority.RevocationOf(ctx, certs[0]); err != nil {
			return err
		} else if !revoked {
			continue // another CA's certificate with that serial number was
		}
		s.config.Log.WarnContext(ctx, "the certificate of a member was revoked: it is removed", "node", i.Name, "serial", r.Serial)
		if err := n.Remove(ctx, i.Name); err != nil && !errors.Is(err, member.ErrNotFound) {
			return err
		}
		if err := s.listNode(ctx, i.Name, "-="); err != nil {
			return err
		}
	}
	return nil
}

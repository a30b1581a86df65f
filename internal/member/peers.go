package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An Identity is what a member shows and whom it trusts, at one moment.
type Identity struct {
	Certificate tls.Certificate // of profile node, leaf first, with the key
	Roots       *x509.CertPool  // CAs whose node certificates are taken; never nil
}

// A Chain is a verified chain, leaf first, trust anchor last.
type Chain = []*x509.Certificate

const (
	handshake   = 10 * time.Second
	mostPending = 256 // connections that have not shown who they are
)

// peers holds every connection that other members have made.
type peers struct {
	config Config

	mu      sync.Mutex
	members map[string]string // name -> URL
	open    map[*conn]bool
	pending int

	strangers map[string]bool // whom the log knows since check was called last

	checks int // how often check was called
	closed bool
}

// conn is one connection with a peer. Name and chain are set, under mu of the
// peers, once the handshake has shown them.
type conn struct {
	net.Conn
	of    *peers
	name  string // "" while it is not known
	given Chain  // what the peer sent: verified again by check
	gone  bool   // of a node that is no member: all that it hears is that
}

func newPeers(c Config) *peers {
	p := &peers{config: c, members: map[string]string{}, open: map[*conn]bool{}, strangers: map[string]bool{}}
	for _, peer := range c.Peers {
		p.members[peer.Name] = peer.URL
	}
	return p
}

// own returns the identity, and refuses one without trust or of somebody else:
// a nil pool would mean the roots of the system.
func (p *peers) own() (Identity, string, error) {
	id, err := p.config.Identity()
	if err != nil {
		return Identity{}, "", fmt.Errorf("certificate of node %q: %w", p.config.Name, err)
	}
	if id.Roots == nil || len(id.Certificate.Certificate) == 0 {
		return Identity{}, "", fmt.Errorf("%w: the identity of node %q has no certificate or trusts nobody", ErrInvalid, p.config.Name)
	}
	leaf, err := x509.ParseCertificate(id.Certificate.Certificate[0])
	if err != nil {
		return Identity{}, "", fmt.Errorf("certificate of node %q: %w", p.config.Name, err)
	}
	name, err := p.nodeName(leaf)
	if err == nil && name != p.config.Name {
		err = fmt.Errorf("%w: it is for %q", ErrInvalid, name)
	}
	if err != nil {
		return Identity{}, "", fmt.Errorf("certificate of node %q: %w", p.config.Name, err)
	}
	return id, name, nil
}

// nodeName reads whose node certificate it is. X.509-SVID, 2: exactly one URI.
func (p *peers) nodeName(leaf *x509.Certificate) (string, error) {
	if len(leaf.URIs) != 1 {
		return "", fmt.Errorf("%w: the certificate has %d URIs, that of a node has one, its SPIFFE ID", ErrInvalid, len(leaf.URIs))
	}
	id := leaf.URIs[0].String()
	name, ok := strings.CutPrefix(id, "spiffe://"+p.config.Cluster+"/node/")
	if !ok || name == "" {
		return "", fmt.Errorf("%w: the certificate is for %q, expected a node of %q", ErrInvalid, id, p.config.Cluster)
	}
	return name, nil
}

// verify holds what a peer has sent against all the rules. Both usages are asked
// of every certificate: a member dials and is dialed.
func (p *peers) verify(given Chain, roots *x509.CertPool) (string, error) {
	if len(given) == 0 {
		return "", fmt.Errorf("%w: the peer has no certificate", ErrInvalid)
	}
	middle := x509.NewCertPool()
	for _, c := range given[1:] {
		middle.AddCert(c)
	}
	var verified Chain
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		chains, err := given[0].Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: middle, CurrentTime: p.config.Now(), KeyUsages: []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			return "", err
		}
		verified = chains[0]
	}
	name, err := p.nodeName(given[0])
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	_, member := p.members[name]
	p.mu.Unlock()
	if !member {
		return name, fmt.Errorf("node %q: %w", name, ErrNotFound)
	}
	if err := p.config.Refused(verified); err != nil {
		return name, fmt.Errorf("node %q: %w", name, err)
	}
	return name, nil
}

// tlsConfig is for one connection. Tickets are off: nobody comes back without
// showing the certificate.
func (p *peers) tlsConfig(c *conn) (*tls.Config, error) {
	p.mu.Lock()
	checks := p.checks
	p.mu.Unlock()
	id, _, err := p.own()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Time:                   p.config.Now,
		Certificates:           []tls.Certificate{id.Certificate},
		ClientAuth:             tls.RequireAnyClientCert, // VerifyConnection verifies it
		SessionTicketsDisabled: true,
		NextProtos:             []string{"http/1.1"},
		VerifyConnection: func(s tls.ConnectionState) error {
			name, err := p.verify(s.PeerCertificates, id.Roots)
			gone := errors.Is(err, ErrNotFound)
			if err != nil && (name == "" || !p.told(name)) {
				p.config.Log.Warn("peer refused", "address", c.RemoteAddr().String(), "error", err)
			}
			if err != nil && !gone {
				return err
			}
			return p.known(c, name, s.PeerCertificates, checks, gone)
		},
	}, nil
}

// told reports whether the log has it already that a node is refused. It comes many
// times a second as long as its daemon runs.
func (p *peers) told(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.strangers[name] || len(p.strangers) >= mostPending {
		return true
	}
	p.strangers[name] = true
	return false
}

// known notes who is on a connection. When something has changed since the
// handshake looked at it, as checks tells, the connection is refused: check has
// not seen it. The peer tries again.
func (p *peers) known(c *conn, name string, given Chain, checks int, gone bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if checks != p.checks || !p.open[c] {
		return fmt.Errorf("node %q: trust or members changed during the handshake", name)
	}
	if c.name == "" {
		p.pending--
	}
	c.name, c.given, c.gone = name, given, gone
	return nil
}

// hold takes a fresh connection into account; nil when there are too many whose
// peers are not known.
func (p *peers) hold(raw net.Conn) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.pending >= mostPending {
		return nil
	}
	p.pending++
	c := &conn{Conn: raw, of: p}
	p.open[c] = true
	return c
}

// Close is net.Conn.Close.
func (c *conn) Close() error {
	c.of.mu.Lock()
	if c.of.open[c] && c.name == "" {
		c.of.pending--
	}
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// set takes who is a member from now on; who is not loses its connections.
func (p *peers) set(members map[string]string) {
	p.mu.Lock()
	same := maps.Equal(p.members, members)
	p.members = members
	p.mu.Unlock()
	if !same {
		p.check()
	}
}

// check verifies every open connection again.
func (p *peers) check() {
	p.mu.Lock()
	p.checks++
	clear(p.strangers)
	p.mu.Unlock()
	id, _, err := p.own()
	if err != nil {
		p.config.Log.Error("peers cannot be checked: all connections are closed", "error", err)
	}
	p.mu.Lock()
	open := slices.Collect(maps.Keys(p.open))
	p.mu.Unlock()
	for _, c := range open {
		p.mu.Lock()
		name, given, gone := c.name, c.given, c.gone
		p.mu.Unlock()
		if name == "" || gone {
			continue // known refuses it, unless its handshake begins after this
		}
		reason := err
		if reason == nil {
			_, reason = p.verify(given, id.Roots)
		}
		if reason != nil {
			p.config.Log.Warn("peer cut off", "node", name, "error", reason)
			c.closeNow()
		}
	}
}

// closeNow closes a connection; that it is closed already is as well.
func (c *conn) closeNow() {
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		c.of.config.Log.Warn("closing a connection with a peer", "error", err)
	}
}

// close closes all connections and takes no more.
func (p *peers) close() {
	p.mu.Lock()
	p.closed = true
	open := slices.Collect(maps.Keys(p.open))
	p.mu.Unlock()
	for _, c := range open {
		c.closeNow()
	}
}

// asks is the key of a connection in the context of its requests.
type asks struct{}

// onlyMembers passes requests of members on. Who is none, and has a certificate
// that a member could have, is told so if etcd knows that it was removed: it stops
// at that, as at the same answer of etcd's own. It may also be one that was added,
// and this member has not heard of it yet: that one tries again, because what it
// hears is not 410, nor 403, which to etcd is the same when it sends messages.
func (p *peers) onlyMembers(h http.Handler, removed func(id uint64) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(asks{}).(*conn)
		p.mu.Lock()
		member := ok && c.name != "" && !c.gone
		p.mu.Unlock()
		if member {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		// The last part of the path of a stream is the id of who asks, hexadecimal.
		if id, err := strconv.ParseUint(path.Base(r.URL.Path), 16, 64); err == nil && removed(id) {
			http.Error(w, "the member has been removed from the cluster", http.StatusGone)
			return
		}
		http.Error(w, "no such member", http.StatusNotFound)
	})
}

// server serves what other members ask, over TLS.
func (p *peers) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h,
		ConnContext: func(ctx context.Context, raw net.Conn) context.Context {
			if over, ok := raw.(*tls.Conn); ok {
				return context.WithValue(ctx, asks{}, over.NetConn())
			}
			return ctx
		},
		ReadHeaderTimeout: handshake,
		ReadTimeout:       5 * time.Minute, // a snapshot in one request
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // tlsConfig logs who was refused and why
	}
}

// listen returns a listener of TLS connections.
func (p *peers) listen(l net.Listener) net.Listener { return &listener{Listener: l, of: p} }

type listener struct {
	net.Listener
	of *peers
}

// Accept is net.Listener.Accept. The handshake is the http.Server's, in a
// goroutine of the connection.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := l.of.hold(raw)
		if c == nil {
			if err := raw.Close(); err != nil {
				l.of.config.Log.Warn("refusing a connection", "error", err)
			}
			continue
		}
		return tls.Server(c, &tls.Config{
			MinVersion: tls.VersionTLS13,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return l.of.tlsConfig(c)
			},
		}), nil
	}
}

package listener

import (
	"context"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Peer is who is at the other end of a connection that came with a client certificate.
type Peer struct {
	// Certificate is the client's. Its RawIssuer and SerialNumber are what a CRL knows it by.
	Certificate *x509.Certificate
	// Chains are those that crypto/tls verified, leaf first.
	Chains [][]*x509.Certificate
	// User is what Config.Identify made of it, "" for nobody.
	User string
	// RemoteAddr is the client's address.
	RemoteAddr net.Addr
}

// validUntil is when the last of the verified chains has its first certificate expired.
func (p Peer) validUntil() time.Time {
	var last time.Time
	for _, chain := range p.Chains {
		end := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(end) {
				end = c.NotAfter
			}
		}
		if end.After(last) {
			last = end
		}
	}
	return last
}

// serialKey is a serial number as a key of a map. It finds the connections that a revocation may
// mean, and does not decide: the name of an issuer can be written in several ways.
func serialKey(serial *big.Int) string { return serial.Text(62) }

// serials returns the serial number of every certificate in the chains, each once: a connection
// falls with its leaf and with every CA above it.
func (p Peer) serials() []string {
	var keys []string
	for _, chain := range p.Chains {
		for _, c := range chain {
			if k := serialKey(c.SerialNumber); !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// conns is a set of connections per key.
type conns[K comparable] map[K]map[*conn]struct{}

func (s conns[K]) add(k K, c *conn) {
	if s[k] == nil {
		s[k] = map[*conn]struct{}{}
	}
	s[k][c] = struct{}{}
}

func (s conns[K]) remove(k K, c *conn) {
	delete(s[k], c)
	if len(s[k]) == 0 {
		delete(s, k)
	}
}

// index knows every open connection. A connection is in it from the moment it is accepted: first as
// a handshake under way, then, when that is done and came with a certificate, by certificate and by
// user.
type index struct {
	mu       sync.Mutex
	open     map[*conn]struct{}
	underWay map[*conn]struct{}
	bySerial conns[string]
	byUser   conns[string]
}

func newIndex() *index {
	return &index{
		open: map[*conn]struct{}{}, underWay: map[*conn]struct{}{},
		bySerial: conns[string]{}, byUser: conns[string]{},
	}
}

// conn is an accepted connection. Closing it takes it out of the index, whoever does it.
type conn struct {
	net.Conn
	index   *index
	port    *port
	address netip.Prefix    // zero: not counted per address
	context context.Context // of its requests, from the hook
	closed  atomic.Bool     // set under index.mu
	begun   atomic.Bool     // its first request; set under index.mu

	// Guarded by index.mu.
	peer   *Peer
	expiry *time.Timer
	orders []func(Peer) bool // orders to close that came during the handshake
}

// Close closes the connection below TLS: no farewell that a slow client could delay.
func (c *conn) Close() error {
	c.index.remove(c)
	return c.Conn.Close()
}

// admit takes a connection just accepted in, unless its port is full or shut.
func (x *index) admit(c *conn, limits Limits) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	counted := c.address.IsValid()
	if c.port.shut || c.port.open >= limits.Connections || counted && c.port.byAddress[c.address] >= limits.ConnectionsPerAddress {
		return false
	}
	c.port.open++
	c.port.silent++
	if counted {
		c.port.byAddress[c.address]++
	}
	x.open[c] = struct{}{}
	if c.port.secure {
		x.underWay[c] = struct{}{}
	}
	return true
}

// settle ends the handshake of c, whose certificate is that of p (nil Certificate: none). It says
// false when an order to close came in between that means p, or when c is closed already.
func (x *index) settle(c *conn, p Peer, now time.Time) bool {
	for {
		x.mu.Lock()
		orders := c.orders
		c.orders = nil
		if len(orders) == 0 {
			defer x.mu.Unlock()
			return x.settleLocked(c, p, now)
		}
		x.mu.Unlock() // the orders are the caller's functions
		if p.Certificate != nil && slices.ContainsFunc(orders, func(means func(Peer) bool) bool { return means(p) }) {
			return false
		}
	}
}

func (x *index) settleLocked(c *conn, p Peer, now time.Time) bool {
	delete(x.underWay, c)
	if c.closed.Load() || p.Certificate == nil {
		return !c.closed.Load()
	}
	c.peer = &p
	for _, k := range p.serials() {
		x.bySerial.add(k, c)
	}
	if p.User != "" {
		x.byUser.add(p.User, c)
	}
	c.expiry = time.AfterFunc(p.validUntil().Sub(now), func() { _ = c.port.l.guard(taskConnection, c.Close) })
	return true
}

// remove forgets a connection; the second time it does nothing.
func (x *index) remove(c *conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c.closed.Swap(true) {
		return
	}
	delete(x.open, c)
	delete(x.underWay, c)
	c.port.open--
	x.beginLocked(c)
	if c.address.IsValid() {
		if c.port.byAddress[c.address]--; c.port.byAddress[c.address] == 0 {
			delete(c.port.byAddress, c.address)
		}
	}
	if c.peer == nil {
		return
	}
	c.expiry.Stop()
	for _, k := range c.peer.serials() {
		x.bySerial.remove(k, c)
	}
	x.byUser.remove(c.peer.User, c)
}

// begin notes the first request of a connection.
func (x *index) begin(c *conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.beginLocked(c)
}

func (x *index) beginLocked(c *conn) {
	if c.begun.Swap(true) {
		return
	}
	if c.port.silent--; c.port.silent == 0 && c.port.spoken != nil {
		close(c.port.spoken)
	}
}

// spoken returns a channel that is closed when every connection of p had its first request, or is
// closed. It is asked when p accepts no more.
func (x *index) spoken(p *port) <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p.spoken == nil {
		p.spoken = make(chan struct{})
		if p.silent == 0 {
			close(p.spoken)
		}
	}
	return p.spoken
}

// order tells the handshakes under way to close when they turn out to mean the peer, and returns
// the connections of a set, read in the same instant: none is in neither.
func (x *index) order(means func(Peer) bool, set func() map[*conn]struct{}) []*conn {
	x.mu.Lock()
	defer x.mu.Unlock()
	for c := range x.underWay {
		c.orders = append(c.orders, means)
	}
	var found []*conn
	for c := range set() {
		if c.peer != nil {
			found = append(found, c)
		}
	}
	return found
}

// closeCertificate closes those connections with a serial number in their chains that are meant.
func (x *index) closeCertificate(k string, means func(Peer) bool) int {
	both := func(p Peer) bool { return slices.Contains(p.serials(), k) && means(p) }
	found := x.order(both, func() map[*conn]struct{} { return x.bySerial[k] })
	// The peer of a connection that is in the index is never written again.
	return closeConns(slices.DeleteFunc(found, func(c *conn) bool { return !means(*c.peer) }))
}

// closeUser closes the connections of one user.
func (x *index) closeUser(user string) int {
	if user == "" {
		return 0
	}
	means := func(p Peer) bool { return p.User == user }
	return closeConns(x.order(means, func() map[*conn]struct{} { return x.byUser[user] }))
}

// closeMatching asks about every connection with a client certificate.
func (x *index) closeMatching(means func(Peer) bool) int {
	found := x.order(means, func() map[*conn]struct{} { return x.open })
	// The peer of a connection that is in the index is never written again.
	return closeConns(slices.DeleteFunc(found, func(c *conn) bool { return !means(*c.peer) }))
}

// closePort closes every connection of a port, whoever is at its other end, and admits no more.
func (x *index) closePort(p *port) {
	x.mu.Lock()
	p.shut = true
	var found []*conn
	for c := range x.open {
		if c.port == p {
			found = append(found, c)
		}
	}
	x.mu.Unlock()
	closeConns(found)
}

func closeConns(found []*conn) int {
	for _, c := range found {
		// Who is cut off has nothing to be told, and an error here means that they are gone
		// already.
		_ = c.Close()
	}
	return len(found)
}

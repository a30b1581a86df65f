package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ConnContext runs once for each connection, after its handshake and before its first request. The
// context that it returns, made from the one it gets, is the parent of that of every request on the
// connection. It is shown the *tls.Conn of a TLS connection, and of a plain one what the socket
// accepted (*net.UnixConn: see [PeerUID]). An error closes the connection, and nothing that came on
// it is served.
type ConnContext func(context.Context, net.Conn) (context.Context, error)

// Config is what stays the same as long as the listener lives.
type Config struct {
	// Handler serves the TLS connections. Required.
	Handler http.Handler
	// Verify decides about a handshake, full or resumed, that came with a client certificate
	// chained to the trusted pool: state.VerifiedChains is never empty. Nil accepts. It is called
	// by many handshakes at once, before the client has proved that the key is its own. Required.
	Verify func(state tls.ConnectionState) error
	// Identify names the user that a client certificate belongs to, "" for nobody, so that
	// CloseUser finds the connection. Optional.
	Identify func(state tls.ConnectionState) (user string)
	// ConnContext runs for each TLS connection. Optional.
	ConnContext ConnContext
	// Now tells the time that certificates and ticket keys are held against. Required.
	Now func() time.Time
	// Log gets what goes wrong. Optional.
	Log *slog.Logger
	// Guard runs work for one connection, one handshake or one socket, and returns an error
	// when it panics. It is called by many goroutines. Nil is a Guard that logs the stack to Log.
	Guard func(task string, work func() error) error
	// Limits bound what one client can hold.
	Limits Limits
}

// Listener serves sockets. Its methods may be called at the same time.
type Listener struct {
	handler  http.Handler
	verify   func(tls.ConnectionState) error
	identify func(tls.ConnectionState) string
	hook     ConnContext
	now      func() time.Time
	log      *slog.Logger
	guard    func(task string, work func() error) error
	limits   Limits

	base    *tls.Config // gives each handshake the current generation's
	current atomic.Pointer[generation]
	// ticketsSince is when the ticket key in use was made, in nanoseconds since 1970.
	ticketsSince atomic.Int64
	index        *index
	refused      atomic.Uint64
	failed       atomic.Uint64

	mu       sync.Mutex // swaps, rotations, and the fields below
	ports    []*port
	draining bool
}

// New checks a configuration and its first generation, as [Listener.Swap] would.
func New(c Config, first Generation) (*Listener, error) {
	if c.Handler == nil || c.Verify == nil || c.Now == nil {
		return nil, errors.New("listener: Handler, Verify and Now are required")
	}
	limits, err := c.Limits.checked()
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l := &Listener{
		handler: c.Handler, verify: c.Verify, identify: c.Identify, hook: c.ConnContext,
		now: c.Now, log: c.Log, guard: c.Guard, limits: limits, index: newIndex(),
	}
	if l.guard == nil {
		l.guard = l.logPanic
	}
	l.base = &tls.Config{
		MinVersion:         tls.VersionTLS12, // each generation says which
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return l.configuration(), nil },
	}
	g, err := l.build(first)
	if err != nil {
		return nil, err
	}
	l.current.Store(g)
	l.ticketsSince.Store(l.now().UnixNano())
	l.warnExpired(g)
	return l, nil
}

// Swap makes a generation live: the next handshake gets it. One that cannot work is refused with
// [ErrGeneration] and the previous one stays. It tries a handshake of the new generation with
// itself first, which takes a few milliseconds.
//
// Unless certificate, pool and version are all what they were (a new OCSP staple, say), the ticket
// key is new, so that nobody resumes from what was trusted then, or goes on seeing the old
// certificate. Open connections go on, but for those whose client certificate no longer chains to
// the pool.
func (l *Listener) Swap(next Generation) error {
	g, err := l.build(next)
	if err != nil {
		return err
	}
	previous := l.replace(g)
	l.warnExpired(g)
	if !g.ClientCAs.Equal(previous.ClientCAs) {
		l.CloseConnections(func(p Peer) bool { return !g.trusts(p, l.now()) })
	}
	return nil
}

// replace makes g the current generation, and returns the one before.
func (l *Listener) replace(g *generation) (previous *generation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	previous = l.current.Load()
	if g.sameIdentity(previous) {
		g.keepTickets(previous)
	} else {
		l.ticketsSince.Store(l.now().UnixNano())
	}
	l.current.Store(g)
	return previous
}

// The tasks of a Guard.
const (
	taskConnection = "connection" // before the first request: net/http guards those
	taskGeneration = "generation" // the handshake of a generation with itself
	taskSocket     = "socket"     // accepting and draining
)

// logPanic is the Guard of a Config without one.
func (l *Listener) logPanic(task string, work func() error) (err error) {
	defer func() {
		if said := recover(); said != nil {
			l.log.Error("panic", "task", task, "panic", said, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", said)
		}
	}()
	return work()
}

func (l *Listener) warnExpired(g *generation) {
	if leaf := g.Certificate.Leaf; l.now().After(leaf.NotAfter) {
		l.log.Warn("the listener's certificate has expired", "subject", leaf.Subject.String(), "not_after", leaf.NotAfter)
	}
}

// configuration is what a handshake that begins now gets.
func (l *Listener) configuration() *tls.Config {
	if l.now().UnixNano()-l.ticketsSince.Load() >= int64(ticketLife) {
		l.rotateTickets(ticketLife)
	}
	return l.current.Load().tls
}

// RotateTickets makes every session ticket given out worthless: whoever comes back does a full
// handshake. It is for changes of what Verify decides; Swap rotates by itself, and a key is never
// in use for more than 24 hours.
func (l *Listener) RotateTickets() { l.rotateTickets(0) }

// rotateTickets renews a ticket key of at least the given age.
func (l *Listener) rotateTickets(age time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now().UnixNano()
	if age > 0 && now-l.ticketsSince.Load() < int64(age) {
		return // another handshake was faster
	}
	l.current.Load().renewTickets()
	l.ticketsSince.Store(now)
}

// verifyConnection runs at the end of each handshake, full or resumed.
func (l *Listener) verifyConnection(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	if len(state.VerifiedChains) == 0 {
		return errors.New("listener: the client's certificate has no verified chain")
	}
	err := l.verify(state)
	if err != nil {
		leaf := state.PeerCertificates[0]
		l.log.Info("client certificate refused", "serial", leaf.SerialNumber.Text(16), "issuer", leaf.Issuer.String(), "error", err)
	}
	return err
}

// Serve serves TLS on a socket until Shutdown or until ln is closed, and closes ln. It may be
// called for any number of sockets. It returns nil after Shutdown, http.ErrServerClosed when that
// was before, and otherwise why it ended.
func (l *Listener) Serve(ln net.Listener) error {
	return l.serve(&port{Listener: ln, secure: true, hook: l.hook}, l.handler)
}

// ServePlain is Serve without TLS, over HTTP/1.1 (on a unix socket also HTTP/2 with prior knowledge:
// RFC 9113, 3.3), with the same limits and drain: for the unix socket, and for what may be read in
// the clear. It has a handler of its own, so that no route is
// served there that was not meant to be. The hook, which may be nil, is where the peer of a unix
// socket is checked.
func (l *Listener) ServePlain(ln net.Listener, handler http.Handler, hook ConnContext) error {
	if handler == nil {
		return errors.Join(errors.New("listener: no handler for a plain socket"), ln.Close())
	}
	return l.serve(&port{Listener: ln, hook: hook}, handler)
}

func (l *Listener) serve(p *port, handler http.Handler) error {
	p.l, p.byAddress = l, map[netip.Prefix]int{}
	p.ready, p.gone = make(chan accepted), make(chan struct{})
	p.server = l.engine(p, handler)

	if !l.takes(p) {
		return errors.Join(http.ErrServerClosed, p.Close())
	}
	go func() {
		defer close(p.ready)
		defer p.preparing.Wait()
		if err := l.guard(taskSocket, p.accept); err != nil {
			p.deliver(accepted{err: err})
		}
	}()
	err := l.guard(taskSocket, func() error { return p.server.Serve(p) })
	_ = p.Close() // the engine has closed it, unless it never began
	close(p.gone)

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.draining {
		return nil
	}
	return fmt.Errorf("serving %s: %w", p.Addr(), err)
}

// takes takes a port in, unless there is a drain.
func (l *Listener) takes(p *port) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.draining {
		l.ports = append(l.ports, p)
	}
	return !l.draining
}

// engine is the HTTP server of one port.
func (l *Listener) engine(p *port, handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(p.secure)
	protocols.SetUnencryptedHTTP2(!p.secure && p.Addr().Network() == "unix")
	return &http.Server{
		Handler:           gate(handler),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: l.limits.Write},
		ReadHeaderTimeout: l.limits.ReadHeader,
		ReadTimeout:       l.limits.Read,
		WriteTimeout:      l.limits.Write,
		IdleTimeout:       l.limits.Idle,
		MaxHeaderBytes:    l.limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(l.log.Handler(), slog.LevelWarn),
		ConnContext:       p.connContext,
	}
}

// CloseCertificate closes every connection that leans on a certificate, the client's own or that of
// a CA above it, and returns how many. No request begins on them after that. The certificate is one
// with that serial number of which means says so: serial numbers are unique to a CA alone, and what
// a CA is, the caller knows. A handshake under way is closed too, as it ends.
func (l *Listener) CloseCertificate(serial *big.Int, means func(Peer) bool) int {
	return l.index.closeCertificate(serialKey(serial), means)
}

// CloseUser closes every connection whose client certificate Config.Identify gave to a user, and
// returns how many. A handshake under way is closed too, as it ends.
func (l *Listener) CloseUser(user string) int { return l.index.closeUser(user) }

// CloseConnections closes every connection that means says true of, and returns how many. It is
// asked about all those with a client certificate, also, later, about handshakes under way;
// CloseCertificate and CloseUser need not ask.
func (l *Listener) CloseConnections(means func(Peer) bool) int { return l.index.closeMatching(means) }

// Counts are for metrics.
type Counts struct {
	Open    int    // connections open now
	Refused uint64 // connections closed because too many were open, since the start
	Failed  uint64 // connections whose handshake or hook failed, since the start
}

// Counts returns the current numbers.
func (l *Listener) Counts() Counts {
	l.index.mu.Lock()
	defer l.index.mu.Unlock()
	return Counts{Open: len(l.index.open), Refused: l.refused.Load(), Failed: l.failed.Load()}
}

// Shutdown closes the sockets, lets handshakes and requests in flight finish (the last response on
// each HTTP/1.1 connection says "Connection: close", HTTP/2 gets GOAWAY) and closes idle
// connections. When ctx ends first, everything left is closed and its error returned. No connection
// is open when it returns.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.mu.Lock()
	l.draining = true
	ports := slices.Clone(l.ports)
	l.mu.Unlock()

	errs := make([]error, len(ports))
	var drains sync.WaitGroup
	for i, p := range ports {
		drains.Go(func() { errs[i] = l.guard(taskSocket, func() error { return p.drain(ctx) }) })
	}
	drains.Wait()
	return errors.Join(errs...)
}

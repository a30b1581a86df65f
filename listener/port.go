package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// errOrdered is why a handshake that went well is cut all the same.
var errOrdered = errors.New("the client's certificate was taken back during the handshake")

// port is one socket being served. It stands between the socket and the HTTP engine, to which it is
// a net.Listener whose connections are past their handshake: no slow handshake is in the engine's
// way, and nothing reaches a handler that is not in the index.
type port struct {
	net.Listener
	l      *Listener
	secure bool // TLS
	hook   ConnContext
	server *http.Server

	preparing sync.WaitGroup
	ready     chan accepted
	gone      chan struct{} // closed when the engine accepts no more

	// Guarded by index.mu.
	shut      bool // admits no more
	open      int
	silent    int           // connections open without a request so far
	spoken    chan struct{} // closed when there is none, once a drain asks
	byAddress map[netip.Prefix]int
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

// Accept is for the HTTP engine.
func (p *port) Accept() (net.Conn, error) {
	a, ok := <-p.ready
	if !ok {
		return nil, net.ErrClosed
	}
	return a.conn, a.err
}

// accept prepares connections for ready until the socket is closed.
func (p *port) accept() error {
	for {
		raw, err := p.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			// The engine knows which errors pass, and waits before it accepts again.
			if !p.deliver(accepted{err: err}) {
				return nil
			}
			continue
		}
		if p.l.guard(taskConnection, func() error { p.take(raw); return nil }) != nil {
			_ = raw.Close() // not ours
		}
	}
}

// take admits one connection and prepares it, without waiting.
func (p *port) take(raw net.Conn) {
	c := &conn{Conn: raw, index: p.l.index, port: p, address: addressOf(raw.RemoteAddr())}
	if !p.l.index.admit(c, p.l.limits) {
		p.l.refused.Add(1)
		p.l.log.Debug("connection refused: too many are open", "remote", raw.RemoteAddr())
		_ = raw.Close() // not ours
		return
	}
	p.preparing.Go(func() {
		if p.l.guard(taskConnection, func() error { p.bring(c); return nil }) != nil {
			_ = c.Conn.Close() // the error is of a connection that is given up; c.Close may have panicked
		}
	})
}

// bring prepares one connection and hands it over, or closes it.
func (p *port) bring(c *conn) {
	// The engine would recover here, too: certificates of strangers have made crypto/x509 panic
	// (CVE-2024-24783).
	var ready net.Conn
	err := p.l.guard(taskConnection, func() (err error) {
		ready, err = p.prepare(c)
		return err
	})
	if err != nil {
		p.l.failed.Add(1)
		p.l.log.Debug("connection failed", "remote", c.RemoteAddr(), "error", err)
		_ = c.Close() // the error above is the one that counts
		return
	}
	p.deliver(accepted{conn: ready})
}

// prepare does what comes before the first request: the handshake, and the hook. The hook does not
// run in the engine's ConnContext, which cannot refuse: a request that came along with the last
// message of the handshake is in a buffer by then, and would be served though the connection is
// closed.
func (p *port) prepare(c *conn) (ready net.Conn, err error) {
	ready = c
	seen := c.Conn // what the hook is shown
	if p.secure {
		secure, err := p.l.handshake(c)
		if err != nil {
			return nil, err
		}
		ready, seen = secure, secure
	}
	c.context = context.Background()
	if p.hook != nil {
		if c.context, err = p.hook(c.context, seen); err != nil {
			return nil, err
		}
	}
	return ready, nil
}

// deliver hands over to the engine; it says false when that is gone.
func (p *port) deliver(a accepted) bool {
	select {
	case p.ready <- a:
		return true
	case <-p.gone:
		if a.conn != nil {
			_ = a.conn.Close() // nobody is left to be told
		}
		return false
	}
}

// connKey finds the *conn in the context of a request.
type connKey struct{}

// connContext is the context that the hook has made, with the one value that the engine's has. It
// runs where the engine accepts: a panic would end the port. The gate lets nothing of a connection
// begin that is not ours.
func (p *port) connContext(engine context.Context, nc net.Conn) context.Context {
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return engine
	}
	ctx := context.WithValue(c.context, http.ServerContextKey, engine.Value(http.ServerContextKey))
	return context.WithValue(ctx, connKey{}, c)
}

// gate lets no request begin on a connection that is closed: one may be left in a buffer. It notes
// the first.
func gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*conn)
		if !ok || c.closed.Load() {
			panic(http.ErrAbortHandler) // how net/http is told to answer nothing
		}
		if !c.begun.Load() {
			c.index.begin(c)
		}
		next.ServeHTTP(w, r)
	})
}

// firstRequest is how long a drain waits for the first request of a connection that it accepted
// before, as long as net/http does.
const firstRequest = 5 * time.Second

// drain stops accepting, lets the handshakes and requests under way finish, and closes what is
// idle; when ctx ends first, it closes everything.
func (p *port) drain(ctx context.Context) error {
	_ = p.Close() // closed already is closed
	err := p.finish(ctx)
	p.l.index.closePort(p) // what is left, which is nothing unless ctx has ended or a handler hijacked
	if err != nil {
		_ = p.server.Close() // the connections are closed, so is the socket
		<-p.gone
	}
	return err
}

// finish is the patient part of drain.
func (p *port) finish(ctx context.Context) error {
	select {
	case <-p.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	// From Shutdown on, the engine drops the requests it reads. A client that has just connected
	// has not sent its one yet, and sees an error where it should not even have to try again.
	p.server.SetKeepAlivesEnabled(false)
	wait, cancel := context.WithTimeout(ctx, firstRequest)
	defer cancel()
	select {
	case <-p.l.index.spoken(p):
	case <-wait.Done():
	}
	return p.server.Shutdown(ctx)
}

// handshake makes a TLS connection of c and puts it into the index.
func (l *Listener) handshake(c *conn) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), l.limits.Handshake)
	defer cancel()
	done := tls.Server(c, l.base)
	if err := done.HandshakeContext(ctx); err != nil {
		answerPlain(err)
		return nil, err
	}
	state := done.ConnectionState()
	peer := Peer{RemoteAddr: c.RemoteAddr(), Chains: state.VerifiedChains}
	if len(state.PeerCertificates) > 0 {
		peer.Certificate = state.PeerCertificates[0]
		if l.identify != nil {
			peer.User = l.identify(state)
		}
	}
	if !l.index.settle(c, peer, l.now()) {
		return nil, errOrdered
	}
	l.log.LogAttrs(ctx, slog.LevelDebug, "handshake done", slog.Any("remote", peer.RemoteAddr),
		slog.String("version", tls.VersionName(state.Version)), slog.String("curve", state.CurveID.String()),
		slog.Bool("retried", state.HelloRetryRequest), slog.Bool("resumed", state.DidResume), slog.String("user", peer.User))
	return done, nil
}

// answerPlain tells a client that speaks plain HTTP to the TLS port what it did wrong, as net/http
// does.
func answerPlain(err error) {
	var header tls.RecordHeaderError
	if !errors.As(err, &header) || header.Conn == nil {
		return
	}
	switch string(header.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO":
		// Best effort: the connection is closed next.
		_, _ = io.WriteString(header.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis port speaks https.\n")
	}
}

// addressOf is what connections are counted by: an IPv4 address or an IPv6 /64, of which one
// customer has at least one. It is zero for what is not counted.
func addressOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.WithZone("").Prefix(bits)
	if err != nil { // the zero address
		return netip.Prefix{}
	}
	return prefix
}

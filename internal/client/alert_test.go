package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"

	"omca/internal/client"
)

// meet listens, hands what it accepts to end, and counts.
func meet(t *testing.T, end func(net.Conn)) (addr string, met *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	met = new(atomic.Int32)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			met.Add(1)
			end(conn)
			conn.Close()
		}
	}()
	return l.Addr().String(), met
}

// TestLostAlert: why a server hung up is asked of it on another connection, on which nothing is written that could lose the answer.
func TestLostAlert(t *testing.T) {
	ca, other := issue(t, "ca", nil), issue(t, "other", nil)
	leaf, alice := issue(t, "server", &ca), issue(t, "alice", &ca)
	// serving takes client certificates of trusted, and goes on with then.
	serving := func(trusted pair, then func(*tls.Conn)) func(net.Conn) {
		return func(conn net.Conn) {
			s := tls.Server(conn, &tls.Config{
				Certificates: []tls.Certificate{leaf.tls()},
				ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: trusted.pool(), NextProtos: []string{"h2"},
			})
			if s.Handshake() == nil {
				then(s)
			}
		}
	}
	refuse := serving(other, func(*tls.Conn) { t.Error("alice was let in") })
	accept := serving(ca, func(s *tls.Conn) {
		s.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // settings, none of them: RFC 9113, section 6.5
		io.Copy(io.Discard, s)                     // until the client goes
	})
	reset := serving(ca, func(s *tls.Conn) { s.NetConn().(*net.TCPConn).SetLinger(0) })

	lost := &net.OpError{Op: "write", Err: syscall.ECONNRESET}
	for _, tt := range []struct {
		name, scheme string
		first        error // of the request
		end          func(net.Conn)
		met          int32
		want         error
	}{
		{"told at once", "https", &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, refuse, 0, client.ErrCertificateRefused},
		{"told when asked", "https", lost, refuse, 1, client.ErrCertificateRefused},
		{"told by no more than words", "https", errors.New("http2: client conn could not be established"), refuse, 1, client.ErrCertificateRefused},
		{"well again", "https", lost, accept, 1, client.ErrUnreachable},
		{"reset again", "https", lost, reset, 1, client.ErrUnreachable},
		{"not there", "https", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, refuse, 0, client.ErrUnreachable},
		{"not verified", "https", &tls.CertificateVerificationError{Err: errors.New("x")}, refuse, 0, client.ErrUnreachable},
		{"no TLS", "http", lost, refuse, 0, client.ErrUnreachable},
	} {
		addr, met := meet(t, tt.end)
		fail := func(context.Context, string, string) (net.Conn, error) { return nil, tt.first }
		c, err := client.New(client.Config{Server: tt.scheme + "://" + addr, Transport: &http.Transport{
			DialContext: fail, DialTLSContext: fail,
			TLSClientConfig: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{alice.tls()}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Health(t.Context()); !errors.Is(err, tt.want) || met.Load() != tt.met {
			t.Errorf("%s: %v after %d connections, want %v after %d", tt.name, err, met.Load(), tt.want, tt.met)
		}
	}
}

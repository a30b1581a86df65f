package listener

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stream opens a streaming response and reads its beginning.
func stream(t *testing.T, h *house, cert tls.Certificate, http1 bool) <-chan string {
	t.Helper()
	c := h.client(t, clientOptions{cert: &cert, http1: http1})
	c.Timeout = 0 // which would end the stream in time for within to take it for closed
	res, err := c.Get(h.url + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	begin := make([]byte, len("HTTP/x.x"))
	if _, err := io.ReadFull(res.Body, begin); err != nil {
		t.Fatal(err)
	}
	return cut(res.Body)
}

func anyone(Peer) bool { return true }

func TestCloseOpenConnections(t *testing.T) {
	tests := map[string]struct {
		close func(*house) int
		gone  []string // streams that end
	}{
		"by certificate": {func(h *house) int { return h.CloseCertificate(big.NewInt(11), anyone) },
			[]string{"alice 11 h1", "alice 11 h2"}},
		"by user": {func(h *house) int { return h.CloseUser("alice") },
			[]string{"alice 11 h1", "alice 11 h2", "alice 12 h1", "alice 12 h2"}},
		"by predicate": {func(h *house) int {
			return h.CloseConnections(func(p Peer) bool { return p.User == "bob" && p.Certificate.SerialNumber.Int64() == 13 })
		}, []string{"bob 13 h1", "bob 13 h2"}},
		"by CA": {func(h *house) int { return h.CloseCertificate(h.ca.cert.SerialNumber, anyone) },
			[]string{"alice 11 h1", "alice 11 h2", "alice 12 h1", "alice 12 h2", "bob 13 h1", "bob 13 h2"}},
		"another's serial": {func(h *house) int { return h.CloseCertificate(big.NewInt(11), func(Peer) bool { return false }) }, nil},
		"nobody":           {func(h *house) int { return h.CloseUser("") }, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			streams := map[string]<-chan string{}
			for _, who := range []struct {
				name   string
				user   string
				serial int64
			}{{"alice 11", "alice", 11}, {"alice 12", "alice", 12}, {"bob 13", "bob", 13}} {
				cert := h.ca.issue(t, who.user, who.serial)
				streams[who.name+" h1"] = stream(t, h, cert, true)
				streams[who.name+" h2"] = stream(t, h, cert, false)
			}
			anonymous := h.client(t, clientOptions{http1: true})
			mustGet(t, anonymous, h.url)

			if n := test.close(h); n != len(test.gone) {
				t.Errorf("%d connections were closed, want %d", n, len(test.gone))
			}
			for _, name := range test.gone {
				within(t, streams[name], name)
				delete(streams, name)
			}
			if n, want := h.Counts().Open, len(streams)+1; n != want {
				t.Errorf("%d connections are open, want %d", n, want)
			}
			for name, c := range streams {
				select {
				case <-c:
					t.Errorf("%s was closed, too", name)
				default:
				}
			}
		})
	}
}

// TestCloseDuringTheHandshake: Verify has said yes, the order to close comes before the handshake
// is done.
func TestCloseDuringTheHandshake(t *testing.T) {
	tests := map[string]struct {
		close func(*house) int
		gone  bool
	}{
		"by certificate": {func(h *house) int { return h.CloseCertificate(big.NewInt(11), anyone) }, true},
		"by user":        {func(h *house) int { return h.CloseUser("alice") }, true},
		"by predicate":   {func(h *house) int { return h.CloseConnections(func(p Peer) bool { return p.User == "alice" }) }, true},
		"by CA":          {func(h *house) int { return h.CloseCertificate(h.ca.cert.SerialNumber, anyone) }, true},
		"by trust": {func(h *house) int {
			g := h.current.Load().Generation
			g.ClientCAs = poolOf()
			if err := h.Swap(g); err != nil {
				return -1
			}
			return 0
		}, true},
		"another": {func(h *house) int { return h.CloseUser("bob") }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			verified, goOn := make(chan bool), make(chan bool)
			h := open(t, func(c *Config, _ *Generation) {
				c.Verify = func(tls.ConnectionState) error {
					verified <- true
					<-goOn
					return nil
				}
			})
			cert := h.ca.issue(t, "alice", 11)
			c := h.client(t, clientOptions{cert: &cert, fresh: true})
			// A POST, which a client does not try again on another connection.
			answer := make(chan error, 1)
			go func() {
				res, err := c.Post(h.url, "text/plain", http.NoBody)
				if err == nil {
					err = res.Body.Close()
				}
				answer <- err
			}()
			within(t, verified, "the handshake")
			if n := test.close(h); n != 0 {
				t.Errorf("%d connections were closed, want none yet", n)
			}
			goOn <- true
			if err := within(t, answer, "the request"); (err != nil) != test.gone {
				t.Errorf("the request says %v, refused is %v", err, test.gone)
			}
		})
	}
}

// TestTrustRemoved: who came with a CA that is no longer trusted has to go, the others stay.
func TestTrustRemoved(t *testing.T) {
	second := newAuthority(t, "second CA")
	h := open(t, func(_ *Config, g *Generation) { g.ClientCAs.AddCert(second.cert) })
	first := stream(t, h, h.ca.issue(t, "alice", 2), false)
	other := stream(t, h, second.issue(t, "bob", 2), false)
	g := h.current.Load().Generation
	g.ClientCAs = poolOf(second)
	swap(t, h, g)
	within(t, first, "the stream of the CA that was removed")
	select {
	case <-other:
		t.Error("the stream of the CA that stays was closed")
	default:
	}
}

// together is a connection that holds back all that is written after the first message, until
// flushed.
type together struct {
	net.Conn
	begun bool
	held  []byte
}

func (c *together) Write(b []byte) (int, error) {
	if !c.begun {
		c.begun = true
		return c.Conn.Write(b)
	}
	c.held = append(c.held, b...)
	return len(b), nil
}

// TestNoRequestBeginsOnAClosedConnection: the request has come along with the end of the handshake,
// and is in a buffer when the connection is closed.
func TestNoRequestBeginsOnAClosedConnection(t *testing.T) {
	var h *house
	ready := make(chan bool)
	tests := map[string]ConnContext{
		"closed": func(ctx context.Context, _ net.Conn) (context.Context, error) {
			<-ready
			if n := h.CloseUser("alice"); n != 1 {
				t.Errorf("%d connections were closed, want 1", n)
			}
			return ctx, nil
		},
		"refused by the hook": func(context.Context, net.Conn) (context.Context, error) {
			<-ready
			return nil, errors.New("refused")
		},
	}
	for name, hook := range tests {
		t.Run(name, func(t *testing.T) {
			h = open(t, func(c *Config, _ *Generation) { c.Handler, c.ConnContext = httpNever(t), hook })
			cert := h.ca.issue(t, "alice", 2)
			held := &together{Conn: dial(t, h, true)}
			c := tls.Client(held, &tls.Config{RootCAs: poolOf(h.ca), ServerName: "localhost", Certificates: []tls.Certificate{cert}})
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := held.Conn.Write(held.held); err != nil {
				t.Fatal(err)
			}
			finished := make(chan bool, 1)
			h.ports[0].server.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateClosed {
					finished <- true
				}
			}
			ready <- true
			if got := within(t, cut(c), "the cut"); got != "" {
				t.Errorf("the server says %q", got)
			}
			if name == "closed" {
				within(t, finished, "the engine")
			}
		})
	}
}

// TestExpiry: a connection does not outlive the certificate that opened it.
func TestExpiry(t *testing.T) {
	var c clock
	h := open(t, at(&c))
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	c.advance(time.Until(end) - time.Second)
	cert := h.ca.issue(t, "alice", 2, func(c *x509.Certificate) { c.NotAfter = end })
	within(t, stream(t, h, cert, false), "the end of the certificate")
}

func TestIndexForgets(t *testing.T) {
	h := open(t)
	cert := h.ca.issue(t, "alice", 2)
	gone := stream(t, h, cert, false)
	if n := len(h.index.bySerial); n != 2 {
		t.Errorf("%d certificates are indexed, want the client's and its CA's", n)
	}
	h.CloseUser("alice")
	within(t, gone, "the stream")
	h.index.mu.Lock()
	defer h.index.mu.Unlock()
	got := []int{len(h.index.open), len(h.index.underWay), len(h.index.bySerial), len(h.index.byUser)}
	if diff := cmp.Diff([]int{0, 0, 0, 0}, got); diff != "" {
		t.Errorf("the index remembers: %s", diff)
	}
}

// TestPanicInVerify: the daemon survives, the connection does not.
func TestPanicInVerify(t *testing.T) {
	h := open(t, func(c *Config, _ *Generation) {
		c.Verify = func(tls.ConnectionState) error { panic("a certificate nobody thought of") }
	})
	cert := h.ca.issue(t, "alice", 2)
	if _, _, err := get(h.client(t, clientOptions{cert: &cert}), h.url); err == nil {
		t.Error("the client got in")
	}
	mustGet(t, h.client(t, clientOptions{}), h.url)
}

// TestNoChainNoEntry: crypto/tls does not do this; if it ever does, nobody gets in.
func TestNoChainNoEntry(t *testing.T) {
	h := open(t)
	cert := h.ca.issue(t, "alice", 2)
	if err := h.verifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}}); err == nil {
		t.Error("a certificate without a chain was accepted")
	}
}

// TestMemo: a value of the connection is shared by its requests and by no other connection.
func TestMemo(t *testing.T) {
	for name, http1 := range map[string]bool{"HTTP/1.1": true, "HTTP/2": false} {
		t.Run(name, func(t *testing.T) {
			type key struct{}
			var looked atomic.Int64
			h := open(t, func(c *Config, _ *Generation) {
				c.ConnContext = func(ctx context.Context, conn net.Conn) (context.Context, error) {
					if !conn.(*tls.Conn).ConnectionState().HandshakeComplete {
						t.Error("the hook runs before the handshake is done")
					}
					return context.WithValue(ctx, key{}, new(atomic.Pointer[string])), nil
				}
				c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					memo := r.Context().Value(key{}).(*atomic.Pointer[string])
					if memo.Load() == nil {
						looked.Add(1)
						name := r.TLS.PeerCertificates[0].Subject.CommonName
						memo.Store(&name)
					}
					io.WriteString(w, *memo.Load())
				})
			})
			for i, user := range []string{"alice", "bob"} {
				cert := h.ca.issue(t, user, int64(i))
				c := h.client(t, clientOptions{cert: &cert, http1: http1})
				for range 3 {
					if _, body := mustGet(t, c, h.url); body != user {
						t.Errorf("got %q, want %q", body, user)
					}
				}
			}
			if looked.Load() != 2 {
				t.Errorf("looked up %d times, want once per connection", looked.Load())
			}
		})
	}
}

// TestPanics: a panic over one connection ends that connection, one over a generation
// refuses it, and the guard hears of each. The listener goes on.
func TestPanics(t *testing.T) {
	var mu sync.Mutex
	caught := map[string]int{}
	armed := atomic.Pointer[string]{}
	fires := func(place string) {
		if at := armed.Load(); at != nil && *at == place {
			panic("in " + place)
		}
	}
	h := open(t, func(c *Config, _ *Generation) {
		logged := &Listener{log: c.Log}
		c.Guard = func(task string, work func() error) error {
			returned := false
			defer func() {
				if !returned {
					t.Error("the guard under test lets a panic through")
				}
			}()
			err := logged.logPanic(task, work)
			returned = true
			if err != nil && strings.HasPrefix(err.Error(), "panic: ") {
				mu.Lock()
				defer mu.Unlock()
				caught[task]++
			}
			return err
		}
		c.Verify = func(tls.ConnectionState) error { fires("verify"); return nil }
		c.Identify = func(s tls.ConnectionState) string { fires("identify"); return commonName(s) }
		c.ConnContext = func(ctx context.Context, _ net.Conn) (context.Context, error) { fires("hook"); return ctx, nil }
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fires("handler"); echo(w, r) })
	})
	cert := h.ca.issue(t, "alice", 2)
	for i, place := range []string{"verify", "identify", "hook", "handler"} {
		armed.Store(&place)
		if _, _, err := get(h.client(t, clientOptions{cert: &cert}), h.url); err == nil {
			t.Errorf("%s: an answer came", place)
		}
		mu.Lock()
		if want := min(i+1, 3); caught[taskConnection] != want { // net/http guards the handler
			t.Errorf("%s: %d panics told, want %d", place, caught[taskConnection], want)
		}
		mu.Unlock()
		armed.Store(nil)
		mustGet(t, h.client(t, clientOptions{cert: &cert}), h.url)
	}

	g := h.generation(t, 200)
	g.Certificate.PrivateKey = panicky{g.Certificate.PrivateKey.(crypto.Signer)}
	if err := h.Swap(g); !errors.Is(err, ErrGeneration) {
		t.Errorf("a generation whose key panics: %v, want ErrGeneration", err)
	}
	if res, _ := mustGet(t, h.client(t, clientOptions{cert: &cert}), h.url); res.TLS.PeerCertificates[0].SerialNumber.Int64() != 100 {
		t.Error("the generation before is not served any more")
	}
	mu.Lock()
	defer mu.Unlock()
	if caught[taskGeneration] == 0 || caught[taskSocket] != 0 {
		t.Errorf("panics told: %v", caught)
	}
}

// panicky is a key that panics when it is to sign.
type panicky struct{ crypto.Signer }

func (panicky) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	panic("a key nobody thought of")
}

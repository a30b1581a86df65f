package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const brief = 150 * time.Millisecond

// TestSlowClientsAreCut: in each phase, by the limit of that phase alone.
func TestSlowClientsAreCut(t *testing.T) {
	tests := map[string]struct {
		limits Limits
		raw    bool   // before the handshake
		says   string // and then nothing
		want   string // in what the server says
	}{
		"handshake, silent":    {limits: Limits{Handshake: brief}, raw: true},
		"handshake, begun":     {limits: Limits{Handshake: brief}, raw: true, says: "\x16\x03\x01\x02\x00"},
		"first header":         {limits: Limits{ReadHeader: brief}},
		"header, begun":        {limits: Limits{ReadHeader: brief}, says: "GET / HTTP/1.1\r\nHost: x\r\n"},
		"body":                 {limits: Limits{ReadHeader: brief / 2, Read: brief}, says: "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx", want: " 408 "},
		"idle":                 {limits: Limits{Idle: brief}, says: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", want: " 200 "},
		"response not read":    {limits: Limits{ReadHeader: brief / 2, Read: brief, Write: brief}, says: "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n", want: ""},
		"header too long":      {limits: Limits{HeaderBytes: 1000}, says: "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 9000) + "\r\n\r\n", want: " 431 "},
		"plain HTTP, by error": {raw: true, says: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", want: "https"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flooded := make(chan error, 1)
			h := open(t, limits(test.limits), func(c *Config, _ *Generation) {
				c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/flood" {
						echo(w, r)
						return
					}
					flooded <- flood(w)
				})
			})
			c := dial(t, h, test.raw)
			if _, err := io.WriteString(c, test.says); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(test.says, "/flood") {
				if err := within(t, flooded, "the flood"); err == nil {
					t.Error("a response that nobody reads was written")
				}
				return
			}
			if got := within(t, cut(c), "the cut"); !strings.Contains(got, test.want) {
				t.Errorf("the server says %q, want %q in it", got, test.want)
			}
		})
	}
}

// flood writes until it fails.
func flood(w io.Writer) error {
	block := make([]byte, 1<<16)
	for range 10_000 {
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
	return nil
}

func dial(t *testing.T, h *house, raw bool) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if raw {
		return c
	}
	secure := tls.Client(c, &tls.Config{RootCAs: poolOf(h.ca), ServerName: "localhost"})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	return secure
}

// TestSlowBodyOverHTTP2: the stream has the same limit.
func TestSlowBodyOverHTTP2(t *testing.T) {
	failed := make(chan error, 1)
	h := open(t, limits(Limits{ReadHeader: brief / 2, Read: brief}), func(c *Config, _ *Generation) {
		c.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			failed <- err
		})
	})
	body, end := io.Pipe()
	defer end.Close()
	go func() {
		res, err := h.client(t, clientOptions{}).Post(h.url, "text/plain", body)
		if err == nil {
			res.Body.Close()
		}
	}()
	if err := within(t, failed, "the body"); err == nil {
		t.Error("a body that never ends was read to its end")
	}
}

func TestConnections(t *testing.T) {
	h := open(t, limits(Limits{Connections: 2}))
	a, b := dial(t, h, false), dial(t, h, false)
	c, err := tls.Dial("tcp", h.addr, &tls.Config{RootCAs: poolOf(h.ca)})
	if err == nil {
		c.Close()
		t.Fatal("a third connection was accepted")
	}
	if got := h.Counts(); got.Open != 2 || got.Refused != 1 {
		t.Errorf("counts are %+v, want 2 open and 1 refused", got)
	}
	// Another socket, which is the operator's way in, has a count of its own.
	plain := listen(t)
	go h.ServePlain(plain, http.HandlerFunc(echo), nil)
	mustGet(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}, "http://"+plain.Addr().String())

	b.Close()
	io.WriteString(a, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	within(t, cut(a), "the end of the first connection")
	mustGet(t, h.client(t, clientOptions{}), h.url)
}

// socket accepts what is sent to it.
type socket struct {
	conns chan net.Conn
	done  chan struct{}
}

func (s *socket) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *socket) Close() error {
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	return nil
}

func (s *socket) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection from an address.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.addr), Port: 1} }

func TestConnectionsPerAddress(t *testing.T) {
	h := open(t, limits(Limits{ConnectionsPerAddress: 1}))
	s := &socket{conns: make(chan net.Conn), done: make(chan struct{})}
	go h.ServePlain(s, http.HandlerFunc(echo), nil)
	ask := func(addr string) (net.Conn, string) {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close() })
		s.conns <- from{far, addr}
		go io.WriteString(near, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		line, _ := bufio.NewReader(near).ReadString('\n')
		return near, strings.TrimSpace(line)
	}
	for _, step := range []struct{ addr, want string }{
		{"192.0.2.1", "HTTP/1.1 200 OK"},
		{"192.0.2.1", ""},
		{"::ffff:192.0.2.1", ""},
		{"192.0.2.2", "HTTP/1.1 200 OK"},
		{"2001:db8::1", "HTTP/1.1 200 OK"},
		{"2001:db8::ffff:1", ""}, // same /64
		{"2001:db8:0:1::1", "HTTP/1.1 200 OK"},
		{"127.0.0.1", "HTTP/1.1 200 OK"},
		{"127.0.0.1", "HTTP/1.1 200 OK"},
	} {
		if _, got := ask(step.addr); got != step.want {
			t.Errorf("from %s: got %q, want %q", step.addr, got, step.want)
		}
	}
	if n := h.Counts().Refused; n != 3 {
		t.Errorf("%d refused, want 3", n)
	}
}

// TestAcceptErrors: an error that passes (too many files) is waited out, another ends Serve.
func TestAcceptErrors(t *testing.T) {
	h := open(t)
	passing := &flaky{Listener: listen(t), errs: []error{temporary{}, temporary{}}}
	go h.ServePlain(passing, http.HandlerFunc(echo), nil)
	mustGet(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}, "http://"+passing.Addr().String())

	broken := errors.New("broken")
	ended := make(chan error, 1)
	go func() {
		ended <- h.ServePlain(&flaky{Listener: listen(t), errs: []error{broken}}, http.HandlerFunc(echo), nil)
	}()
	if err := within(t, ended, "Serve"); !errors.Is(err, broken) {
		t.Errorf("Serve says %v, want %v", err, broken)
	}
	if err := h.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

type flaky struct {
	net.Listener
	errs []error
}

func (f *flaky) Accept() (net.Conn, error) {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, err
	}
	return f.Listener.Accept()
}

type temporary struct{}

func (temporary) Error() string   { return "too many open files" }
func (temporary) Timeout() bool   { return false }
func (temporary) Temporary() bool { return true }

package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDrain: requests in flight finish, nobody new gets in.
func TestDrain(t *testing.T) {
	entered, goOn := make(chan bool, 2), make(chan bool)
	h := open(t, func(c *Config, _ *Generation) {
		c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				entered <- true
				<-goOn
			}
			io.WriteString(w, r.Proto)
		})
	})
	type answer struct {
		body string
		err  error
	}
	answers := make(chan answer, 2)
	for _, http1 := range []bool{true, false} {
		c := h.client(t, clientOptions{http1: http1})
		go func() {
			_, body, err := get(c, h.url)
			answers <- answer{body, err}
		}()
		within(t, entered, "the request")
	}
	idle := idleConnection(t, h)

	drained := make(chan error, 1)
	go func() { drained <- h.Shutdown(context.Background()) }()
	if err := within(t, h.served, "the end of Serve"); err != nil {
		t.Errorf("Serve says %v, want nil", err)
	}
	if c, err := net.Dial("tcp", h.addr); err == nil {
		c.Close()
		t.Error("a new connection is accepted")
	}
	close(goOn)
	got := map[string]bool{}
	for range 2 {
		a := within(t, answers, "the answer")
		if a.err != nil {
			t.Errorf("a request in flight: %v", a.err)
		}
		got[a.body] = true
	}
	if !got["HTTP/1.1"] || !got["HTTP/2.0"] {
		t.Errorf("answers are %v", got)
	}
	if err := within(t, drained, "Shutdown"); err != nil {
		t.Errorf("Shutdown says %v", err)
	}
	within(t, idle, "the idle connection")
	if n := h.Counts().Open; n != 0 {
		t.Errorf("%d connections are open", n)
	}
	if err := h.Serve(listen(t)); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve after Shutdown says %v, want %v", err, http.ErrServerClosed)
	}
}

// idleConnection is one that had its answer; the channel says when it is closed.
func idleConnection(t *testing.T, h *house) <-chan string {
	t.Helper()
	c := dial(t, h, false)
	if _, err := io.WriteString(c, "GET /idle HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return cut(r)
}

// TestDrainFinishesHandshakes: who was accepted is served, also when the handshake was under way.
func TestDrainFinishesHandshakes(t *testing.T) {
	for name, http1 := range map[string]bool{"HTTP/1.1": true, "HTTP/2": false} {
		t.Run(name, func(t *testing.T) { drainFinishesHandshake(t, http1) })
	}
}

func drainFinishesHandshake(t *testing.T, http1 bool) {
	verifying, goOn := make(chan bool), make(chan bool)
	h := open(t, func(c *Config, _ *Generation) {
		c.Verify = func(tls.ConnectionState) error {
			verifying <- true
			<-goOn
			return nil
		}
	})
	closing := &announced{Listener: listen(t), closed: make(chan bool, 9)}
	go h.Serve(closing)
	cert := h.ca.issue(t, "alice", 2)
	answer := make(chan error, 1)
	go func() {
		_, _, err := get(h.client(t, clientOptions{cert: &cert, http1: http1}), "https://"+closing.Addr().String())
		answer <- err
	}()
	within(t, verifying, "the handshake")
	drained := make(chan error, 1)
	go func() { drained <- h.Shutdown(context.Background()) }()
	within(t, closing.closed, "the drain")
	goOn <- true
	if err := within(t, answer, "the answer"); err != nil {
		t.Errorf("the client says %v", err)
	}
	if err := within(t, drained, "Shutdown"); err != nil {
		t.Errorf("Shutdown says %v", err)
	}
}

// announced says when it is closed.
type announced struct {
	net.Listener
	closed chan bool
}

func (a *announced) Close() error {
	a.closed <- true
	return a.Listener.Close()
}

// TestShutdownDoesNotWaitForever: when its time is over, streams and handshakes are cut.
func TestShutdownDoesNotWaitForever(t *testing.T) {
	h := open(t)
	endless := stream(t, h, h.ca.issue(t, "alice", 2), false)
	silent := cut(dial(t, h, true))
	ctx, cancel := context.WithCancel(context.Background())
	drained := make(chan error, 1)
	go func() { drained <- h.Shutdown(ctx) }()
	cancel()
	if err := within(t, drained, "Shutdown"); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown says %v, want %v", err, context.Canceled)
	}
	within(t, endless, "the stream")
	within(t, silent, "the handshake")
}

func TestUnixSocket(t *testing.T) {
	h := open(t)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	type key struct{}
	served := make(chan error, 1)
	go func() {
		served <- h.ServePlain(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if uid, ok := r.Context().Value(key{}).(uint32); !ok || uid != uint32(os.Getuid()) {
				t.Errorf("the peer is user %v, want %d", r.Context().Value(key{}), os.Getuid())
			}
			io.WriteString(w, "hello")
		}), func(ctx context.Context, c net.Conn) (context.Context, error) {
			uid, err := PeerUID(c)
			return context.WithValue(ctx, key{}, uid), err
		})
	}()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	if _, body := mustGet(t, c, "http://omca/"); body != "hello" {
		t.Errorf("got %q", body)
	}
	if err := h.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown says %v", err)
	}
	if err := within(t, served, "ServePlain"); err != nil {
		t.Errorf("ServePlain says %v", err)
	}
}

// TestHookRefuses: nothing of a connection that the hook refuses reaches a handler.
func TestHookRefuses(t *testing.T) {
	refuse := func(ctx context.Context, c net.Conn) (context.Context, error) {
		_, err := PeerUID(c)
		if err == nil || !strings.Contains(err.Error(), "not a unix socket") {
			t.Errorf("PeerUID of a %T says %v", c, err)
		}
		return nil, err
	}
	h := open(t, func(c *Config, _ *Generation) { c.Handler, c.ConnContext = httpNever(t), refuse })
	plain := listen(t)
	go h.ServePlain(plain, httpNever(t), refuse)
	for _, url := range []string{h.url, "http://" + plain.Addr().String()} {
		if _, _, err := get(h.client(t, clientOptions{}), url); err == nil {
			t.Errorf("%s: got an answer", url)
		}
	}
}

func TestServePlainNeedsAHandler(t *testing.T) {
	h := open(t)
	ln := listen(t)
	if err := h.ServePlain(ln, nil, nil); err == nil {
		t.Error("nil was served")
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is left open: %v", err)
	}
}

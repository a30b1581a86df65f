package interop_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca/internal/interop/lab"
)

// crowd is many clients that ask the same thing until they are told to stop.
type crowd struct {
	cancel  context.CancelFunc
	clients sync.WaitGroup
	counts  [48]atomic.Int64 // answers, by client
	mu      sync.Mutex
	errs    []error
}

// begin starts the clients: half of them keep their connection, the others make
// a new one for each request; half speak HTTP/1.1, the others HTTP/2.
func begin(t *testing.T, d *lab.Daemon) *crowd {
	pair := d.User(t, "alice", "guest:ns1")
	ctx, cancel := context.WithCancel(t.Context())
	l := &crowd{cancel: cancel}
	for i := range l.counts {
		c := d.HTTP(t, pair)
		transport := c.Transport.(*http.Transport)
		transport.DisableKeepAlives = i%2 == 0
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP1(i/2%2 == 0)
		transport.Protocols.SetHTTP2(i/2%2 == 1)
		l.clients.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond) // not all that the machine can do
			defer tick.Stop()
			for ctx.Err() == nil {
				if err := whoami(ctx, c, d.URL("/whoami")); err == nil {
					l.counts[i].Add(1)
				} else if ctx.Err() == nil {
					l.mu.Lock()
					l.errs = append(l.errs, fmt.Errorf("client %d: %w", i, err))
					l.mu.Unlock()
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	l.more(t)
	return l
}

// more waits until each client had two more answers: it is there, and served.
func (l *crowd) more(t *testing.T) {
	t.Helper()
	var before [len(l.counts)]int64
	for i := range l.counts {
		before[i] = l.counts[i].Load()
	}
	deadline := time.Now().Add(lab.Patience)
	for i := range l.counts {
		for l.counts[i].Load() < before[i]+2 {
			if time.Now().After(deadline) {
				t.Fatalf("client %d has no answer within %s: %v", i, lab.Patience, l.failures())
			}
			time.Sleep(time.Millisecond) // a poll, with a deadline
		}
	}
}

func (l *crowd) failures() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errs
}

func (l *crowd) stop() []error {
	l.cancel()
	l.clients.Wait()
	return l.failures()
}

func pid(t *testing.T, d *lab.Daemon) int {
	t.Helper()
	s, err := d.Client(t).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.PID
}

// TestRestart restarts the daemon again and again under load: each time another
// process serves, and no request fails.
func TestRestart(t *testing.T) {
	d := lab.NewHome(t).Start(t, "--log-level", "warn")
	d.Run(t, "cluster", "config", "update", "--set", "listener.http_addr="+freeAddress(t))
	l := begin(t, d)
	seen := map[int]bool{pid(t, d): true}
	for i := range 6 {
		d.Run(t, "daemon", "restart", "--node=*")
		p := pid(t, d)
		if seen[p] {
			t.Fatalf("restart %d: process %d serves again", i, p)
		}
		seen[p] = true
		l.more(t)
	}
	for _, err := range l.stop() {
		t.Error(err)
	}
}

// TestRestartControl shows that TestRestart would notice: without the sockets
// being handed over, requests fail.
func TestRestartControl(t *testing.T) {
	h := lab.NewHome(t)
	d := h.Start(t, "--log-level", "warn")
	l := begin(t, d)
	d.Stop(t)
	again := h.Start(t, "--log-level", "warn", "--listen", d.Address)
	if again.Address != d.Address {
		t.Fatalf("listens on %s, expected %s", again.Address, d.Address)
	}
	l.more(t)
	if len(l.stop()) == 0 {
		t.Error("no request failed while nobody listened: the clients would not have noticed")
	}
}

// TestRestartFails has the successor fail before it is given the store, and
// after: the command says so, and the daemon serves on, the same process.
func TestRestartFails(t *testing.T) {
	d := lab.NewHome(t).Start(t, "--log-level", "error")
	l := begin(t, d)
	before := pid(t, d)

	key := filepath.Join(d.Dir, "seal.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	fails(t, d, "the successor failed: ", "seal.key")
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}

	// Whoever holds this address lets the successor open the store, and no more.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	d.Run(t, "cluster", "config", "update", "--set", "listener.http_addr="+taken.Addr().String())
	for range 2 {
		fails(t, d, "the restart failed, and the daemon serves on: ", "address already in use")
	}
	if p := pid(t, d); p != before {
		t.Errorf("process %d serves, expected %d", p, before)
	}
	l.more(t)

	d.Run(t, "cluster", "config", "update", "--unset", "listener.http_addr")
	d.Run(t, "daemon", "restart")
	if p := pid(t, d); p == before {
		t.Errorf("process %d serves on after a restart that went well", p)
	}
	l.more(t)
	for _, err := range l.stop() {
		t.Error(err)
	}
}

// fails expects a restart to fail with an error in which texts appear.
func fails(t *testing.T, d *lab.Daemon, texts ...string) {
	t.Helper()
	r := d.Try(t, "daemon", "restart")
	if r.Status != 1 || r.Stdout != "" {
		t.Errorf("exit status %d, expected 1; stdout %q", r.Status, r.Stdout)
	}
	for _, text := range append(texts, "omca: hint: ") {
		if !strings.Contains(r.Stderr, text) {
			t.Errorf("stderr %q, expected %q in it", r.Stderr, text)
		}
	}
}

// TestRestartMoves shows that a restart picks up the address that the keywords
// have by now.
func TestRestartMoves(t *testing.T) {
	h := lab.NewHome(t)
	first, second := freeAddress(t), freeAddress(t)
	set := func(address string) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		h.Run(t, "cluster", "config", "update", "--set", "listener.addr="+host, "--set", "listener.port="+port)
	}
	h.Run(t, "init")
	set(first)
	d := h.Start(t, "--listen", "")
	if d.Address != first {
		t.Fatalf("listens on %s, expected %s", d.Address, first)
	}
	set(second)
	d.Run(t, "daemon", "restart")
	if err := whoami(t.Context(), d.HTTP(t, nil), "https://"+second+"/healthz"); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", first); err == nil {
		conn.Close()
		t.Errorf("%s is still listened on", first)
	}
}

// freeAddress is an address of the loopback that nobody listens on.
func freeAddress(t *testing.T) string { return "127.0.0.1:" + lab.FreePort(t) }

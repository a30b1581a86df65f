package interop_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca/internal/client"
	"omca/internal/interop/lab"
	"omca/internal/wire"
)

// TestHotSwap changes the listener's certificate again and again under load:
// the next handshake has the new one, and nobody notices anything else.
func TestHotSwap(t *testing.T) {
	const (
		changes = 200
		keep    = 32 // clients that keep their connection
		again   = 32 // clients that connect for each request
		// Each client makes so many: much, and yet less than all that the machine
		// can do, so that what is waited for is not the processor.
		pause = 80 * time.Millisecond
	)
	d := lab.NewHome(t).Start(t, "--log-level", "warn")
	pair := d.User(t, "alice", "guest:ns1")
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var counts, connections [keep + again]atomic.Int64
	for i := range keep + again {
		var ask func(context.Context) error
		if two := i%2 == 1; i >= keep || two {
			ask = asker(d, d.HTTP(t, pair), i >= keep, two, &connections[i])
		} else {
			ask = keeper(t, d, pair)
			connections[i].Add(1)
		}
		clients.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for ctx.Err() == nil {
				if err := ask(ctx); err != nil {
					if ctx.Err() == nil {
						t.Errorf("client %d, request %d: %v", i, counts[i].Load()+1, err)
					}
					return
				}
				counts[i].Add(1)
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	defer clients.Wait()
	defer cancel()

	path, err := client.ParsePath("system/sec/cert")
	if err != nil {
		t.Fatal(err)
	}
	api, dial := d.Client(t), d.TLS(t, nil)
	dial.ClientSessionCache = tls.NewLRUClientSessionCache(1) // one that resumes sees the new one too
	seen := map[string]bool{}
	for i := 0; i < changes && !t.Failed(); i++ {
		issued, err := api.CreateCertificate(ctx, path, wire.Renewal{})
		if err != nil {
			t.Fatal(err)
		}
		if seen[issued.Serial] {
			t.Fatalf("change %d: serial %s again", i, issued.Serial)
		}
		seen[issued.Serial] = true
		if got := presented(t, d, dial); got != issued.Serial {
			t.Fatalf("change %d: the handshake after it shows serial %s, expected %s", i, got, issued.Serial)
		}
	}
	cancel()
	clients.Wait()
	var total int64
	for i := range counts {
		n := counts[i].Load()
		total += n
		if n < 2 {
			t.Errorf("client %d had %d answers: it was not there", i, n)
		}
		// A request on a connection that was closed is made again by the client
		// itself, and nobody would notice.
		if c := connections[i].Load(); i < keep && c != 1 {
			t.Errorf("client %d kept its connection, and had %d of them", i, c)
		}
	}
	t.Logf("%d requests during %d changes", total, len(seen))
}

// keeper returns what makes one request after another on one connection of HTTP/1.1,
// and fails without it. An http.Client would let go of one, under load, that it
// has not seen itself finish writing to.
func keeper(t *testing.T, d *lab.Daemon, pair *tls.Certificate) func(context.Context) error {
	t.Helper()
	conn, err := tls.Dial("tcp", d.Address, d.TLS(t, pair))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	from := bufio.NewReader(conn)
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL("/whoami"), nil)
		if err != nil {
			return err
		}
		if err := errors.Join(conn.SetDeadline(time.Now().Add(lab.Patience)), request.Write(conn)); err != nil {
			return err
		}
		answer, err := http.ReadResponse(from, request)
		if err != nil {
			return err
		}
		return accepted(answer)
	}
}

// asker returns what makes one request with an http.Client, on a new connection each
// time or not, over HTTP/2 or not, and counts its connections.
func asker(d *lab.Daemon, c *http.Client, again, two bool, connections *atomic.Int64) func(context.Context) error {
	transport := c.Transport.(*http.Transport)
	transport.DisableKeepAlives = again
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(!two)
	transport.Protocols.SetHTTP2(two)
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if !c.Reused {
			connections.Add(1)
		}
	}}
	return func(ctx context.Context) error {
		return whoami(httptrace.WithClientTrace(ctx, trace), c, d.URL("/whoami"))
	}
}

// whoami makes one request, which must be answered 200.
func whoami(ctx context.Context, c *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := c.Do(request)
	if err != nil {
		return err
	}
	return accepted(answer)
}

// accepted reads an answer to its end: it must be 200.
func accepted(answer *http.Response) error {
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", answer.Status)
	}
	return nil
}

// presented returns the serial number of the certificate that a handshake shows.
func presented(t *testing.T, d *lab.Daemon, config *tls.Config) string {
	t.Helper()
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", d.Address)
	if err != nil {
		t.Fatal(err)
	}
	serial := fmt.Sprintf("%032x", conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber)
	// A session ticket comes with the first bytes.
	if _, err := fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	return serial
}

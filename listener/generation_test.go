package listener

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func limits(l Limits) func(*Config, *Generation) {
	return func(c *Config, _ *Generation) { c.Limits = l }
}

func oldest(v Version) func(*Config, *Generation) {
	return func(_ *Config, g *Generation) { g.MinVersion = v }
}

func TestBrokenGenerationKeepsThePrevious(t *testing.T) {
	h := open(t)
	other := h.ca.issue(t, "other", 2)
	tests := map[string]struct {
		edit func(*Generation)
		want string
	}{
		"no certificate":  {func(g *Generation) { g.Certificate = tls.Certificate{} }, "no certificate"},
		"not DER":         {func(g *Generation) { g.Certificate.Certificate = [][]byte{{1, 2}} }, "does not parse"},
		"broken chain":    {func(g *Generation) { g.Certificate.Certificate = append(g.Certificate.Certificate, []byte{1}) }, "handshake with itself"},
		"no key":          {func(g *Generation) { g.Certificate.PrivateKey = nil }, "cannot sign"},
		"another's key":   {func(g *Generation) { g.Certificate.PrivateKey = other.PrivateKey }, "is not that of"},
		"nil pool":        {func(g *Generation) { g.ClientCAs = nil }, "pool"},
		"unknown version": {func(g *Generation) { g.MinVersion = 7 }, "version 7"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := h.generation(t, 200)
			test.edit(&g)
			err := h.Swap(g)
			if !errors.Is(err, ErrGeneration) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Swap says %v, want ErrGeneration about %q", err, test.want)
			}
			res, _ := mustGet(t, h.client(t, clientOptions{}), h.url)
			if serial := res.TLS.PeerCertificates[0].SerialNumber.Int64(); serial != 100 {
				t.Errorf("certificate %d is served, want the previous one", serial)
			}
			if l, err := New(Config{Handler: http.NotFoundHandler(), Verify: accept, Now: time.Now}, g); l != nil || !errors.Is(err, ErrGeneration) {
				t.Errorf("New says %v, %v, want ErrGeneration", l, err)
			}
		})
	}
}

// TestExpiredGenerationIsServed: refusing it would refuse the trust that comes with it.
func TestExpiredGenerationIsServed(t *testing.T) {
	h := open(t)
	g := h.generation(t, 2)
	g.Certificate = h.ca.issue(t, "listener", 3, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	if err := h.Swap(g); err != nil {
		t.Fatal(err)
	}
	var invalid x509.CertificateInvalidError
	if _, _, err := get(h.client(t, clientOptions{}), h.url); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		t.Errorf("the client says %v, want expired", err)
	}
}

func TestNewRefusesHalfAConfiguration(t *testing.T) {
	ca := newAuthority(t, "CA")
	g := Generation{Certificate: ca.issue(t, "listener", 2), ClientCAs: poolOf(ca)}
	whole := Config{Handler: http.NotFoundHandler(), Verify: accept, Now: time.Now}
	tests := map[string]func(*Config){
		"no handler":              func(c *Config) { c.Handler = nil },
		"no Verify":               func(c *Config) { c.Verify = nil },
		"no clock":                func(c *Config) { c.Now = nil },
		"negative limit":          func(c *Config) { c.Limits.Idle = -1 },
		"negative count":          func(c *Config) { c.Limits.Connections = -1 },
		"header longer than read": func(c *Config) { c.Limits = Limits{ReadHeader: 2 * time.Second, Read: time.Second} },
		"read longer than write":  func(c *Config) { c.Limits = Limits{Read: 2 * time.Minute, Write: time.Minute} },
	}
	if _, err := New(whole, g); err != nil {
		t.Fatal(err)
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			c := whole
			edit(&c)
			if l, err := New(c, g); err == nil || l != nil {
				t.Errorf("New says %v, %v, want an error", l, err)
			}
		})
	}
}

func TestLimitsKeepTheirOrderByDefault(t *testing.T) {
	got, err := Limits{ReadHeader: 5 * time.Minute}.checked()
	if err != nil || got.Read != 5*time.Minute || got.Write != 5*time.Minute {
		t.Errorf("checked says %+v, %v", got, err)
	}
}

func TestHandshake(t *testing.T) {
	h := open(t)
	for name, http1 := range map[string]bool{"HTTP/2.0": false, "HTTP/1.1": true} {
		res, body := mustGet(t, h.client(t, clientOptions{http1: http1}), h.url)
		if body != name || res.TLS.Version != tls.VersionTLS13 {
			t.Errorf("got %s over %s, want %s over TLS 1.3", body, tls.VersionName(res.TLS.Version), name)
		}
		if res.TLS.CurveID != tls.X25519MLKEM768 {
			t.Errorf("the key exchange is %s, want X25519MLKEM768", res.TLS.CurveID)
		}
	}
	if _, _, err := get(h.client(t, clientOptions{version: tls.VersionTLS12}), h.url); err == nil {
		t.Error("TLS 1.2 is spoken without being asked for")
	}
}

func TestTLS12HasModernSuitesOnly(t *testing.T) {
	h := open(t, oldest(TLS12))
	res, body := mustGet(t, h.client(t, clientOptions{version: tls.VersionTLS12}), h.url)
	if res.TLS.Version != tls.VersionTLS12 || body != "HTTP/2.0" {
		t.Errorf("got %s over %s", body, tls.VersionName(res.TLS.Version))
	}
	weak := &tls.Config{
		RootCAs: poolOf(h.ca), MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
	}
	if c, err := tls.Dial("tcp", h.addr, weak); err == nil {
		c.Close()
		t.Error("a CBC suite was negotiated")
	}
}

func TestServerNameDoesNotMatter(t *testing.T) {
	h := open(t)
	if err := h.Swap(h.generation(t, 101)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "localhost", "unheard.of"} {
		c, err := tls.Dial("tcp", h.addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatalf("server name %q: %v", name, err)
		}
		if serial := c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); serial != 101 {
			t.Errorf("server name %q gets certificate %d, want 101", name, serial)
		}
		c.Close()
	}
}

func TestRootIsNotSent(t *testing.T) {
	h := open(t)
	g := h.generation(t, 101)
	g.Certificate.Certificate = append(g.Certificate.Certificate, h.ca.cert.Raw)
	if err := h.Swap(g); err != nil {
		t.Fatal(err)
	}
	res, _ := mustGet(t, h.client(t, clientOptions{}), h.url)
	if n := len(res.TLS.PeerCertificates); n != 1 {
		t.Errorf("%d certificates were sent, want the leaf", n)
	}
}

func TestPoolIsTakenAsItWas(t *testing.T) {
	stranger := newAuthority(t, "stranger")
	var pool *x509.CertPool
	h := open(t, func(_ *Config, g *Generation) { pool = g.ClientCAs })
	pool.AddCert(stranger.cert)
	cert := stranger.issue(t, "mallory", 2)
	if _, _, err := get(h.client(t, clientOptions{cert: &cert}), h.url); err == nil {
		t.Error("a CA added to the pool behind the listener's back is trusted")
	}
}

// TestSwapUnderLoad: 50 swaps below sixteen clients, kept-alive and fresh, none of which notices.
func TestSwapUnderLoad(t *testing.T) {
	h := open(t)
	cert := h.ca.issue(t, "alice", 2)
	var done atomic.Bool
	var requests atomic.Int64
	var load sync.WaitGroup
	started := make(chan struct{}, 16)
	for i := range 16 {
		c := h.client(t, clientOptions{cert: &cert, fresh: i%2 == 0, http1: i%4 < 2, resumes: i%8 < 4})
		load.Go(func() {
			for first := true; !done.Load(); first = false {
				_, _, err := get(c, h.url)
				if first {
					started <- struct{}{}
				}
				if err != nil {
					t.Errorf("request failed: %v", err)
					return
				}
				requests.Add(1)
			}
		})
	}
	for range 16 {
		within(t, started, "the load")
	}
	for serial := int64(1000); serial < 1050; serial++ {
		if err := h.Swap(h.generation(t, serial)); err != nil {
			t.Error(err)
		}
		c, err := tls.Dial("tcp", h.addr, &tls.Config{RootCAs: poolOf(h.ca)})
		if err != nil {
			t.Error(err)
			break
		}
		if got := c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != serial {
			t.Errorf("the next handshake gets certificate %d, want %d", got, serial)
		}
		c.Close()
	}
	done.Store(true)
	load.Wait()
	t.Logf("%d requests", requests.Load())
}

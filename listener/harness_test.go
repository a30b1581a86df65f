package listener

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for what should happen at once.
const patience = 20 * time.Second

// authority is a CA for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue signs a certificate for a name, valid for a while, as server and as client; edits may
// change the template.
func (a *authority) issue(t testing.TB, name string, serial int64, edits ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	for _, edit := range edits {
		edit(template)
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func poolOf(authorities ...*authority) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, a := range authorities {
		pool.AddCert(a.cert)
	}
	return pool
}

// house is a listener on loopback that trusts the clients of its own CA.
type house struct {
	*Listener
	ca     *authority
	addr   string
	url    string
	served chan error
}

// generation is the house's CA with a new server certificate.
func (h *house) generation(t testing.TB, serial int64) Generation {
	t.Helper()
	return Generation{Certificate: h.ca.issue(t, "listener", serial), ClientCAs: poolOf(h.ca)}
}

func accept(tls.ConnectionState) error { return nil }

func commonName(state tls.ConnectionState) string {
	return state.PeerCertificates[0].Subject.CommonName
}

// open starts a listener; edits may change its configuration and first generation.
func open(t testing.TB, edits ...func(*Config, *Generation)) *house {
	t.Helper()
	h := &house{ca: newAuthority(t, "test CA"), served: make(chan error, 1)}
	c := Config{
		Handler: http.HandlerFunc(echo), Verify: accept, Identify: commonName,
		Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	g := h.generation(t, 100)
	for _, edit := range edits {
		edit(&c, &g)
	}
	var err error
	if h.Listener, err = New(c, g); err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	h.addr, h.url = ln.Addr().String(), "https://"+ln.Addr().String()
	go func() { h.served <- h.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := h.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("closing the listener: %v", err)
		}
		if n := h.Counts().Open; n != 0 {
			t.Errorf("%d connections are open after Shutdown", n)
		}
	})
	return h
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// echo answers at once, or, on /stream, begins and goes on until the connection is gone.
func echo(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusRequestTimeout)
		return
	}
	io.WriteString(w, r.Proto)
	if r.URL.Path == "/stream" {
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// clientOptions say what kind of client comes.
type clientOptions struct {
	cert    *tls.Certificate
	http1   bool
	fresh   bool   // a new connection for each request
	resumes bool   // keeps session tickets
	version uint16 // this one only
}

func (h *house) client(t testing.TB, o clientOptions) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: poolOf(h.ca), MinVersion: o.version, MaxVersion: o.version}
	if o.cert != nil {
		// Certificates would be kept back from a server that does not name their CA.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.cert, nil }
	}
	if o.resumes {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: !o.http1, DisableKeepAlives: o.fresh}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// get reads the answer to a request to the end.
func get(c *http.Client, url string) (*http.Response, string, error) {
	res, err := c.Get(url)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(res.Body)
	return res, string(body), errors.Join(err, res.Body.Close())
}

// mustGet is get for what has to work.
func mustGet(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	res, body, err := get(c, url)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

// within fails the test when a channel does not deliver.
func within[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing happened", what)
		panic("unreachable")
	}
}

// cut reports on a channel how a connection ends for a client that reads on.
func cut(r io.Reader) <-chan string {
	c := make(chan string, 1)
	go func() {
		got, _ := io.ReadAll(r) // that it ends is what is asked
		c <- string(got)
	}()
	return c
}

// clock is a settable one.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }
func at(c *clock) func(*Config, *Generation) {
	return func(cfg *Config, _ *Generation) { cfg.Now = c.now }
}

func httpNever(t testing.TB) http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request got through") })
}

func serverOnly(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
func expired(c *x509.Certificate)    { c.NotAfter = time.Now().Add(-time.Minute) }

package omca_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"omca"
)

// running is a daemon in this process.
type running struct {
	*omca.Server
	address string
	home    string
	pool    *x509.CertPool
	stop    func() // once; the end of the test does it too
}

// runServer opens and serves an authority until the test ends.
func runServer(t testing.TB, c omca.Config) *running {
	t.Helper()
	if c.Home == "" {
		c.Home = t.TempDir() + "/home"
	}
	c.Listen = "127.0.0.1:0"
	if c.NodeName == "" {
		c.NodeName = "localhost"
	}
	s, err := omca.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan omca.Ready, 1), make(chan error, 1)
	go func() { done <- s.Run(ctx, func(r omca.Ready) { up <- r }) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case r := <-up:
		return &running{Server: s, address: r.Addresses[0], home: c.Home, pool: pool(t, s), stop: stop}
	case err := <-done:
		done <- err
		t.Fatalf("run ended: %v", err)
		return nil
	}
}

// local calls the API in process, as root.
func local(t testing.TB, s *omca.Server, method, path string, body any) []byte {
	t.Helper()
	status, answer := try(t, s, method, path, body)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d: %s", method, path, status, answer)
	}
	return answer
}

func try(t testing.TB, s *omca.Server, method, path string, body any) (int, []byte) {
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://omca"+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := s.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, content
}

func pool(t testing.TB, s *omca.Server) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(local(t, s, "GET", "/ca.pem", nil)) {
		t.Fatal("no CA certificate")
	}
	return p
}

// client returns an HTTPS client with the certificate of a new user.
func (r *running) client(t testing.TB, user, grant string) *http.Client {
	t.Helper()
	path := "/api/object/path/system/usr/" + user
	local(t, r.Server, "POST", path, map[string]any{"keywords": []string{"grant=" + grant}})
	chain := local(t, r.Server, "GET", path+"/data/key?name=certificate_chain", nil)
	key := local(t, r.Server, "GET", path+"/data/key?name=private_key", nil)
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.pool, ServerName: "localhost", Certificates: []tls.Certificate{pair}}, MaxConnsPerHost: 1,
	}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// BenchmarkIssueHTTPS profiles what one certificate costs over the API; client
// and server share the process.
func BenchmarkIssueHTTPS(b *testing.B) {
	r := runServer(b, omca.Config{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "node.example.com"}, DNSNames: []string{"node.example.com"},
	}, key)
	if err != nil {
		b.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{
		"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), "profile": "listener", "validity": "24h",
	})
	if err != nil {
		b.Fatal(err)
	}
	c := r.client(b, "bench", "root")
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		b.Fatal("no transport")
	}
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = 0, 32
	b.SetParallelism(16) // 32 connections on two processors
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			answer, err := c.Post("https://"+r.address+"/api/certificate", "application/json", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusCreated {
				b.Error(answer.Status, err)
			}
			if err := answer.Body.Close(); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkWhoami profiles the cheapest authenticated request.
func BenchmarkWhoami(b *testing.B) {
	r := runServer(b, omca.Config{})
	c := r.client(b, "bench", "root")
	for b.Loop() {
		answer, err := c.Get(fmt.Sprintf("https://%s/whoami", r.address))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			b.Fatal(answer.Status, err)
		}
		if err := answer.Body.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"omca/internal/client"
)

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate: a CA of its own when issuer is nil, else one for 127.0.0.1.
func issue(t *testing.T, name string, issuer *pair) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
	}
	parent := &pair{template, key}
	if issuer == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		parent = issuer
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pair{cert, key}
}

func (p pair) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

// pool trusts the certificate.
func (p pair) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	return pool
}

func (p pair) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key}
}

// files writes certificate and key to files.
func (p pair) files(t *testing.T) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for name, text := range map[string][]byte{cert: p.pem(), key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// serve serves TLS with a certificate of ca, publishing published, and takes client certificates of ca only.
func serve(t *testing.T, ca pair, published []byte) (url string) {
	t.Helper()
	leaf := issue(t, "server", &ca)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ca.pem" {
			if len(r.TLS.PeerCertificates) > 0 {
				t.Error("credentials went over a connection that was not verified")
			}
			w.Write(published)
			return
		}
		for _, cert := range r.TLS.PeerCertificates {
			w.Header().Set("Omca-Notice", cert.Subject.CommonName)
		}
	}))
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{leaf.tls()},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: ca.pool(),
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestNetworkVerifiesTheServer(t *testing.T) {
	ca, other := issue(t, "ca", nil), issue(t, "other", nil)
	url := serve(t, ca, append(other.pem(), ca.pem()...))
	liar := serve(t, other, ca.pem()) // publishes a CA that did not sign its certificate
	file, _ := ca.files(t)
	otherFile, _ := other.files(t)
	sum := sha256.Sum256(ca.cert.Raw)
	fingerprint := hex.EncodeToString(sum[:])
	var colons []string
	for _, b := range sum {
		colons = append(colons, fmt.Sprintf("%02X", b))
	}
	for _, tt := range []struct {
		name   string
		config client.NetworkConfig
		want   string // part of the error; "" for none
	}{
		{"nothing known of it", client.NetworkConfig{Server: url}, "certificate signed by unknown authority"},
		{"its CA", client.NetworkConfig{Server: url, CAFile: file}, ""},
		{"another CA", client.NetworkConfig{Server: url, CAFile: otherFile}, "certificate signed by unknown authority"},
		{"the fingerprint of its CA", client.NetworkConfig{Server: url, CAFingerprint: fingerprint}, ""},
		{"the same with colons", client.NetworkConfig{Server: url, CAFingerprint: strings.Join(colons, ":")}, ""},
		{"a fingerprint that it has not", client.NetworkConfig{Server: url, CAFingerprint: strings.Repeat("00", 32)}, "expected 0000"},
		{"a fingerprint of another's CA", client.NetworkConfig{Server: liar, CAFingerprint: fingerprint}, "certificate signed by unknown authority"},
		{"no fingerprint at all", client.NetworkConfig{Server: url, CAFingerprint: "abc"}, "not the 64 hexadecimal digits"},
		{"both", client.NetworkConfig{Server: url, CAFile: file, CAFingerprint: fingerprint}, "both a CA file"},
		{"no CA in the file", client.NetworkConfig{Server: url, CAFile: os.DevNull}, "no PEM certificate"},
		{"insecure", client.NetworkConfig{Server: url, Insecure: true}, ""},
		{"insecure with a wrong fingerprint", client.NetworkConfig{Server: url, Insecure: true, CAFingerprint: strings.Repeat("00", 32)}, ""},
		{"no TLS", client.NetworkConfig{Server: "http://127.0.0.1:1"}, "cannot be verified"},
		{"half a client certificate", client.NetworkConfig{Server: url, CertFile: file}, "needs both files"},
	} {
		err := ask(t, tt.config, nil)
		if got := fmt.Sprint(err); (tt.want == "") != (err == nil) || !strings.Contains(got, tt.want) {
			t.Errorf("%s: error is %v, want %q", tt.name, err, tt.want)
		}
	}
}

func ask(t *testing.T, config client.NetworkConfig, notice func(string)) error {
	t.Helper()
	transport, err := client.Network(t.Context(), config)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	c, err := client.New(client.Config{Transport: transport, Server: config.Server, Notice: notice})
	if err != nil {
		return err
	}
	return c.Health(t.Context())
}

func TestNetworkClientCertificate(t *testing.T) {
	ca, other := issue(t, "ca", nil), issue(t, "other", nil)
	url := serve(t, ca, ca.pem())
	sum := sha256.Sum256(ca.cert.Raw)
	config := client.NetworkConfig{Server: url, CAFingerprint: hex.EncodeToString(sum[:])}

	var name string
	config.CertFile, config.KeyFile = issue(t, "alice", &ca).files(t)
	if err := ask(t, config, func(text string) { name = text }); err != nil || name != "alice" {
		t.Errorf("the server saw %q, %v, want alice", name, err)
	}
	config.CertFile, config.KeyFile = issue(t, "mallory", &other).files(t)
	if err := ask(t, config, nil); !errors.Is(err, client.ErrCertificateRefused) {
		t.Errorf("error is %v, want ErrCertificateRefused", err)
	}
	config.CertFile, _ = issue(t, "alice", &ca).files(t)
	if err := ask(t, config, nil); err == nil || strings.Contains(err.Error(), "PRIVATE KEY") {
		t.Errorf("error of a key that does not fit is %v", err)
	}
}

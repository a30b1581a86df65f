package client

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = time.Minute // to the first byte: signing with a slow key store takes a while
	maxCAFile     = 1 << 20     // bytes of a file or an answer that holds CA certificates
)

// Unix returns a transport to the daemon's unix socket.
func Unix(socket string) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		ResponseHeaderTimeout: answerTimeout,
	}
}

// NetworkConfig says how to reach a server on the network, and how to know it.
type NetworkConfig struct {
	// Server is the base URL.
	Server string
	// CertFile and KeyFile are the client certificate (leaf first) and its key, PEM. Both or neither.
	CertFile, KeyFile string
	// CAFile is the PEM file of the certificates that the server's must lead to. Empty means the system's.
	CAFile string
	// CAFingerprint is the SHA-256 of the CA certificate, in hexadecimal, colons allowed: the CA is then asked from the server and
	// believed only when it has this fingerprint. Not together with CAFile.
	CAFingerprint string
	// Insecure accepts any server certificate, and none at all.
	Insecure bool
}

// Network returns a transport to a server on the network. With a CAFingerprint it makes one request, without credentials.
func Network(ctx context.Context, c NetworkConfig) (*http.Transport, error) {
	u, err := ParseServer(c.Server)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" && !c.Insecure {
		return nil, fmt.Errorf("server %q cannot be verified: it is not https", c.Server)
	}
	config, err := c.tls()
	if err != nil {
		return nil, err
	}
	if c.CAFingerprint != "" && !c.Insecure {
		config.RootCAs, err = c.pinned(ctx)
		if err != nil {
			return nil, err
		}
	}
	return transport(config), nil
}

func transport(config *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: answerTimeout,
		ForceAttemptHTTP2:     true,
	}
}

func (c NetworkConfig) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.Insecure} // only when the operator said so
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, fmt.Errorf("a client certificate needs both files: certificate %q, key %q", c.CertFile, c.KeyFile)
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate %q with key %q: %w", c.CertFile, c.KeyFile, err)
		}
		// Sent whatever the server says that it trusts: being refused tells more than being nobody.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	if c.CAFile == "" {
		return config, nil
	}
	if c.CAFingerprint != "" {
		return nil, fmt.Errorf("both a CA file (%q) and a CA fingerprint given", c.CAFile)
	}
	f, err := os.Open(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	defer f.Close() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxCAFile+1))
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if len(text) > maxCAFile || !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("CA file %q: no PEM certificate in its first %d bytes", c.CAFile, maxCAFile)
	}
	return config, nil
}

// pinned asks the server for its CA and returns the certificate that has the fingerprint as the only trusted one.
//
// The server sends its chain without the root, so the root is fetched. The connection that fetches it is not verified: the
// fingerprint speaks for what came, no credential went, and nothing else is taken from it.
func (c NetworkConfig) pinned(ctx context.Context) (*x509.CertPool, error) {
	want, err := hex.DecodeString(strings.ReplaceAll(c.CAFingerprint, ":", ""))
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("CA fingerprint %q: not the %d hexadecimal digits of a SHA-256", c.CAFingerprint, 2*sha256.Size)
	}
	unverified := transport(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	defer unverified.CloseIdleConnections()
	cl, err := New(Config{Transport: unverified, Server: c.Server})
	if err != nil {
		return nil, err
	}
	rest, err := cl.send(ctx, request{method: http.MethodGet, path: "/ca.pem"})
	if err != nil {
		return nil, fmt.Errorf("asking for the CA certificate: %w", err)
	}
	if len(rest) > maxCAFile {
		return nil, fmt.Errorf("the CA certificates of %q are longer than %d bytes", c.Server, maxCAFile)
	}
	got := "no certificate"
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		sum := sha256.Sum256(block.Bytes)
		got = hex.EncodeToString(sum[:])
		if subtle.ConstantTimeCompare(sum[:], want) != 1 {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the CA certificate of %q: %w", c.Server, err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(cert)
		return pool, nil
	}
	return nil, fmt.Errorf("%w: the CA fingerprint of %q is %s, expected %x", ErrUnreachable, c.Server, got, want)
}

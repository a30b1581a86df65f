package interop_test

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"omca/internal/interop/lab"
)

// TestRefusedCertificates presents certificates that speak for nobody.
func TestRefusedCertificates(t *testing.T) {
	d := lab.NewHome(t).Start(t, "--cluster-name", "demo")
	alice := d.User(t, "alice", "root")
	disabled := d.User(t, "bob", "root")
	d.Run(t, "system/usr/bob", "set", "--kw", "disabled=true")
	deleted := d.User(t, "carol", "root")
	d.Run(t, "system/usr/carol", "delete", "--yes") // takes its certificates back
	kept := d.User(t, "erin", "root")
	d.Run(t, "system/usr/erin", "delete", "--yes", "--no-revoke")
	elsewhere := d.User(t, "dave", "root")
	d.Run(t, "system/usr/dave", "set", "--kw", "allowed_ips=192.0.2.0/24")
	d.Run(t, "ns1/sec/node1", "create", "--kw", "profile=node", "--kw", "cn=alice") // a node that is called like a user
	d.Run(t, "ns1/sec/node1", "certificate", "create")
	d.Run(t, "ns1/sec/web", "create", "--kw", "cn=alice", "--kw", "alt_names=web.example.com")
	d.Run(t, "ns1/sec/web", "certificate", "create")
	ca := d.Pair(t, "system/sec/ca")

	for name, c := range map[string]struct {
		pair *tls.Certificate
		want int // status; 0 when the handshake is refused
	}{
		"a user":                               {alice, http.StatusOK},
		"nobody":                               {nil, http.StatusUnauthorized},
		"a disabled user":                      {disabled, http.StatusUnauthorized},
		"a deleted user":                       {deleted, 0},
		"a deleted user, not revoked":          {kept, http.StatusUnauthorized},
		"a user from another address":          {elsewhere, http.StatusUnauthorized},
		"the listener":                         {d.Pair(t, "system/sec/cert"), http.StatusUnauthorized},
		"another server, called like a user":   {d.Pair(t, "ns1/sec/web"), http.StatusUnauthorized},
		"a node, called like a user":           {d.Pair(t, "ns1/sec/node1"), http.StatusUnauthorized},
		"the CA itself":                        {ca, http.StatusUnauthorized},
		"made with the CA's key, not by omca":  {forge(t, ca, x509.ExtKeyUsageClientAuth), http.StatusUnauthorized},
		"made with the CA's key, for a server": {forge(t, ca, x509.ExtKeyUsageServerAuth), 0},
		"an unknown CA":                        {forge(t, nil, x509.ExtKeyUsageClientAuth), 0},
	} {
		for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(name+" over "+version, func(t *testing.T) {
				client := d.HTTP(t, c.pair)
				transport := client.Transport.(*http.Transport)
				transport.Protocols = new(http.Protocols)
				transport.Protocols.SetHTTP1(version == "HTTP/1.1")
				transport.Protocols.SetHTTP2(version == "HTTP/2.0")
				answer, err := client.Get(d.URL("/api/object"))
				if c.want == 0 {
					// The alert may be lost: the client writes its request before it reads
					// how the handshake ended, to who has hung up.
					var ours *tls.CertificateVerificationError
					if err == nil || errors.As(err, &ours) {
						t.Fatalf("%v, expected that the server refuses the handshake", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				if answer.StatusCode != c.want {
					t.Errorf("status %d, expected %d", answer.StatusCode, c.want)
				}
				if c.want == http.StatusUnauthorized && answer.Header.Get("WWW-Authenticate") == "" {
					t.Error("no WWW-Authenticate")
				}
			})
		}
	}
}

// forge makes a client certificate for the user alice of cluster demo as an
// authority would that is not omca: with the key of ca, or with one of its own.
func forge(t *testing.T, ca *tls.Certificate, use x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "alice"},
		NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{use},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "demo", Path: "/usr/alice"}},
	}
	var signer crypto.PrivateKey = key
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "demo CA"}}
	if ca != nil {
		signer, parent = ca.PrivateKey, ca.Leaf
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestOpenConnections ends the connections that a user has open with the user,
// and nobody else's.
func TestOpenConnections(t *testing.T) {
	for name, end := range map[string][]string{
		"disabled": {"set", "--kw", "disabled=true"},
		"deleted":  {"delete", "--yes"},
	} {
		t.Run(name, func(t *testing.T) {
			d := lab.NewHome(t).Start(t)
			mine := connect(t, d, d.User(t, "alice", "root"))
			other := connect(t, d, d.User(t, "bob", "root"))
			d.Run(t, append([]string{"system/usr/alice"}, end...)...)
			if err := mine.SetReadDeadline(time.Now().Add(time.Second)); err != nil { // within a second
				t.Fatal(err)
			}
			if _, err := mine.reader.ReadByte(); err == nil || isTimeout(err) {
				t.Errorf("the connection is not closed: %v", err)
			}
			other.ask(t)
		})
	}
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

// connection is an open connection of a user.
type connection struct {
	*tls.Conn
	reader *bufio.Reader
}

// connect opens a connection and makes a first request on it.
func connect(t *testing.T, d *lab.Daemon, pair *tls.Certificate) connection {
	t.Helper()
	conn, err := (&tls.Dialer{Config: d.TLS(t, pair)}).DialContext(t.Context(), "tcp", d.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := connection{conn.(*tls.Conn), bufio.NewReader(conn)}
	c.ask(t)
	return c
}

// ask makes a request, which must be answered 200.
func (c connection) ask(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprint(c, "GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("status %s", answer.Status)
	}
}

package interop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// company is a CA of another PKI: a root, or below one.
type company struct {
	cert *x509.Certificate
	key  crypto.Signer
	up   *company // nil for a root
}

// newCompany makes a CA below up, which is nil for a root.
func newCompany(t *testing.T, cn string, up *company) *company {
	t.Helper()
	c := &company{up: up, key: newKey(t)}
	c.cert = c.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: cn}, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, c.key.Public())
	return c
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate of a template: c's own as long as it has none.
func (c *company) sign(t *testing.T, template *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	parent, key := c.cert, c.key
	if parent == nil && c.up != nil {
		parent, key = c.up.cert, c.up.key
	} else if parent == nil {
		parent = template
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = serial, true
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// user makes the certificate of a user, and its key.
func (c *company) user(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	cert := c.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key.Public())
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// list makes the revocation list of a number, DER, which takes back certs.
func (c *company) list(t *testing.T, number int64, certs ...*x509.Certificate) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Second), NextUpdate: time.Now().Add(time.Hour)}
	for _, cert := range certs {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: time.Now(), ReasonCode: 1})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// parts are what an operator imports to have omca sign in the name of c.
func (c *company) parts(t *testing.T) map[string]string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	chain := ""
	for at := c; at != nil; at = at.up {
		chain += asPEM("CERTIFICATE", at.cert.Raw)
	}
	return map[string]string{
		"private_key": asPEM("PRIVATE KEY", key), "certificate": asPEM("CERTIFICATE", c.cert.Raw), "certificate_chain": chain,
	}
}

func asPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

package pki_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"omca/pki"
)

// benchRequest returns a CSR as a node sends it.
func benchRequest(b *testing.B) []byte {
	b.Helper()
	names := must[pki.Names](b)(pki.ParseNames([]string{"n1.example.com"}))
	return must[[]byte](b)(pki.CreateSigningRequest(key(b, pki.ECP256), pki.Subject{CommonName: "n1"}, names))
}

// BenchmarkBare is what the standard library alone needs from a CSR to a
// certificate in PEM: the measure for BenchmarkIssue.
func BenchmarkBare(b *testing.B) {
	k := key(b, pki.ECP256)
	self := must[*pki.Issuer](b)(pki.NewRoot(k, linter()))
	ca := issue(b, self, request(b, k.Public(), "test CA"), terms(b, "ca"))
	csr := benchRequest(b)
	for b.Loop() {
		block, _ := pem.Decode(csr)
		r, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || r.CheckSignature() != nil {
			b.Fatal("bad request")
		}
		template := &x509.Certificate{
			SerialNumber: must[pki.Serial](b)(pki.NewSerial(epoch)).Int(), Subject: r.Subject, DNSNames: r.DNSNames,
			NotBefore: epoch, NotAfter: epoch.Add(30 * day),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			BasicConstraintsValid: true, SubjectKeyId: ca.SubjectKeyId,
		}
		der := must[[]byte](b)(x509.CreateCertificate(rand.Reader, template, ca, r.PublicKey, k))
		cert := must[*x509.Certificate](b)(x509.ParseCertificate(der))
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
}

// BenchmarkIssue is the whole of this package from a CSR to a certificate in
// PEM, lints included.
func BenchmarkIssue(b *testing.B) {
	ca := root(b, pki.ECP256, nil)
	csr := benchRequest(b)
	profile := profile(b, "node")
	for b.Loop() {
		r := must[pki.Request](b)(pki.ParseRequest(csr))
		terms := pki.Terms{Profile: profile, Serial: must[pki.Serial](b)(pki.NewSerial(epoch)), NotBefore: epoch, NotAfter: epoch.Add(30 * day)}
		pki.EncodeCertificates(issue(b, ca, r, terms))
	}
}

func BenchmarkLint(b *testing.B) {
	ca := root(b, pki.ECP256, nil)
	leaf := issue(b, ca, request(b, key(b, pki.ECP256).Public(), "n1", "n1.example.com"), terms(b, "node"))
	node := profile(b, "node")
	for b.Loop() {
		if f := pki.Lint(linter(), leaf, ca.Certificate(), node); len(f) > 0 {
			b.Fatal(f)
		}
	}
}

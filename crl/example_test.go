package crl_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"omca/crl"
	"omca/pki"
)

// A CA revokes a certificate, which counts at once, and publishes the list later.
func Example() {
	key, err := pki.GenerateKey(pki.ECP256)
	check(err)
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "brave-otter CA"}, NotBefore: at, NotAfter: at.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	ca, err := x509.ParseCertificate(der)
	check(err)
	alice := &x509.Certificate{RawIssuer: ca.RawSubject, SerialNumber: big.NewInt(0xa11ce)}

	builder, err := crl.NewBuilder(crl.BuilderConfig{Issuer: ca, Key: key})
	check(err)
	first, err := builder.Build(builder.Next(), at, at.AddDate(0, 0, 7))
	check(err)
	set := crl.NewSet(crl.Sources{Lists: []*crl.Verified{first.Verified}})
	fmt.Println(set.Check(alice, ca, at).Status)

	entry := crl.Entry{Serial: pki.SerialOf(alice), At: at, Reason: crl.KeyCompromise}
	set, err = set.With(ca, entry)
	check(err)
	fmt.Println(set.Check(alice, ca, at).Why)

	check(builder.Add(crl.Revocation{Entry: entry, NotAfter: at.AddDate(1, 0, 0)}))
	second, err := builder.Build(builder.Next(), at.Add(time.Minute), at.AddDate(0, 0, 7))
	check(err)
	set = set.Rebuilt(crl.Sources{Lists: []*crl.Verified{second.Verified}})
	fmt.Println(set.Check(alice, ca, at.Add(time.Minute)).Why)
	// Output:
	// good
	// revoked here, and not on a list yet
	// revoked (keyCompromise) by list 2 (2026-06-01T12:01:00Z)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

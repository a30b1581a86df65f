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
	ledger := crl.NewLedger()
	_, revoked := ledger.Check(alice, ca)
	fmt.Println(revoked)

	entry := crl.Entry{Serial: pki.SerialOf(alice), At: at, Reason: crl.KeyCompromise}
	ledger, err = ledger.With(pki.AuthorityOf(ca), entry)
	check(err)
	taken, revoked := ledger.Check(alice, ca)
	fmt.Println(revoked, taken.Reason)

	check(builder.Add(crl.Revocation{Entry: entry, NotAfter: at.AddDate(1, 0, 0)}))
	published, err := builder.Build(builder.Next(), at.Add(time.Minute), at.AddDate(0, 0, 7))
	check(err)
	list, err := published.Read() // as somebody else does
	check(err)
	set := crl.NewSet(crl.Sources{Lists: []*crl.Verified{list}})
	fmt.Println(set.Check(alice, ca, at.Add(time.Minute)).Why)
	// Output:
	// false
	// true keyCompromise
	// revoked (keyCompromise) by list 1 (2026-06-01T12:01:00Z)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

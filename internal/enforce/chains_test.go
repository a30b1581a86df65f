package enforce

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"omca/crl"
	"omca/pki"
)

// TestConvictedInOneChain: a leaf that is revoked below one CA is refused, whatever other chain a client finds for it.
func TestConvictedInOneChain(t *testing.T) {
	e := New(Config{Now: time.Now})
	authority := func() *x509.Certificate {
		key, err := pki.GenerateKey(pki.ECP256)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	ours, other := authority(), authority()
	leaf := &x509.Certificate{SerialNumber: big.NewInt(4711), RawIssuer: ours.RawSubject}
	chains := [][]*x509.Certificate{{leaf, other}, {leaf, ours}}
	if err := e.Check(chains); err != nil {
		t.Errorf("before: %v", err)
	}
	ledger, err := crl.NewLedger().With(pki.AuthorityOf(ours), crl.Entry{Serial: pki.SerialOf(leaf), At: time.Now(), Reason: crl.KeyCompromise})
	if err != nil {
		t.Fatal(err)
	}
	e.ledger.Store(ledger)
	if err := e.Check(chains); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked below the second: %v", err)
	}
	if err := e.Check(chains[:1]); err != nil {
		t.Errorf("another CA with that serial number: %v", err)
	}
}

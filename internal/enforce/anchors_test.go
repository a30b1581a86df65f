package enforce

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/pki"
)

// tree makes CAs that certify each other.
type tree struct {
	t      *testing.T
	serial int64
}

// branch is a CA with one of its certificates.
type branch struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// ca makes a CA below another one; nil makes a root.
func (w *tree) ca(cn string, above *branch) *branch {
	w.t.Helper()
	key, err := pki.GenerateKey(pki.ECP256)
	if err != nil {
		w.t.Fatal(err)
	}
	b := &branch{key: key}
	if above == nil {
		above = &branch{key: key}
	}
	b.cert = w.certify(cn, key, above)
	return b
}

// certify makes a certificate over a key.
func (w *tree) certify(cn string, key crypto.Signer, above *branch) *x509.Certificate {
	w.t.Helper()
	w.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(w.serial), Subject: pkix.Name{CommonName: cn}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	parent := above.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(nil, template, parent, key.Public(), above.key)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

// list makes the list of a CA that names certificates, if any.
func (w *tree) list(of *branch, revoked ...*x509.Certificate) *crl.Verified {
	w.t.Helper()
	b, err := crl.NewBuilder(crl.BuilderConfig{Issuer: of.cert, Key: of.key})
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now().Add(-time.Minute)
	for _, cert := range revoked {
		entry := crl.Entry{Serial: pki.SerialOf(cert), At: now, Reason: crl.CACompromise}
		if err := b.Add(crl.Revocation{Entry: entry, NotAfter: cert.NotAfter}); err != nil {
			w.t.Fatal(err)
		}
	}
	made, err := b.Build(big.NewInt(1), now, now.Add(time.Hour))
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := crl.Parse(made.DER, crl.DefaultLimits())
	if err != nil {
		w.t.Fatal(err)
	}
	verified, err := list.Verify(of.cert)
	if err != nil {
		w.t.Fatal(err)
	}
	return verified
}

// TestRevokedAnchor: a CA that is trusted itself is refused as soon as a CA above it that is
// known here, trusted or on record, has revoked it, or one above that one.
func TestRevokedAnchor(t *testing.T) {
	w := &tree{t: t}
	root, other := w.ca("Root", nil), w.ca("Root", nil) // another CA of the same name
	upper := w.ca("Upper", root)
	lower := w.ca("Lower", upper)
	crossed := w.certify("Upper", upper.key, other)
	again := w.certify("Lower", lower.key, upper)
	here := func(issuer, cert *x509.Certificate) *crl.Ledger {
		l, err := crl.NewLedger().With(pki.AuthorityOf(issuer), crl.Entry{Serial: pki.SerialOf(cert), At: time.Now(), Reason: crl.CACompromise})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	unplaced, err := crl.NewLedger().WithUnplaced(lower.cert.AuthorityKeyId, crl.Entry{Serial: pki.SerialOf(lower.cert), At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	all := []*x509.Certificate{root.cert, other.cert, upper.cert}
	for name, tt := range map[string]struct {
		anchor  *x509.Certificate
		known   []*x509.Certificate
		ledger  *crl.Ledger
		lists   []*crl.Verified
		revoked bool
	}{
		"nothing is revoked":          {lower.cert, all, crl.NewLedger(), nil, false},
		"here":                        {lower.cert, all, here(upper.cert, lower.cert), nil, true},
		"here, its other certificate": {again, all, here(upper.cert, lower.cert), nil, false},
		"here, by an issuer that is known no more":      {lower.cert, nil, unplaced, nil, true},
		"here, with the serial number of another CA":    {lower.cert, all, here(root.cert, lower.cert), nil, false},
		"here, the issuer":                              {lower.cert, all, here(root.cert, upper.cert), nil, true},
		"here, one of two certificates of the issuer":   {lower.cert, append(all, crossed), here(root.cert, upper.cert), nil, false},
		"here, by another CA of that name":              {upper.cert, all, here(other.cert, upper.cert), nil, false},
		"on a list":                                     {lower.cert, all, crl.NewLedger(), []*crl.Verified{w.list(upper, lower.cert)}, true},
		"on a list, the issuer":                         {lower.cert, all, crl.NewLedger(), []*crl.Verified{w.list(root, upper.cert)}, true},
		"on no list":                                    {lower.cert, all, crl.NewLedger(), []*crl.Verified{w.list(root), w.list(upper)}, false},
		"on the list of another CA of that name":        {upper.cert, all, crl.NewLedger(), []*crl.Verified{w.list(other, upper.cert), w.list(root)}, false},
		"a root, by the serial number of what is below": {root.cert, all, here(root.cert, root.cert), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := New(Config{Now: time.Now})
			e.ledger.Store(tt.ledger)
			e.foreign.Store(crl.NewSet(crl.Sources{Lists: tt.lists}))
			e.lineage.Store(ca.NewLineage([]*x509.Certificate{tt.anchor}, tt.known))
			leaf := &x509.Certificate{SerialNumber: big.NewInt(4711), RawIssuer: tt.anchor.RawSubject}
			err := e.Check([][]*x509.Certificate{{leaf, tt.anchor}})
			if tt.revoked != errors.Is(err, ErrRevoked) || !tt.revoked && err != nil {
				t.Errorf("revoked is %t: %v", tt.revoked, err)
			}
		})
	}
}

// TestAnchorsInACircle: CAs that certified each other are asked about, and not for ever.
func TestAnchorsInACircle(t *testing.T) {
	w := &tree{t: t}
	one, two := w.ca("One", nil), w.ca("Two", nil)
	first, second := w.certify("One", one.key, two), w.certify("Two", two.key, one)
	e := New(Config{Now: time.Now})
	e.lineage.Store(ca.NewLineage([]*x509.Certificate{first}, []*x509.Certificate{second}))
	if err := e.checkAnchor(first, mostAbove); err != nil {
		t.Errorf("nothing is revoked: %v", err)
	}
	ledger, err := crl.NewLedger().With(pki.AuthorityOf(one.cert), crl.Entry{Serial: pki.SerialOf(second), At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	e.ledger.Store(ledger)
	if err := e.checkAnchor(first, mostAbove); !errors.Is(err, ErrRevoked) {
		t.Errorf("the issuer is revoked: %v", err)
	}
}

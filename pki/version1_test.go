package pki_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"omca/pki"
	"omca/pki/flocker/flockertest"
)

const flockerCluster = "0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a"

func flockerStart() time.Time { return time.Date(2016, 4, 1, 12, 0, 0, 0, time.UTC) }

// What Flocker signed is read with the limits that it has.
func TestWithExtensions(t *testing.T) {
	authority := flockertest.New(t, "mycluster", flockerCluster, flockerStart())
	read := func(der []byte) (plain, full *x509.Certificate) {
		t.Helper()
		plain, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if full, err = pki.WithExtensions(plain); err != nil {
			t.Fatal(err)
		}
		if !full.Equal(plain) || full.Version != 1 || string(full.RawTBSCertificate) != string(plain.RawTBSCertificate) {
			t.Errorf("%s: the bytes are others", plain.Subject)
		}
		return plain, full
	}
	plain, root := read(authority.DER)
	if plain.IsCA || len(plain.Extensions) > 0 {
		t.Fatal("crypto/x509 reads extensions of version 1: WithExtensions is no longer needed")
	}
	if !root.IsCA || !root.BasicConstraintsValid || !root.MaxPathLenZero || root.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(root.SubjectKeyId) != 20 {
		t.Errorf("root: CA %v, path length %d, usage %v, key id %x", root.IsCA, root.MaxPathLen, root.KeyUsage, root.SubjectKeyId)
	}
	if err := root.CheckSignatureFrom(root); err != nil {
		t.Errorf("root: %v", err)
	}
	if _, user := read(authority.User("alice").DER); len(user.ExtKeyUsage) != 1 || user.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("user: extended key usage %v", user.ExtKeyUsage)
	} else if err := user.CheckSignatureFrom(root); err != nil {
		t.Errorf("user: %v", err)
	}
	if _, control := read(authority.Control("192.0.2.1").DER); control.VerifyHostname("control-service") != nil || control.VerifyHostname("192.0.2.1") != nil {
		t.Errorf("control: names %v, %v", control.DNSNames, control.IPAddresses)
	}
	if plain, node := read(authority.Node(flockerCluster).DER); node != plain {
		t.Error("node: it has no extensions, and is not the same")
	}
}

// A chain, wherever it is read, has them; and such a CA signs on.
func TestVersion1Issues(t *testing.T) {
	authority := flockertest.New(t, "mycluster", flockerCluster, flockerStart())
	chain, err := pki.ParseCertificates(authority.Certificate())
	if err != nil || !chain[0].IsCA {
		t.Fatalf("%v", err)
	}
	issuer, err := pki.NewIssuer(chain, authority.Key, linter())
	if err != nil {
		t.Fatal(err)
	}
	cert := issueFlocker(t, issuer, pki.Terms{NotBefore: flockerStart(), NotAfter: flockerStart().Add(time.Hour)})
	if cert.Version != 3 || cert.CheckSignatureFrom(chain[0]) != nil || string(cert.RawIssuer) != string(chain[0].RawSubject) {
		t.Errorf("version %d, signed by %q", cert.Version, cert.Issuer)
	}
}

func TestOutlives(t *testing.T) {
	authority := flockertest.New(t, "mycluster", flockerCluster, flockerStart())
	chain, err := pki.ParseCertificates(authority.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := pki.NewIssuer(chain, authority.Key, linter())
	if err != nil {
		t.Fatal(err)
	}
	from := flockerStart().Add(time.Hour)
	terms := pki.Terms{NotBefore: from, NotAfter: from.Add(flockertest.Lifetime)}
	if cert := issueFlocker(t, issuer, terms); !cert.NotAfter.Equal(chain[0].NotAfter) {
		t.Errorf("it lives until %v, want its issuer's end", cert.NotAfter)
	}
	terms.Outlives = true
	if cert := issueFlocker(t, issuer, terms); !cert.NotAfter.Equal(terms.NotAfter) {
		t.Errorf("it lives until %v, want %v", cert.NotAfter, terms.NotAfter)
	}

	key := authority.Key
	root, err := pki.NewRoot(key, linter())
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.NewRequest(key.Public(), pki.Subject{CommonName: "x"}, pki.Names{})
	if err != nil {
		t.Fatal(err)
	}
	terms.Profile, terms.Serial = profileNamed(t, "ca"), "80000000000000000000000000000000"
	if _, err := root.Draft(request, terms); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("a CA that outlives: %v", err)
	}
}

func profileNamed(t *testing.T, name string) pki.Profile {
	t.Helper()
	p, err := pki.LookupProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// issueFlocker signs the certificate of a user under the terms.
func issueFlocker(t *testing.T, issuer *pki.Issuer, terms pki.Terms) *x509.Certificate {
	t.Helper()
	key, err := pki.GenerateKey(pki.ECP256)
	if err != nil {
		t.Fatal(err)
	}
	if terms.Serial, err = pki.NewSerial(time.Now()); err != nil {
		t.Fatal(err)
	}
	terms.Profile = profileNamed(t, "usr")
	request, err := pki.NewRequest(key.Public(), pki.Subject{CommonName: "user-alice"}, pki.Names{})
	if err != nil {
		t.Fatal(err)
	}
	draft, err := issuer.Draft(request, terms)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := issuer.Sign(draft)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

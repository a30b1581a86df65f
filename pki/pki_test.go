package pki_test

import (
	"crypto"
	"crypto/x509"
	"net/url"
	"strconv"
	"testing"
	"time"

	"omca/pki"
	"omca/pki/lint"
)

// epoch is the time of every test: this package never asks for another.
var epoch = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

const day = 24 * time.Hour

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// linter returns the linter of omca.
func linter() pki.Linter { return lint.New() }

func key(t testing.TB, kind pki.KeyType) crypto.Signer {
	t.Helper()
	return must[crypto.Signer](t)(pki.GenerateKey(kind))
}

func profile(t testing.TB, name string) pki.Profile {
	t.Helper()
	return must[pki.Profile](t)(pki.LookupProfile(name))
}

// terms returns terms of a profile, valid for 30 days (10 years for a CA).
func terms(t testing.TB, name string) pki.Terms {
	t.Helper()
	lifetime := 30 * day
	if name == "ca" {
		lifetime = 3650 * day
	}
	from, to := pki.Period(epoch, lifetime)
	return pki.Terms{Profile: profile(t, name), Serial: must[pki.Serial](t)(pki.NewSerial(from)), NotBefore: from, NotAfter: to}
}

func request(t testing.TB, pub crypto.PublicKey, cn string, names ...string) pki.Request {
	t.Helper()
	n := must[pki.Names](t)(pki.ParseNames(names))
	return must[pki.Request](t)(pki.NewRequest(pub, pki.Subject{CommonName: cn}, n))
}

func issue(t testing.TB, i *pki.Issuer, r pki.Request, terms pki.Terms) *x509.Certificate {
	t.Helper()
	draft := must[pki.Draft](t)(i.Draft(r, terms))
	return must[*x509.Certificate](t)(i.Sign(draft))
}

// root makes a root CA whose terms edit may change.
func root(t testing.TB, kind pki.KeyType, edit func(*pki.Terms)) *pki.Issuer {
	t.Helper()
	k := key(t, kind)
	self := must[*pki.Issuer](t)(pki.NewRoot(k, linter()))
	terms := terms(t, "ca")
	if edit != nil {
		edit(&terms)
	}
	cert := issue(t, self, request(t, k.Public(), "test CA"), terms)
	return must[*pki.Issuer](t)(pki.NewIssuer([]*x509.Certificate{cert}, k, linter()))
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func uris(t testing.TB, uri string) []*url.URL {
	t.Helper()
	return []*url.URL{must[*url.URL](t)(url.Parse(uri))}
}

package ca_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/pki"
)

// foreign is a certificate set made by another authority.
type foreign struct{ key, certificate, chain []byte }

// made lets the authority other sign a certificate for path with keywords.
func made(other *world, path string, keywords ...string) foreign {
	other.t.Helper()
	other.create(path, keywords...)
	other.mustIssue(path)
	return foreign{other.value(path, ca.KeyPrivate), other.value(path, ca.KeyCertificate), other.value(path, ca.KeyChain)}
}

func (f foreign) part(name string) []byte {
	switch name {
	case ca.KeyPrivate:
		return f.key
	case ca.KeyCertificate:
		return f.certificate
	}
	return f.chain
}

// All six orders: the live set stays until the last part, then changes at once.
func TestImportInAnyOrder(t *testing.T) {
	names := []string{ca.KeyPrivate, ca.KeyCertificate, ca.KeyChain}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		w, other := bootstrapped(t), bootstrapped(t)
		set := made(other, "ns1/sec/web", "cn=vip.example.com")
		before := w.value(ca.PathListener, ca.KeyChain)
		live := 0
		for i, at := range order {
			got, err := w.Import(t.Context(), caller(t, "root", "root"), ca.PathListener, names[at], set.part(names[at]))
			if err != nil {
				t.Fatalf("order %v, step %d: %v", order, i, err)
			}
			if !got.Live {
				if len(got.Pending) == 0 {
					t.Errorf("order %v, step %d: pending without a word", order, i)
				}
				if !bytes.Equal(before, w.value(ca.PathListener, ca.KeyChain)) {
					t.Fatalf("order %v, step %d: an incomplete set disturbed the live one", order, i)
				}
				held, err := w.Held(t.Context(), ca.PathListener)
				if err != nil || len(held.Pending) == 0 || held.State != ca.StateValid {
					t.Errorf("order %v, step %d: held %+v, %v", order, i, held, err)
				}
			} else {
				live++
			}
			if key, err := pki.ParsePrivateKey(w.value(ca.PathListener, ca.KeyPrivate), nil); err != nil ||
				!pki.SameKey(key.Public(), mustChain(t, w.value(ca.PathListener, ca.KeyChain))) {
				t.Errorf("order %v, step %d: the live key is not that of the live certificate: %v", order, i, err)
			}
		}
		if live == 0 || bytes.Equal(before, w.value(ca.PathListener, ca.KeyChain)) {
			t.Errorf("order %v: the set never became live", order)
		}
		if held, err := w.Held(t.Context(), ca.PathListener); err != nil || held.Pending != nil || held.SignedBy != "" {
			t.Errorf("order %v: held %+v, %v", order, held, err)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	w, other := bootstrapped(t), bootstrapped(t)
	web := made(other, "ns1/sec/web", "cn=vip.example.com")
	client := made(other, "system/usr/bob")
	authority := foreign{other.value(ca.PathCA, ca.KeyPrivate), other.value(ca.PathCA, ca.KeyCertificate), other.value(ca.PathCA, ca.KeyChain)}
	short := made(other, "ns1/sec/short", "cn=short.example.com", "validity=1h")
	w.now = w.now.Add(2 * time.Hour)
	before := w.value(ca.PathListener, ca.KeyChain)
	tests := []struct {
		name, path, key string
		value           []byte
		first           []byte // a private key that is imported before
		want            string
	}{
		{"not PEM", ca.PathListener, ca.KeyChain, []byte("hello"), nil, "PEM"},
		{"empty", ca.PathListener, ca.KeyChain, nil, nil, ""},
		{"a key for a chain", ca.PathListener, ca.KeyChain, web.key, nil, ""},
		{"a chain for a key", ca.PathListener, ca.KeyPrivate, web.chain, nil, ""},
		{"expired", ca.PathListener, ca.KeyChain, short.chain, nil, "expired"},
		{"for clients", ca.PathListener, ca.KeyChain, client.chain, client.key, "serverAuth"},
		{"a CA for a listener", ca.PathListener, ca.KeyChain, authority.chain, authority.key, "CA"},
		{"a leaf for a CA", ca.PathCA, ca.KeyChain, web.chain, web.key, "CA"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := caller(t, "root", "root")
			if tt.first != nil {
				if got, err := w.Import(t.Context(), root, tt.path, ca.KeyPrivate, tt.first); err != nil || got.Live {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			_, err := w.Import(t.Context(), root, tt.path, tt.key, tt.value)
			if !errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an ErrInvalid with %q", err, tt.want)
			}
			if !bytes.Equal(before, w.value(ca.PathListener, ca.KeyChain)) {
				t.Error("a refused import changed what is live")
			}
		})
	}
}

// certificate create consents to nothing by itself: what another PKI signed and
// is valid is replaced only when asked.
func TestCreateKeepsWhatAnotherPKISigned(t *testing.T) {
	w, other := bootstrapped(t), bootstrapped(t)
	set := made(other, "ns1/sec/web", "cn=vip.example.com")
	root := caller(t, "root", "root")
	for _, name := range []string{ca.KeyPrivate, ca.KeyChain} {
		if _, err := w.Import(t.Context(), root, ca.PathListener, name, set.part(name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Create(t.Context(), root, ca.PathListener, ca.CreateOptions{}); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	issued, err := w.Create(t.Context(), root, ca.PathListener, ca.CreateOptions{ReplaceExternal: true})
	if err != nil || !pki.SameKey(issued.Chain[1].PublicKey, mustChain(t, w.value(ca.PathCA, ca.KeyChain))) {
		t.Errorf("with consent: %v", err)
	}
}

func mustChain(t *testing.T, pem []byte) any {
	t.Helper()
	chain, err := pki.ParseCertificates(pem)
	if err != nil {
		t.Fatal(err)
	}
	return chain[0].PublicKey
}

// The chain of a CA whose key is elsewhere is all there is to import; the key,
// if it comes later, makes it one that signs.
func TestImportACAWithoutItsKey(t *testing.T) {
	w, other := bootstrapped(t), bootstrapped(t)
	w.create("system/sec/ca-external")
	root := caller(t, "root", "root")
	got, err := w.Import(t.Context(), root, "system/sec/ca-external", ca.KeyChain, other.value(ca.PathCA, ca.KeyChain))
	if err != nil || !got.Live {
		t.Fatalf("%+v, %v", got, err)
	}
	w.set("cluster", "cluster.ca=system/sec/ca-external")
	if trusted, err := w.Trust(t.Context()); err != nil || len(trusted) != 2 {
		t.Errorf("%d trusted, %v", len(trusted), err)
	}
	w.create("ns1/sec/web", "cn=web.example.com", "ca=system/sec/ca-external")
	if _, err := w.Create(t.Context(), root, "ns1/sec/web", ca.CreateOptions{}); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("signing without a key: %v", err)
	}
	if got, err = w.Import(t.Context(), root, "system/sec/ca-external", ca.KeyPrivate, other.value(ca.PathCA, ca.KeyPrivate)); err != nil || !got.Live {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := w.Create(t.Context(), root, "ns1/sec/web", ca.CreateOptions{}); err != nil {
		t.Errorf("signing with the key: %v", err)
	}
}

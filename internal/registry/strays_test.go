package registry_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/pki"
	"omca/usr"
	"omca/usr/token"
)

// userRecord is the record of a certificate that speaks for a user.
func userRecord(t testing.TB, cluster, user, owner string) ca.Record {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: user}, NotBefore: epoch(), NotAfter: epoch().Add(time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: cluster, Path: "/usr/" + user}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca.Record{Certificate: cert, Issuer: ca.PathCA, Owner: owner, Profile: ca.ProfileUser, By: "root", IssuedAt: epoch()}
}

// sharedStore is newStore where other processes change the store too. What it is told of revocations goes to tell, unless that is nil.
func sharedStore(t *testing.T, db store.Store, m seal.Master, tell func(ca.Revocation)) *registry.Store {
	t.Helper()
	s, err := registry.OpenStore(t.Context(), registry.StoreConfig{Store: db, Shared: true, Master: m, Now: epoch, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if tell != nil {
		s.OnRevoke(tell)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ended with %v", err)
		}
	})
	return s
}

func record(t *testing.T, s *registry.Store, r ca.Record) pki.Serial {
	t.Helper()
	if err := s.Commit(t.Context(), ca.Change{Records: []ca.Record{r}}); err != nil {
		t.Fatal(err)
	}
	return r.Serial()
}

func straysOf(t *testing.T, s *registry.Store, user string) []pki.Serial {
	t.Helper()
	serials, err := s.Strays(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return serials
}

// TestStrays: what speaks for a user and is on record for another owner is found, whatever the names have in common, and however long
// they are.
func TestStrays(t *testing.T) {
	for _, cluster := range []string{"clu", strings.Repeat("c", 63)} {
		db, m := mem.New(), fileMaster(t)
		s := newStore(t, db, m)
		create(t, s, "cluster", "cluster.name="+cluster)
		long := strings.Repeat("n", 63)
		var want, wantLong []pki.Serial
		for _, owner := range []string{"system/usr/root", "system/usr/alice2", "system/usr/a", "ns1/sec/web", "ns1/usr/alice"} {
			want = append(want, record(t, s, userRecord(t, cluster, "alice", owner)))
			wantLong = append(wantLong, record(t, s, userRecord(t, cluster, long, owner)))
		}
		record(t, s, userRecord(t, cluster, "alice", "system/usr/alice"))
		record(t, s, userRecord(t, cluster, long, "system/usr/"+long))
		alike := record(t, s, userRecord(t, cluster, "alice2", "system/usr/alice"))
		record(t, s, userRecord(t, "elsewhere", "alice", "system/usr/root")) // of another trust domain: it speaks for no user here
		server := userRecord(t, cluster, "alice", "system/usr/root")
		server.Profile = ca.ProfileListener
		record(t, s, server)
		slices.Sort(want)
		slices.Sort(wantLong)
		for range 2 { // looked for, and known
			if got := straysOf(t, s, "alice"); !slices.Equal(got, want) {
				t.Errorf("%.8s: of alice %v, want %v", cluster, got, want)
			}
			if got := straysOf(t, s, "alice2"); !slices.Equal(got, []pki.Serial{alike}) {
				t.Errorf("%.8s: of alice2 %v, want %v", cluster, got, alike)
			}
			if got := straysOf(t, s, long); !slices.Equal(got, wantLong) {
				t.Errorf("%.8s: of a long name %v, want %v", cluster, got, wantLong)
			}
			if got := straysOf(t, s, "bob"); len(got) != 0 {
				t.Errorf("%.8s: of bob %v", cluster, got)
			}
		}
	}
}

// TestStraysOfOlderNodes: what a node of an older build records after this one has looked is found too.
func TestStraysOfOlderNodes(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	here, older := sharedStore(t, db, m, nil), sharedStore(t, db, m, nil)
	create(t, here, "cluster", "cluster.name=clu")
	want := []pki.Serial{record(t, here, userRecord(t, "clu", "alice", "system/usr/root"))}
	if got := straysOf(t, here, "alice"); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for range 20 {
		want = append(want, record(t, older, userRecord(t, "clu", "alice", "system/usr/boss")))
		record(t, older, userRecord(t, "clu", "alice", "system/usr/alice"))
		slices.Sort(want)
		if got := straysOf(t, here, "alice"); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	// One that cannot be read is not passed over.
	if _, err := view(t, db, m).Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: "cert/0000000001/01", Value: []byte("x")}}}); err != nil {
		t.Fatal(err)
	}
	if got, err := here.Strays(t.Context(), "alice"); err == nil {
		t.Errorf("with a record that cannot be read: %v", got)
	}
}

// TestRecordedAfterTheRevocation: when a token is on record, this process knows of every revocation that came before: the second look
// at the caller refuses it, or else the revocation finds the record.
func TestRecordedAfterTheRevocation(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	var told atomic.Int64
	here := sharedStore(t, db, m, func(ca.Revocation) { told.Add(1) })
	for i := range int64(300) {
		key := fmt.Sprintf("revoked/abc/%04x", i)
		if _, err := view(t, db, m).Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: key, Value: []byte("{}")}}}); err != nil { // on another node
			t.Fatal(err)
		}
		r := token.Record{ID: fmt.Sprintf("id%d", i), Subject: "alice", Use: token.Access, IssuedAt: epoch(), ExpiresAt: epoch().Add(time.Hour), By: "alice", Method: usr.MethodX509}
		if err := here.RecordToken(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got := told.Load(); got != i+1 {
			t.Fatalf("on record, and %d of %d revocations are known", got, i+1)
		}
	}
}

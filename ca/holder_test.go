package ca_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/pki"
	"omca/pki/lint"
	"omca/usr"
)

func TestCreateInstallsAWholeSet(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/usr/alice")
	issued := w.mustIssue("system/usr/alice")

	key, err := pki.ParsePrivateKey(w.value("system/usr/alice", "private_key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !pki.SameKey(key.Public(), issued.Certificate.PublicKey) {
		t.Error("private_key is not the certificate's")
	}
	if got := w.value("system/usr/alice", "certificate"); !bytes.Equal(got, pki.EncodeCertificates(issued.Certificate)) {
		t.Errorf("certificate: %s", got)
	}
	chain, err := pki.ParseCertificates(w.value("system/usr/alice", "certificate_chain"))
	if err != nil || len(chain) != 2 || !chain[0].Equal(issued.Certificate) || !chain[1].IsCA {
		t.Errorf("certificate_chain: %d certificates, %v", len(chain), err)
	}
	if got := string(w.value("system/usr/alice", "serial_number")); got != string(pki.SerialOf(issued.Certificate)) {
		t.Errorf("serial_number %q", got)
	}
	if cn := issued.Certificate.Subject.CommonName; cn != "alice" {
		t.Errorf("common name %q", cn)
	}
	if issued.Certificate.Subject.String() == issued.Certificate.Issuer.String() {
		t.Error("issuer and subject are the same")
	}
}

func TestReissueKeepsTheKeyUnlessAsked(t *testing.T) {
	w := bootstrapped(t)
	first := w.value(ca.PathListener, "private_key")
	w.mustIssue(ca.PathListener)
	if !bytes.Equal(first, w.value(ca.PathListener, "private_key")) {
		t.Error("create replaced the key")
	}
	if _, err := w.Create(t.Context(), caller(t, "root", "root"), ca.PathListener, ca.CreateOptions{Rekey: true}); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, w.value(ca.PathListener, "private_key")) {
		t.Error("rekey kept the key")
	}
	if n := len(w.records(ca.Query{Owner: ca.PathListener})); n != 3 {
		t.Errorf("%d records of the listener, want 3", n)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := bootstrapped(t)
	w.create("ns1/sec/web", "cn=web.example.com", "ca=system/sec/cert")
	w.create("ns1/sec/lost", "cn=web.example.com", "ca=system/sec/ca-none")
	w.create("ns1/sec/good", "cn=good.example.com")
	w.create("ns1/sec/sub", "cn=Sub CA", "profile=ca")
	w.create("system/usr/eve", "grant=admin:ns1")
	root, eve := caller(t, "root", "root"), caller(t, "eve", "admin:ns1")
	tests := []struct {
		path string
		who  usr.Caller
		want error
		text string
	}{
		{"ns1/sec/none", root, ca.ErrNotFound, "does not exist"},
		{"ns1/sec/web", root, ca.ErrInvalid, "is not a CA"},
		{"ns1/sec/lost", root, ca.ErrNotFound, "system/sec/ca-none"},
		{"ns1/cfg/x", root, ca.ErrInvalid, "kind sec and usr"},
		{"ns1/sec/sub", eve, usr.ErrDenied, "CA"},
		{"ns1/sec/good", usr.Caller{}, usr.ErrDenied, ""},
		{"ns1/sec/good", eve, usr.ErrDenied, "names"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			_, err := w.Create(t.Context(), tt.who, tt.path, ca.CreateOptions{})
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.text)
			}
		})
	}
	if n := len(w.records(ca.Query{})); n != 2 {
		t.Errorf("%d records after refusals, want 2", n)
	}
}

// A sec cannot be given the certificate of a user: its common name alone would
// make it one.
func TestOnlyUsersGetUserCertificates(t *testing.T) {
	w := bootstrapped(t)
	w.create("ns1/sec/root", "cn=root", "alt_names=root")
	issued := w.mustIssue("ns1/sec/root")
	if _, err := w.Identify(t.Context(), w.verified(issued.Certificate)); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("the certificate of a listener named root was taken for a user: %v", err)
	}
}

func TestTwoTiers(t *testing.T) {
	w := newWorld(t)
	w.create("cluster", "cluster.name=testers")
	w.create("system/sec/ca-root", "cn=Company Root")
	w.mustIssue("system/sec/ca-root")
	w.create(ca.PathCA, "ca=system/sec/ca-root", "cn=Cluster CA")
	w.mustIssue(ca.PathCA)
	w.create("system/usr/alice")
	issued := w.mustIssue("system/usr/alice")
	if len(issued.Chain) != 3 {
		t.Fatalf("a chain of %d, want leaf, intermediate and root", len(issued.Chain))
	}
	if err := pki.VerifyChain(issued.Chain, w.now); err != nil {
		t.Error(err)
	}
	id, err := w.Identify(t.Context(), w.verified(issued.Certificate))
	if err != nil || id.User != "alice" {
		t.Errorf("identified as %q: %v", id.User, err)
	}
}

func TestIdentify(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/usr/alice")
	alice := w.mustIssue("system/usr/alice").Certificate
	if id, err := w.Identify(t.Context(), w.verified(alice)); err != nil || id.User != "alice" || id.Serial != pki.SerialOf(alice) {
		t.Errorf("alice is %+v: %v", id, err)
	}
	listener := w.mustIssue(ca.PathListener).Certificate
	if _, err := w.Identify(t.Context(), w.verified(listener)); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("a listener was taken for a user: %v", err)
	}
	node, err := w.Sign(t.Context(), caller(t, "root", "root"), ca.SignRequest{CSR: csr(t, "alice"), Profile: "node"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Identify(t.Context(), w.verified(node.Certificate)); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("a node named alice was taken for the user: %v", err)
	}

	// Another authority whose key is trusted here, as cluster.ca does: its
	// certificates are known by their common name, and may not claim to be ours.
	other := bootstrapped(t)
	other.set("cluster", "cluster.name=strangers")
	other.create("system/usr/bob")
	bob := other.mustIssue("system/usr/bob").Certificate
	same := bootstrapped(t)
	same.create("system/usr/mallory")
	mallory := same.mustIssue("system/usr/mallory").Certificate
	for name, foreign := range map[string]*world{"ca-other": other, "ca-same": same} {
		w.create("system/sec/" + name)
		got, err := w.Import(t.Context(), caller(t, "root", "root"), "system/sec/"+name, ca.KeyChain, foreign.value(ca.PathCA, ca.KeyChain))
		if err != nil || !got.Live {
			t.Fatalf("%+v, %v", got, err)
		}
		w.set("cluster", "cluster.ca+=system/sec/"+name)
	}
	if id, err := w.Identify(t.Context(), w.verified(bob)); err != nil || id.User != "bob" {
		t.Errorf("bob of a trusted CA is %+v: %v", id, err)
	}
	if id, err := w.Identify(t.Context(), w.verified(mallory)); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("a foreign CA made a user of this cluster: %+v, %v", id, err)
	}
}

// What our key signed and the inventory lacks speaks for nobody.
func TestIdentifyWantsTheInventory(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/usr/alice")
	chain, key, err := w.Serving(t.Context(), ca.PathCA)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := pki.NewIssuer(chain, key, lint.New())
	if err != nil {
		t.Fatal(err)
	}
	profile, err := pki.LookupProfile("usr")
	if err != nil {
		t.Fatal(err)
	}
	serial, err := pki.NewSerial(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.NewRequest(newKey(t).Public(), pki.Subject{CommonName: "alice"}, pki.Names{})
	if err != nil {
		t.Fatal(err)
	}
	draft, err := issuer.Draft(request, pki.Terms{Profile: profile, Serial: serial, NotBefore: w.now, NotAfter: w.now.Add(time.Hour), ID: w.mustIssue("system/usr/alice").Certificate.URIs[0]})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := issuer.Sign(draft)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := w.Identify(t.Context(), w.verified(cert)); !errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), "inventory") {
		t.Errorf("a certificate outside the inventory is %+v: %v", id, err)
	}
}

// A CA below the cluster's is no way around the inventory: of one that was made
// here, what was issued here is a user's, and nothing else is, however many CAs
// its key signed first.
func TestIdentifyBelowASubordinate(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/sec/ca-sub", "cn=Sub CA", "ca="+ca.PathCA)
	w.mustIssue("system/sec/ca-sub")
	w.create("system/usr/alice", "ca=system/sec/ca-sub")
	alice := w.mustIssue("system/usr/alice")
	if id, err := w.Identify(t.Context(), alice.Chain); err != nil || id.User != "alice" || id.IssuedAt.IsZero() {
		t.Errorf("a user of a subordinate CA is %+v: %v", id, err)
	}
	for _, path := range []string{"system/sec/ca-sub", ca.PathCA} {
		chain, key, err := w.Serving(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		forged := forge(t, w.now, "alice", chain[0], key)
		if id, err := w.Identify(t.Context(), append([]*x509.Certificate{forged}, chain...)); !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("signed with the key of %s, outside of the inventory: %+v, %v", path, id, err)
		}
		between, err := pki.GenerateKey(pki.ECP256)
		if err != nil {
			t.Fatal(err)
		}
		sub := forgeCA(t, w.now, between.Public(), chain[0], key)
		forged = forge(t, w.now, "alice", sub, between)
		if id, err := w.Identify(t.Context(), append([]*x509.Certificate{forged, sub}, chain...)); !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("signed by a CA below %s that nobody here made: %+v, %v", path, id, err)
		}
	}
}

// TestIdentifyBelowAnImportedCA: the holder of its key elsewhere marks no certificate as
// one of this cluster, and what was issued here with that key speaks for its user, whether
// the CA is the cluster's, beside it, or was.
func TestIdentifyBelowAnImportedCA(t *testing.T) {
	w, corp := bootstrapped(t), bootstrapped(t)
	w.create("system/sec/ca-corp")
	for _, part := range []string{ca.KeyPrivate, ca.KeyChain} {
		if _, err := w.Import(t.Context(), caller(t, "root", "root"), "system/sec/ca-corp", part, corp.value(ca.PathCA, part)); err != nil {
			t.Fatal(err)
		}
	}
	w.set("cluster", "cluster.ca=system/sec/ca-corp")
	w.create("system/usr/alice", "ca=system/sec/ca-corp")
	alice := w.mustIssue("system/usr/alice")
	if id, err := w.Identify(t.Context(), w.verified(alice.Certificate)); err != nil || id.User != "alice" || id.IssuedAt.IsZero() {
		t.Errorf("a user of an imported CA is %+v: %v", id, err)
	}
	chain, key, err := w.Serving(t.Context(), "system/sec/ca-corp")
	if err != nil {
		t.Fatal(err)
	}
	marked := forged(t, &x509.Certificate{
		SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: "alice"}, NotBefore: w.now, NotAfter: w.now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: alice.Certificate.URIs,
	}, newKey(t).Public(), chain[0], key)
	if id, err := w.Identify(t.Context(), w.verified(marked)); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("marked elsewhere with the key of an imported CA: %+v, %v", id, err)
	}
}

// What a revoked CA signs nobody believes: it is refused, and with another key
// that CA signs again.
func TestRevokedCASignsNoMore(t *testing.T) {
	w := bootstrapped(t)
	root := caller(t, "root", "root")
	for path, issuer := range map[string]string{"system/sec/ca-sub": ca.PathCA, "system/sec/ca-low": "system/sec/ca-sub"} {
		w.create(path, "cn="+path, "ca="+issuer)
	}
	sub := w.mustIssue("system/sec/ca-sub").Certificate
	w.mustIssue("system/sec/ca-low")
	w.create("system/usr/alice", "ca=system/sec/ca-sub")
	w.create("system/usr/bob", "ca=system/sec/ca-low")
	w.mustIssue("system/usr/alice")
	if _, err := w.Revoke(t.Context(), root, pki.SerialOf(sub), crl.Superseded); err != nil { // the key is not blocked
		t.Fatal(err)
	}
	before := len(w.records(ca.Query{}))
	for _, path := range []string{"system/usr/alice", "system/usr/bob", "system/sec/ca-low"} {
		_, err := w.Create(t.Context(), root, path, ca.CreateOptions{})
		if !errors.Is(err, ca.ErrConflict) || !strings.Contains(fmt.Sprint(err), "revoked") {
			t.Errorf("%s, of a revoked CA: %v", path, err)
		}
	}
	if n := len(w.records(ca.Query{})); n != before {
		t.Errorf("%d records after refusals, want %d", n, before)
	}
	if _, err := w.Create(t.Context(), root, "system/sec/ca-sub", ca.CreateOptions{Rekey: true}); err != nil {
		t.Fatal(err)
	}
	w.mustIssue("system/usr/alice")
}

// forge signs a certificate for a client named cn, as anybody with the key could.
func forge(t *testing.T, now time.Time, cn string, issuer *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	return forged(t, &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: cn}, NotBefore: now, NotAfter: now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, newKey(t).Public(), issuer, key)
}

func forgeCA(t *testing.T, now time.Time, public crypto.PublicKey, issuer *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	return forged(t, &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano() + 1), Subject: pkix.Name{CommonName: "Between"}, NotBefore: now, NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, public, issuer, key)
}

func forged(t *testing.T, template *x509.Certificate, public crypto.PublicKey, issuer *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestRenewDue(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/usr/alice", "validity=30d")
	w.mustIssue("system/usr/alice")
	first, _, err := w.Serving(t.Context(), ca.PathListener)
	if err != nil {
		t.Fatal(err)
	}
	due := ca.DueAt(first[0].NotBefore, first[0].NotAfter)

	next, err := w.RenewDue(t.Context())
	if err != nil || !next.Equal(due) {
		t.Fatalf("next is due at %v, want %v: %v", next, due, err)
	}
	w.now = due.Add(-time.Second)
	if _, err := w.RenewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, _, _ := w.Serving(t.Context(), ca.PathListener); !now[0].Equal(first[0]) {
		t.Error("renewed a second early")
	}
	w.now = due
	next, err = w.RenewDue(t.Context())
	if err != nil || !next.After(due) {
		t.Fatalf("next is due at %v: %v", next, err)
	}
	second, _, err := w.Serving(t.Context(), ca.PathListener)
	if err != nil || second[0].Equal(first[0]) {
		t.Errorf("not renewed when due: %v", err)
	}
	if n := len(w.records(ca.Query{Owner: "system/usr/alice"})); n != 1 {
		t.Errorf("the user's certificate renewed itself: %d records", n)
	}
}

// Whoever may set keywords of an object does not thereby get other names
// signed, by waiting for the renewal that nobody asks for.
func TestRenewalKeepsTheNamesThatWereGranted(t *testing.T) {
	w := bootstrapped(t)
	w.create("ns1/sec/web", "cn=web.example.com", "validity=30d")
	first := w.mustIssue("ns1/sec/web").Certificate
	w.set("ns1/sec/web", "cn=vault.example.com", "alt_names=vault.example.com")
	w.now = ca.DueAt(first.NotBefore, first.NotAfter)
	if _, err := w.RenewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, _, err := w.Serving(t.Context(), "ns1/sec/web")
	if err != nil || second[0].Equal(first) {
		t.Fatalf("not renewed: %v", err)
	}
	if got := second[0]; got.Subject.String() != first.Subject.String() || strings.Join(got.DNSNames, " ") != strings.Join(first.DNSNames, " ") ||
		got.URIs[0].String() != first.URIs[0].String() {
		t.Errorf("renewed as %s %v %v, was %s %v %v", got.Subject, got.DNSNames, got.URIs, first.Subject, first.DNSNames, first.URIs)
	}
}

func TestSigningRequest(t *testing.T) {
	w := bootstrapped(t)
	w.create("ns1/sec/web", "cn=vip.clu.mycorp", "alt_names=node1.clu.mycorp 192.0.2.1", "email=support@mycorp", "c=FR", "o=MyCorp")
	pem, err := w.SigningRequest(t.Context(), caller(t, "root", "root"), "ns1/sec/web")
	if err != nil {
		t.Fatal(err)
	}
	r, err := pki.ParseRequest(pem)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Names().Strings(), " "); !strings.Contains(got, "node1.clu.mycorp") || !strings.Contains(got, "192.0.2.1") ||
		!strings.Contains(got, "support@mycorp") || !strings.Contains(got, "vip.clu.mycorp") {
		t.Errorf("names %q", got)
	}
	if s := r.Subject(); s.Country != "FR" || s.Organization != "MyCorp" {
		t.Errorf("subject %+v", s)
	}
	again, err := w.SigningRequest(t.Context(), caller(t, "root", "root"), "ns1/sec/web")
	if err != nil {
		t.Fatal(err)
	}
	second, err := pki.ParseRequest(again)
	if err != nil || !pki.SameKey(r.PublicKey(), second.PublicKey()) {
		t.Errorf("the second request is for another key: %v", err)
	}
}

func TestRecordsInOrder(t *testing.T) {
	w := bootstrapped(t)
	for i, validity := range []string{"30d", "10d", "20d"} {
		path := fmt.Sprintf("system/usr/u%d", i)
		w.create(path, "validity="+validity)
		w.mustIssue(path)
	}
	var owners []string
	for _, r := range w.records(ca.Query{}) {
		owners = append(owners, r.Owner)
	}
	want := "system/usr/u1 system/usr/u2 system/usr/u0 system/sec/cert system/sec/ca"
	if got := strings.Join(owners, " "); got != want {
		t.Errorf("by expiry: %s, want %s", got, want)
	}
	if got := w.records(ca.Query{ExpiresBefore: w.now.Add(25 * 24 * time.Hour)}); len(got) != 2 {
		t.Errorf("%d expire within 25 days, want 2", len(got))
	}
	if got := w.records(ca.Query{ExpiresAfter: w.now.Add(15 * 24 * time.Hour), ExpiresBefore: w.now.Add(25 * 24 * time.Hour)}); len(got) != 1 || got[0].Owner != "system/usr/u2" {
		t.Errorf("%d expire between 15 and 25 days, want one", len(got))
	}
	if got := w.records(ca.Query{Profile: "usr"}); len(got) != 3 {
		t.Errorf("%d user certificates, want 3", len(got))
	}
	all := w.records(ca.Query{})
	if rest := w.records(ca.Query{After: all[1].Cursor}); len(rest) != 3 || rest[0].Owner != "system/usr/u0" {
		t.Errorf("behind the second: %d records", len(rest))
	}
}

// The older manual makes the listener's certificate before it names it.
func TestUnnamedServers(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/sec/cert-testers")
	if got := w.mustIssue("system/sec/cert-testers").Certificate; got.VerifyHostname("localhost") != nil || got.VerifyHostname("node1") != nil {
		t.Errorf("the listener would no longer answer to its names: %v", got.DNSNames)
	}
	w.create("ns1/sec/web")
	if got := w.mustIssue("ns1/sec/web").Certificate; got.Subject.CommonName != "web" || got.VerifyHostname("web") != nil {
		t.Errorf("ns1/sec/web is %q, %v", got.Subject, got.DNSNames)
	}
}

package ca_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/internal/store/storetest"
	"omca/pki"
	"omca/usr"
)

func TestSignRecordsWhatItReturns(t *testing.T) {
	w := bootstrapped(t)
	w.log.Reset()
	issued, err := w.Sign(t.Context(), caller(t, "root", "root"), ca.SignRequest{
		CSR: csr(t, "web.example.com"), Profile: "listener", Validity: 24 * time.Hour, Owner: "ns1/sec/web",
	})
	if err != nil {
		t.Fatal(err)
	}
	serial := pki.SerialOf(issued.Certificate)
	r, err := w.Record(t.Context(), serial)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Certificate.Equal(issued.Certificate) || r.Owner != "ns1/sec/web" || r.Profile != "listener" || r.By != "root" || r.Issuer != ca.PathCA {
		t.Errorf("recorded %+v", r)
	}
	if err := pki.VerifyChain(issued.Chain, w.now); err != nil || len(issued.Chain) != 2 {
		t.Errorf("chain of %d: %v", len(issued.Chain), err)
	}
	if got := issued.Certificate.URIs; len(got) != 1 || got[0].String() != "spiffe://testers/listener/web.example.com" {
		t.Errorf("URIs %v", got)
	}
	if end := w.now.Add(24 * time.Hour); issued.Certificate.NotAfter.After(end) {
		t.Errorf("not after %v, asked for %v", issued.Certificate.NotAfter, end)
	}
	if lines := strings.Count(w.log.String(), "\n"); lines != 1 || !strings.Contains(w.log.String(), "serial="+string(serial)) {
		t.Errorf("audit: want one line with the serial, got %q", w.log)
	}
}

// Who may have what signed: who × profile × names.
func TestSignGrants(t *testing.T) {
	w := bootstrapped(t)
	w.create("system/usr/alice", "names=*.web.example.com 192.0.2.0/24")
	w.create("system/usr/bob", "grant=admin:ns1")
	w.create("system/usr/al.ice")
	tests := []struct {
		name   string
		who    usr.Caller
		r      ca.SignRequest
		denied bool
	}{
		{"root, any name", caller(t, "root", "root"), ca.SignRequest{CSR: csr(t, "x.example.org"), Profile: "listener"}, false},
		{"root, a node", caller(t, "root", "root"), ca.SignRequest{CSR: csr(t, "node7"), Profile: "node"}, false},
		{"root, a user", caller(t, "root", "root"), ca.SignRequest{CSR: csr(t, "alice"), Profile: "usr", Owner: "system/usr/alice"}, false},
		{"own user certificate", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "alice"), Profile: "usr"}, false},
		{"own user certificate of a name with a dot", caller(t, "al.ice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "al.ice"), Profile: "usr"}, false},
		{"a name that is granted", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "a.web.example.com"), Profile: "listener"}, false},
		{"an address that is granted", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "a.web.example.com", "192.0.2.7"), Profile: "listener"}, false},
		{"a name that is not", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "a.db.example.com"), Profile: "listener"}, true},
		{"one name that is not among those that are", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "a.web.example.com", "root.example.com"), Profile: "listener"}, true},
		{"an address that is not", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "a.web.example.com", "198.51.100.1"), Profile: "listener"}, true},
		{"another user", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "root"), Profile: "usr"}, true},
		{"own user certificate with a name on top", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "alice", "db.example.com"), Profile: "usr"}, true},
		{"a node", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "a.web.example.com"), Profile: "node"}, true},
		{"for another owner", caller(t, "alice", "guest:ns1"), ca.SignRequest{CSR: csr(t, "a.web.example.com"), Profile: "listener", Owner: "system/usr/bob"}, true},
		{"nothing granted, admin of a namespace", caller(t, "bob", "admin:ns1"), ca.SignRequest{CSR: csr(t, "a.ns1.example.com"), Profile: "listener"}, true},
		{"no user object", caller(t, "ghost", "admin:ns1"), ca.SignRequest{CSR: csr(t, "a.example.com"), Profile: "listener"}, true},
		{"nobody", usr.Caller{}, ca.SignRequest{CSR: csr(t, "a.example.com"), Profile: "listener", Owner: "system/usr/"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.records(ca.Query{}))
			issued, err := w.Sign(t.Context(), tt.who, tt.r)
			if tt.denied {
				if !errors.Is(err, usr.ErrDenied) || issued.Certificate != nil {
					t.Errorf("got %v, %v; want a denial and no certificate", issued.Certificate, err)
				}
				if after := len(w.records(ca.Query{})); after != before {
					t.Errorf("a denied request left a record: %d, then %d", before, after)
				}
				return
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCommonNameOfAServerIsAnAlternativeName(t *testing.T) {
	w := bootstrapped(t)
	for cn, want := range map[string]string{"node7": "DNS:node7", "Payment service": ""} {
		path := fmt.Sprintf("ns1/sec/n%d", len(cn))
		w.create(path, "cn="+cn, "alt_names=192.0.2.1")
		issued := w.mustIssue(path)
		if got := strings.Join(issued.Certificate.DNSNames, " "); "DNS:"+got != want && got != want {
			t.Errorf("cn %q: DNS names %q, want %q", cn, got, want)
		}
	}
	signed, err := w.Sign(t.Context(), caller(t, "root", "root"), ca.SignRequest{CSR: csr(t, "node8"), Profile: "listener"})
	if err != nil || len(signed.Certificate.DNSNames) != 1 || signed.Certificate.DNSNames[0] != "node8" {
		t.Errorf("by request: %+v, %v", signed.Certificate, err)
	}
}

// Certificates say where their revocation is published, when anybody gets there.
func TestPointers(t *testing.T) {
	w := bootstrapped(t)
	for _, tt := range []struct{ keywords, want string }{
		{"", ""},
		{"listener.http_addr=:8080", ""},
		{"listener.http_addr=0.0.0.0:8080 cluster.vip=192.0.2.9", "http://192.0.2.9:8080"},
		{"listener.http_addr=pki.mycorp:8080 cluster.vip=192.0.2.9", "http://pki.mycorp:8080"},
		{"listener.http_addr=[2001:db8::1]:80", "http://[2001:db8::1]:80"},
	} {
		list := "/crl/" + ca.LastingName(ca.PathCA, w.mustIssue(ca.PathListener).Chain[1]) + ".crl"
		w.set("cluster", append(strings.Fields(tt.keywords), "listener.port=1215")...)
		cert := w.mustIssue(ca.PathListener).Certificate
		crl, ocsp := strings.Join(cert.CRLDistributionPoints, " "), strings.Join(cert.OCSPServer, " ")
		if tt.want == "" && crl+ocsp != "" || tt.want != "" && (crl != tt.want+list || ocsp != tt.want+"/ocsp") {
			t.Errorf("%q: lists at %q, OCSP at %q, want %q", tt.keywords, crl, ocsp, tt.want)
		}
	}
	if root := w.mustIssue(ca.PathCA).Certificate; len(root.CRLDistributionPoints)+len(root.OCSPServer) != 0 {
		t.Errorf("a root points at %v and %v", root.CRLDistributionPoints, root.OCSPServer)
	}
}

func TestSignRefuses(t *testing.T) {
	w := bootstrapped(t)
	good := csr(t, "a.example.com")
	tests := []struct {
		name string
		r    ca.SignRequest
		want string
	}{
		{"no request", ca.SignRequest{Profile: "listener"}, "certificate request"},
		{"not PEM", ca.SignRequest{CSR: []byte("hello"), Profile: "listener"}, "certificate request"},
		{"another PEM", ca.SignRequest{CSR: w.value(ca.PathCA, "certificate"), Profile: "listener"}, "certificate request"},
		{"unknown profile", ca.SignRequest{CSR: good, Profile: "server"}, `"server"`},
		{"profile of a CA", ca.SignRequest{CSR: good, Profile: "ca"}, `"ca"`},
		{"no common name", ca.SignRequest{CSR: csr(t, "", "a.example.com"), Profile: "listener"}, "common name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.Sign(t.Context(), caller(t, "root", "root"), tt.r)
			if !errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an ErrInvalid with %q", err, tt.want)
			}
		})
	}
	if n := len(w.records(ca.Query{})); n != 2 {
		t.Errorf("%d records, want the CA's and the listener's alone", n)
	}
}

// The policy of the CA binds root too, whichever way the names come.
func TestPolicyOfTheCA(t *testing.T) {
	w := bootstrapped(t)
	w.set(ca.PathCA, "allow_names=*.example.com node1 localhost 127.0.0.1 ::1", "deny_names=secret.example.com")
	w.create("ns1/sec/web", "cn=www.example.org")
	root := caller(t, "root", "root")
	for _, name := range []string{"www.example.org", "secret.example.com", "example.com"} {
		if _, err := w.Sign(t.Context(), root, ca.SignRequest{CSR: csr(t, name), Profile: "listener"}); !errors.Is(err, usr.ErrDenied) {
			t.Errorf("%s by CSR: got %v, want a denial", name, err)
		}
	}
	if _, err := w.Create(t.Context(), root, "ns1/sec/web", ca.CreateOptions{}); !errors.Is(err, usr.ErrDenied) {
		t.Errorf("www.example.org by keyword: got %v, want a denial", err)
	}
	if _, err := w.Sign(t.Context(), root, ca.SignRequest{CSR: csr(t, "www.example.com"), Profile: "listener"}); err != nil {
		t.Errorf("www.example.com: %v", err)
	}
}

func TestSerialsAreUniqueUnderLoad(t *testing.T) {
	w := bootstrapped(t)
	const workers, each = 8, 10
	var mu sync.Mutex
	seen := make(map[pki.Serial]bool)
	var wait sync.WaitGroup
	for range workers {
		request := csr(t, "a.example.com")
		wait.Go(func() {
			for range each {
				issued, err := w.Sign(t.Context(), caller(t, "root", "root"), ca.SignRequest{CSR: request})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[pki.SerialOf(issued.Certificate)] = true
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(seen) != workers*each {
		t.Errorf("%d serials for %d certificates", len(seen), workers*each)
	}
	if n := len(w.records(ca.Query{})); n != workers*each+2 {
		t.Errorf("%d records, want %d", n, workers*each+2)
	}
}

// A process that ends between any two steps leaves no certificate that the
// inventory lacks, no serial that is used twice, and objects that are whole.
func TestCrashBetweenSteps(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.DieBefore, storetest.DieAfter, storetest.FailBefore, storetest.FailAfter} {
		for n := 1; ; n++ {
			met := crashAt(t, n, fault)
			if !met {
				if n < 5 {
					t.Fatalf("fault %d: only %d commits in the whole run", fault, n-1)
				}
				break
			}
		}
	}
}

// crashAt runs a bootstrap and two issuances with a fault at the n-th commit,
// then looks at what a restart finds. It reports whether the fault was met.
func crashAt(t testing.TB, n int, fault storetest.Fault) (met bool) {
	t.Helper()
	inner, home := mem.New(), t.TempDir()
	failing := storetest.Failing(inner, n, fault)
	returned := issueUntilItFails(t, failing, home)
	w, err := openWorld(t, inner, home)
	if err != nil {
		t.Fatal(err)
	}
	for _, serial := range returned {
		if _, err := w.Record(t.Context(), serial); err != nil {
			t.Errorf("fault %d at commit %d: certificate %s was returned and is not recorded: %v", fault, n, serial, err)
		}
	}
	for _, path := range []string{ca.PathCA, ca.PathListener} {
		held, err := w.Held(t.Context(), path)
		if errors.Is(err, ca.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatalf("fault %d at commit %d: %s: %v", fault, n, path, err)
		}
		if held.State == ca.StateNone {
			continue
		}
		if held.SignedBy == "" {
			t.Errorf("fault %d at commit %d: %s holds a certificate that is not in the inventory", fault, n, path)
		}
		if _, key, err := w.Serving(t.Context(), path); err != nil || !pki.SameKey(key.Public(), held.Chain[0].PublicKey) {
			t.Errorf("fault %d at commit %d: %s holds half a set: %v", fault, n, path, err)
		}
	}
	return failing.Met()
}

// issueUntilItFails does what a first start does, and returns the serials of
// the certificates that it was given before the store failed it.
func issueUntilItFails(t testing.TB, db store.Store, home string) (returned []pki.Serial) {
	t.Helper()
	w, err := openWorld(t, db, home)
	if err != nil {
		return nil
	}
	root := caller(t, "root", "root")
	for _, o := range [][]string{{"cluster", "cluster.name=testers"}, {ca.PathCA}, {ca.PathListener, "cn=node1", "alt_names=node1"}} {
		if err := w.tryCreate(o[0], o[1:]...); err != nil {
			return returned
		}
		if o[0] == "cluster" {
			continue
		}
		issued, err := w.Create(t.Context(), root, o[0], ca.CreateOptions{})
		if err != nil {
			return returned
		}
		returned = append(returned, pki.SerialOf(issued.Certificate))
	}
	return returned
}

package omca_test

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"omca"
	"omca/ca"
	"omca/pki"
)

// TestFormerCA: a CA that was replaced is believed no more, and its list is served.
// While cluster.ca trusts it, what is revoked of it is refused in the handshake.
func TestFormerCA(t *testing.T) {
	r := runServer(t, omca.Config{})
	alice, bob := r.client(t, "alice", "guest:ns1"), r.client(t, "bob", "guest:ns1")
	chain := local(t, r.Server, "GET", "/api/object/path/system/sec/ca/data/key?name=certificate_chain", nil)
	former, err := pki.ParseCertificates(chain)
	if err != nil {
		t.Fatal(err)
	}
	if got := asks(alice, r.address); got != http.StatusOK {
		t.Fatalf("before: %d", got)
	}
	local(t, r.Server, "POST", "/api/object/path/system/sec/ca/certificate/renew", map[string]any{"rekey": true})
	alice.CloseIdleConnections()
	if got := asks(alice, r.address); got == http.StatusOK {
		t.Fatal("the former CA is believed")
	}
	alice.CloseIdleConnections()
	name := ca.LastingName(ca.PathCA, former[0])
	entries := func() int { return listed(t, r, "/crl/"+name+".crl", former[0]) }
	until(t, "the former CA has a list", func() bool { return entries() == 0 })

	local(t, r.Server, "POST", "/api/object/path/system/sec/ca-old", map[string]any{})
	local(t, r.Server, "PATCH", "/api/object/path/system/sec/ca-old/data", []map[string]string{{"action": "add", "name": "certificate_chain", "string": string(chain)}})
	local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.ca%3Dsystem/sec/ca-old", nil)
	for _, c := range []*http.Client{alice, bob} {
		c.CloseIdleConnections()
		// What it signed is on record, so it speaks for whom it did.
		if got := asks(c, r.address); got != http.StatusOK {
			t.Fatalf("the former CA in cluster.ca: %d", got)
		}
	}
	local(t, r.Server, "POST", "/api/certificate/"+string(serialOf(t, alice))+"/revoke", map[string]string{"reason": "keyCompromise"})
	alice.CloseIdleConnections()
	if got := asks(alice, r.address); got != 0 {
		t.Error("a revoked certificate of the former CA got in")
	}
	until(t, "the list of the former CA has the revocation", func() bool { return entries() == 1 })
	alice.CloseIdleConnections()
	if got := asks(alice, r.address); got != 0 {
		t.Error("a revoked certificate of the former CA got in once it was on the list")
	}
	if got := asks(bob, r.address); got != http.StatusOK {
		t.Errorf("bob, who is not revoked: %d", got)
	}
	var lists struct {
		Items []struct {
			CA         string
			URL        string
			LastingURL string `json:"lasting_url"`
			Former     int
		}
	}
	if err := json.Unmarshal(local(t, r.Server, "GET", "/api/crl", nil), &lists); err != nil {
		t.Fatal(err)
	}
	if len(lists.Items) != 2 || lists.Items[0].URL != "/crl/ca.crl" || lists.Items[0].Former != 0 || lists.Items[0].LastingURL == "/crl/"+name+".crl" ||
		lists.Items[1].URL != "/crl/"+name+".crl" || lists.Items[1].Former != 1 || lists.Items[1].CA != ca.PathCA {
		t.Errorf("lists: %+v", lists)
	}
}

// listed is how many entries a list of that CA has, -1 while it is not served.
func listed(t *testing.T, r *running, path string, issuer *x509.Certificate) int {
	t.Helper()
	status, der := try(t, r.Server, "GET", path, nil)
	if status != http.StatusOK {
		return -1
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || list.CheckSignatureFrom(issuer) != nil {
		t.Fatalf("%s: no list of %s: %v", path, issuer.Subject, err)
	}
	return len(list.RevokedCertificateEntries)
}

// until waits for what happens a moment later.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

package ca_test

import (
	"errors"
	"testing"

	"omca/ca"
	"omca/pki"
	"omca/usr"
)

// members is a world with the CA of the members.
func members(t *testing.T) *world {
	t.Helper()
	w := bootstrapped(t)
	w.create(ca.PathPeers, "profile=ca", "cn=testers peers")
	w.mustIssue(ca.PathPeers)
	return w
}

// Whatever the CA of the members signs may speak raft: it signs nothing else.
func TestPeerCASignsMembersOnly(t *testing.T) {
	w := members(t)
	for path, keywords := range map[string][]string{
		"system/sec/web":      {"cn=web.example", "ca=" + ca.PathPeers},
		"system/sec/node-web": {"cn=web.example", "profile=listener", "ca=" + ca.PathPeers},
		"system/sec/web2":     {"cn=web2", "profile=node", "ca=" + ca.PathPeers},
		"ns1/sec/node-n1":     {"cn=n1", "profile=node", "ca=" + ca.PathPeers},
		"system/sec/ca-below": {"ca=" + ca.PathPeers},
		"system/sec/node-ca":  {"profile=ca", "ca=" + ca.PathPeers},
		"system/usr/mallory":  {"ca=" + ca.PathPeers},
	} {
		w.create(path, keywords...)
		if _, err := w.Create(t.Context(), caller(t, "root", "root"), path, ca.CreateOptions{}); !errors.Is(err, usr.ErrDenied) {
			t.Errorf("%s %q: %v, expected to be denied", path, keywords, err)
		}
	}
	w.create(ca.PathNode+"n1", "profile=node", "cn=n1", "alt_names=192.0.2.1", "ca="+ca.PathPeers)
	somebody := caller(t, "alice", "admin:system")
	if _, err := w.Create(t.Context(), somebody, ca.PathNode+"n1", ca.CreateOptions{}); !errors.Is(err, usr.ErrDenied) {
		t.Errorf("by who is not root: %v", err)
	}
	issued := w.mustIssue(ca.PathNode + "n1")
	if id := issued.Certificate.URIs[0].String(); id != "spiffe://testers/node/n1" || issued.Certificate.Issuer.CommonName != "testers peers" {
		t.Errorf("a member's certificate is for %s, by %s", id, issued.Certificate.Issuer)
	}
	// The internal CA signs nobody for the peers.
	for _, trusted := range must(w.Trust(t.Context()))(t) {
		if trusted.Equal(issued.Chain[1]) {
			t.Error("the CA of the members is trusted at the listener")
		}
	}
}

// A machine that joins keeps its key until it is a member.
func TestSignNode(t *testing.T) {
	w := members(t)
	path := ca.PathNode + "n2"
	w.create(path, "profile=node", "cn=n2", "alt_names=192.0.2.2", "ca="+ca.PathPeers)
	key := must(pki.GenerateKey(""))(t)
	csr := must(pki.CreateSigningRequest(key, pki.Subject{CommonName: "n1"}, must(pki.ParseNames([]string{"evil.example"}))(t)))(t)
	issued := must(w.SignNode(t.Context(), caller(t, "root", "root"), path, csr))(t)
	if id := issued.Certificate.URIs[0].String(); id != "spiffe://testers/node/n2" || issued.Certificate.VerifyHostname("evil.example") == nil {
		t.Errorf("the request's names count: %s, %q", id, issued.Certificate.DNSNames)
	}
	if h := must(w.objects.Holder(t.Context(), path))(t); h.PrivateKey != nil || len(h.Chain) == 0 {
		t.Error("the object should hold the certificate without a key")
	}
	other := must(pki.EncodePrivateKey(must(pki.GenerateKey(""))(t)))(t)
	if err := w.BringKey(t.Context(), path, other); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("another key is taken: %v", err)
	}
	own := must(pki.EncodePrivateKey(key))(t)
	for range 2 {
		if err := w.BringKey(t.Context(), path, own); err != nil {
			t.Fatal(err)
		}
	}
	if h := must(w.objects.Holder(t.Context(), path))(t); string(h.PrivateKey) != string(own) {
		t.Error("the key is not there")
	}
	w.now = w.now.Add(300 * 24 * 3600e9)
	if _, err := w.RenewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := must(w.objects.Holder(t.Context(), path))(t); string(again.Chain) == string(pki.EncodeCertificates(issued.Chain...)) {
		t.Error("it does not renew itself")
	}
	if _, err := w.SignNode(t.Context(), caller(t, "root", "root"), ca.PathListener, csr); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("for the listener: %v", err)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

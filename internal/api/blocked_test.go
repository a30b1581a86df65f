package api

import (
	"crypto"
	"net/http"
	"strings"
	"testing"

	"omca/ca"
	"omca/internal/wire"
	"omca/pki"
)

const neverAgain = "never certified again"

// privateKey is the private key that an object has, PEM and parsed.
func (w *world) privateKey(path string) (string, crypto.Signer) {
	w.t.Helper()
	text := w.do(request{target: at + path + "/data/key?name=" + ca.KeyPrivate, by: "root"}).want(http.StatusOK).body
	return string(text), must(pki.ParsePrivateKey(text, nil))(w.t)
}

// TestBlockedDoors: with a key that was revoked as compromised every door is shut, or makes another key and says so.
func TestBlockedDoors(t *testing.T) {
	w := newWorld(t)
	const guest = at + "system/usr/guest1"
	text, lost := w.privateKey("system/usr/guest1")
	chain := string(w.do(request{target: guest + "/data/key?name=" + ca.KeyChain, by: "root"}).want(http.StatusOK).body)
	w.do(request{method: http.MethodPost, target: guest + "/certificate/revoke", by: "root", body: `{"reason":"keyCompromise"}`}).want(http.StatusOK)

	over := func(cn string) string {
		return string(must(pki.CreateSigningRequest(lost, pki.Subject{CommonName: cn}, pki.Names{}))(t))
	}
	states := w.states("system/usr/guest1")
	for _, tt := range []struct{ by, target, body string }{
		{"root", "/api/certificate", asJSON(t, wire.SignRequest{CSR: over("web.clu.mycorp"), Profile: "listener"})},
		{"guest1", "/api/certificate", asJSON(t, wire.SignRequest{CSR: over("guest1"), Profile: "usr"})},
		{"signer", "/api/certificate", asJSON(t, wire.SignRequest{CSR: over("web.clu.mycorp"), Profile: "listener"})},
		{"root", "/api/certificate/preview", asJSON(t, wire.SignRequest{CSR: over("web.clu.mycorp"), Profile: "listener"})},
	} {
		w.do(request{method: http.MethodPost, target: tt.target, by: tt.by, body: tt.body}).refused(http.StatusConflict, neverAgain, "new request over a new key")
	}
	w.do(request{method: http.MethodPost, target: guest + "/certificate/signing-request", by: "root"}).refused(http.StatusConflict, neverAgain)
	w.do(request{target: guest + "/data/key?name=" + ca.KeyRequest, by: "root"}).refused(http.StatusConflict, neverAgain)
	// What is brought waits for its other parts, and is refused with the last of them.
	send := func(path, name, value string) result {
		return w.do(request{method: http.MethodPut, target: path + "/data/key?name=" + name, by: "root", body: value, media: "application/octet-stream"})
	}
	send(guest, ca.KeyPrivate, text).refused(http.StatusConflict, neverAgain)
	send(guest, ca.KeyChain, chain).refused(http.StatusConflict, neverAgain)
	if got := w.states("system/usr/guest1"); got != states {
		t.Errorf("%s after the refusals, and %s before", got, states)
	}

	p := into[wire.Preview](w.do(request{method: http.MethodPost, target: guest + "/certificate/preview", by: "root", body: `{}`}).want(http.StatusOK))
	if !p.NewKey {
		t.Errorf("preview: %+v", p)
	}
	res := w.do(request{method: http.MethodPost, target: guest + "/certificate/renew", by: "root", body: `{}`}).want(http.StatusOK)
	if notice := res.header.Get("Omca-Notice"); !strings.Contains(notice, neverAgain) || !strings.Contains(notice, "new key") {
		t.Errorf("notice %q", notice)
	}
	if _, next := w.privateKey("system/usr/guest1"); pki.SameKey(lost.Public(), next.Public()) {
		t.Error("the key is the one that was lost")
	}
	again := w.do(request{method: http.MethodPost, target: guest + "/certificate", by: "root", body: `{}`}).want(http.StatusOK)
	if notice := again.header.Get("Omca-Notice"); notice != "" {
		t.Errorf("once more: notice %q", notice)
	}
}

// TestBlockedAdoption: a Flocker cluster whose CA has such a key is not taken over, and nothing of it is.
func TestBlockedAdoption(t *testing.T) {
	w := newWorld(t)
	body := adoption(t, w.now, "alice")
	lost := must(pki.ParsePrivateKey([]byte(body.PrivateKey), nil))(t)
	csr := string(must(pki.CreateSigningRequest(lost, pki.Subject{CommonName: "web.clu.mycorp"}, pki.Names{}))(t))
	signed := into[wire.Signed](w.sign("root", asJSON(t, wire.SignRequest{CSR: csr, Profile: "listener"})).want(http.StatusCreated))
	w.do(request{method: http.MethodPost, target: "/api/certificate/" + signed.Serial + "/revoke", by: "root", body: `{"reason":"keyCompromise"}`}).want(http.StatusOK)
	before := w.held("system/sec/ca")
	w.do(request{method: http.MethodPost, target: at + "system/sec/ca/import", by: "root", body: asJSON(t, body)}).refused(http.StatusConflict, neverAgain)
	if got := w.held("system/sec/ca"); got != before {
		t.Errorf("the CA is %s, and was %s", got, before)
	}
	w.do(request{target: at + "system/usr/alice", by: "root"}).want(http.StatusNotFound)
}

// TestBlockedWithOthers: with a key all certificates over it go, of any owner, and the answer names them.
func TestBlockedWithOthers(t *testing.T) {
	w := newWorld(t)
	_, lost := w.privateKey("system/usr/guest1")
	csr := string(must(pki.CreateSigningRequest(lost, pki.Subject{CommonName: "web.clu.mycorp"}, pki.Names{}))(t))
	signed := into[wire.Signed](w.sign("root", asJSON(t, wire.SignRequest{CSR: csr, Profile: "listener", Owner: "ns1/sec/web"})).want(http.StatusCreated))
	revoke := request{method: http.MethodPost, target: "/api/certificate/" + signed.Serial + "/revoke", by: "root", body: `{"reason":"superseded"}`}
	if notice := w.do(revoke).want(http.StatusOK).header.Get("Omca-Notice"); notice != "" || w.states("system/usr/guest1") != "valid" {
		t.Errorf("superseded: %q, and the other is %s", notice, w.states("system/usr/guest1"))
	}
	revoke.body = `{"reason":"keyCompromise"}`
	notice := w.do(revoke).want(http.StatusOK).header.Get("Omca-Notice")
	if !strings.Contains(notice, "over the same key: 1 (") || !strings.Contains(notice, "of system/usr/guest1") {
		t.Errorf("notice %q", notice)
	}
	if got := w.states("system/usr/guest1"); got != "revoked keyCompromise" {
		t.Errorf("the other certificate over the key is %s", got)
	}
}

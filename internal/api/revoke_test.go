package api

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/internal/wire"
	"omca/pki"
)

// held is the serial number of the certificate that an object holds.
func (w *world) held(path string) string {
	w.t.Helper()
	return into[wire.CertificateState](w.do(request{target: at + path + "/certificate", by: "root"}).want(http.StatusOK)).Serial
}

// states is the state of each certificate of an owner, soonest expiry first.
func (w *world) states(owner string) string {
	w.t.Helper()
	var states []string
	for _, r := range into[wire.CertificateList](w.do(request{target: "/api/certificate?owner=" + owner, by: "root"}).want(http.StatusOK)).Items {
		states = append(states, strings.TrimSpace(r.State+" "+r.Reason))
	}
	return strings.Join(states, ", ")
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	const held = at + "system/usr/guest1/certificate"
	serial := w.held("system/usr/guest1")
	revoke := request{method: http.MethodPost, target: held + "/revoke", by: "root", body: `{"reason":"key-compromise"}`}
	want := wire.Revoked{Serial: serial, Reason: "keyCompromise", RevokedAt: w.now}
	if diff := cmp.Diff(want, into[wire.Revoked](w.do(revoke).want(http.StatusOK))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if log := w.log.take(); strings.Count(log, "\n") != 1 || !strings.Contains(log, `"msg":"revoked"`) || !strings.Contains(log, serial) {
		t.Errorf("audit trail: %s", log)
	}

	// Again, later, by its number and for another reason: it stays what it is.
	w.now = w.now.Add(time.Hour)
	again := w.do(request{method: http.MethodPost, target: "/api/certificate/" + strings.ToUpper(serial) + "/revoke", by: "root", body: `{"reason":"superseded"}`}).want(http.StatusOK)
	if diff := cmp.Diff(want, into[wire.Revoked](again)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if notice := again.header.Get("Omca-Notice"); !strings.Contains(notice, "keyCompromise, and that stays") {
		t.Errorf("notice %q", notice)
	}
	if log := w.log.take(); log != "" {
		t.Errorf("nothing changed, and the audit trail says %s", log)
	}

	state := into[wire.CertificateState](w.do(request{target: held, by: "root"}).want(http.StatusOK))
	if state.State != "revoked" || state.Reason != "keyCompromise" || state.RevokedAt == nil || !state.RevokedAt.Equal(want.RevokedAt) {
		t.Errorf("%+v", state)
	}
	record := into[wire.FullRecord](w.do(request{target: "/api/certificate/" + serial, by: "root"}).want(http.StatusOK))
	if record.State != "revoked" || record.Reason != "keyCompromise" || record.RevokedAt == nil || !record.RevokedAt.Equal(want.RevokedAt) {
		t.Errorf("%+v", record)
	}
	for query, n := range map[string]int{"?revoked=true": 1, "?revoked=false": 2, "?revoked=": 3, "?revoked=true&profile=listener": 0} {
		if got := into[wire.CertificateList](w.do(request{target: "/api/certificate" + query, by: "root"}).want(http.StatusOK)).Items; len(got) != n {
			t.Errorf("%s: %d certificates, want %d", query, len(got), n)
		}
	}
	w.do(request{target: "/api/certificate?revoked=perhaps", by: "root"}).refused(http.StatusBadRequest, "perhaps")
}

func TestRevokeRefuses(t *testing.T) {
	w := newWorld(t)
	user, root := "/api/certificate/"+w.held("system/usr/guest1")+"/revoke", "/api/certificate/"+w.held("system/sec/ca")+"/revoke"
	for _, tt := range []struct {
		by, target, body string
		status           int
		word             string
	}{
		{"root", user, `{"reason":"keyCompromised"}`, 400, `did you mean "keyCompromise"?`},
		{"root", user, `{"reason":"` + strings.Repeat("x", 100) + `"}`, 400, "100 characters"},
		{"root", user, `{"reason":"certificateHold"}`, 400, "disabled"},
		{"root", user, `{"reason":"removeFromCRL"}`, 400, "for good"},
		{"root", user, `{"why":"x"}`, 400, "why"},
		{"root", root, ``, 400, "root certificate"},
		{"root", at + "system/sec/ca/certificate/revoke", ``, 400, "root certificate"},
		{"root", at + "system/sec/ca/certificate/renew", `{"revoke":true}`, 400, "root certificate"},
		{"root", "/api/certificate/abc123/revoke", ``, 404, "abc123"},
		{"root", "/api/certificate/xyz/revoke", ``, 400, "serial"},
		{"root", at + "ns1/sec/web/certificate/revoke", ``, 409, "no certificate to revoke"},
		{"root", at + "ns1/sec/absent/certificate/revoke", ``, 404, "absent"},
		{"root", at + "ns1/cfg/plain/certificate/revoke", ``, 400, "plain"},
		{"guest", user, ``, 404, "no certificate"},
		{"none", user, ``, 404, "no certificate"},
		{"adminsys", user, ``, 403, "every grant"}, // who may see it
	} {
		w.do(request{method: http.MethodPost, target: tt.target, by: tt.by, body: tt.body}).refused(tt.status, tt.word)
	}
	if got := w.states("system/usr/guest1"); got != "valid" {
		t.Errorf("a refused revocation left %s", got)
	}
}

// TestRevokeOwn: users take back their own certificates, and no others.
func TestRevokeOwn(t *testing.T) {
	w := newWorld(t)
	w.issue("system/usr/signer")
	w.do(request{method: http.MethodPost, target: "/api/certificate/" + w.held("system/usr/guest1") + "/revoke", by: "guest1"}).want(http.StatusOK)
	w.do(request{method: http.MethodPost, target: at + "system/usr/signer/certificate/revoke", by: "signer"}).want(http.StatusOK)
	w.do(request{method: http.MethodPost, target: at + "system/usr/signer/certificate/revoke", by: "guest1"}).refused(http.StatusForbidden)
}

// TestRevokeReplaced: what a new certificate replaces is revoked when that is
// asked for, and not otherwise.
func TestRevokeReplaced(t *testing.T) {
	w := newWorld(t)
	const web = at + "ns1/sec/web"
	for _, step := range []struct{ target, body, states string }{
		{web + "/certificate", `{"revoke":true}`, "valid"},
		{web + "/certificate", `{}`, "valid, valid"},
		{web + "/certificate/renew", `{"revoke":true}`, "valid, revoked superseded, valid"},
		{web + "/certificate", `{"revoke":true}`, "valid, revoked superseded, revoked superseded, valid"},
		{web, `{"force":true}`, "valid, revoked superseded, revoked superseded, valid"},
		{web, `{"force":true,"revoke":true}`, "revoked superseded, revoked superseded, revoked superseded, revoked superseded"},
	} {
		w.now = w.now.Add(time.Hour)
		res := w.do(request{method: http.MethodPost, target: step.target, by: "root", body: step.body})
		if res.status != http.StatusOK && res.status != http.StatusCreated {
			t.Fatalf("%s: %d %s", res.what, res.status, res.body)
		}
		if got := w.states("ns1/sec/web"); got != step.states {
			t.Errorf("after %s %s: %s, want %s", step.target, step.body, got, step.states)
		}
	}
	w.do(request{method: http.MethodPost, target: web, by: "root", body: `{"revoke":true}`}).refused(http.StatusBadRequest, "force")

	// A user made anew has the new certificate, and only that.
	w.do(request{method: http.MethodPost, target: at + "system/usr/guest1", by: "root", body: `{"force":true,"revoke":true}`}).want(http.StatusCreated)
	if got := w.states("system/usr/guest1"); got != "revoked superseded, valid" && got != "valid, revoked superseded" {
		t.Error(got)
	}
	if state := into[wire.CertificateState](w.do(request{target: at + "system/usr/guest1/certificate", by: "root"})); state.State != "valid" {
		t.Errorf("%+v", state)
	}
}

// TestRevokeUnderneath: nobody loses the certificate that they call with before they have the new one.
func TestRevokeUnderneath(t *testing.T) {
	w := newWorld(t)
	w.issue("system/usr/boss")
	text := into[wire.CertificateState](w.do(request{target: at + "system/usr/boss/certificate", by: "root"})).Certificate
	own := must(pki.ParseCertificates([]byte(text)))(t)
	for _, tt := range []struct {
		path, body string
		status     int
	}{
		{"system/usr/boss", `{"revoke":true}`, http.StatusBadRequest},
		{"system/usr/guest1", `{"revoke":true}`, http.StatusOK},
		{"system/usr/boss", `{}`, http.StatusOK},
	} {
		req := httptest.NewRequest(http.MethodPost, at+tt.path+"/certificate/renew", strings.NewReader(tt.body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(callerHeader, "boss")
		req.TLS = &tls.ConnectionState{PeerCertificates: own}
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, req)
		if rec.Code != tt.status {
			t.Errorf("%s %s: %d %s, want %d", tt.path, tt.body, rec.Code, rec.Body, tt.status)
		}
	}
	if got := w.states("system/usr/boss"); got != "valid, valid" {
		t.Error(got)
	}
}

// TestRevokeNothingNew: what could not be replaced is not revoked.
func TestRevokeNothingNew(t *testing.T) {
	w := newWorld(t)
	w.db.fault = errFault
	w.do(request{method: http.MethodPost, target: at + "system/usr/guest1/certificate", by: "root", body: `{"revoke":true}`}).refused(http.StatusInternalServerError)
	w.db.fault = nil
	if got := w.states("system/usr/guest1"); got != "valid" {
		t.Error(got)
	}
}

func TestDeleteRevokes(t *testing.T) {
	for _, tt := range []struct{ path, query, states string }{
		{"system/usr/guest1", "", "revoked cessationOfOperation"},
		{"system/usr/guest1", "?revoke=true", "revoked cessationOfOperation"},
		{"system/usr/guest1", "?revoke=false", "valid"},
		{"ns1/sec/web", "", "valid"},
		{"ns1/sec/web", "?revoke=false", "valid"},
		{"ns1/sec/web", "?revoke=true", "revoked cessationOfOperation"},
	} {
		w := newWorld(t)
		if tt.path == "ns1/sec/web" {
			w.issue(tt.path)
		}
		del := request{method: http.MethodPost, target: at + tt.path + "/action/delete" + tt.query, by: "root"}
		w.do(del).want(http.StatusOK)
		if got := w.states(tt.path); got != tt.states {
			t.Errorf("%s%s: %s, want %s", tt.path, tt.query, got, tt.states)
		}
		w.do(del).refused(http.StatusNotFound)
	}
	w := newWorld(t)
	w.do(request{method: http.MethodPost, target: at + "system/usr/guest1/action/delete?revoke=maybe", by: "root"}).refused(http.StatusBadRequest, "maybe")
	w.do(request{method: http.MethodPost, target: at + "system/sec/cert/action/delete?revoke=true", by: "root"}).refused(http.StatusConflict)
	if got := w.states("system/sec/cert"); got != "valid" {
		t.Errorf("what could not be deleted is %s", got)
	}
}

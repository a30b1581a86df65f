package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"omca/internal/store"
	"omca/internal/wire"
	"omca/usr/token"
)

// TestNoTokenOutrunsRevocation: a token that is on record a moment before its caller's certificate is taken back goes the same way. One
// that would be on record a moment after is refused: its commit expects the certificate unrevoked (TestIdentityIsExpected).
func TestNoTokenOutrunsRevocation(t *testing.T) {
	w := newWorld(t)
	w.sign("guest1", asJSON(t, wire.SignRequest{CSR: csr(t, "guest1"), Profile: "usr"})).want(http.StatusCreated)
	w.db.after = func(tx store.Tx) {
		if puts(tx, "token-id/") {
			w.db.after = nil
			w.do(request{method: http.MethodPost, target: at + "system/usr/guest1/certificate/revoke", by: "root"}).want(http.StatusOK)
		}
	}
	w.do(request{method: http.MethodPost, target: "/api/auth/token", by: "guest1"}).want(http.StatusOK)
	list := into[wire.TokenList](w.do(request{target: "/api/token?subject=guest1", by: "root"}).want(http.StatusOK))
	if w.db.after != nil || len(list.Items) != 1 || list.Items[0].State != stateRevoked {
		t.Errorf("what is left: %+v", list.Items)
	}
}

// puts reports whether tx puts a key with that prefix.
func puts(tx store.Tx, prefix string) bool {
	return slices.ContainsFunc(tx.Puts, func(p store.Put) bool { return strings.HasPrefix(p.Key, prefix) })
}

// TestNoTokenOutrunsItsRefreshToken: what a refresh token gives while it is taken back is taken back too, whether it is on record before
// the revocation or after.
func TestNoTokenOutrunsItsRefreshToken(t *testing.T) {
	for when, prefix := range map[string]string{"recorded late": "token-id/", "recorded in between": "token-revoked/"} {
		w := newWorld(t)
		compact := w.aToken("guest", token.Refresh).Token
		refresh := func() result {
			return w.do(request{method: http.MethodPost, target: "/api/auth/refresh", header: map[string]string{"Authorization": "Bearer " + compact}})
		}
		revoke := func() {
			w.do(request{method: http.MethodPost, target: "/api/token/revoke?subject=guest", by: "root"}).want(http.StatusOK)
		}
		first, meanwhile := func() { refresh().want(http.StatusUnauthorized) }, revoke
		if prefix == "token-revoked/" {
			first, meanwhile = revoke, func() { refresh().want(http.StatusOK) }
		}
		w.db.before = func(tx store.Tx) {
			if puts(tx, prefix) {
				w.db.before = nil
				meanwhile()
			}
		}
		first()
		list := into[wire.TokenList](w.do(request{target: "/api/token?subject=guest&state=valid", by: "root"}).want(http.StatusOK))
		if len(list.Items) != 0 || w.db.before != nil {
			t.Errorf("%s: left %+v", when, list.Items)
		}
	}
}

// TestNoTokenOutrunsItsSession: what a session gets while the certificate of its user is taken back is taken back too.
func TestNoTokenOutrunsItsSession(t *testing.T) {
	w := newWorld(t)
	w.aSession("guest1")
	var late token.Issued
	w.db.before = func(tx store.Tx) {
		if slices.ContainsFunc(tx.Deletes, func(key string) bool { return strings.HasPrefix(key, "session/") }) {
			w.db.before = nil
			late = w.aToken("guest1", token.Access)
		}
	}
	w.do(request{method: http.MethodPost, target: at + "system/usr/guest1/certificate/revoke", by: "root"}).want(http.StatusOK)
	if late.ID == "" || !w.objects.Revoked(late.ID) {
		t.Errorf("token %q, which the session got while it ended, is not taken back", late.ID)
	}
}

// TestNoCertificateOutrunsDeletion: what a user has signed while the user is
// being deleted is not on record, or is taken back too.
func TestNoCertificateOutrunsDeletion(t *testing.T) {
	w := newWorld(t)
	w.db.before = func(tx store.Tx) {
		if slices.Contains(tx.Deletes, "obj/system/usr/guest1") { // all that was there is revoked by now
			w.db.before = nil
			w.sign("root", asJSON(t, wire.SignRequest{CSR: csr(t, "web.clu.mycorp"), Owner: "system/usr/guest1"})).want(http.StatusCreated)
		}
	}
	w.do(request{method: http.MethodPost, target: at + "system/usr/guest1/action/delete", by: "root"}).want(http.StatusOK)
	const gone = "revoked cessationOfOperation"
	if got := w.states("system/usr/guest1"); w.db.before != nil || got != gone+", "+gone {
		t.Errorf("of the deleted user: %s", got)
	}

	for when, want := range map[string]string{"before it is on record": "valid", "once it is": gone + ", " + gone} {
		w = newWorld(t)
		deletes := func(tx store.Tx) {
			if puts(tx, "serial/") {
				w.db.before, w.db.after = nil, nil
				w.do(request{method: http.MethodPost, target: at + "system/usr/guest1/action/delete", by: "root"}).want(http.StatusOK)
			}
		}
		status := http.StatusNotFound // who calls is made up here: the owner is missed
		if when == "once it is" {
			w.db.after, status = deletes, http.StatusCreated
		} else {
			w.db.before, want = deletes, gone
		}
		w.sign("guest1", asJSON(t, wire.SignRequest{CSR: csr(t, "guest1"), Profile: "usr"})).want(status)
		if got := w.states("system/usr/guest1"); got != want {
			t.Errorf("signed for a user who was deleted %s: %s", when, got)
		}
	}
}

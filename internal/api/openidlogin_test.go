package api

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"omca/internal/wire"
)

// TestOpenIDLogin: the issuer sends the browser to our page and to no other, and
// who comes back has a session.
func TestOpenIDLogin(t *testing.T) {
	w := newWorld(t)
	const redirect = "https://clu:1215/login/openid/callback"
	ask := func(redirect string) result {
		return w.do(request{method: http.MethodPost, target: "/api/auth/openid", body: asJSON(t, wire.OpenIDRequest{RedirectURI: redirect})})
	}
	if q := into[wire.OpenIDQuestion](ask(redirect).want(http.StatusOK)); q.Verifier != redirect {
		t.Errorf("%+v", q)
	}
	for _, bad := range []string{"", "http://clu/login/openid/callback", "https://clu/other", "https:///login/openid/callback", "https://u@clu/login/openid/callback", redirect + "?x=y", redirect + "#x", "https://clu/x/../login/openid/callback", "\x00"} {
		ask(bad).refused(http.StatusBadRequest, "redirect_uri")
	}
	answer := wire.OpenIDAnswer{RedirectURI: redirect, State: "s", Nonce: "n", Verifier: "v", Query: "state=s&code=c"}
	back := request{method: http.MethodPost, target: "/api/auth/openid/login", body: asJSON(t, answer)}
	got := w.do(back).want(http.StatusOK)
	if item := into[wire.SessionItem](got); item.User != "openid:alice" || item.Auth != "jwt-openid" || !strings.Contains(cookieOf(t, got), SessionCookie) {
		t.Errorf("%+v", item)
	} else {
		w.do(request{method: http.MethodPost, target: "/api/session/" + item.ID + "/revoke", by: "guest"}).refused(http.StatusNotFound)
		w.do(request{method: http.MethodPost, target: "/api/session/" + item.ID + "/revoke", by: "root"}).want(http.StatusOK)
	}
	back.header = map[string]string{"Sec-Fetch-Site": "cross-site"}
	w.do(back).refused(http.StatusForbidden)
	back.header = nil
	answer.State = "other"
	back.body = asJSON(t, answer)
	w.do(back).refused(http.StatusUnauthorized)
	w.idp = errors.New("the issuer is away")
	w.log.take()
	failed := ask(redirect)
	failed.refused(http.StatusBadGateway, "the log of the daemon has the reason")
	if strings.Contains(string(failed.body), "away") {
		t.Errorf("the visitor is told why: %s", failed.body)
	}
	if said := w.log.take(); !strings.Contains(said, "the issuer is away") {
		t.Errorf("the log lacks the reason: %s", said)
	}
}

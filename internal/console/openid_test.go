package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"omca/internal/openid/openidtest"
)

// issuer is one that the world takes the word of.
func (w *world) issuer(t *testing.T) *openidtest.Issuer {
	t.Helper()
	i, stop, err := openidtest.Serve("127.0.0.1:0", openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	w.configure(t, "listener.openid_issuer="+i.URL())
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(string(w.api(t, "GET", "/api/auth/info", nil)), `"openid"`) {
		if time.Now().After(deadline) {
			t.Fatal("the issuer is never used")
		}
	}
	return i
}

// configure sets a keyword of the cluster.
func (w *world) configure(t *testing.T, expr string) {
	t.Helper()
	w.api(t, "PATCH", "/api/cluster/config?set="+url.QueryEscape(expr), nil)
}

// atIssuer goes to the issuer, which asks nothing, and returns where it sends the
// browser back to.
func atIssuer(t *testing.T, address string) *url.URL {
	t.Helper()
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got := must(c.Get(address))(t)
	defer got.Body.Close()
	return must(got.Location())(t)
}

func TestOpenID(t *testing.T) {
	w := newWorld(t)
	v := w.visitor(t)
	v.get("/login").want(200).without("OpenID")
	v.get("/login/openid").want(404, "cannot be asked")
	w.issuer(t)
	v.get("/login").want(200, "Sign in with OpenID")
	began := v.get("/login/openid?next=/certificates").want(303)
	set := began.header.Get("Set-Cookie")
	if !strings.Contains(set, "SameSite=Lax") || !strings.Contains(set, "HttpOnly") || !strings.Contains(set, "Secure") {
		t.Errorf("cookie: %s", set)
	}
	back := atIssuer(t, began.header.Get("Location"))
	mine := v.cookie
	// Who has no part in this login, or another one's, gets nowhere.
	v.cookie = ""
	v.get(back.RequestURI()).want(400, "not the answer to a login")
	other := w.visitor(t)
	other.get("/login/openid").want(303)
	other.get(back.RequestURI()).want(400, "not the answer to a login")
	v.cookie = mine
	v.get("/login/openid/callback?state=x&code=y").want(400)

	v.get("/login/openid").want(303) // the cookie was taken away: another login
	began = v.get("/login/openid?next=/certificates").want(303)
	back = atIssuer(t, began.header.Get("Location"))
	mine = v.cookie
	in := v.get(back.RequestURI(), "Sec-Fetch-Site", "cross-site").want(200, `content="0; url=/certificates"`)
	if len(in.header.Values("Set-Cookie")) != 2 {
		t.Fatalf("cookies: %q", in.header.Values("Set-Cookie"))
	}
	v.get("/certificates").want(200, "openid:alice", "Sign out").without("CN=boss")
	v.get("/whoami", "Accept", "*/*").want(200, `"auth":"jwt-openid"`, `"raw_grant":"admin:ns1"`)
	v.get("/users/alice").want(403)
	v.get("/cluster").want(403)

	again := w.visitor(t)
	again.cookie = mine
	again.get(back.RequestURI()).want(401, "came to nothing") // a code is for once

	// Each attempt costs the issuer a request: they are counted.
	w.configure(t, "listener.rate_limiter_rate=1/h")
	w.configure(t, "listener.rate_limiter_burst=1")
	again.cookie = mine
	again.get(back.RequestURI())
	again.cookie = mine
	again.get(back.RequestURI()).want(429, "Too many attempts")

	w.configure(t, "listener.openid_client_id=another")
	v.get("/certificates").want(303) // the issuer let in somebody for another client
}

func TestBrowserOpenID(t *testing.T) {
	w := newWorld(t)
	i := w.issuer(t)
	b := w.browser(t)
	b.expect = []string{i.URL()}
	b.open("/certificates?state=all")
	b.sees("Sign in with OpenID")
	b.shots("login-openid")
	b.follow(`a[href^="/login/openid"]`)
	b.until(`location.pathname === "/certificates" && document.body.innerText.includes("openid:alice")`)
	b.shots("openid")
	b.follow(`form[action="/logout"] button`)
	b.sees("Sign in with OpenID")
}

package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr"
	"omca/usr/session"
)

// thePassword is that of every user of a world.
const thePassword = "correct horse"

func newSessions(t testing.TB, objects *registry.Store, clock func() time.Time) *session.Service {
	t.Helper()
	return must(session.New(session.Config{
		Store: objects, Now: clock,
		MaxAge: func(context.Context) (time.Duration, error) { return 8 * time.Hour, nil },
		Holds:  func(context.Context, session.Login) error { return nil },
	}))(t)
}

// login knows one password; the name "" is that of the certificate of guest.
func (w *world) login(r *http.Request, name string, password []byte) (session.Login, error) {
	method := usr.MethodPassword
	switch {
	case name == "" && r.Header.Get(callerHeader) == "guest":
		name, method = "guest", usr.MethodX509
	case string(password) != thePassword:
		return session.Login{}, fmt.Errorf("%w: the secret reason", usr.ErrUnauthenticated)
	}
	u, err := w.objects.User(r.Context(), name)
	if err != nil {
		return session.Login{}, fmt.Errorf("%w: %w", usr.ErrUnauthenticated, err)
	}
	return session.Login{User: name, Method: method, Address: r.RemoteAddr, UserCreated: u.Created}, nil
}

// aSession begins a session and returns its id.
func (w *world) aSession(user string) string {
	w.t.Helper()
	_, s, err := w.sessions.Begin(w.t.Context(), session.Login{User: user, Method: usr.MethodPassword, Address: "192.0.2.9", UserCreated: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	return s.ID
}

// cookieOf is the cookie that an answer sets, as a browser sends it back.
func cookieOf(t testing.TB, r result) string {
	t.Helper()
	set := r.header.Values("Set-Cookie")
	if len(set) != 1 {
		t.Fatalf("%s: cookies %q", r.what, set)
	}
	pair, attributes, _ := strings.Cut(set[0], "; ")
	if !strings.HasPrefix(pair, "__Host-omca-session=") {
		t.Errorf("%s: cookie %q", r.what, pair)
	}
	for _, want := range []string{"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} {
		if !strings.Contains("; "+attributes+";", "; "+want+";") {
			t.Errorf("%s: cookie without %s: %q", r.what, want, set[0])
		}
	}
	if strings.Contains(attributes, "Domain") {
		t.Errorf("%s: cookie for more than this host: %q", r.what, set[0])
	}
	return pair
}

func TestLogin(t *testing.T) {
	w := newWorld(t)
	const login = "/api/auth/login"
	for name, r := range map[string]request{
		"json":        {body: `{"name":"guest","password":"correct horse"}`},
		"form":        {body: "name=guest&password=correct+horse", media: "application/x-www-form-urlencoded"},
		"form, utf-8": {body: "name=guest&password=correct+horse", media: "application/x-www-form-urlencoded; charset=UTF-8"},
		"certificate": {by: "guest"},
	} {
		r.method, r.target = http.MethodPost, login
		res := w.do(r).want(http.StatusOK)
		item := into[wire.SessionItem](res)
		if item.User != "guest" || len(item.ID) != 64 || !item.Current || !item.EndsAt.Equal(w.now.Add(session.Idle)) {
			t.Errorf("%s: %+v", name, item)
		}
		secret := strings.TrimPrefix(cookieOf(t, res), SessionCookie+"=")
		if found, err := w.sessions.Find(t.Context(), secret); err != nil || found.ID != item.ID {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		if strings.Contains(string(res.body), secret) {
			t.Errorf("%s: the body has what only the cookie may have", name)
		}
	}
	if log := w.log.take(); !strings.Contains(log, `"action":"login"`) || !strings.Contains(log, `"by":"guest","auth":"basic"`) || !strings.Contains(log, `"auth":"x509"`) {
		t.Errorf("the audit trail: %s", log)
	}
	for _, tt := range []struct {
		request
		status int
		word   string
	}{
		{request{}, 401, "not authenticated"},
		{request{by: "admin1"}, 401, "not authenticated"}, // no certificate in this world
		{request{body: `{}`}, 401, "not authenticated"},
		{request{body: `{"name":"guest","password":"wrong"}`}, 401, "not authenticated"},
		{request{body: `{"name":"guest"}`}, 401, "not authenticated"},
		{request{body: `{"name":"absent","password":"correct horse"}`}, 401, "not authenticated"},
		{request{body: `{"password":"correct horse"}`}, 400, "without a name"},
		{request{body: `{"name":"guest","password":"x","scope":"y"}`}, 400, "unknown field"},
		{request{body: `name=guest`, media: mediaForm}, 401, "not authenticated"},
		{request{body: `password=x`, media: mediaForm}, 400, "no name"},
		{request{body: `name=guest&name=boss&password=x`, media: mediaForm}, 400, "each once"},
		{request{body: `name=guest&password=x&next=y`, media: mediaForm}, 400, "each once"},
		{request{body: `name=%zz`, media: mediaForm}, 400, "form"},
		{request{body: `name=guest`, media: "text/plain"}, 415, "application/json"},
		{request{body: `{"name":"` + strings.Repeat("x", limitLogin) + `"}`}, 413, "too large"},
	} {
		tt.method, tt.target = http.MethodPost, login
		res := w.do(tt.request)
		res.refused(tt.status, tt.word)
		if set := res.header.Get("Set-Cookie"); set != "" {
			t.Errorf("%s: refused, with cookie %q", tt.body, set)
		}
	}
	if log := w.log.take(); !strings.Contains(log, "the secret reason") || strings.Contains(log, "correct horse") {
		t.Errorf("the log lacks the reason, or has the password: %s", log)
	}
}

// A session that was in the browser before a login ends with it (fixation).
func TestLoginRotates(t *testing.T) {
	w := newWorld(t)
	login := request{method: http.MethodPost, target: "/api/auth/login", body: `{"name":"guest","password":"correct horse"}`}
	first := cookieOf(t, w.do(login).want(http.StatusOK))
	login.header = map[string]string{"Cookie": first}
	second := cookieOf(t, w.do(login).want(http.StatusOK))
	planted := SessionCookie + "=" + strings.Repeat("A", 43)
	login.header = map[string]string{"Cookie": planted}
	third := cookieOf(t, w.do(login).want(http.StatusOK))
	find := func(cookie string) error {
		_, err := w.sessions.Find(t.Context(), strings.TrimPrefix(cookie, SessionCookie+"="))
		return err
	}
	if first == second || third == planted || find(second) != nil || find(third) != nil {
		t.Error("the cookie was not replaced")
	}
	if !errors.Is(find(first), session.ErrNone) || !errors.Is(find(planted), session.ErrNone) {
		t.Error("what was in the cookie before the login still counts")
	}
}

func TestLogout(t *testing.T) {
	w := newWorld(t)
	cookie := cookieOf(t, w.do(request{method: http.MethodPost, target: "/api/auth/login", body: `{"name":"guest","password":"correct horse"}`}))
	logout := request{method: http.MethodPost, target: "/api/auth/logout", header: map[string]string{"Cookie": cookie}}
	for range 2 { // the second finds nothing to do
		res := w.do(logout).want(http.StatusNoContent)
		if set := res.header.Get("Set-Cookie"); !strings.HasPrefix(set, SessionCookie+"=;") || !strings.Contains(set, "Max-Age=0") {
			t.Errorf("the cookie stays: %q", set)
		}
	}
	if all := into[wire.SessionList](w.do(request{target: "/api/session", by: "guest"}).want(http.StatusOK)); len(all.Items) != 0 {
		t.Errorf("after the logout: %+v", all.Items)
	}
	if log := w.log.take(); strings.Count(log, `"ended":"`) != 1 {
		t.Errorf("the audit trail: %s", log)
	}
}

func TestSessionSecret(t *testing.T) {
	for cookie, want := range map[string]string{
		"":                               "",
		SessionCookie + "=a":             "a",
		"other=b; __Host-omca-session=a": "a",
		"__Host-omca-session=a; __Host-omca-session=b": "", // one of them was planted
		"__host-omca-session=a":                        "",
	} {
		r := must(http.NewRequest(http.MethodGet, "/", http.NoBody))(t)
		r.Header.Set("Cookie", cookie)
		if got := SessionSecret(r); got != want {
			t.Errorf("%q: %q, want %q", cookie, got, want)
		}
	}
}

func TestListSessions(t *testing.T) {
	w := newWorld(t)
	id := w.aSession("guest")
	w.aSession("boss")
	for _, tt := range []struct {
		by, query string
		status    int
		want      int
	}{
		{"guest", "", 200, 1},
		{"guest", "?user=guest", 200, 1},
		{"guest", "?user=boss", 403, 0},
		{"guest", "?user=absent", 403, 0},
		{"adminsys", "?user=none", 200, 0},
		{"adminsys", "?user=guest", 403, 0}, // holds what adminsys does not
		{"boss", "?user=guest", 200, 1},
		{"root", "?user=absent", 200, 0},
		{"root", "?user=UPPER", 400, 0},
		{"openid", "", 403, 0}, // somebody of that name, and not the user
		{"", "", 401, 0},
	} {
		res := w.do(request{target: "/api/session" + tt.query, by: tt.by}).want(tt.status)
		if tt.status != http.StatusOK {
			continue
		}
		if list := into[wire.SessionList](res); len(list.Items) != tt.want {
			t.Errorf("%s: %+v", res.what, list)
		}
	}
	// Whose session is no secret to be asked for: both refusals read the same.
	if a, b := w.do(request{target: "/api/session?user=boss", by: "guest"}).problem(), w.do(request{target: "/api/session?user=nono", by: "guest"}).problem(); a.Detail != strings.ReplaceAll(b.Detail, "nono", "boss") {
		t.Errorf("%q is not %q", a.Detail, b.Detail)
	}
	revoke := func(by, id string) result {
		return w.do(request{method: http.MethodPost, target: "/api/session/" + id + "/revoke", by: by, header: map[string]string{"X-Request-Id": "same"}})
	}
	absent := revoke("none", strings.Repeat("a", 64)).want(http.StatusNotFound)
	if got := revoke("none", id).want(http.StatusNotFound); string(got.body) != string(absent.body) {
		t.Errorf("a session of somebody else: %s, one that is not there: %s", got.body, absent.body)
	}
	revoke("none", "..").want(http.StatusNotFound)
	revoke("guest", id).want(http.StatusOK)
	revoke("guest", id).want(http.StatusNotFound)
	revoke("root", w.aSession("guest")).want(http.StatusOK)
	w.aSession("guest")
	w.aSession("guest")
	if got := into[wire.SessionsEnded](w.do(request{method: http.MethodPost, target: "/api/session/revoke", by: "guest"}).want(http.StatusOK)); got.Ended != 2 {
		t.Errorf("%+v", got)
	}
	w.do(request{method: http.MethodPost, target: "/api/session/revoke?user=boss", by: "guest"}).refused(http.StatusForbidden, "system/usr/boss")
}

// What makes up a request of a page of another origin.
func fromElsewhere() []map[string]string {
	return []map[string]string{
		{"Sec-Fetch-Site": "cross-site"},
		{"Sec-Fetch-Site": "same-site", "Origin": "https://other.example.com"},
		{"Origin": "https://evil.example.org"},
		{"Origin": "null"},
		{"Origin": "https://example.com.evil.example.org"},
		{"Origin": "https://example.com:444"},
		{"Sec-Fetch-Site": "cross-site", "Origin": "https://example.com"}, // the browser knows better
	}
}

// TestCrossSite: no route that changes anything does so for a page of another
// origin, whoever the browser says the visitor is.
func TestCrossSite(t *testing.T) {
	w := newWorld(t)
	w.aSession("guest")
	for _, r := range w.door.routes() {
		if r.method == http.MethodGet || r.id == "postOCSP" { // what answers anybody, and changes nothing
			continue
		}
		for _, header := range fromElsewhere() {
			req := probe(r)
			req.by, req.header = "root", header
			res := w.do(req)
			res.refused(http.StatusForbidden, "needs a request of this origin")
		}
		for _, header := range []map[string]string{{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "https://example.com"}, {}} {
			req := probe(r)
			req.by, req.header = "root", header
			if r.id == "changeOwnPassword" {
				req.by = "guest" // root by the socket has none
			}
			if res := w.do(req); res.status == http.StatusForbidden {
				t.Errorf("%s from here: %s", res.what, res.body)
			}
		}
	}
	if log := w.log.take(); !strings.Contains(log, `"denied"`) || !strings.Contains(log, "another one asked the browser") {
		t.Errorf("the audit trail: %.400s", log)
	}
}

// A GET that makes a key is a change too.
func TestCrossSiteMakesNoKey(t *testing.T) {
	w := newWorld(t)
	get := request{target: at + "ns1/sec/web/data/key?name=certificate_signing_request", by: "root", header: map[string]string{"Sec-Fetch-Site": "cross-site"}}
	w.do(get).refused(http.StatusForbidden, "needs a request of this origin")
	if keys := into[wire.DataKeyList](w.do(request{target: at + "ns1/sec/web/data/keys", by: "root"})).Items; len(keys) != 1 {
		t.Errorf("keys: %v", keys)
	}
	get.header = nil
	w.do(get).want(http.StatusOK)
}

// Nothing of this begins without sessions.
func TestNoSessions(t *testing.T) {
	w := newWorld(t)
	d := &door{Config: w.door.Config}
	d.Sessions, d.Login = nil, nil
	r := must(http.NewRequest(http.MethodPost, "/api/auth/login", http.NoBody))(t)
	c := &call{request: r}
	if _, err := d.login(t.Context(), c); !errors.Is(err, errNoRoute) {
		t.Errorf("login: %v", err)
	}
	if answer, err := d.logout(t.Context(), c); err != nil || answer.status != http.StatusNoContent {
		t.Errorf("logout: %v, %v", answer, err)
	}
	if answer, err := d.listSessions(t.Context(), c); err != nil || !strings.Contains(string(answer.body), `"items":[]`) {
		t.Errorf("list: %s, %v", answer.body, err)
	}
}

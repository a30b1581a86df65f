package omca_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"omca"
	"omca/internal/wire"
)

const usersAt = "/api/object/path/system/usr/"

// browser is what a browser is to a server: connections without a certificate,
// or with one, and cookies.
type browser struct {
	t      testing.TB
	r      *running
	client *http.Client
	cookie string // NAME=VALUE; "" is none
}

func (r *running) browser(t testing.TB, pair *tls.Certificate) *browser {
	t.Helper()
	config := &tls.Config{RootCAs: r.pool, ServerName: "localhost"}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	t.Cleanup(c.CloseIdleConnections)
	return &browser{t: t, r: r, client: c}
}

// do makes one request, and takes the cookie that comes back.
func (b *browser) do(method, path, media, body string, header ...string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, "https://"+b.r.address+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	if b.cookie != "" {
		req.Header.Set("Cookie", b.cookie)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	answer, err := b.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range answer.Cookies() {
		if b.cookie = c.Name + "=" + c.Value; c.MaxAge < 0 {
			b.cookie = ""
		}
	}
	return answer.StatusCode, string(text)
}

// login logs in as a page does.
func (b *browser) login(name, password string) {
	b.t.Helper()
	form := url.Values{"name": {name}, "password": {password}}
	if status, text := b.do("POST", "/api/auth/login", "application/x-www-form-urlencoded", form.Encode(), "Sec-Fetch-Site", "same-origin"); status != http.StatusOK || b.cookie == "" {
		b.t.Fatalf("login: %d %s", status, text)
	}
}

// in checks whether the session is one.
func (b *browser) in(what string, want bool) {
	b.t.Helper()
	status, text := b.do("GET", "/whoami", "", "")
	if want && (status != http.StatusOK || !strings.Contains(text, `"auth":"session"`)) || !want && status != http.StatusUnauthorized {
		b.t.Errorf("%s: %d %s, want in: %v", what, status, text, want)
	}
}

// withPassword makes a user with a password.
func (r *running) withPassword(t testing.TB, name, grant, password string) {
	t.Helper()
	local(t, r.Server, "POST", usersAt+name, map[string]any{"keywords": []string{"grant=" + grant}})
	setPassword(t, r.Server, name, password)
}

func setPassword(t testing.TB, s *omca.Server, name, password string) {
	t.Helper()
	body := []map[string]any{{"action": "add", "name": "password", "string": password, "weak": true}}
	if status, _ := try(t, s, "PATCH", usersAt+name+"/data", body); status == http.StatusConflict {
		body[0]["action"] = "change"
		local(t, s, "PATCH", usersAt+name+"/data", body)
	}
}

func sessionsLeft(t testing.TB, s *omca.Server, user string) int {
	t.Helper()
	var list wire.SessionList
	if err := json.Unmarshal(local(t, s, "GET", "/api/session?user="+user, nil), &list); err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

// A session ends with what it began with: each of these ends it, and undoing it
// does not bring it back.
func TestSessionEnds(t *testing.T) {
	r := runServer(t, omca.Config{})
	const first, second = "correct horse battery", "staple horse battery"
	r.withPassword(t, "alice", "guest:ns1", first)
	path := usersAt + "alice"
	for _, tt := range []struct {
		name string
		end  func(b *browser)
		undo func()
	}{
		{"logout", func(b *browser) { b.do("POST", "/api/auth/logout", "", "") }, func() {}},
		{"password changed", func(*browser) { setPassword(t, r.Server, "alice", second) }, func() { setPassword(t, r.Server, "alice", first) }},
		{"password set again to what it was", func(*browser) { setPassword(t, r.Server, "alice", first) }, func() {}},
		{"disabled", func(*browser) { local(t, r.Server, "PATCH", path+"/config?set=disabled%3Dtrue", nil) },
			func() { local(t, r.Server, "PATCH", path+"/config?set=disabled%3Dfalse", nil) }},
		{"revoked", func(*browser) { local(t, r.Server, "POST", "/api/session/revoke?user=alice", nil) }, func() {}},
		{"deleted", func(*browser) { local(t, r.Server, "POST", path+"/action/delete", nil) }, func() { r.withPassword(t, "alice", "guest:ns1", first) }},
		{"made anew", func(*browser) { local(t, r.Server, "POST", path, map[string]any{"force": true}) }, func() { setPassword(t, r.Server, "alice", first) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, other := r.browser(t, nil), r.browser(t, nil)
			b.t, other.t = t, t
			b.login("alice", first)
			b.in("logged in", true)
			kept := b.cookie
			tt.end(b)
			other.cookie = kept // on a connection that nobody closed
			other.in("after it", false)
			tt.undo()
			other.in("after it was undone", false)
			if tt.name != "deleted" && tt.name != "made anew" {
				if n := sessionsLeft(t, r.Server, "alice"); n != 0 {
					t.Errorf("%d sessions are listed", n)
				}
			}
			b.cookie = ""
			b.login("alice", first)
			b.in("logged in again", true)
			b.do("POST", "/api/auth/logout", "", "")
		})
	}
}

// The absolute age is the keyword's, as it is now.
func TestSessionMaxAge(t *testing.T) {
	now := time.Now()
	ahead := make(chan time.Duration, 1)
	ahead <- 0
	clock := func() time.Time {
		d := <-ahead
		ahead <- d
		return now.Add(d)
	}
	r := runServer(t, omca.Config{Now: clock})
	r.withPassword(t, "alice", "guest:ns1", "correct horse battery")
	b := r.browser(t, nil)
	b.login("alice", "correct horse battery")
	<-ahead
	ahead <- 10 * time.Minute
	b.in("after ten minutes", true)
	local(t, r.Server, "PATCH", "/api/cluster/config?set=listener.session_max_age%3D5m", nil)
	b.in("when five are the most", false)
	local(t, r.Server, "PATCH", "/api/cluster/config?unset=listener.session_max_age", nil)
	<-ahead
	ahead <- 45 * time.Minute
	b.in("idle for more than half an hour", false)
}

func TestSessionAddress(t *testing.T) {
	r := runServer(t, omca.Config{})
	r.withPassword(t, "alice", "guest:ns1", "correct horse battery")
	b := r.browser(t, nil)
	b.login("alice", "correct horse battery")
	local(t, r.Server, "PATCH", usersAt+"alice/config?set=allowed_ips%3D192.0.2.0/24", nil)
	b.in("from where the user may not call", false)
	local(t, r.Server, "PATCH", usersAt+"alice/config?unset=allowed_ips", nil)
	b.in("from anywhere again", true)
}

// Guessing at the login is counted as everywhere, and 429 says how long to wait.
func TestLoginIsLimited(t *testing.T) {
	r := runServer(t, omca.Config{})
	r.withPassword(t, "alice", "guest:ns1", "correct horse battery")
	local(t, r.Server, "PATCH", "/api/cluster/config?set=listener.rate_limiter_burst%3D3&set=listener.rate_limiter_rate%3D1/h", nil)
	b := r.browser(t, nil)
	guess := func(password string) int {
		form := url.Values{"name": {"alice"}, "password": {password}}
		status, _ := b.do("POST", "/api/auth/login", "application/x-www-form-urlencoded", form.Encode())
		return status
	}
	var got []int
	for range 5 {
		got = append(got, guess("wrong horse battery"))
	}
	if fmt.Sprint(got) != "[401 401 401 429 429]" {
		t.Errorf("five guesses: %v", got)
	}
	if status := guess("correct horse battery"); status != http.StatusTooManyRequests || b.cookie != "" {
		t.Errorf("the right one after them: %d, cookie %q", status, b.cookie)
	}
}

// A session that began with a certificate is worth what the certificate is.
func TestSessionByCertificate(t *testing.T) {
	r := runServer(t, omca.Config{})
	pair := r.pair(t, "alice", "guest:ns1")
	begin := func() *browser {
		t.Helper()
		b := r.browser(t, pair)
		if status, text := b.do("POST", "/api/auth/login", "", ""); status != http.StatusOK || !strings.Contains(text, `"auth":"x509"`) {
			t.Fatalf("login: %d %s", status, text)
		}
		plain := r.browser(t, nil)
		plain.cookie = b.cookie
		return plain
	}
	b := begin()
	b.in("without the certificate", true)
	local(t, r.Server, "POST", usersAt+"alice/certificate/revoke", nil)
	b.in("with the certificate revoked", false)

	*pair = *r.pair(t, "carol", "guest:ns1")
	b = begin()
	b.in("carol", true)
	local(t, r.Server, "POST", usersAt+"carol/action/delete?revoke=false", nil)
	b.in("with carol deleted", false)
	local(t, r.Server, "POST", usersAt+"carol", map[string]any{"keywords": []string{"grant=root"}})
	b.in("with another carol", false)

	*pair = *r.pair(t, "bob", "guest:ns1")
	b = begin()
	b.in("bob", true)
	local(t, r.Server, "POST", "/api/object/path/system/sec/ca", map[string]any{})
	local(t, r.Server, "POST", "/api/object/path/system/sec/ca/certificate/renew", map[string]any{"rekey": true})
	b.in("when the CA is no longer trusted", false)
}

// A certificate counts before a session, so nobody logs in as somebody else with one.
func TestLoginBesideACertificate(t *testing.T) {
	r := runServer(t, omca.Config{})
	r.withPassword(t, "alice", "guest:ns1", "correct horse battery")
	bob := r.browser(t, r.pair(t, "bob", "guest:ns1"))
	login := func() (int, string) {
		return bob.do("POST", "/api/auth/login", "application/json", `{"name":"alice","password":"correct horse battery"}`)
	}
	if status, text := login(); status != http.StatusConflict || !strings.Contains(text, `certificate of \"bob\"`) || bob.cookie != "" {
		t.Errorf("%d %s, cookie %q", status, text, bob.cookie)
	}
	local(t, r.Server, "PATCH", usersAt+"bob/config?set=allowed_ips%3D192.0.2.1", nil) // and now it speaks for nobody
	if status, text := login(); status != http.StatusOK || bob.cookie == "" {
		t.Errorf("%d %s", status, text)
	}
}

// pair is a new user's certificate and key.
func (r *running) pair(t testing.TB, user, grant string) *tls.Certificate {
	t.Helper()
	transport, ok := r.client(t, user, grant).Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	return &transport.TLSClientConfig.Certificates[0]
}

// What comes with every request of a browser, by itself, changes nothing for a
// page of another origin; what reads goes on, and the page cannot see it.
func TestSessionCrossSite(t *testing.T) {
	r := runServer(t, omca.Config{})
	r.withPassword(t, "alice", "admin:ns1 squatter", "correct horse battery")
	local(t, r.Server, "POST", "/api/object/path/ns1/cfg/there", nil)
	cookie := r.browser(t, nil)
	cookie.login("alice", "correct horse battery")
	certificate := r.browser(t, r.pair(t, "bob", "admin:ns1"))
	for name, b := range map[string]*browser{"cookie": cookie, "certificate": certificate} {
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example.org"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example.org"}, {"Origin", "null"},
		} {
			status, text := b.do("POST", "/api/object/path/ns1/cfg/planted", "application/json", "{}", header...)
			if status != http.StatusForbidden || !strings.Contains(text, "needs a request of this origin") {
				t.Errorf("%s, %q: %d %s", name, header, status, text)
			}
			// The form of a page cannot even be of that type.
			if status, text := b.do("POST", "/api/object/path/ns1/cfg/planted", "text/plain", `{"keywords":[]}`); status != http.StatusUnsupportedMediaType {
				t.Errorf("%s, as a form: %d %s", name, status, text)
			}
		}
	}
	if status, _ := try(t, r.Server, "GET", "/api/object/path/ns1/cfg/planted", nil); status != http.StatusNotFound {
		t.Errorf("the object of another origin is there: %d", status)
	}
	if status, text := cookie.do("POST", "/api/object/path/ns1/cfg/mine", "application/json", "{}", "Sec-Fetch-Site", "same-origin"); status != http.StatusCreated {
		t.Errorf("our own page: %d %s", status, text)
	}
	if status, text := cookie.do("POST", "/api/object/path/ns1/cfg/mine2", "application/json", "{}", "Origin", "https://"+r.address); status != http.StatusCreated {
		t.Errorf("our own page in an old browser: %d %s", status, text)
	}
	// Nor is anybody logged in, or out, from there.
	victim := r.browser(t, nil)
	form := url.Values{"name": {"alice"}, "password": {"correct horse battery"}}.Encode()
	if status, _ := victim.do("POST", "/api/auth/login", "application/x-www-form-urlencoded", form, "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden || victim.cookie != "" {
		t.Errorf("logged in from another origin: %d, %q", status, victim.cookie)
	}
	if status, _ := cookie.do("POST", "/api/auth/logout", "", "", "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
		t.Errorf("logged out from another origin: %d", status)
	}
	cookie.in("after all that", true)
}

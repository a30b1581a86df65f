package console_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"omca/internal/console"
	"omca/internal/wire"
	"omca/pki"
)

// Every page for everyone: what it answers, what it offers, and what it keeps
// to itself.
func TestPagesByRole(t *testing.T) {
	w := newWorld(t)
	web1, web2, boss := w.serial(t, "ns1/sec/web1"), w.serial(t, "ns2/sec/web2"), w.serial(t, "system/usr/boss")
	type row struct {
		by, page     string
		status       int
		has, without []string
	}
	at := func(serial string) string { return "/certificates/" + serial }
	for _, tt := range []row{
		{"", "/", 303, nil, nil},
		{"", "/certificates", 303, nil, nil},
		{"", at(web1), 303, nil, []string{"web1"}},
		{"", at(web1) + "/pem", 303, nil, []string{"BEGIN"}},
		{"", at(web1) + "/revoke", 303, nil, nil},
		{"", "/login", 200, []string{"Sign in", `type="password"`, "with the certificate"}, []string{"Sign out", "<nav"}},
		{"", "/nowhere", 404, []string{"no page at this address", `href="/login"`}, []string{"<nav"}},

		{"none", "/", 200, []string{"You hold no role", "The CA"}, []string{"This node", "Revocation lists", "Nodes", "web1", "web2"}},
		{"none", "/certificates", 200, []string{"CN=none"}, []string{"CN=web1.clu", "CN=web2.clu", "CN=boss"}},
		{"none", at(web2), 404, nil, []string{"web2.clu"}},
		{"none", at(web2) + "/revoke", 404, nil, []string{"web2.clu"}},
		{"none", at(web2) + "/pem", 404, nil, []string{"BEGIN"}},

		{"guest", "/", 200, []string{"This node", "Revocation lists", "web2"}, []string{"Nodes", "CN=web1.clu"}},
		{"guest", "/certificates?state=all", 200, []string{"CN=web2.clu", "CN=guest"}, []string{"CN=web1.clu", "CN=boss"}},
		{"guest", at(web2), 200, []string{"web2.clu", "ns2/sec/web2"}, []string{"Revoke…", "Renew now"}},
		{"guest", at(web2) + "/revoke", 403, []string{"as for a change, or the user itself"}, []string{`name="confirm"`}},
		{"guest", at(web1), 404, nil, []string{"web1.clu"}},
		{"guest", at(boss), 404, nil, nil},
		{"guest", "/nowhere", 404, []string{"<nav", "Sign out"}, nil},

		{"admin", at(web2), 200, []string{"Revoke…", "Renew now"}, nil},
		{"admin", at(web2) + "/revoke", 200, []string{`name="confirm"`, "keyCompromise"}, nil},
		{"admin", at(web2) + "/pem", 200, []string{"BEGIN CERTIFICATE"}, nil},
		{"admin", at(boss), 200, nil, []string{"Revoke…", "Renew now"}},

		{"plain", at(web2), 200, []string{"Revoke…"}, []string{"Renew now"}}, // has no name signed

		{"boss", "/", 200, []string{"Nodes", "This node", "web1", "web2"}, nil},
		{"boss", "/certificates", 200, []string{"web1.clu", "web2.clu", "CN=boss"}, nil},
		{"boss", at(web1), 200, []string{"Revoke…", "Renew now", "Chain"}, nil},
		{"boss", at(boss), 200, []string{"Revoke…"}, nil},
		{"boss", at("00ff"), 404, nil, nil},
		{"boss", at("xyz"), 400, nil, nil},
		{"boss", "/certificates?state=odd", 400, []string{"odd"}, nil},
	} {
		t.Run(tt.by+tt.page, func(t *testing.T) {
			a := w.as(t, tt.by).get(tt.page).want(tt.status, tt.has...).without(tt.without...)
			if tt.status == 303 && !strings.HasPrefix(a.header.Get("Location"), "/login") {
				t.Errorf("goes to %q", a.header.Get("Location"))
			}
		})
	}
}

// What is not offered is refused when it is asked for anyway, and nothing changes.
func TestRefusedAnyway(t *testing.T) {
	w := newWorld(t)
	serial := w.serial(t, "ns2/sec/web2")
	sure := url.Values{"confirm": {"yes"}, "reason": {"keyCompromise"}}
	for _, by := range []string{"", "none", "guest"} {
		v := w.as(t, by)
		for _, deed := range []string{"/revoke", "/renew"} {
			a := v.submit("/certificates/"+serial+deed, sure)
			if a.status != 401 && a.status != 403 && a.status != 404 {
				t.Errorf("%q %s: %d", by, deed, a.status)
			}
		}
	}
	admin := w.as(t, "admin")
	admin.submit("/certificates/"+serial+"/revoke", url.Values{"reason": {"keyCompromise"}}).want(400, "tick the box")
	admin.submit("/certificates/"+serial+"/revoke", sure, "Content-Type", "text/plain").want(415)
	for _, site := range []string{"cross-site", "same-site"} {
		admin.submit("/certificates/"+serial+"/revoke", sure, "Sec-Fetch-Site", site).want(403, "page of another")
		admin.submit("/certificates/"+serial+"/renew", nil, "Sec-Fetch-Site", site).want(403)
		admin.submit("/logout", nil, "Sec-Fetch-Site", site).want(403)
		w.visitor(t).submit("/login", url.Values{"name": {"admin"}, "password": {password}}, "Sec-Fetch-Site", site).want(403)
	}
	admin.submit("/certificates/"+serial+"/revoke", sure, "Sec-Fetch-Site", "", "Origin", "https://evil.example").want(403)
	if now := w.serial(t, "ns2/sec/web2"); now != serial {
		t.Errorf("%s holds %s, held %s", "ns2/sec/web2", now, serial)
	}
	admin.get("/certificates/"+serial).want(200, `class="state valid"`)
}

func TestRevokeAndRenew(t *testing.T) {
	w := newWorld(t)
	admin := w.as(t, "admin")
	old := w.serial(t, "ns2/sec/web2")
	a := admin.submit("/certificates/"+old+"/renew", nil).want(303)
	renewed := w.serial(t, "ns2/sec/web2")
	if want := "/certificates/" + renewed + "?done=renewed"; renewed == old || a.header.Get("Location") != want {
		t.Errorf("goes to %q, want %q", a.header.Get("Location"), want)
	}
	admin.get(a.header.Get("Location")).want(200, "The new certificate is in place.")
	admin.submit("/certificates/"+old+"/renew", nil).want(409, "another certificate")
	admin.get("/certificates/"+old).want(200, "no longer").without("Renew now")
	a = admin.submit("/certificates/"+old+"/revoke", url.Values{"confirm": {"yes"}, "reason": {"superseded"}}).want(303)
	admin.get(a.header.Get("Location")).want(200, "The certificate is revoked.", "superseded", `class="state revoked"`).without("Revoke…")
	admin.get("/certificates/" + old + "/revoke").want(303)
	admin.get("/certificates?state=revoked").want(200, old[:12])
	admin.get("/certificates").want(200, renewed[:12]).without(old[:12])
}

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	v := w.visitor(t)
	next := "/certificates?search=web&state=all"
	asked := v.get(next).want(303)
	page := v.get(asked.header.Get("Location")).want(200, "search=web&amp;state=all")
	if page.header.Get("Set-Cookie") != "" {
		t.Error("a cookie before the login")
	}
	v.submit("/login", url.Values{"name": {"guest"}, "password": {"wrong horse battery"}}).want(401, "Name or password is wrong.", `value="guest"`).without("wrong horse")
	v.submit("/login", url.Values{"name": {"nobody"}, "password": {"wrong horse battery"}}).want(401, "Name or password is wrong.")
	v.submit("/login", url.Values{"with": {"certificate"}}).want(401, "sent no certificate")
	v.submit("/login", url.Values{"name": {""}}).want(400, "Enter a name")
	if v.cookie != "" {
		t.Fatal("a cookie for nothing")
	}
	in := v.submit("/login", url.Values{"name": {"guest"}, "password": {password}, "next": {next}}).want(303)
	if got := in.header.Get("Location"); got != next {
		t.Errorf("goes to %q, want %q", got, next)
	}
	v.get(next).want(200, "CN=web2.clu")
	out := v.submit("/logout", nil).want(303)
	if v.cookie != "" || out.header.Get("Location") != "/login" {
		t.Errorf("signed out: cookie %q, goes to %q", v.cookie, out.header.Get("Location"))
	}
	v.get("/").want(303)
}

// A link may not use the login to lead elsewhere.
func TestNextStaysHere(t *testing.T) {
	w := newWorld(t)
	for _, next := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, "\t//evil.example", "evil", "", "javascript:alert(1)", "/a\r\nSet-Cookie: x=y"} {
		in := w.visitor(t).submit("/login", url.Values{"name": {"guest"}, "password": {password}, "next": {next}}).want(303)
		if got := in.header.Get("Location"); got != "/" {
			t.Errorf("next %q: goes to %q", next, got)
		}
	}
}

func TestLockedOut(t *testing.T) {
	w := newWorld(t)
	w.configure(t, "listener.rate_limiter_rate=1/h") // slower than the slowest machine guesses
	v := w.visitor(t)
	for range 100 {
		a := v.submit("/login", url.Values{"name": {"guest"}, "password": {"wrong horse battery"}})
		if a.status != http.StatusTooManyRequests {
			continue
		}
		seconds := a.header.Get("Retry-After")
		if seconds == "" || !strings.Contains(a.body, "The next one is looked at in "+seconds+" seconds.") {
			t.Errorf("Retry-After %q, and the page does not say it: %s", seconds, a.body)
		}
		return
	}
	t.Error("nobody was ever locked out")
}

var inline = regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?:\s+src="/static/[^"]+" defer)?>[^<]`)

// Nothing on a page could be run or loaded that the policy would have to forgive.
func TestPagesAreStrict(t *testing.T) {
	w := newWorld(t)
	v := w.as(t, "boss")
	web := w.serial(t, "ns2/sec/web2")
	at := strings.NewReplacer("GET ", "", "{$}", "", "{serial}", web, "{user}", "guest", "{namespace}/{kind}/{name}", "ns2/sec/web2")
	pages := []string{"/nowhere", "/issue?for=request"}
	for _, pattern := range console.Patterns() {
		if strings.HasPrefix(pattern, "GET ") && !strings.HasSuffix(pattern, "/pem") && !strings.HasSuffix(pattern, "/chain") {
			pages = append(pages, at.Replace(pattern))
		}
	}
	for _, page := range pages {
		a := v.get(page)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			"Cache-Control":           "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Content-Encoding": "",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", page, name, got, want)
			}
		}
		if found := inline.FindString(a.body); found != "" {
			t.Errorf("%s: %q", page, found)
		}
		for _, ref := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
			if !strings.HasPrefix(ref[1], "/") && !strings.HasPrefix(ref[1], "#") || strings.HasPrefix(ref[1], "//") {
				t.Errorf("%s refers to %q", page, ref[1])
			}
		}
		total := len(a.body)
		for _, ref := range regexp.MustCompile(`(?:src|href)="(/static/[^"]*)"`).FindAllStringSubmatch(a.body, -1) {
			f := v.get(ref[1], "Accept-Encoding", "gzip").want(200)
			if !strings.Contains(f.header.Get("Cache-Control"), "immutable") || f.header.Get("Content-Encoding") != "gzip" {
				t.Errorf("%s: %v", ref[1], f.header)
			}
			total += len(f.body)
		}
		if total > 100_000 {
			t.Errorf("%s: %d bytes in all", page, total)
		}
	}
	v.get("/static/0000/style.css").want(404)
}

// Names are what others chose.
func TestHostileNames(t *testing.T) {
	w := newWorld(t)
	const evil = `<img src=x onerror=alert(1)>"'`
	w.api(t, "POST", "/api/object/path/ns2/sec/evil", wire.CreateRequest{Keywords: []string{`o=` + evil, "cn=evil.clu"}})
	w.api(t, "POST", "/api/object/path/ns2/sec/evil/certificate", nil)
	v := w.as(t, "boss")
	serial := w.serial(t, "ns2/sec/evil")
	for _, page := range []string{"/", "/certificates", "/certificates/" + serial, "/certificates/" + serial + "/revoke", "/objects/ns2/sec/evil", "/edit/ns2/sec/evil", "/audit"} {
		v.get(page).want(200, "&lt;img").without("<img")
	}
	v.get("/certificates?"+url.Values{"search": {evil}}.Encode()).want(200, "&lt;img").without("<img")
	v.get("/login?" + url.Values{"next": {"/" + evil}}.Encode()).without("<img")
	v.submit("/login", url.Values{"name": {evil}, "password": {"x"}}).without("<img")
	v.get("/?done="+url.QueryEscape(evil)).want(200).without("<img", `role="status"`)
}

func TestListOfCertificates(t *testing.T) {
	w := newWorld(t)
	v := w.as(t, "boss")
	for query, want := range map[string]string{"search=web1": "web1", "search=WEB2+clu": "web2", "search=ns1/sec/web1": "web1", "search=" + w.serial(t, "ns2/sec/web2"): "web2"} {
		a := v.get("/certificates?"+query).want(200, "CN="+want+".clu")
		if n := strings.Count(a.body, `data-label="Serial number"`); n != 1 {
			t.Errorf("%s: %d rows, want 1", query, n)
		}
	}
	v.get("/certificates?search=nowhere").want(200, "No certificate fits.")
	v.get("/certificates?state=revoked&search="+strings.ToUpper(w.serial(t, "ns2/sec/web2"))).want(200, "CN=web2.clu") // whatever its state is
	w.as(t, "none").get("/certificates?search="+w.serial(t, "ns2/sec/web2")).want(200, "No certificate fits.").without("web2.clu")
	v.get("/certificates?owner=ns2/sec/web2&issuer=system/sec/ca").want(200, "CN=web2.clu").without("web1.clu")
	v.get("/certificates?owner=nonsense").want(400, "owner")
	v.get("/certificates?days=7&state=valid").want(200)
	v.get("/certificates?days=x").want(400)
	v.get("/certificates?search="+strings.Repeat("x", 129)).want(400, "at most 128")
	part := v.get("/certificates?search=web", "HX-Request", "true", "HX-Target", "results").want(200, `id="results"`).without("<html", "<nav")
	if over := w.visitor(t).get("/certificates?search=web", "HX-Request", "true", "HX-Target", "results").want(204); over.header.Get("HX-Redirect") != "/login?next=%2Fcertificates%3Fsearch%3Dweb" {
		t.Errorf("after the session: HX-Redirect %q", over.header.Get("HX-Redirect"))
	}
	if !strings.Contains(part.header.Get("Vary"), "HX-Request") {
		t.Errorf("Vary: %q", part.header.Get("Vary"))
	}
}

// What is no page is the API's, byte for byte.
func TestAPIAsBefore(t *testing.T) {
	w := newWorld(t)
	v := w.visitor(t)
	for path, status := range map[string]int{"/api/auth/info": 200, "/healthz": 200, "/ca.pem": 200, "/whoami": 401, "/api/nothing": 404} {
		a := v.get(path)
		if a.status != status || strings.Contains(a.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %s", path, a.status, a.header.Get("Content-Type"))
		}
	}
	if a := v.get("/ocsp/MEow//SDBG"); a.status >= 300 && a.status < 400 {
		t.Errorf("an OCSP request with two slashes is redirected to %q", a.header.Get("Location"))
	}
	if a := v.do("GET", "/nowhere", nil, "Accept", "*/*"); a.status != 404 || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s", a.status, a.header.Get("Content-Type"))
	}
}

// TestOwnedByTheMachinesRoot: what the machine's root had signed is shown to root, as
// its own and not as that of a user, and only root is offered to revoke it.
func TestOwnedByTheMachinesRoot(t *testing.T) {
	w := newWorld(t)
	key := must(pki.GenerateKey("ec-p256"))(t)
	csr := must(pki.CreateSigningRequest(key, pki.Subject{CommonName: "a.clu"}, pki.Names{}))(t)
	var signed wire.Signed
	if err := json.Unmarshal(w.api(t, "POST", "/api/certificate", wire.SignRequest{CSR: string(csr)}), &signed); err != nil {
		t.Fatal(err)
	}
	page := "/certificates/" + signed.Serial
	boss := w.as(t, "boss")
	boss.get(page).want(200, "ux:root", "only root may revoke it", page+"/revoke").without("whoever may change that object")
	boss.get("/certificates?state=all&owner=ux:root").want(200, "CN=a.clu")
	boss.get("/certificates?state=all&owner=system/usr/root").want(200).without("CN=a.clu")
	w.as(t, "admin").get(page).want(404)
	boss.get(page+"/revoke").want(200, "ux:root")
	boss.submit(page+"/revoke", url.Values{"confirm": {"yes"}}).want(http.StatusSeeOther)
	boss.get(page).want(200, "revoked").without(page + "/revoke\"")
}

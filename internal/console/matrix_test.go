package console_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"omca/internal/console"
)

// matrixRoles are who looks: nobody, who holds nothing, guest:ns2, admin:ns2 with
// guest:system, admin:ns2, root.
var matrixRoles = []string{"", "none", "guest", "admin", "plain", "boss"}

// The matrix says of every page what each of matrixRoles is answered. Of objects
// there is ns2/sec/web2, of users there is guest.
var matrix = map[string]string{
	"GET /{$}":                   "303 200 200 200 200 200",
	"GET /hands":                 "303 403 200 200 200 200",
	"GET /audit":                 "303 403 403 403 403 200",
	"GET /login":                 "200 200 200 200 200 200",
	"GET /login/openid":          "404 404 404 404 404 404", // none is configured
	"GET /login/openid/callback": "400 400 400 400 400 400",

	"GET /certificates":                 "303 200 200 200 200 200",
	"GET /certificates/{serial}":        "303 404 200 200 200 200",
	"GET /certificates/{serial}/pem":    "303 404 200 200 200 200",
	"GET /certificates/{serial}/chain":  "303 404 200 200 200 200",
	"GET /certificates/{serial}/pkcs12": "303 404 403 403 403 200",
	"GET /certificates/{serial}/revoke": "303 404 403 200 200 200",

	"GET /issue":                 "303 200 200 200 200 200",
	"GET /users":                 "303 200 200 200 200 200", // each those that it may read
	"GET /adduser":               "303 403 403 403 403 200",
	"GET /users/{user}":          "303 403 200 200 403 200",
	"GET /users/{user}/grants":   "303 403 403 403 403 200",
	"GET /users/{user}/password": "303 403 200 403 403 200",
	"GET /tokens":                "303 200 200 200 200 200", // each its own
	"GET /tokens/new":            "303 200 200 200 200 200",
	"GET /objects":               "303 200 200 200 200 200", // each those that it may read
	"GET /objects/new":           "303 200 200 200 200 200",

	"GET /objects/{namespace}/{kind}/{name}": "303 403 200 200 200 200",
	"GET /edit/{namespace}/{kind}/{name}":    "303 403 403 200 200 200",
	"GET /delete/{namespace}/{kind}/{name}":  "303 403 403 200 200 200",
	"GET /cluster":                           "303 403 403 403 403 200",
	"GET /cluster/edit":                      "303 403 403 403 403 200",

	// What changes something: "-" is not asked for here, since it would be done.
	"POST /login":  "401 401 401 401 401 401", // with a wrong password
	"POST /logout": "303 - - - - -",
	"POST /lists":  "401 403 403 403 403 -",

	"POST /certificates/{serial}/pkcs12": "401 404 403 403 403 -",
	"POST /certificates/{serial}/revoke": "401 404 403 - - -",
	"POST /certificates/{serial}/renew":  "401 404 403 - 403 -", // plain has no name signed

	"POST /issue/preview":         "401 403 403 200 403 200",
	"POST /issue":                 "401 403 403 409 403 409", // nothing was looked at
	"POST /adduser":               "401 403 403 403 403 -",
	"POST /users/{user}/grants":   "401 403 403 403 403 -",
	"POST /users/{user}/state":    "401 403 403 403 403 -",
	"POST /users/{user}/unlock":   "401 403 403 403 403 -",
	"POST /users/{user}/password": "401 403 403 403 403 -", // of guest itself: the one until now is wrong
	"POST /users/{user}/sessions": "401 403 - 403 403 -",
	"POST /tokens/new":            "401 403 403 403 403 -", // for boss
	"POST /tokens/revoke":         "401 403 - 403 403 -",   // all of guest
	"POST /objects/new":           "401 403 403 - - -",

	"POST /edit/{namespace}/{kind}/{name}":   "401 403 403 - - -",
	"POST /delete/{namespace}/{kind}/{name}": "401 403 403 - - -",
	"POST /cluster/edit":                     "401 403 403 403 403 -",
}

// matrixForm has what every form needs, so that nothing but the grants stops it.
func matrixForm() url.Values {
	return url.Values{
		"name": {"fresh"}, "password": {"wrong horse battery"}, "again": {"wrong horse battery"}, "current": {"wrong"}, "confirm": {"yes"},
		"for": {"listener"}, "path": {"ns2/sec/web2"}, "state": {"disabled"}, "role": {"guest"}, "scope": {"ns2"}, "grant": {"guest:ns2"},
		"subject": {"guest"}, "kw.o": {"Another"}, "kw.cluster.vip": {"192.0.2.1"}, "keep": {"guest:ns2"},
	}
}

// TestMatrix asks for every page as everybody. What is refused changes nothing.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	w.configure(t, "listener.rate_limiter_rate=0")
	serial := w.serial(t, "ns2/sec/web2")
	at := strings.NewReplacer("{$}", "", "{serial}", serial, "{user}", "guest", "{namespace}/{kind}/{name}", "ns2/sec/web2")
	before := string(w.api(t, "GET", "/api/object?path=**", nil))
	visitors := map[string]*visitor{}
	for _, role := range matrixRoles {
		visitors[role] = w.as(t, role)
	}
	left := map[string]bool{}
	for pattern := range matrix {
		left[pattern] = true
	}
	for _, pattern := range console.Patterns() {
		want, ok := matrix[pattern]
		if !ok {
			t.Errorf("%s: the matrix does not say who may", pattern)
			continue
		}
		delete(left, pattern)
		method, path, _ := strings.Cut(at.Replace(pattern), " ")
		for i, status := range strings.Fields(want) {
			if status == "-" {
				continue
			}
			form := matrixForm()
			switch pattern {
			case "POST /tokens/new":
				form.Set("for", "api")
				form.Set("subject", "boss")
			case "POST /objects/new":
				form.Set("path", "ns2/sec/fresh")
			case "POST /login":
				form.Set("name", "guest")
			}
			v := visitors[matrixRoles[i]]
			var a answer
			if method == http.MethodGet {
				a = v.get(path)
			} else {
				a = v.submit(path, form)
			}
			if got := strconv.Itoa(a.status); got != status {
				t.Errorf("%s by %q: %s, want %s", pattern, matrixRoles[i], got, status)
			}
			if a.status >= 300 && strings.Contains(a.body, "web1.clu") {
				t.Errorf("%s by %q: tells of web1", pattern, matrixRoles[i])
			}
		}
	}
	for pattern := range left {
		t.Errorf("%s is no page", pattern)
	}
	if after := string(w.api(t, "GET", "/api/object?path=**", nil)); after != before {
		t.Errorf("something was changed: %s, it was %s", after, before)
	}
}

// TestOffers: what one may not do is not offered.
func TestOffers(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		by, page     string
		has, without []string
	}{
		{"guest", "/", []string{`href="/users/guest"`, ">You<"}, []string{`href="/users"`, `href="/cluster"`, `href="/audit"`, "Audit trail", "Nodes"}},
		{"boss", "/", []string{`href="/users"`, `href="/cluster"`, `href="/audit"`, "Audit trail", "Nodes"}, []string{">You<"}},
		{"guest", "/users", []string{"/users/guest"}, []string{"/users/boss", "/adduser"}},
		{"admin", "/users", []string{"/users/guest", "/users/boss"}, []string{"/adduser"}},
		{"guest", "/users/guest", []string{"Password…", "Sessions", "this one"}, []string{"Grants and roles…", "Disable", "Delete…", "Unlock"}},
		{"admin", "/users/guest", []string{"guest:ns2"}, []string{"Password…", "Grants and roles…", "Disable", "Delete…", "Sessions"}},
		{"boss", "/users/guest", []string{"Password…", "Grants and roles…", "Disable", "Delete…", "Sessions"}, nil},
		{"guest", "/objects", []string{"ns2/sec/web2", "system/usr/guest"}, []string{"ns1/", "system/usr/boss", "system/sec", "Make an object"}},
		{"plain", "/objects", []string{"ns2/sec/web2", "Make an object"}, []string{"ns1/"}},
		{"guest", "/objects/ns2/sec/web2", []string{"Keywords", "private_key"}, []string{"Edit the keywords…", "Issue a certificate…", "Delete…", "PRIVATE KEY"}},
		{"plain", "/objects/ns2/sec/web2", []string{"Edit the keywords…", "Issue a certificate…", "Delete…"}, []string{"PRIVATE KEY"}},
		{"guest", "/issue", []string{"For a server"}, []string{"For a node", "ns1/sec/web1"}},
		{"boss", "/issue", []string{"For a node", "ns1/sec/web1"}, nil},
		{"none", "/tokens/new", []string{"nothing that a token of yours could say"}, []string{"Issue the token"}},
		{"guest", "/tokens/new", []string{"Issue the token"}, []string{"clustercockpit", `name="subject"`}},
		{"boss", "/tokens/new", []string{"clustercockpit", "metric-store", `name="subject"`}, nil},
	} {
		w.as(t, tt.by).get(tt.page).want(200, tt.has...).without(tt.without...)
	}
}

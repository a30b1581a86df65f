package omca

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr/clustercockpit"
)

// cockpit is a server whose API is called directly, and its clock.
type cockpit struct {
	*testing.T
	s   *Server
	now time.Time
}

func newCockpit(t *testing.T) *cockpit {
	t.Helper()
	c := &cockpit{T: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	c.s = c.open(filepath.Join(t.TempDir(), "home"))
	t.Cleanup(func() {
		if err := c.s.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *cockpit) open(home string) *Server {
	c.Helper()
	s, err := Open(c.Context(), Config{Home: home, ClusterName: "clu", NodeName: "node1", Now: func() time.Time { return c.now }})
	if err != nil {
		c.Fatal(err)
	}
	return s
}

// root calls as the machine's root.
func (c *cockpit) root(method, target, body string) *httptest.ResponseRecorder {
	c.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if strings.Contains(target, "/data/key") {
		r.Header.Set("Content-Type", "application/octet-stream")
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	c.s.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), localKey{}, "test")))
	return w
}

// call calls from the network, with these headers.
func (c *cockpit) call(target string, header ...string) *httptest.ResponseRecorder {
	c.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	c.s.handler.ServeHTTP(w, r)
	return w
}

func (c *cockpit) want(w *httptest.ResponseRecorder, status int, words ...string) {
	c.Helper()
	if w.Code != status {
		c.Errorf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	for _, word := range words {
		if !strings.Contains(w.Body.String(), word) {
			c.Errorf("%s: want %q", w.Body, word)
		}
	}
}

func (c *cockpit) user(name string, keywords ...string) {
	c.Helper()
	body, err := json.Marshal(wire.CreateRequest{Keywords: keywords})
	if err != nil {
		c.Fatal(err)
	}
	c.want(c.root(http.MethodPost, "/api/object/path/system/usr/"+name, string(body)), http.StatusCreated)
}

func (c *cockpit) set(path, expr string) {
	c.Helper()
	c.want(c.root(http.MethodPatch, "/api/object/path/"+path+"/config?set="+expr, ""), http.StatusOK)
}

func (c *cockpit) setCluster(expr string) {
	c.Helper()
	c.want(c.root(http.MethodPatch, "/api/cluster/config?set="+expr, ""), http.StatusOK)
}

// issue issues a token for other services.
func (c *cockpit) issue(profile, body string) wire.ForeignToken {
	c.Helper()
	w := c.root(http.MethodPost, "/api/token/profile/"+profile, body)
	c.want(w, http.StatusCreated)
	var t wire.ForeignToken
	if err := json.Unmarshal(w.Body.Bytes(), &t); err != nil {
		c.Fatal(err)
	}
	return t
}

// public is the public key of a profile.
func (c *cockpit) public(profile string) []byte {
	c.Helper()
	w := c.root(http.MethodGet, "/api/token/profile/"+profile+"/key", "")
	c.want(w, http.StatusOK)
	var k wire.ForeignKey
	if err := json.Unmarshal(w.Body.Bytes(), &k); err != nil {
		c.Fatal(err)
	}
	return k.PublicKey
}

// elsewhere is what a service that has the public key makes of a token.
func (c *cockpit) elsewhere(profile, token string) (clustercockpit.Claims, error) {
	c.Helper()
	v, err := clustercockpit.NewVerifier(c.public(profile), func() time.Time { return c.now })
	if err != nil {
		c.Fatal(err)
	}
	return v.Verify(token)
}

func TestClusterCockpitToken(t *testing.T) {
	c := newCockpit(t)
	c.user("demo", "roles=api user", "grant=guest:ns1")
	issued := c.issue("clustercockpit", `{"subject":"demo"}`)
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(issued.Token, ".")[1])
	if want := `{"iat":1795348790,"roles":["api","user"],"sub":"demo"}`; err != nil || string(text) != want {
		t.Errorf("claims %s, %v, want %s", text, err, want)
	}
	if _, err := c.elsewhere("clustercockpit", issued.Token); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
	bearer := []string{"Authorization", "Bearer " + issued.Token}
	c.want(c.call("/whoami", bearer...), http.StatusOK, `"name":"demo"`, `"auth":"jwt"`, `"grant":{}`)
	c.want(c.call("/whoami", "X-Auth-Token", issued.Token), http.StatusOK, `"name":"demo"`)
	c.want(c.call("/whoami", "X-Auth-Token", issued.Token, "Authorization", "Bearer nonsense"), http.StatusOK, `"name":"demo"`)
	c.want(c.call("/whoami", "Authorization", issued.Token), http.StatusUnauthorized) // a word is missing
	c.want(c.call("/whoami", "X-Auth-Token", "Bearer "+issued.Token), http.StatusUnauthorized)
	c.want(c.call("/whoami", "X-Auth-Token", ""), http.StatusUnauthorized)
	c.want(c.call("/whoami", "X-Auth-Token", issued.Token, "X-Auth-Token", issued.Token), http.StatusUnauthorized)
	c.want(c.call("/whoami", "X-Auth-Token", "nonsense", "Authorization", "Bearer "+issued.Token), http.StatusUnauthorized)
	// It names its subject, and opens nothing else: not what the user holds either.
	for _, target := range []string{"/api/object/path", "/api/object/path/ns1/sec/x", "/api/certificate", "/api/token", "/api/token/profile/clustercockpit/key"} {
		c.want(c.call(target, bearer...), http.StatusForbidden)
	}
	w := c.call("/api/auth/verify?role=api", bearer...)
	c.want(w, http.StatusNoContent)
	if got := w.Header().Get("X-Auth-User") + " " + w.Header().Get("X-Auth-Roles"); got != "demo api,user" {
		t.Errorf("headers say %s", got)
	}
	c.want(c.call("/api/auth/verify?role=admin", bearer...), http.StatusForbidden)

	// A role that the user has no more, the token has no more, here.
	c.set("system/usr/demo", "roles=user")
	c.want(c.call("/api/auth/verify?role=api", bearer...), http.StatusForbidden)
	c.set("system/usr/demo", "roles=admin")
	c.want(c.call("/api/auth/verify?role=admin", bearer...), http.StatusForbidden) // nor one that it never said
}

func TestClusterCockpitTokenEnds(t *testing.T) {
	for name, end := range map[string]func(*cockpit, wire.ForeignToken){
		"revoked": func(c *cockpit, t wire.ForeignToken) {
			c.want(c.root(http.MethodPost, "/api/token/"+t.ID+"/revoke", ""), http.StatusOK, `"state":"revoked"`)
		},
		"disabled": func(c *cockpit, _ wire.ForeignToken) { c.set("system/usr/demo", "disabled=true") },
		"deleted": func(c *cockpit, _ wire.ForeignToken) {
			c.want(c.root(http.MethodPost, "/api/object/path/system/usr/demo/action/delete", ""), http.StatusOK)
		},
		"deleted and made again": func(c *cockpit, _ wire.ForeignToken) {
			c.want(c.root(http.MethodPost, "/api/object/path/system/usr/demo/action/delete", ""), http.StatusOK)
			c.user("demo", "roles=api")
		},
		"expired": func(c *cockpit, _ wire.ForeignToken) { c.now = c.now.Add(2 * time.Hour) },
		"too old": func(c *cockpit, _ wire.ForeignToken) {
			c.setCluster("token.max_age=10m")
			c.now = c.now.Add(11 * time.Minute)
		},
		"key change": func(c *cockpit, _ wire.ForeignToken) {
			c.want(c.root(http.MethodPut, keyAt, anotherKey), http.StatusNoContent)
		},
		"key gone": func(c *cockpit, _ wire.ForeignToken) {
			c.want(c.root(http.MethodDelete, keyAt, ""), http.StatusNoContent)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCockpit(t)
			c.user("demo", "roles=api")
			issued := c.issue("clustercockpit", `{"subject":"demo","duration":"2h"}`)
			c.want(c.call("/whoami", "X-Auth-Token", issued.Token), http.StatusOK)
			end(c, issued)
			c.want(c.call("/whoami", "X-Auth-Token", issued.Token), http.StatusUnauthorized)
			c.want(c.call("/api/auth/verify", "X-Auth-Token", issued.Token), http.StatusUnauthorized)
		})
	}
}

const (
	keyAt = "/api/object/path/system/sec/jwt-clustercockpit/data/key?name=private_key"
	// The pair of RFC 8032, 7.1, test 1.
	anotherKey  = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg=="
	demoPrivate = "dtPC/6dWJFKZK7KZ78CvWuynylOmjBFyMsUWArwmodOTN9itjL5POlqdZkcnmpJ0yPm4pRaCrvgFaFAbpyik/Q=="
)

func TestSameSecond(t *testing.T) {
	c := newCockpit(t)
	c.user("demo", "roles=api")
	first, second := c.issue("clustercockpit", `{"subject":"demo"}`), c.issue("clustercockpit", `{"subject":"demo"}`)
	if first.ID == second.ID || first.Token == second.Token {
		t.Fatal("two tokens are one")
	}
	c.want(c.root(http.MethodPost, "/api/token/"+first.ID+"/revoke", ""), http.StatusOK)
	c.want(c.call("/whoami", "X-Auth-Token", first.Token), http.StatusUnauthorized)
	c.want(c.call("/whoami", "X-Auth-Token", second.Token), http.StatusOK)
	if _, err := c.elsewhere("clustercockpit", second.Token); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
}

// TestSweptCockpitToken: a clock that was ahead sweeps a revoked token. When the clock is back, to the very second, the same token is not
// issued again, and what was remembered of it is worth nothing.
func TestSweptCockpitToken(t *testing.T) {
	c := newCockpit(t)
	c.user("demo", "roles=api")
	const body = `{"subject":"demo","duration":"2h"}`
	begin := c.now
	first := c.issue("clustercockpit", body)
	c.want(c.call("/whoami", "X-Auth-Token", first.Token), http.StatusOK)
	c.want(c.root(http.MethodPost, "/api/token/"+first.ID+"/revoke", ""), http.StatusOK)
	c.now = c.now.Add(3 * 24 * time.Hour)
	if n, err := c.s.tokens.Sweep(t.Context(), 10); n != 1 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	c.now = begin
	c.want(c.call("/whoami", "X-Auth-Token", first.Token), http.StatusUnauthorized)
	second := c.issue("clustercockpit", body)
	if second.Token == first.Token {
		t.Error("the token that was taken back is issued again")
	}
	c.want(c.call("/whoami", "X-Auth-Token", first.Token), http.StatusUnauthorized)
	c.want(c.call("/whoami", "X-Auth-Token", second.Token), http.StatusOK)
}

func TestProfilesAreApart(t *testing.T) {
	c := newCockpit(t)
	c.user("demo", "roles=api manager")
	tokens := map[string]string{
		"clustercockpit": c.issue("clustercockpit", `{"subject":"demo","roles":["API"]}`).Token,
		"metric-store":   c.issue("metric-store", `{"subject":"demo"}`).Token,
		"cross-login":    c.issue("cross-login", `{"subject":"demo","issuer":"https://portal","name":"De Mo","projects":["p1"],"duration":"5m"}`).Token,
	}
	for profile, token := range tokens {
		for other := range tokens {
			if _, err := c.elsewhere(other, token); (err == nil) != (other == profile) {
				t.Errorf("a token of %s with the key of %s: %v", profile, other, err)
			}
		}
		want := http.StatusUnauthorized
		if profile == "clustercockpit" {
			want = http.StatusOK
		}
		c.want(c.call("/whoami", "X-Auth-Token", token), want)
	}
	login, err := c.elsewhere("cross-login", tokens["cross-login"])
	if err != nil || login.Issuer != "https://portal" || login.Name != "De Mo" || len(login.Projects) != 1 || !login.Expires.Equal(c.now.Add(5*time.Minute)) {
		t.Errorf("cross login: %+v, %v", login, err)
	}
	api, err := c.elsewhere("clustercockpit", tokens["clustercockpit"])
	if err != nil || len(api.Roles) != 1 || !api.Expires.IsZero() {
		t.Errorf("with one role asked for: %+v, %v", api, err)
	}
}

func TestIssueForeignRefuses(t *testing.T) {
	c := newCockpit(t)
	c.user("demo", "roles=api")
	c.user("plain")
	c.user("off", "roles=api", "disabled=true")
	for _, tt := range []struct {
		profile, body string
		status        int
		word          string
	}{
		{"clustercockpit", `{"subject":"nobody"}`, http.StatusNotFound, "there is no user"},
		{"clustercockpit", `{}`, http.StatusNotFound, "no user"}, // the machine's root
		{"clustercockpit", `{"subject":"plain"}`, http.StatusBadRequest, "has no role"},
		{"clustercockpit", `{"subject":"off"}`, http.StatusForbidden, "disabled"},
		{"clustercockpit", `{"subject":"demo","roles":["admin"]}`, http.StatusBadRequest, "has no role"},
		{"clustercockpit", `{"subject":"demo","duration":"soon"}`, http.StatusBadRequest, "duration"},
		{"clustercockpit", `{"subject":"demo","duration":"-1h"}`, http.StatusBadRequest, "duration"},
		{"clustercockpit", `{"subject":"demo","issuer":"https://portal"}`, http.StatusBadRequest, "for a cross login"},
		{"cross-login", `{"subject":"demo"}`, http.StatusBadRequest, "issuer"},
		{"cross-login", `{"subject":"demo","issuer":"a\nb"}`, http.StatusBadRequest, "U+000A"},
		{"foo", `{"subject":"demo"}`, http.StatusBadRequest, "profile"},
		{"clustercockpit", `{"subject":"demo","admin":true}`, http.StatusBadRequest, "unknown field"},
		{"clustercockpit", `{"subject":"../sec/ca"}`, http.StatusNotFound, "there is no user"},
	} {
		c.want(c.root(http.MethodPost, "/api/token/profile/"+tt.profile, tt.body), tt.status, tt.word)
	}
	c.want(c.root(http.MethodGet, "/api/token/profile/foo/key", ""), http.StatusNotFound, "token profile")
}

func TestTokenMaxAge(t *testing.T) {
	c := newCockpit(t)
	c.user("demo", "roles=api")
	c.setCluster("token.max_age=24h")
	for body, want := range map[string]time.Duration{
		`{"subject":"demo"}`:                    24 * time.Hour,
		`{"subject":"demo","duration":"1h"}`:    time.Hour,
		`{"subject":"demo","duration":"2000h"}`: 24 * time.Hour,
	} {
		if got := c.issue("clustercockpit", body).ExpiresAt; got == nil || !got.Equal(c.now.Add(want)) {
			t.Errorf("%s expires at %v, want in %v", body, got, want)
		}
	}
}

func TestImportTokenKey(t *testing.T) {
	c := newCockpit(t)
	c.user("demo", "roles=api")
	own := c.root(http.MethodGet, "/.well-known/jwks.json", "").Body.String()
	for body, word := range map[string]string{
		"nonsense":              "invalid",
		demoPrivate:             "everybody has it",
		anotherKey[:86] + "AA":  "",
		"AAAA":                  "3 bytes",
		"-----BEGIN PUBLIC KEY": "PEM",
	} {
		c.want(c.root(http.MethodPost, keyAt, body), http.StatusBadRequest, word)
	}
	c.want(c.root(http.MethodGet, "/api/object/path/system/sec/jwt-clustercockpit", ""), http.StatusNotFound)

	c.want(c.root(http.MethodPost, keyAt, "JWT_PRIVATE_KEY=\""+anotherKey+"\"\n"), http.StatusNoContent)
	c.want(c.root(http.MethodGet, keyAt, ""), http.StatusOK, anotherKey)
	if got := base64.StdEncoding.EncodeToString(c.public("clustercockpit")); got != "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" {
		t.Errorf("public key %s", got)
	}
	// The same key for another profile, and a certificate where a token key is.
	other := strings.Replace(keyAt, "jwt-clustercockpit", "jwt-metric-store", 1)
	c.want(c.root(http.MethodPost, other, anotherKey), http.StatusConflict, "in use at system/sec/jwt-clustercockpit")
	c.want(c.root(http.MethodPost, strings.Replace(keyAt, "private_key", "certificate_chain", 1), "x"), http.StatusBadRequest, "no certificate")
	c.want(c.root(http.MethodPost, "/api/object/path/system/sec/jwt-clustercockpit/certificate", ""), http.StatusBadRequest)

	// A token that was signed elsewhere with the key is good elsewhere, and not here.
	raw, err := base64.StdEncoding.DecodeString(anotherKey)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := clustercockpit.NewSigner(raw, func() time.Time { return c.now })
	if err != nil {
		t.Fatal(err)
	}
	stray, err := signer.Sign(clustercockpit.Claims{Subject: "demo", Roles: []clustercockpit.Role{"api"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.elsewhere("clustercockpit", stray); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
	c.want(c.call("/whoami", "X-Auth-Token", stray), http.StatusUnauthorized)
	c.want(c.call("/whoami", "X-Auth-Token", c.issue("clustercockpit", `{"subject":"demo"}`).Token), http.StatusOK)
	if now := c.root(http.MethodGet, "/.well-known/jwks.json", "").Body.String(); now != own {
		t.Errorf("the keys of the cluster's own tokens changed: %s", now)
	}
}

// TestTokenKeyIsNoCertificateKey: a start with one key in two roles is refused.
func TestTokenKeyIsNoCertificateKey(t *testing.T) {
	c := newCockpit(t)
	c.want(c.root(http.MethodPost, keyAt, anotherKey), http.StatusNoContent)
	path := func(text string) object.Path {
		p, err := object.ParsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	key, err := c.s.objects.Value(t.Context(), path("system/sec/jwt-clustercockpit"), ca.KeyPrivate)
	if err != nil {
		t.Fatal(err)
	}
	p := path("system/sec/jwt-metric-store")
	if err := c.s.separateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	edits := []registry.Edit{{Action: registry.PutKey, Name: ca.KeyPrivate, Value: key}}
	if err := c.s.objects.MakeWith(t.Context(), p, object.NewConfig(p), edits); err != nil { // behind the back of the import
		t.Fatal(err)
	}
	if err := c.s.separateKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "the same key") {
		t.Errorf("one key in two roles: %v", err)
	}
}

func TestForeignKeyForRootOnly(t *testing.T) {
	c := newCockpit(t)
	c.user("demo", "roles=api", "grant=guest:ns1")
	w := c.root(http.MethodPost, "/api/auth/token?subject=demo", "")
	var pair wire.TokenPair
	if err := json.Unmarshal(w.Body.Bytes(), &pair); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	bearer := []string{"Authorization", "Bearer " + pair.AccessToken}
	target := "/api/token/profile/clustercockpit/key"
	c.want(c.call(target, bearer...), http.StatusNotFound) // and makes none
	made := c.public("clustercockpit")
	c.want(c.call(target, bearer...), http.StatusOK, base64.StdEncoding.EncodeToString(made))
	if !bytes.Equal(made, c.public("clustercockpit")) {
		t.Error("the key is made twice")
	}
	c.want(c.call(target), http.StatusUnauthorized)
}

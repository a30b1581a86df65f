package omca_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"omca"
	"omca/internal/wire"
)

// TestTokenEnds: whatever ends a token ends it at the next call, although its signature was found good before and is remembered.
func TestTokenEnds(t *testing.T) {
	const alice = "/api/object/path/system/usr/alice"
	for name, tt := range map[string]struct {
		end    func(*bearers)
		undo   func(*bearers) // after which it is as dead as before
		reason string
	}{
		"revoked": {end: func(b *bearers) {
			var list wire.TokenList
			if err := json.Unmarshal(local(b.t, b.Server, "GET", "/api/token?subject=alice", nil), &list); err != nil || len(list.Items) != 1 {
				b.t.Fatal(list, err)
			}
			local(b.t, b.Server, "POST", "/api/token/"+list.Items[0].ID+"/revoke", nil)
		}, reason: "was revoked"},
		"all of the user revoked": {end: func(b *bearers) { local(b.t, b.Server, "POST", "/api/token/revoke?subject=alice", nil) }, reason: "was revoked"},
		"the user deleted":        {end: func(b *bearers) { local(b.t, b.Server, "POST", alice+"/action/delete", nil) }, reason: "was revoked"},
		"the user made again": {end: func(b *bearers) { local(b.t, b.Server, "POST", alice+"/action/delete", nil) },
			undo: func(b *bearers) { b.user("alice", "grant=root") }, reason: "was revoked"},
		"the user made from nothing": {end: func(b *bearers) {
			local(b.t, b.Server, "POST", alice, map[string]any{"keywords": []string{"grant=root"}, "force": true})
		}, reason: "was revoked"},
		"the user disabled": {end: func(b *bearers) { b.user("alice", "disabled=true") },
			undo: func(b *bearers) { b.user("alice", "disabled=false") }, reason: "was revoked"},
		"the certificate revoked":    {end: func(b *bearers) { local(b.t, b.Server, "POST", alice+"/certificate/revoke", nil) }, reason: "was revoked"},
		"its time":                   {end: func(b *bearers) { b.ahead.Add(int64(10*time.Minute + 2*time.Second)) }, reason: "expired at"},
		"the key without an overlap": {end: func(b *bearers) { local(b.t, b.Server, "POST", "/api/token/rotate-key?overlap=false", nil) }, reason: "none of this cluster"},
		"token.max_age": {end: func(b *bearers) {
			b.ahead.Add(int64(time.Minute))
			local(b.t, b.Server, "PATCH", "/api/cluster/config?set=token.max_age=30s", nil)
		}, reason: "older than token.max_age"},
		"from where she may not call": {end: func(b *bearers) { b.user("alice", "allowed_ips=192.0.2.0/24") }, reason: "may not call from"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBearers(t)
			b.user("alice", "grant=admin:ns1")
			compact := b.issue("subject=alice").AccessToken
			for range 2 { // verified, and remembered
				if status, body := b.whoami(compact); status != http.StatusOK {
					t.Fatalf("%d %s", status, body)
				}
			}
			tt.end(b)
			_, nobody := b.send("GET", "/whoami")
			b.log.take()
			for range 2 {
				if status, body := b.whoami(compact); status != http.StatusUnauthorized || body != nobody {
					t.Fatalf("%d %s, want 401 and the same as for nobody", status, body)
				}
			}
			if log := b.log.take(); !strings.Contains(log, tt.reason) {
				t.Errorf("the log does not say %q: %s", tt.reason, log)
			}
			if tt.undo != nil {
				tt.undo(b)
				if status, _ := b.whoami(compact); status != http.StatusUnauthorized {
					t.Errorf("alive again: %d", status)
				}
			}
		})
	}
}

// A user of the same name who was made later is another user, also to a token whose record is there. A token without a
// record proves no name.
func TestTokenOfAnEarlierUser(t *testing.T) {
	b := newBearers(t)
	b.user("alice", "grant=admin:ns1")
	f := b.forge()
	for reason, compact := range map[string]string{
		"that of an earlier user": f.claiming(map[string]any{"iat": time.Now().Unix() - 5, "nbf": time.Now().Unix() - 5}),
		"is not on record":        f.claiming(map[string]any{"jti": "UNRECORDED"}),
	} {
		b.log.take()
		if status, _ := b.whoami(compact); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", reason, status)
		}
		if log := b.log.take(); !strings.Contains(log, reason) {
			t.Errorf("the log does not say %q: %s", reason, log)
		}
	}
}

// TestTokenHolds: a token gives what its subject holds at that moment, and never more than it was given.
func TestTokenHolds(t *testing.T) {
	b := newBearers(t)
	b.user("alice", "grant=admin:ns1 guest:ns2", "roles=user api")
	all := b.issue("subject=alice").AccessToken
	some := b.issue("subject=alice&role=guest&scope=ns1").AccessToken
	raw := func(compact string) string {
		t.Helper()
		status, body := b.whoami(compact)
		var who wire.Whoami
		if err := json.Unmarshal([]byte(body), &who); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		return who.RawGrant
	}
	for _, step := range []struct{ holds, all, some string }{
		{"admin:ns1 guest:ns2", "admin:ns1 guest:ns2", "guest:ns1"},
		{"operator:ns1 guest:ns2", "operator:ns1 guest:ns2", "guest:ns1"},
		{"guest:ns2", "guest:ns2", ""},
		{"admin:ns3", "", ""},
		{"root", "admin:ns1 guest:ns2", "guest:ns1"},
		{"admin", "admin:ns1 guest:ns2", "guest:ns1"},
	} {
		b.user("alice", "grant="+step.holds)
		if got := [2]string{raw(all), raw(some)}; got != [2]string{step.all, step.some} {
			t.Errorf("of whoever holds %q: %q, want %q and %q", step.holds, got, step.all, step.some)
		}
	}
}

// What an access token must not do: get another one, rotate keys, read the private key of its subject.
func TestAccessTokenIsNotItsUser(t *testing.T) {
	b := newBearers(t)
	b.user("boss", "grant=root")
	b.user("alice", "grant=guest:ns1")
	root, hers := "Bearer "+b.issue("subject=boss").AccessToken, "Bearer "+b.issue("subject=alice").AccessToken
	for _, tt := range []struct {
		method, path, who string
		status            int
	}{
		{"POST", "/api/auth/token", root, http.StatusForbidden},
		{"POST", "/api/auth/token?subject=alice", root, http.StatusForbidden},
		{"POST", "/api/auth/token", hers, http.StatusForbidden},
		{"POST", "/api/auth/refresh", hers, http.StatusUnauthorized},
		{"GET", "/api/object/path/system/usr/alice/data/key?name=private_key", hers, http.StatusForbidden},
		{"POST", "/api/token/rotate-key", hers, http.StatusForbidden},
		{"POST", "/api/token/rotate-key", root, http.StatusOK},
		{"POST", "/api/token/revoke", hers, http.StatusOK}, // to take it away is all that it can do with it
		{"GET", "/whoami", hers, http.StatusUnauthorized},
	} {
		if status, body := b.send(tt.method, tt.path, tt.who); status != tt.status {
			t.Errorf("%s %s: %d %s, want %d", tt.method, tt.path, status, body, tt.status)
		}
	}
}

// TestRefreshToken: a refresh token gives access tokens, each with what it was given and its subject still holds, and nothing else.
func TestRefreshToken(t *testing.T) {
	b := newBearers(t)
	b.user("alice", "grant=admin:ns1 guest:ns2")
	refresh := func(compact, query string) (int, string) {
		return b.send("POST", "/api/auth/refresh"+query, "Bearer "+compact)
	}
	grantOf := func(body string) string {
		t.Helper()
		var pair wire.TokenPair
		if err := json.Unmarshal([]byte(body), &pair); err != nil || pair.RefreshToken != "" {
			t.Fatalf("%v: %s", err, body)
		}
		_, who := b.whoami(pair.AccessToken)
		var w wire.Whoami
		if err := json.Unmarshal([]byte(who), &w); err != nil {
			t.Fatalf("%v: %s", err, who)
		}
		return w.RawGrant
	}
	all, some := b.issue("subject=alice&refresh=true").RefreshToken, b.issue("subject=alice&refresh=true&role=guest").RefreshToken
	for _, tt := range []struct{ held, token, query, want string }{
		{"admin:ns1 guest:ns2", all, "", "admin:ns1 guest:ns2"},
		{"admin:ns1 guest:ns2", all, "?role=guest", "guest:ns1 guest:ns2"},
		{"admin:ns1 guest:ns2", all, "?scope=ns1", "admin:ns1"},
		{"admin:ns1 guest:ns2", some, "", "guest:ns1 guest:ns2"}, // not more by asking again
		{"root", some, "", "guest:ns1 guest:ns2"},
		{"guest:ns1", all, "", "guest:ns1"},
		{"guest:ns1", all, "?role=admin", ""},
		{"admin:ns9", all, "", ""},
	} {
		b.user("alice", "grant="+tt.held)
		status, body := refresh(tt.token, tt.query)
		if tt.want == "" {
			if status != http.StatusForbidden {
				t.Errorf("%q of whoever holds %q: %d %s, want 403", tt.query, tt.held, status, body)
			}
			continue
		}
		if status != http.StatusOK || grantOf(body) != tt.want {
			t.Errorf("%q of whoever holds %q: %d %s, want %q", tt.query, tt.held, status, body, tt.want)
		}
	}
	for _, route := range []string{"/whoami", "/api/token", "/api/object/path"} {
		if status, _ := b.send("GET", route, "Bearer "+all); status != http.StatusUnauthorized {
			t.Errorf("%s with a refresh token: %d", route, status)
		}
	}
	// That of the machine's root needs no user object, and dies by its id like any other.
	root := b.issue("refresh=true")
	status, body := refresh(root.RefreshToken, "?role=guest&scope=ns1")
	if status != http.StatusOK || grantOf(body) != "guest:ns1" {
		t.Errorf("root's: %d %s", status, body)
	}
	b.user("alice", "disabled=true")
	local(t, b.Server, "POST", "/api/token/revoke", nil)
	for name, compact := range map[string]string{"of a disabled user": all, "revoked": root.RefreshToken, "an access token": root.AccessToken, "nothing": ""} {
		if status, body := refresh(compact, ""); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _ := b.send("POST", "/api/auth/refresh"); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
}

// TestRotatedKey: the new key signs at once, the old one is good for what it signed until the last of it can have expired, and no
// longer, for anybody.
func TestRotatedKey(t *testing.T) {
	b := newBearers(t)
	b.user("alice", "grant=admin:ns1")
	before := b.issue("subject=alice").AccessToken
	f := b.forge()
	keys := func() int {
		t.Helper()
		_, body := b.send("GET", "/.well-known/jwks.json")
		var set struct {
			Keys []map[string]string `json:"keys"`
		}
		if err := json.Unmarshal([]byte(body), &set); err != nil {
			t.Fatal(err)
		}
		for _, key := range set.Keys {
			if _, private := key["d"]; private || key["kty"] != "OKP" || key["crv"] != "Ed25519" || key["use"] != "sig" {
				t.Errorf("key %v", key)
			}
		}
		return len(set.Keys)
	}
	if n := keys(); n != 1 {
		t.Errorf("%d keys", n)
	}
	local(t, b.Server, "POST", "/api/token/rotate-key", nil)
	after := b.issue("subject=alice").AccessToken
	kid := func(compact string) string { return strings.Split(compact, ".")[0] }
	if n := keys(); n != 2 || kid(before) == kid(after) {
		t.Errorf("%d keys, and the header before is %s, then %s", n, kid(before), kid(after))
	}
	for name, compact := range map[string]string{"signed before": before, "signed after": after} {
		if status, _ := b.whoami(compact); status != http.StatusOK {
			t.Errorf("%s: %d", name, status)
		}
	}
	b.ahead.Add(int64(31 * 24 * time.Hour))
	now := time.Now().Unix() + 31*24*3600
	late := f.claiming(map[string]any{"jti": "LATE", "iat": now, "nbf": now, "exp": now + 600})
	b.log.take()
	if status, _ := b.whoami(late); status != http.StatusUnauthorized {
		t.Errorf("signed with the old key after its time: %d", status)
	}
	if log := b.log.take(); !strings.Contains(log, "its time ended at") {
		t.Errorf("the log: %s", log)
	}
	if n := keys(); n != 1 {
		t.Errorf("%d keys after the overlap", n)
	}
}

// TestStandardVerifier: a service that knows nothing of omca verifies its tokens, by discovery alone.
func TestStandardVerifier(t *testing.T) {
	b := newBearers(t)
	b.user("alice", "grant=admin:ns1", "roles=user api")
	issuer := "https://localhost:" + b.address[strings.LastIndexByte(b.address, ':')+1:]
	local(t, b.Server, "PATCH", "/api/cluster/config?set=token.issuer="+issuer, nil)
	ctx := oidc.ClientContext(context.Background(), b.http)
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		t.Fatal(err)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: "metrics"})
	verified, err := verifier.Verify(ctx, b.issue("subject=alice&audience=metrics&audience=other").AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Grant []string `json:"grant"`
		Roles []string `json:"roles"`
		Use   string   `json:"token_use"`
		ID    string   `json:"jti"`
	}
	if err := verified.Claims(&claims); err != nil || verified.Subject != "alice" || strings.Join(claims.Grant, " ") != "admin:ns1" ||
		strings.Join(claims.Roles, " ") != "user api" || claims.Use != "access" || claims.ID == "" {
		t.Errorf("%+v %+v, %v", verified, claims, err)
	}
	// What is for that service alone is not for this API, nor the other way round: neither can call the other with it.
	for name, status := range map[string]int{"audience=metrics": http.StatusUnauthorized, "audience=": http.StatusOK} {
		if got, _ := b.whoami(b.issue("subject=alice&" + name).AccessToken); got != status {
			t.Errorf("a token with %s calls this API: %d, want %d", name, got, status)
		}
	}
	if _, err := verifier.Verify(ctx, b.issue("subject=alice").AccessToken); err == nil {
		t.Error("a token for this API is taken for one for metrics")
	}
	// A new key is met with the next token.
	local(t, b.Server, "POST", "/api/token/rotate-key", nil)
	if _, err := verifier.Verify(ctx, b.issue("subject=alice&audience=metrics").AccessToken); err != nil {
		t.Errorf("after the key was rotated: %v", err)
	}
	// The issuer can be changed; what was issued under the former name of the first start goes on.
	local(t, b.Server, "PATCH", "/api/cluster/config?unset=token.issuer", nil)
	if _, body := b.send("GET", "/.well-known/openid-configuration"); !strings.Contains(body, `"issuer":"https://localhost:1215"`) {
		t.Errorf("discovery: %s", body)
	}
}

// TestClaims is what a token says, word for word.
func TestClaims(t *testing.T) {
	b := newBearers(t)
	b.user("alice", "grant=admin:ns1 guest:ns2", "roles=user api")
	before := time.Now().Unix()
	compact := b.issue("subject=alice&access_duration=1h").AccessToken
	parts := strings.Split(compact, ".")
	var header, claims map[string]any
	for i, into := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(header) != 3 || header["alg"] != "EdDSA" || header["typ"] != "JWT" || len(header["kid"].(string)) != 43 {
		t.Errorf("header %v", header)
	}
	iat, exp := int64(claims["iat"].(float64)), int64(claims["exp"].(float64))
	if iat < before || iat > time.Now().Unix() || claims["nbf"] != claims["iat"] || exp-iat < 3600 || exp-iat > 3601 {
		t.Errorf("times %v", claims)
	}
	for _, word := range []string{"iat", "nbf", "exp", "jti"} {
		delete(claims, word)
	}
	aud := "omca:" + status(t, b.Server).ClusterID
	want := `{"aud":["` + aud + `"],"grant":["admin:ns1","guest:ns2"],"iss":"https://localhost:1215","roles":["user","api"],"sub":"alice","token_use":"access"}`
	if got, err := json.Marshal(claims); err != nil || string(got) != want {
		t.Errorf("claims\n%s, want\n%s", got, want)
	}
}

// Keys and records outlive the daemon.
func TestTokensOutliveTheDaemon(t *testing.T) {
	home := t.TempDir() + "/home"
	var kept, revoked string
	t.Run("first", func(t *testing.T) {
		r := runServer(t, omca.Config{Home: home})
		local(t, r.Server, "POST", "/api/object/path/system/usr/alice", map[string]any{"keywords": []string{"grant=guest"}})
		for _, into := range []*string{&revoked, &kept} {
			var pair wire.TokenPair
			if err := json.Unmarshal(local(t, r.Server, "POST", "/api/auth/token?subject=alice", nil), &pair); err != nil {
				t.Fatal(err)
			}
			if into == &kept {
				local(t, r.Server, "POST", "/api/token/revoke?subject=alice", nil)
				if err := json.Unmarshal(local(t, r.Server, "POST", "/api/auth/token?subject=alice", nil), &pair); err != nil {
					t.Fatal(err)
				}
			}
			*into = pair.AccessToken
		}
	})
	b := newBearersAt(t, home)
	for name, tt := range map[string]struct {
		compact string
		status  int
	}{"kept": {kept, http.StatusOK}, "revoked": {revoked, http.StatusUnauthorized}} {
		if status, body := b.whoami(tt.compact); status != tt.status {
			t.Errorf("%s: %d %s, want %d", name, status, body, tt.status)
		}
	}
}

// TestTokensSweptByAClockAhead: a daemon that starts with its clock ahead forgets what "expired", and no start with the right clock
// makes any of it good again, revoked or not.
func TestTokensSweptByAClockAhead(t *testing.T) {
	home := t.TempDir() + "/home"
	begin := func(ahead time.Duration) *bearers {
		t.Helper()
		b := &bearers{t: t, log: new(logged)}
		b.running = runServer(t, omca.Config{
			Home: home, Now: func() time.Time { return time.Now().Add(ahead) }, Log: slog.New(slog.NewJSONHandler(b.log, nil)),
		})
		b.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.pool, ServerName: "localhost"}}}
		t.Cleanup(b.http.CloseIdleConnections)
		return b
	}
	b := begin(0)
	b.user("alice", "grant=admin:ns1", "roles=api")
	revoked := b.issue("subject=alice&access_duration=24h").AccessToken
	local(t, b.Server, "POST", "/api/token/revoke?subject=alice", nil)
	kept, root := b.issue("subject=alice&access_duration=24h&refresh=true"), b.issue("access_duration=24h")
	var cockpit wire.ForeignToken
	if err := json.Unmarshal(local(t, b.Server, "POST", "/api/token/profile/clustercockpit", map[string]string{"subject": "alice", "duration": "24h"}), &cockpit); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{"kept": kept.AccessToken, "of the machine's root": root.AccessToken, "for ClusterCockpit": cockpit.Token, "revoked": revoked}
	for name, compact := range tokens {
		want := http.StatusOK
		if name == "revoked" {
			want = http.StatusUnauthorized
		}
		if status, body := b.whoami(compact); status != want {
			t.Fatalf("%s: %d %s, want %d", name, status, body, want)
		}
	}
	b.stop()

	b = begin(3 * 24 * time.Hour)
	until(t, "the tokens are swept", func() bool { return strings.Contains(b.log.take(), "expired tokens swept") })
	b.stop()

	b = begin(0)
	for name, compact := range tokens {
		if status, body := b.whoami(compact); status != http.StatusUnauthorized {
			t.Errorf("%s, swept by a clock that was ahead, opens the door when the clock is back: %d %s", name, status, body)
		}
	}
	if status, body := b.send("POST", "/api/auth/refresh", "Bearer "+kept.RefreshToken); status != http.StatusUnauthorized {
		t.Errorf("the refresh token, swept by a clock that was ahead, gives another: %d %s", status, body)
	}
	if status, body := b.whoami(b.issue("subject=alice").AccessToken); status != http.StatusOK {
		t.Errorf("one that was issued since: %d %s", status, body)
	}
}

// A key has one role. A daemon does not start with one that signs certificates, or serves, and tokens too.
func TestKeysApart(t *testing.T) {
	home := t.TempDir() + "/home"
	s := open(t, omca.Config{Home: home})
	key := local(t, s, "GET", "/api/object/path/system/sec/ca/data/key?name=private_key", nil)
	local(t, s, "POST", "/api/object/path/system/sec/other", map[string]any{"keywords": []string{"cn=other.example.com"}})
	put := func(name string, value []byte) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "http://omca/api/object/path/system/sec/other/data/key?name="+name, bytes.NewReader(value))
		r.Header.Set("Content-Type", "application/octet-stream")
		answer, err := s.Transport().RoundTrip(r)
		if err != nil || answer.StatusCode/100 != 2 {
			t.Fatal(answer, err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	put("private_key", key)
	var signed wire.Signed
	request := map[string]any{"csr": string(requestBy(t, key)), "profile": "listener"}
	if err := json.Unmarshal(local(t, s, "POST", "/api/certificate", request), &signed); err != nil {
		t.Fatal(err)
	}
	put("certificate_chain", []byte(signed.CertificateChain))
	soon, giveUp := context.WithTimeout(t.Context(), 20*time.Second)
	defer giveUp()
	err := s.Run(soon, func(omca.Ready) { t.Error("it runs") })
	if err == nil || !strings.Contains(err.Error(), "system/sec/ca and system/sec/other have the same key") {
		t.Errorf("start: %v", err)
	}
	// Another key for either, and it goes on.
	local(t, s, "POST", "/api/object/path/system/sec/other/certificate/renew", map[string]any{"rekey": true})
	ctx, cancel := context.WithCancel(soon)
	if err := s.Run(ctx, func(omca.Ready) { cancel() }); err != nil {
		t.Errorf("start: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// requestBy is a signing request of whoever has the key.
func requestBy(t *testing.T, key []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(key)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "other.example.com"}, DNSNames: []string{"other.example.com"}}, private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

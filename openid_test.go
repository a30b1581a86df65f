package omca_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"omca"
	"omca/internal/openid/openidtest"
)

// federated is a daemon that takes the tokens of an issuer.
type federated struct {
	*running
	t      *testing.T
	issuer *openidtest.Issuer
}

func federate(t *testing.T) *federated {
	t.Helper()
	issuer, stop, err := openidtest.Serve("127.0.0.1:0", openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	f := &federated{running: runServer(t, omca.Config{}), t: t, issuer: issuer}
	f.set("listener.openid_issuer=" + issuer.URL())
	return f
}

// set changes keywords of the cluster.
func (f *federated) set(expressions ...string) {
	f.t.Helper()
	local(f.t, f.Server, http.MethodPatch, "/api/cluster/config?"+url.Values{"set": expressions}.Encode(), nil)
}

// await waits until the issuer is usable, or is not.
func (f *federated) await(usable bool) {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		o := status(f.t, f.Server).OpenID
		if o != nil && o.Usable == usable && !o.Since.IsZero() {
			return
		}
	}
	f.t.Fatalf("the issuer is not usable=%t in time: %+v", usable, status(f.t, f.Server).OpenID)
}

func (f *federated) token(altered map[string]any) string {
	f.t.Helper()
	token, err := f.issuer.Token(altered)
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}

// call calls with a token, over the network.
func (f *federated) call(method, path, token, body string) (int, string) {
	f.t.Helper()
	return f.browser(f.t, nil).do(method, path, "application/json", body, "Authorization", "Bearer "+token)
}

func (f *federated) wants(what string, status int, words, method, path, token, body string) {
	f.t.Helper()
	got, text := f.call(method, path, token, body)
	if got != status || !strings.Contains(text, words) {
		f.t.Errorf("%s: %d %s, want %d and %q", what, got, text, status, words)
	}
}

func TestOpenIDWhoami(t *testing.T) {
	f := federate(t)
	f.await(true)
	f.wants("a token of the issuer", 200, `{"auth":"jwt-openid","grant":{"admin":["ns1"]},"name":"openid:alice","namespace":"system","raw_grant":"admin:ns1"}`,
		"GET", "/whoami", f.token(nil), "")
	f.wants("for somebody else", 401, "not authenticated", "GET", "/whoami", f.token(map[string]any{"aud": "account", "azp": nil}), "")
	f.wants("of nobody", 401, "not authenticated", "GET", "/whoami", f.token(map[string]any{"iss": "https://evil.test"}), "")
	f.wants("expired", 401, "not authenticated", "GET", "/whoami", f.token(map[string]any{"exp": 1}), "")
	code, text := f.browser(t, nil).do("GET", "/api/auth/info", "", "")
	if want := fmt.Sprintf(`"openid":{"client_id":"omca","issuer":%q}`, f.issuer.URL()); code != 200 || !strings.Contains(text, want) || !strings.Contains(text, `"openid"]`) {
		t.Errorf("auth/info: %d %s, want %s", code, text, want)
	}
	before := f.token(nil)
	f.set("listener.openid_grant_claim=entitlements")
	f.await(true)
	f.wants("another claim, from now on", 200, `"raw_grant":""`, "GET", "/whoami", before, "")
	local(t, f.Server, http.MethodPatch, "/api/cluster/config?unset=listener.openid_issuer", nil)
	f.wants("no issuer, from now on", 401, "not authenticated", "GET", "/whoami", before, "")
	if st := status(t, f.Server); st.OpenID != nil {
		t.Errorf("no issuer: %+v", st.OpenID)
	}
}

func TestOpenIDIssuerDownAtStart(t *testing.T) {
	issuer, stop, err := openidtest.Serve("127.0.0.1:0", openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	home := t.TempDir() + "/home"
	first := open(t, omca.Config{Home: home})
	local(t, first, http.MethodPatch, "/api/cluster/config?"+url.Values{"set": {"listener.openid_issuer=" + issuer.URL()}}.Encode(), nil)
	if n := issuer.Requests(""); n != 0 {
		t.Errorf("a command without a daemon asked the issuer %d times", n)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	issuer.Down(true)
	f := &federated{running: runServer(t, omca.Config{Home: home}), t: t, issuer: issuer}
	f.await(false)
	f.wants("nobody can say whose the token is", 503, "cannot do its work", "GET", "/whoami", f.token(nil), "")
	if code, text := f.browser(t, nil).do("GET", "/api/auth/info", "", ""); code != 200 || strings.Contains(text, "openid") {
		t.Errorf("auth/info offers what does not work: %d %s", code, text)
	}
	issuer.Down(false)
	f.await(true)
	f.wants("it came", 200, "openid:alice", "GET", "/whoami", f.token(nil), "")
	issuer.Down(true)
	f.wants("it went", 200, "openid:alice", "GET", "/whoami", f.token(nil), "")
}

// TestOpenIDIsNoUser: whom the issuer calls alice is not system/usr/alice, and root is not root.
func TestOpenIDIsNoUser(t *testing.T) {
	f := federate(t)
	f.await(true)
	f.make(t, "system/usr/alice", "grant=guest:ns9")
	alice := "/api/object/path/system/usr/alice"
	token := f.token(map[string]any{"grant": []string{"squatter", "guest:system"}})
	f.wants("her key", 403, "", "GET", alice+"/data/key?name=private_key", token, "")
	f.wants("her certificate", 403, "", "POST", alice+"/certificate/renew", token, "{}")
	f.wants("a token", 403, "", "POST", "/api/auth/token", token, "")
	f.wants("a namespace", 403, "no object", "POST", "/api/object/path/fresh/sec/x", token, "{}")
	if text := string(local(t, f.Server, http.MethodGet, alice+"/config?kw=grant", nil)); !strings.Contains(text, "guest:ns9") || strings.Contains(text, "fresh") {
		t.Errorf("what alice holds: %s", text)
	}
	f.wants("root", 200, `"raw_grant":""`, "GET", "/whoami", f.token(map[string]any{"preferred_username": "root", "grant": "root"}), "")
	local(t, f.Server, http.MethodPatch, alice+"/config?set=disabled=true", nil)
	f.wants("the other alice is disabled", 200, "openid:alice", "GET", "/whoami", token, "")
}

// TestOwnTokensAreNotTheIssuers: even where the issuer has our name, and publishes our keys, what was taken back here stays so.
func TestOwnTokensAreNotTheIssuers(t *testing.T) {
	f := federate(t)
	f.set("token.issuer="+f.issuer.URL(), "listener.openid_client_id="+f.issuer.URL())
	f.make(t, "system/usr/bob", "grant=guest:ns1")
	var issued struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(local(t, f.Server, http.MethodPost, "/api/auth/token?subject=bob", nil), &issued); err != nil {
		t.Fatal(err)
	}
	_, jwks := f.browser(t, nil).do("GET", "/.well-known/jwks.json", "", "")
	var ours, both struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal([]byte(jwks), &ours); err != nil || len(ours.Keys) == 0 {
		t.Fatalf("%s: %v", jwks, err)
	}
	theirs, err := json.Marshal(f.issuer.Keys().Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	both.Keys = append(ours.Keys, theirs)
	f.issuer.Override("/keys", func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(both); err != nil {
			t.Error(err)
		}
	})
	f.set("listener.openid_grant_claim=entitlements") // asks again
	f.await(true)
	if n := status(t, f.Server).OpenID.Keys; n != 1 {
		t.Errorf("%d keys are believed, want the one that is not ours", n)
	}
	f.wants("our token", 200, `"auth":"jwt"`, "GET", "/whoami", issued.Token, "")
	local(t, f.Server, http.MethodPost, "/api/token/revoke?subject=bob", nil)
	f.wants("our token, taken back", 401, "not authenticated", "GET", "/whoami", issued.Token, "")
	f.wants("the issuer's", 200, `"auth":"jwt-openid"`, "GET", "/whoami", f.token(map[string]any{"aud": f.issuer.URL(), "azp": nil}), "")
}

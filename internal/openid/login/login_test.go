package login_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"omca/internal/hint"
	"omca/internal/openid/login"
	"omca/internal/openid/openidtest"
	"omca/internal/outbound"
	"omca/usr"
)

func issuer(t *testing.T, c openidtest.Config) *openidtest.Issuer {
	t.Helper()
	i, err := openidtest.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func discover(t *testing.T, i *openidtest.Issuer) *login.Flow {
	t.Helper()
	f, err := login.Discover(t.Context(), login.Config{Issuer: i.URL(), ClientID: "omca", Now: time.Now, Network: &outbound.Network{Transport: i}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// browser goes to the issuer, which has no network, and comes back to the loopback with what it was sent back with, altered.
type browser struct {
	t      *testing.T
	issuer *openidtest.Issuer
	alter  func(url.Values)
	status int    // of the page that it ends on
	page   string // its text
}

func (b *browser) open(address string) {
	client := &http.Client{Transport: b.issuer, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get(address)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer answer.Body.Close() // it is empty
	back, err := answer.Location()
	if err != nil {
		b.t.Error(err)
		return
	}
	query := back.Query()
	if b.alter != nil {
		b.alter(query)
	}
	back.RawQuery = query.Encode()
	b.visit(back.String())
}

func (b *browser) visit(address string) {
	answer, err := http.Get(address)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer answer.Body.Close() // read
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Error(err)
	}
	b.status, b.page = answer.StatusCode, string(text)
}

// within bounds a login that is to fail, and one that is to succeed.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestBrowser(t *testing.T) {
	i := issuer(t, openidtest.Config{})
	b := &browser{t: t, issuer: i}
	tokens, err := discover(t, i).Browser(within(t), func(address string) {
		u, err := url.Parse(address)
		if err != nil {
			t.Error(err)
			return
		}
		q := u.Query()
		if q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" || len(q.Get("state")) < 40 || !strings.HasPrefix(q.Get("redirect_uri"), "http://127.0.0.1:") {
			t.Errorf("asked with %v", q)
		}
		go b.open(address)
	})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(tokens.ExpiresAt); tokens.Bearer == "" || tokens.Refresh == "" || left < 4*time.Minute || left > openidtest.Lifetime {
		t.Errorf("%+v", tokens)
	}
	next, err := discover(t, i).Refresh(t.Context(), tokens.Refresh)
	if err != nil || next.Bearer == tokens.Bearer || next.Refresh == "" {
		t.Errorf("renewed: %+v, %v", next, err)
	}
	_, err = discover(t, i).Refresh(t.Context(), tokens.Refresh)
	if err == nil || !strings.Contains(err.Error(), "invalid_grant") || !strings.Contains(hint.Of(err), "context login") {
		t.Errorf("a refresh token that was used: %v, hint %q", err, hint.Of(err))
	}
	if err := discover(t, i).Revoke(t.Context(), next.Refresh); err != nil {
		t.Error(err)
	}
	if _, err := discover(t, i).Refresh(t.Context(), next.Refresh); err == nil {
		t.Error("a refresh token that was revoked is good")
	}
}

// TestOpaque: an access token that nobody but the issuer can read, or that is for somebody else, is not what the service is called with.
func TestOpaque(t *testing.T) {
	for what, c := range map[string]openidtest.Config{"opaque": {Opaque: true}, "for others": {Audience: "account"}} {
		i := issuer(t, c)
		b := &browser{t: t, issuer: i}
		tokens, err := discover(t, i).Browser(within(t), func(address string) { go b.open(address) })
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(tokens.Bearer, ".") != 2 || tokens.ExpiresAt.IsZero() {
			t.Errorf("%s: called with %+v, want the ID token", what, tokens)
		}
	}
}

func TestAnswersThatAreRefused(t *testing.T) {
	for what, test := range map[string]struct {
		alter  func(url.Values)
		reason string
	}{
		"of another issuer":   {func(q url.Values) { q.Set("iss", "https://evil.test") }, "another issuer"},
		"of nobody":           {func(q url.Values) { q.Del("iss") }, "another issuer"},
		"without a code":      {func(q url.Values) { q.Del("code") }, "no code"},
		"with another code":   {func(q url.Values) { q.Set("code", "stolen") }, "invalid_grant"},
		"the person said no":  {func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }, "access_denied"},
		"no, with characters": {func(q url.Values) { q.Set("error", "no\x1b[31m\nomca: all is well") }, "no.[31m.omca"},
	} {
		i := issuer(t, openidtest.Config{})
		b := &browser{t: t, issuer: i, alter: test.alter}
		tokens, err := discover(t, i).Browser(within(t), func(address string) { go b.open(address) })
		if err == nil || !strings.Contains(err.Error(), test.reason) || tokens.Bearer != "" {
			t.Errorf("%s: %+v, %v, want %q", what, tokens, err, test.reason)
		}
	}
}

// TestStrangersAtThePort: whoever else comes to the port changes nothing, and the login goes on.
func TestStrangersAtThePort(t *testing.T) {
	i := issuer(t, openidtest.Config{})
	_, err := discover(t, i).Browser(within(t), func(address string) {
		u, err := url.Parse(address)
		if err != nil {
			t.Error(err)
			return
		}
		back := u.Query().Get("redirect_uri")
		go func() {
			for path, want := range map[string]int{
				"?code=evil": 400, "?state=&code=evil": 400, "?state=guess&code=evil&iss=" + i.URL(): 400, "?state=guess&error=access_denied": 400, "x?code=evil": 404,
			} {
				stranger := &browser{t: t}
				stranger.visit(back + path)
				if stranger.status != want || strings.Contains(stranger.page, "evil") {
					t.Errorf("%s: %d %q, want %d", path, stranger.status, stranger.page, want)
				}
			}
			b := &browser{t: t, issuer: i}
			b.open(address)
			if b.status != 200 || !strings.Contains(b.page, "logged in") {
				t.Errorf("the person sees %d %q", b.status, b.page)
			}
		}()
	})
	if err != nil {
		t.Error(err)
	}
}

// TestForgedIDToken has the token endpoint answer for another login, for another client, and with another access token.
func TestForgedIDToken(t *testing.T) {
	for what, test := range map[string]struct {
		claims map[string]any
		reason string
	}{
		"another nonce":        {map[string]any{"nonce": "other"}, "nonce"},
		"no nonce":             {map[string]any{}, "nonce"},
		"another client":       {map[string]any{"aud": "grafana"}, "audience"},
		"expired":              {map[string]any{"exp": 1}, "expired"},
		"another issuer":       {map[string]any{"iss": "https://evil.test"}, "different provider"},
		"another access token": {map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA", "nonce": nil}, "at_hash"},
	} {
		i := issuer(t, openidtest.Config{})
		nonce := ""
		i.Override("/token", func(w http.ResponseWriter, _ *http.Request) {
			claims := i.Claims(map[string]any{})
			for name, value := range test.claims {
				claims[name] = value
			}
			if what == "another access token" || what == "expired" || strings.HasPrefix(what, "another client") || what == "another issuer" {
				claims["nonce"] = nonce
			}
			id, err := i.Sign(nil, claims)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": id}); err != nil {
				t.Error(err)
			}
		})
		b := &browser{t: t, issuer: i}
		_, err := discover(t, i).Browser(within(t), func(address string) {
			u, err := url.Parse(address)
			if err != nil {
				t.Error(err)
				return
			}
			nonce = u.Query().Get("nonce")
			go b.open(address)
		})
		if err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: %v, want %q", what, err, test.reason)
		}
	}
}

func TestDevice(t *testing.T) {
	i := issuer(t, openidtest.Config{Interval: time.Second})
	tokens, err := discover(t, i).Device(within(t), func(c login.Code) {
		if c.UserCode == "" || c.Address == "" || !strings.Contains(c.Complete, c.UserCode) {
			t.Errorf("%+v", c)
		}
		answer, err := (&http.Client{Transport: i}).Get(c.Complete)
		if err != nil || answer.Body.Close() != nil {
			t.Error(err)
		}
	})
	if err != nil || tokens.Bearer == "" {
		t.Errorf("%+v, %v", tokens, err)
	}
	_, err = discover(t, i).Device(within(t), func(c login.Code) {
		answer, err := (&http.Client{Transport: i}).Get(c.Complete + "&deny=1")
		if err != nil || answer.Body.Close() != nil {
			t.Error(err)
		}
	})
	if err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("the person said no: %v", err)
	}
	none := issuer(t, openidtest.Config{NoDevice: true})
	if f := discover(t, none); f.HasDevice() {
		t.Error("an issuer without the device flow has it")
	} else if _, err := f.Device(t.Context(), nil); err == nil {
		t.Error("it was used")
	}
}

func TestGivenUp(t *testing.T) {
	i := issuer(t, openidtest.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := discover(t, i).Browser(ctx, func(string) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

func TestIssuersThatAreRefused(t *testing.T) {
	for _, address := range []string{"", "http://idp.mycorp", "https://u:p@idp.mycorp", "ftp://127.0.0.1"} {
		if _, err := login.Discover(t.Context(), login.Config{Issuer: address, ClientID: "omca", Now: time.Now}); !errors.Is(err, usr.ErrInvalid) {
			t.Errorf("%q: %v, want %v", address, err, usr.ErrInvalid)
		}
	}
	i := issuer(t, openidtest.Config{})
	for what, document := range map[string]map[string]any{
		"another name":          {"issuer": "https://evil.test", "token_endpoint": "https://evil.test/token"},
		"tokens in the clear":   {"issuer": i.URL(), "token_endpoint": "http://idp.test/token"},
		"with a password":       {"issuer": i.URL(), "authorization_endpoint": "https://u:p@idp.test/"},
		"in the clear, a query": {"issuer": i.URL(), "authorization_endpoint": "http://idp.test/?realm=1"},
		"revocation by script":  {"issuer": i.URL(), "revocation_endpoint": "javascript:alert(1)"},
	} {
		i.Override("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			if err := json.NewEncoder(w).Encode(document); err != nil {
				t.Error(err)
			}
		})
		if _, err := login.Discover(t.Context(), login.Config{Issuer: i.URL(), ClientID: "omca", Now: time.Now, Network: &outbound.Network{Transport: i}}); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

// TestRedirectedTokens: the code is not sent on to where the token endpoint redirects.
func TestRedirectedTokens(t *testing.T) {
	i := issuer(t, openidtest.Config{})
	i.Override("/token", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, i.URL()+"/elsewhere", http.StatusTemporaryRedirect)
	})
	b := &browser{t: t, issuer: i}
	if _, err := discover(t, i).Browser(within(t), func(address string) { go b.open(address) }); err == nil {
		t.Error("logged in")
	}
	if n := i.Requests("/elsewhere"); n != 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
}

// TestTokensGoNowhereOnThisMachine: an issuer that is named on the loopback is asked there, and the endpoints that its document names beside it
// get neither a code nor a refresh token.
func TestTokensGoNowhereOnThisMachine(t *testing.T) {
	i, stop, err := openidtest.Serve("127.0.0.1:0", openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	i.Override("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		document := map[string]any{"issuer": i.URL(), "jwks_uri": i.URL() + "/keys", "token_endpoint": elsewhere.URL, "revocation_endpoint": elsewhere.URL}
		if err := json.NewEncoder(w).Encode(document); err != nil {
			t.Error(err)
		}
	})
	f, err := login.Discover(t.Context(), login.Config{Issuer: i.URL(), ClientID: "omca", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	_, renewing := f.Refresh(t.Context(), "a refresh token")
	for what, err := range map[string]error{"renewing": renewing, "revoking": f.Revoke(t.Context(), "a refresh token")} {
		if err == nil || !strings.Contains(err.Error(), "did not name this host and port") || !strings.Contains(hint.Of(err), "its own host and port") {
			t.Errorf("%s: %v, hint %q", what, err, hint.Of(err))
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the server beside the issuer was asked %d times", n)
	}
}

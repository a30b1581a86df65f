package openidtest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"omca/internal/openid/openidtest"
)

// client is go-oidc's own, which is who says that the issuer is conformant.
type client struct {
	ctx      context.Context
	provider *oidc.Provider
	config   oauth2.Config
	http     *http.Client
}

func connect(t *testing.T, i *openidtest.Issuer, transport http.RoundTripper) client {
	t.Helper()
	c := client{http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	c.ctx = oidc.ClientContext(t.Context(), c.http)
	var err error
	if c.provider, err = oidc.NewProvider(c.ctx, i.URL()); err != nil {
		t.Fatal(err)
	}
	c.config = oauth2.Config{ClientID: "omca", Endpoint: c.provider.Endpoint(), RedirectURL: "http://127.0.0.1:4711/callback", Scopes: []string{"openid"}}
	return c
}

// open opens the address of a login as a browser does, and returns with what it is sent back.
func (c client) open(t *testing.T, address string) url.Values {
	t.Helper()
	answer, err := c.http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() // it is empty
	back, err := answer.Location()
	if err != nil {
		t.Fatalf("%s: %v", answer.Status, err)
	}
	return back.Query()
}

func (c client) verified(t *testing.T, tokens *oauth2.Token) *oidc.IDToken {
	t.Helper()
	raw, _ := tokens.Extra("id_token").(string)
	id, err := c.provider.Verifier(&oidc.Config{ClientID: "omca"}).Verify(c.ctx, raw)
	if err != nil {
		t.Fatalf("the ID token: %v", err)
	}
	if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
		t.Errorf("at_hash: %v", err)
	}
	return id
}

func TestCodeFlow(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			i, err := openidtest.New(openidtest.Config{Algorithm: alg})
			if err != nil {
				t.Fatal(err)
			}
			c := connect(t, i, i)
			verifier := oauth2.GenerateVerifier()
			back := c.open(t, c.config.AuthCodeURL("state1", oauth2.S256ChallengeOption(verifier), oidc.Nonce("nonce1")))
			if back.Get("state") != "state1" || back.Get("iss") != i.URL() {
				t.Errorf("sent back with %v", back)
			}
			tokens, err := c.config.Exchange(c.ctx, back.Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			if id := c.verified(t, tokens); id.Nonce != "nonce1" || id.Subject != "f3a1c0de" {
				t.Errorf("nonce %q, subject %q", id.Nonce, id.Subject)
			}
			if _, err := c.config.Exchange(c.ctx, back.Get("code"), oauth2.VerifierOption(verifier)); !refused(err, "invalid_grant") {
				t.Errorf("a code was taken twice: %v", err)
			}
			again, err := c.config.TokenSource(c.ctx, &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token()
			if err != nil {
				t.Fatal(err)
			}
			c.verified(t, again)
			if _, err := c.config.TokenSource(c.ctx, &oauth2.Token{RefreshToken: tokens.RefreshToken}).Token(); !refused(err, "invalid_grant") {
				t.Errorf("a refresh token was taken twice: %v", err)
			}
		})
	}
}

func refused(err error, code string) bool {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	return ok && e.ErrorCode == code
}

func TestCodeFlowRefuses(t *testing.T) {
	i, err := openidtest.New(openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, i, i)
	verifier := oauth2.GenerateVerifier()
	back := c.open(t, c.config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))
	if _, err := c.config.Exchange(c.ctx, back.Get("code"), oauth2.VerifierOption(oauth2.GenerateVerifier())); !refused(err, "invalid_grant") {
		t.Errorf("another verifier: %v", err)
	}
	if back := c.open(t, c.config.AuthCodeURL("s")); back.Get("error") != "invalid_request" || back.Has("code") {
		t.Errorf("without PKCE: %v", back)
	}
	if back := c.open(t, c.config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("deny", "1"))); back.Get("error") != "access_denied" {
		t.Errorf("denied: %v", back)
	}
	elsewhere := c.config
	elsewhere.RedirectURL = "https://evil.test/callback"
	answer, err := c.http.Get(elsewhere.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Body.Close() != nil || answer.StatusCode != http.StatusBadRequest {
		t.Errorf("a redirect to elsewhere: %s", answer.Status)
	}
}

func TestDeviceFlow(t *testing.T) {
	i, err := openidtest.New(openidtest.Config{Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, i, i)
	device, err := c.config.DeviceAuth(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"client_id": {"omca"}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {device.DeviceCode}}
	poll := func() string {
		answer, err := c.http.PostForm(i.URL()+"/token", form)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close() // read
		text := make([]byte, 100)
		n, _ := answer.Body.Read(text)
		return string(text[:n])
	}
	if got := poll(); !strings.Contains(got, "authorization_pending") {
		t.Errorf("before the user said yes: %s", got)
	}
	if !strings.HasSuffix(device.VerificationURIComplete, device.UserCode) {
		t.Errorf("%q has not the code %q", device.VerificationURIComplete, device.UserCode)
	}
	answer, err := c.http.Get(device.VerificationURIComplete)
	if err != nil || answer.StatusCode != http.StatusOK || answer.Body.Close() != nil {
		t.Fatalf("the page of the user: %v, %v", answer, err)
	}
	device.Interval = 1
	tokens, err := c.config.DeviceAccessToken(c.ctx, device)
	if err != nil {
		t.Fatal(err)
	}
	c.verified(t, tokens)
}

func TestDevicePolledTooFast(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	i, err := openidtest.New(openidtest.Config{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, i, i)
	device, err := c.config.DeviceAuth(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"client_id": {"omca"}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {device.DeviceCode}}
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "authorization_pending"}, {0, "slow_down"}, {time.Second, "authorization_pending"}, {time.Hour, "expired_token"}} {
		now = now.Add(step.after)
		answer, err := c.http.PostForm(i.URL()+"/token", form)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 100)
		n, _ := answer.Body.Read(text)
		if answer.Body.Close() != nil || !strings.Contains(string(text[:n]), step.want) {
			t.Errorf("after %s: %s, want %s", step.after, text[:n], step.want)
		}
	}
}

func TestRotate(t *testing.T) {
	i, err := openidtest.New(openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, i, i)
	check := c.provider.Verifier(&oidc.Config{ClientID: "omca"})
	old, err := i.Token(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Rotate(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"the last but one is good", "two later it is not"} {
		if _, err := check.Verify(c.ctx, old); (err == nil) != strings.HasSuffix(want, "good") {
			t.Errorf("%s: %v", want, err)
		}
		for range 2 {
			if err := i.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
		check = c.provider.VerifierContext(c.ctx, &oidc.Config{ClientID: "omca"})
	}
}

func TestServeTLS(t *testing.T) {
	i, ca, stop, err := openidtest.ServeTLS("127.0.0.1:0", openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("no CA")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	connect(t, i, transport)
	if got := i.Requests("/.well-known/openid-configuration"); got != 1 {
		t.Errorf("%d requests for the document, want 1", got)
	}
	i.Down(true)
	if _, err := oidc.NewProvider(oidc.ClientContext(t.Context(), &http.Client{Transport: transport}), i.URL()); err == nil {
		t.Error("an issuer that is down answered")
	}
	if _, err := oidc.NewProvider(t.Context(), i.URL()); err == nil {
		t.Error("its CA is trusted by everybody")
	}
}

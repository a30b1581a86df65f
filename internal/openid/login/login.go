package login

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"omca/internal/hint"
	"omca/internal/openid"
	"omca/internal/outbound"
)

// Config says where to log in. All but Scopes and Network is required.
type Config struct {
	Issuer   string // URL, as the issuer writes itself
	ClientID string // of a public client
	Scopes   []string
	Now      func() time.Time
	Network  *outbound.Network // nil: that of the system
}

// Tokens are what a login brought.
type Tokens struct {
	Bearer    string    // what is sent to the service: an access token or an ID token, whichever is for it
	ExpiresAt time.Time // of Bearer; zero when nobody said
	Refresh   string    // "" when the issuer gives none
}

// Flow is one issuer, ready for a login.
type Flow struct {
	cfg      Config
	strict   *http.Client // for what the issuer says of itself
	plain    *http.Client // for tokens: an error has a body that is worth reading
	provider *oidc.Provider
	oauth    oauth2.Config
	about    metadata
}

// metadata is what go-oidc does not read of the discovery document.
type metadata struct {
	Revocation string `json:"revocation_endpoint"`
	Names      bool   `json:"authorization_response_iss_parameter_supported"` // it names itself in answers
}

// Discover asks the issuer where its endpoints are.
func Discover(ctx context.Context, c Config) (*Flow, error) {
	if c.Now == nil || c.ClientID == "" {
		return nil, errors.New("login: a Config lacks Now or ClientID")
	}
	if err := openid.CheckAddress(c.Issuer); err != nil {
		return nil, fmt.Errorf("OpenID issuer: %w", err)
	}
	if c.Network == nil {
		c.Network = new(outbound.Network)
	}
	f := &Flow{cfg: c, strict: openid.NewClient(c.Network, c.Issuer)}
	// A code or a refresh token goes to the address that the issuer named, and nowhere else.
	rules := openid.Rules(c.Issuer)
	rules.Redirects = 0
	f.plain = c.Network.Client(rules)
	var err error
	if f.provider, err = oidc.NewProvider(oidc.ClientContext(ctx, f.strict), c.Issuer); err != nil {
		return nil, f.failed("discovery", err)
	}
	if err := f.provider.Claims(&f.about); err != nil {
		return nil, f.failed("discovery", errors.New("its document cannot be read"))
	}
	f.oauth = oauth2.Config{ClientID: c.ClientID, Endpoint: f.provider.Endpoint(), Scopes: append([]string{oidc.ScopeOpenID}, c.Scopes...)}
	f.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client has nothing to prove
	for _, address := range []string{f.oauth.Endpoint.AuthURL, f.oauth.Endpoint.TokenURL, f.oauth.Endpoint.DeviceAuthURL, f.about.Revocation} {
		if address == "" {
			continue
		}
		if u, err := url.Parse(address); err != nil || u.RawQuery == "" { // an endpoint may have a query (RFC 6749, 3.1)
			if err := openid.CheckAddress(address); err != nil {
				return nil, f.failed("discovery", err)
			}
		} else if bare, _, _ := strings.Cut(address, "?"); openid.CheckAddress(bare) != nil {
			return nil, f.failed("discovery", openid.CheckAddress(bare))
		}
	}
	return f, nil
}

// HasBrowser tells whether the issuer has the authorization code flow.
func (f *Flow) HasBrowser() bool {
	return f.oauth.Endpoint.AuthURL != "" && f.oauth.Endpoint.TokenURL != ""
}

// HasDevice tells whether the issuer has the device flow.
func (f *Flow) HasDevice() bool {
	return f.oauth.Endpoint.DeviceAuthURL != "" && f.oauth.Endpoint.TokenURL != ""
}

// failed says what the issuer, or the way to it, failed at: one line, and nothing of what was sent.
func (f *Flow) failed(what string, err error) error {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		text := e.ErrorCode
		if e.ErrorDescription != "" {
			text += ": " + e.ErrorDescription
		}
		if text == "" {
			text = e.Response.Status
		}
		err = errors.New(text)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return fmt.Errorf("OpenID issuer %s: %s: %w", f.cfg.Issuer, what, known)
		}
	}
	failed := fmt.Errorf("OpenID issuer %s: %s: %s", f.cfg.Issuer, what, openid.Printable(err.Error()))
	if h := hint.Of(err); h != "" {
		return hint.With(failed, "%s", h)
	}
	return failed
}

// client is the context that makes oauth2 use a client.
func (f *Flow) client(ctx context.Context) context.Context { return oidc.ClientContext(ctx, f.plain) }

// accept verifies what came of a login, and chooses what the service is to be called with.
func (f *Flow) accept(ctx context.Context, t *oauth2.Token, nonce string) (Tokens, error) {
	raw, ok := t.Extra("id_token").(string)
	if !ok {
		return Tokens{}, f.failed("login", errors.New("no ID token came"))
	}
	ctx = oidc.ClientContext(ctx, f.strict)
	id, err := f.provider.VerifierContext(ctx, &oidc.Config{ClientID: f.cfg.ClientID, Now: f.cfg.Now}).Verify(ctx, raw)
	if err != nil {
		return Tokens{}, f.failed("ID token", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
		return Tokens{}, f.failed("ID token", errors.New("it is the answer to another login: its nonce is not ours"))
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(t.AccessToken); err != nil {
			return Tokens{}, f.failed("ID token", errors.New("the access token beside it is another one: at_hash"))
		}
	}
	return f.choose(t, raw), nil
}

// choose prefers the access token, which is made for services, when it is one that the service can read and that is for it. Else the ID
// token says at least whom it was given to: the service.
func (f *Flow) choose(t *oauth2.Token, id string) Tokens {
	chosen := Tokens{Bearer: t.AccessToken, ExpiresAt: t.Expiry, Refresh: t.RefreshToken}
	if !isFor(t.AccessToken, f.cfg.ClientID) && id != "" {
		chosen.Bearer, chosen.ExpiresAt = id, expiry(id)
	}
	return chosen
}

// payload are the claims that choose looks at. The service verifies them.
type payload struct {
	Audience json.RawMessage `json:"aud"`
	Expires  int64           `json:"exp"`
}

func read(token string) (p payload, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return p, false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	return p, err == nil && json.Unmarshal(text, &p) == nil
}

// isFor tells whether a token is a JWT whose audience has the client.
func isFor(token, client string) bool {
	p, ok := read(token)
	if !ok {
		return false
	}
	var one string
	var all []string
	return json.Unmarshal(p.Audience, &one) == nil && one == client || json.Unmarshal(p.Audience, &all) == nil && slices.Contains(all, client)
}

func expiry(token string) time.Time {
	if p, ok := read(token); ok && p.Expires > 0 {
		return time.Unix(p.Expires, 0).UTC()
	}
	return time.Time{}
}

// Refresh exchanges a refresh token for new tokens (RFC 6749, section 6; OpenID Connect Core 1.0, section 12). Where the issuer gives no
// new refresh token, the old one goes on, and Refresh of what is returned is "".
func (f *Flow) Refresh(ctx context.Context, refresh string) (Tokens, error) {
	t, err := f.oauth.TokenSource(f.client(ctx), &oauth2.Token{RefreshToken: refresh}).Token()
	if err != nil {
		if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.ErrorCode == "invalid_grant" {
			return Tokens{}, hint.With(f.failed("renewing", err), "log in again: \"omca context login\"")
		}
		return Tokens{}, f.failed("renewing", err)
	}
	raw, _ := t.Extra("id_token").(string)
	if raw != "" {
		strict := oidc.ClientContext(ctx, f.strict)
		if _, err := f.provider.VerifierContext(strict, &oidc.Config{ClientID: f.cfg.ClientID, Now: f.cfg.Now}).Verify(strict, raw); err != nil {
			return Tokens{}, f.failed("ID token", err)
		}
	}
	next := f.choose(t, raw)
	if next.Refresh == refresh {
		next.Refresh = ""
	}
	return next, nil
}

// Revoke tells the issuer that a refresh token is not needed any more (RFC 7009). It is an error when the issuer cannot be told.
func (f *Flow) Revoke(ctx context.Context, refresh string) error {
	if f.about.Revocation == "" {
		return f.failed("revoking", errors.New("it has no endpoint for that"))
	}
	form := url.Values{"token": {refresh}, "token_type_hint": {"refresh_token"}, "client_id": {f.cfg.ClientID}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.about.Revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := f.plain.Do(request)
	if err != nil {
		return f.failed("revoking", err)
	}
	if err := answer.Body.Close(); err != nil {
		return f.failed("revoking", err)
	}
	if answer.StatusCode != http.StatusOK {
		return f.failed("revoking", errors.New(answer.Status))
	}
	return nil
}

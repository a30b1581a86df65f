package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"omca/internal/wire"
)

// TokenRequest says which token is asked for. What is empty is left to the server.
type TokenRequest struct {
	Subject         string
	Roles           []string
	Scope           string
	Audience        []string
	Duration        string // of the access token: 10m, 1h30m
	Refresh         bool   // with a refresh token
	RefreshDuration string
}

// IssueToken asks for a token.
func (c *Client) IssueToken(ctx context.Context, r TokenRequest) (wire.TokenPair, error) {
	query := url.Values{"role": r.Roles, "audience": r.Audience}
	for name, value := range map[string]string{
		"subject": r.Subject, "scope": r.Scope, "access_duration": r.Duration, "refresh_duration": r.RefreshDuration,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if r.Refresh {
		query.Set("refresh", "true")
	}
	return call[wire.TokenPair](ctx, c, request{method: http.MethodPost, path: "/api/auth/token", query: query}, nil)
}

// Tokens returns the tokens that were issued, soonest expiry first. Empty: of every subject, in every state.
func (c *Client) Tokens(ctx context.Context, subject, state string) ([]wire.TokenItem, error) {
	all := []wire.TokenItem{}
	query := url.Values{}
	if subject != "" {
		query.Set("subject", subject)
	}
	if state != "" {
		query.Set("state", state)
	}
	for {
		p, err := call[wire.TokenList](ctx, c, request{method: http.MethodGet, path: "/api/token", query: query}, nil)
		if err != nil {
			return nil, err
		}
		if all = append(all, p.Items...); p.Next == "" {
			return all, nil
		}
		query.Set("after", p.Next)
	}
}

// RevokeToken takes a token back, for good. Asking again changes nothing.
func (c *Client) RevokeToken(ctx context.Context, id string) (wire.TokenItem, error) {
	return call[wire.TokenItem](ctx, c, request{method: http.MethodPost, path: "/api/token/" + id + "/revoke"}, nil)
}

// RevokeTokensOf takes all tokens of a user back, and returns how many. Empty: of the caller.
func (c *Client) RevokeTokensOf(ctx context.Context, subject string) (int, error) {
	query := url.Values{}
	if subject != "" {
		query.Set("subject", subject)
	}
	r, err := call[wire.TokensRevoked](ctx, c, request{method: http.MethodPost, path: "/api/token/revoke", query: query}, nil)
	return r.Revoked, err
}

// VerifyToken asks whether a token is accepted. An empty use is "access".
func (c *Client) VerifyToken(ctx context.Context, token, use string) (wire.VerifiedToken, error) {
	return call[wire.VerifiedToken](ctx, c, request{method: http.MethodPost, path: "/api/token/verify"}, asJSON(wire.VerifyRequest{Token: token, Use: use}))
}

// RotateTokenKey has a new key sign tokens from now on. Without overlap, what was signed before is refused from now on.
func (c *Client) RotateTokenKey(ctx context.Context, overlap bool) (wire.SigningKey, error) {
	query := url.Values{"overlap": {strconv.FormatBool(overlap)}}
	return call[wire.SigningKey](ctx, c, request{method: http.MethodPost, path: "/api/token/rotate-key", query: query}, nil)
}

// TokenKey is a public key of tokens as a JWK has it (RFC 8037, section 2).
type TokenKey struct {
	Type      string `json:"kty"` // OKP
	Curve     string `json:"crv"` // Ed25519
	X         string `json:"x"`   // 32 bytes, base64url
	KeyID     string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// TokenKeys returns the public keys of tokens that may be accepted, the one that signs first, and the same as the server sent it.
func (c *Client) TokenKeys(ctx context.Context) ([]TokenKey, []byte, error) {
	type set struct {
		Keys []TokenKey `json:"keys"`
	}
	text, err := c.send(ctx, request{method: http.MethodGet, path: "/.well-known/jwks.json"})
	if err != nil {
		return nil, nil, err
	}
	var s set
	err = json.Unmarshal(text, &s)
	return s.Keys, text, err
}

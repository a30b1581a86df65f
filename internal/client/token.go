package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
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

// IssuedToken is an access token, and a refresh token when one was asked for.
type IssuedToken struct {
	AccessToken      string    `json:"access_token"`
	AccessExpiredAt  time.Time `json:"access_expired_at,omitzero"`
	RefreshToken     string    `json:"refresh_token,omitempty"`
	RefreshExpiredAt time.Time `json:"refresh_expired_at,omitzero"`
}

// IssueToken asks for a token.
func (c *Client) IssueToken(ctx context.Context, r TokenRequest) (IssuedToken, error) {
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
	return call[IssuedToken](ctx, c, request{method: http.MethodPost, path: "/api/auth/token", query: query}, nil)
}

// Token is what the server knows of a token that it issued.
type Token struct {
	ID        string    `json:"id"`
	Subject   string    `json:"subject"`
	Profile   string    `json:"profile"` // "" for what the cluster issues for itself
	Use       string    `json:"token_use"`
	Grant     string    `json:"grant"`
	Roles     []string  `json:"roles"`
	Audience  []string  `json:"audience"`
	IssuedAt  time.Time `json:"issued_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: never
	IssuedBy  string    `json:"issued_by"`
	Auth      string    `json:"auth"`
	State     string    `json:"state"` // valid, expired or revoked
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	RevokedBy string    `json:"revoked_by,omitempty"`
}

// Tokens returns the tokens that were issued, soonest expiry first. Empty: of every subject, in every state.
func (c *Client) Tokens(ctx context.Context, subject, state string) ([]Token, error) {
	type page struct {
		Items []Token `json:"items"`
		Next  string  `json:"next"`
	}
	all := []Token{}
	query := url.Values{}
	if subject != "" {
		query.Set("subject", subject)
	}
	if state != "" {
		query.Set("state", state)
	}
	for {
		p, err := call[page](ctx, c, request{method: http.MethodGet, path: "/api/token", query: query}, nil)
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
func (c *Client) RevokeToken(ctx context.Context, id string) (Token, error) {
	return call[Token](ctx, c, request{method: http.MethodPost, path: "/api/token/" + id + "/revoke"}, nil)
}

// RevokeTokensOf takes all tokens of a user back, and returns how many. Empty: of the caller.
func (c *Client) RevokeTokensOf(ctx context.Context, subject string) (int, error) {
	type revoked struct {
		Revoked int `json:"revoked"`
	}
	query := url.Values{}
	if subject != "" {
		query.Set("subject", subject)
	}
	r, err := call[revoked](ctx, c, request{method: http.MethodPost, path: "/api/token/revoke", query: query}, nil)
	return r.Revoked, err
}

// VerifiedToken is what a token says, and whether the server accepts it.
type VerifiedToken struct {
	Valid     bool      `json:"valid"`
	Reason    string    `json:"reason,omitempty"`
	ID        string    `json:"id"`
	KeyID     string    `json:"kid"`
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	Audience  []string  `json:"audience"`
	Use       string    `json:"token_use"`
	Grant     string    `json:"grant"`
	GrantNow  string    `json:"grant_now"`
	Roles     []string  `json:"roles"`
	IssuedAt  time.Time `json:"issued_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// VerifyToken asks whether a token is accepted. An empty use is "access".
func (c *Client) VerifyToken(ctx context.Context, token, use string) (VerifiedToken, error) {
	type verify struct {
		Token string `json:"token"`
		Use   string `json:"token_use,omitempty"`
	}
	return call[VerifiedToken](ctx, c, request{method: http.MethodPost, path: "/api/token/verify"}, asJSON(verify{token, use}))
}

// SigningKey is the public half of a key that signs tokens.
type SigningKey struct {
	KeyID     string    `json:"kid"`
	PublicKey []byte    `json:"public_key"` // Ed25519, 32 bytes
	CreatedAt time.Time `json:"created_at,omitzero"`
}

// RotateTokenKey has a new key sign tokens from now on. Without overlap, what was signed before is refused from now on.
func (c *Client) RotateTokenKey(ctx context.Context, overlap bool) (SigningKey, error) {
	query := url.Values{"overlap": {strconv.FormatBool(overlap)}}
	return call[SigningKey](ctx, c, request{method: http.MethodPost, path: "/api/token/rotate-key", query: query}, nil)
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

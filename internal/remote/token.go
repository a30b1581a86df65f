package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"omca/internal/hint"
)

// Tokens are what a login brought: the answer of POST /api/auth/token, or of an OpenID provider put into the same words.
type Tokens struct {
	AccessToken      string    `json:"access_token"`
	AccessExpiredAt  time.Time `json:"access_expired_at,omitzero"` // zero: nobody said
	RefreshToken     string    `json:"refresh_token,omitempty"`    // "" when there is none
	RefreshExpiredAt time.Time `json:"refresh_expired_at,omitzero"`

	// Issuer and ClientID are of the OpenID provider that the tokens came from; "" when they are the server's own.
	Issuer   string `json:"openid_issuer,omitempty"`
	ClientID string `json:"openid_client_id,omitempty"`
}

// ErrLogin means that the tokens do not help any more: somebody has to log in.
var ErrLogin = errors.New("not logged in")

// leeway is how long before its end a token is not used any more, so that it does not end on its way.
const leeway = 10 * time.Second

// ParseTokens reads tokens: the JSON of a login, or an access token alone.
func ParseTokens(text []byte) (Tokens, error) {
	text = bytes.TrimSpace(text)
	var t Tokens
	if bytes.HasPrefix(text, []byte("{")) {
		if err := json.Unmarshal(text, &t); err != nil {
			return t, errors.New("not the JSON of a login") // its own words may quote the token
		}
	} else {
		t.AccessToken = string(text)
	}
	if t.AccessToken == "" && t.RefreshToken == "" {
		return t, errors.New("no token in it")
	}
	if !isToken(t.AccessToken) || !isToken(t.RefreshToken) {
		return t, errors.New("the token in it has characters that no token has")
	}
	return t, nil
}

// isToken tells whether a text can be sent as a bearer token (RFC 6750, 2.1).
func isToken(text string) bool {
	return strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=") == "" || text == ""
}

// ReadTokens reads a file of tokens, which nobody else may read.
func ReadTokens(file string) (Tokens, error) {
	text, err := ReadSecret(file)
	if err != nil {
		return Tokens{}, err
	}
	t, err := ParseTokens(text)
	if err != nil {
		return t, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

// WriteTokens replaces a file of tokens. Its directory is made when it is missing.
func WriteTokens(ctx context.Context, file string, t Tokens) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return locked(ctx, filepath.Dir(file), func() error { return t.write(file) })
}

func (t Tokens) write(file string) error {
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(file, append(text, '\n'))
}

// Usable tells whether a call at now can be made with these tokens, renewed or not.
func (t Tokens) Usable(now time.Time) bool { return t.fresh(now) || t.renewable(now) }

func (t Tokens) fresh(now time.Time) bool {
	return t.AccessToken != "" && (t.AccessExpiredAt.IsZero() || now.Add(leeway).Before(t.AccessExpiredAt))
}

func (t Tokens) renewable(now time.Time) bool {
	return t.RefreshToken != "" && (t.RefreshExpiredAt.IsZero() || now.Add(leeway).Before(t.RefreshExpiredAt))
}

// Session calls with the tokens of a file, and keeps them fresh.
type Session struct {
	File string
	Now  func() time.Time
	// Renew brings a new access token for the refresh token of t, and a new refresh token when that was used up by it.
	Renew func(ctx context.Context, t Tokens) (Tokens, error)
}

// Authorization is the header that a call has, as [client.Config] asks for it: a token that has not expired, renewed when it had, or
// when the server refused it. It returns refused itself when there is nothing better, and [ErrLogin] when there is nothing at all.
func (s *Session) Authorization(ctx context.Context, refused string) (string, error) {
	t, err := ReadTokens(s.File)
	if err != nil {
		return "", err
	}
	if value := bearer(t); t.fresh(s.Now()) && value != refused {
		return value, nil
	}
	value := ""
	err = locked(ctx, filepath.Dir(s.File), func() error {
		value, err = s.renewed(ctx, refused)
		return err
	})
	return value, err
}

// renewed renews the token, unless another command did so while this one waited.
func (s *Session) renewed(ctx context.Context, refused string) (string, error) {
	t, err := ReadTokens(s.File)
	if err != nil {
		return "", err
	}
	switch now := s.Now(); {
	case t.fresh(now) && bearer(t) != refused:
		return bearer(t), nil
	case !t.renewable(now) && refused != "":
		return refused, nil
	case !t.renewable(now):
		err := fmt.Errorf("%w: the access token in %s has expired", ErrLogin, s.File)
		if t.RefreshToken != "" {
			err = fmt.Errorf("%w: access and refresh token in %s have expired", ErrLogin, s.File)
		}
		return "", hint.With(err, "log in again: \"omca context login\"")
	}
	next, err := s.Renew(ctx, t)
	if err != nil {
		return "", fmt.Errorf("renewing the access token of %s: %w", s.File, err)
	}
	if next.RefreshToken == "" { // the old one goes on
		next.RefreshToken, next.RefreshExpiredAt = t.RefreshToken, t.RefreshExpiredAt
	}
	next.Issuer, next.ClientID = t.Issuer, t.ClientID
	if err := next.write(s.File); err != nil {
		return "", fmt.Errorf("keeping the renewed token: %w", err)
	}
	return bearer(next), nil
}

func bearer(t Tokens) string { return "Bearer " + t.AccessToken }

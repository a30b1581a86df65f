package clustercockpit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// header is what cc-backend writes: no kid, for its verifiers have one key.
const header = `{"alg":"EdDSA","typ":"JWT"}`

// Signer signs tokens with one key. It is safe for concurrent use.
type Signer struct {
	key ed25519.PrivateKey
	now func() time.Time
}

// NewSigner returns a signer with this key and clock.
func NewSigner(key ed25519.PrivateKey, now func() time.Time) (*Signer, error) {
	if len(key) != ed25519.PrivateKeySize || now == nil {
		return nil, fmt.Errorf("%w signer: want a private key of %d bytes and a clock", ErrInvalid, ed25519.PrivateKeySize)
	}
	return &Signer{key: key, now: now}, nil
}

// Sign returns the token that opens the APIs of cc-backend and cc-metric-store, as cc-backend itself makes them: the claims sub, roles and
// iat, and exp when c expires. Claims of a cross login are [ErrInvalid]: with an issuer, cc-backend looks for another key.
func (s *Signer) Sign(c Claims) (string, error) {
	if c.Issuer != "" || c.Name != "" || len(c.Projects) > 0 {
		return "", fmt.Errorf("%w claims: issuer, name and projects are for a cross login", ErrInvalid)
	}
	return s.sign(c)
}

// SignLogin returns the token with which somebody who is known here logs in to the pages of cc-backend. The issuer is the one that
// cc-backend trusts, its "trusted-issuer".
func (s *Signer) SignLogin(c Claims) (string, error) {
	if err := checkName("issuer", c.Issuer); err != nil {
		return "", err
	}
	if c.Name != "" {
		if err := checkName("full name", c.Name); err != nil {
			return "", err
		}
	}
	for _, project := range c.Projects {
		if err := checkName("project", project); err != nil {
			return "", err
		}
	}
	return s.sign(c)
}

func (s *Signer) sign(c Claims) (string, error) {
	if err := checkName("subject", c.Subject); err != nil {
		return "", err
	}
	names := make([]string, len(c.Roles))
	for i, r := range c.Roles {
		names[i] = string(r)
	}
	roles, err := ParseRoles(names)
	if err != nil {
		return "", err
	}
	now := s.now()
	p := payload{Subject: c.Subject, Roles: roles, Issuer: c.Issuer, Name: c.Name, Projects: c.Projects}
	issued := c.IssuedAt
	if issued.IsZero() {
		issued = now.Add(-Backdate)
	}
	if issued.After(now) {
		return "", fmt.Errorf("%w claims: issued at %s, which is yet to come", ErrInvalid, issued.UTC().Format(time.RFC3339))
	}
	p.IssuedAt = issued.Unix()
	if !c.Expires.IsZero() {
		if !c.Expires.After(now) {
			return "", fmt.Errorf("%w claims: expired at %s", ErrInvalid, c.Expires.UTC().Format(time.RFC3339))
		}
		p.Expires = c.Expires.Unix()
	}
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("%w claims: %w", ErrInvalid, err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(text)
	token := signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, []byte(signed)))
	if len(token) > MaxToken {
		return "", fmt.Errorf("%w claims: the token would have %d bytes, at most %d are accepted", ErrInvalid, len(token), MaxToken)
	}
	return token, nil
}

// ID names a token in lists and logs, for it has no id of its own: 32 hexadecimal digits that say nothing about it. Two tokens that say
// the same of the same second are one token.
func ID(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:16])
}

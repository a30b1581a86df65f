package clustercockpit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxToken is the length in bytes of the longest token. It is looked at before anything else: nothing longer is even decoded.
const MaxToken = 8 << 10

// Verifier accepts the tokens of one public key. It is safe for concurrent use.
type Verifier struct {
	key ed25519.PublicKey
	now func() time.Time
}

// NewVerifier returns a verifier that knows this key and this clock, and nothing else.
func NewVerifier(key ed25519.PublicKey, now func() time.Time) (*Verifier, error) {
	if len(key) != ed25519.PublicKeySize || now == nil {
		return nil, fmt.Errorf("%w verifier: want a public key of %d bytes and a clock", ErrInvalid, ed25519.PublicKeySize)
	}
	if weak(key) {
		return nil, fmt.Errorf("%w public key: it is a point of small order, with which everybody can sign", ErrInvalid)
	}
	return &Verifier{key: key, now: now}, nil
}

// Verify returns what a token says, or [ErrRefused]. The algorithm is EdDSA, whatever the token says of itself (RFC 8725, 3.1); it has a
// subject; exp, nbf and iat are obeyed where they are, to the second. Roles are not judged: they are as the token has them, and
// may be none. Nobody is asked whether the token was revoked.
func (v *Verifier) Verify(token string) (Claims, error) {
	if len(token) > MaxToken {
		return Claims{}, fmt.Errorf("%w: it has %d bytes, at most %d are looked at", ErrRefused, len(token), MaxToken)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{}, fmt.Errorf("%w: it has %d parts, want 3", ErrRefused, len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		// RFC 7515, 2: no padding, no white space, which Go's decoder would skip.
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return Claims{}, fmt.Errorf("%w: part %d is not URL-safe base64 without padding", ErrRefused, i+1)
		}
	}
	if err := checkHeader(decoded[0]); err != nil {
		return Claims{}, fmt.Errorf("%w: header: %w", ErrRefused, err)
	}
	if !ed25519.Verify(v.key, []byte(parts[0]+"."+parts[1]), decoded[2]) {
		return Claims{}, fmt.Errorf("%w: its signature is not that of this key", ErrRefused)
	}
	c, notBefore, err := readClaims(decoded[1])
	if err != nil {
		return Claims{}, fmt.Errorf("%w: claims: %w", ErrRefused, err)
	}
	if err := v.check(c, notBefore); err != nil {
		return Claims{}, err
	}
	return c, nil
}

// checkHeader reads the header of a token. RFC 7515, 4.1.11: whoever does not understand a critical extension refuses the token, and
// none is understood here. Every other member is for somebody else: the key is known already.
func checkHeader(text []byte) error {
	members, err := readObject(text)
	if err != nil {
		return err
	}
	var alg string
	if err := readText(members, "alg", &alg); err != nil {
		return err
	}
	if alg != "EdDSA" {
		return fmt.Errorf("alg is %.16q, want \"EdDSA\"", alg)
	}
	if _, ok := members["crit"]; ok {
		return errors.New("it has a critical extension")
	}
	return nil
}

func (v *Verifier) check(c Claims, notBefore time.Time) error {
	now := v.now()
	if err := checkName("subject", c.Subject); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	switch {
	case !c.Expires.IsZero() && !now.Before(c.Expires): // RFC 7519, 4.1.4: on or after
		return fmt.Errorf("%w: it expired at %s", ErrRefused, c.Expires.UTC().Format(time.RFC3339))
	case now.Before(notBefore):
		return fmt.Errorf("%w: it counts from %s on", ErrRefused, notBefore.UTC().Format(time.RFC3339))
	case now.Before(c.IssuedAt):
		return fmt.Errorf("%w: it was issued at %s, which is yet to come", ErrRefused, c.IssuedAt.UTC().Format(time.RFC3339))
	}
	return nil
}

package openid

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"omca/usr"
)

const (
	maxToken = 16 << 10 // octets: it travels in a header
	leeway   = time.Minute
)

// header is what a token says of itself (RFC 7515, section 4).
type header struct {
	Algorithm jose.SignatureAlgorithm `json:"alg"`
	KeyID     string                  `json:"kid"`
	Type      string                  `json:"typ"`
	Critical  json.RawMessage         `json:"crit"`
}

// claims are those of a token, by their exact names: encoding/json would take "ISS" for "iss" in a struct.
type claims map[string]json.RawMessage

// Mine tells whether a token says that it is of the issuer that is configured. Nothing of it is verified: it is to find out who is to.
func (v *Verifier) Mine(token string) bool {
	v.mu.Lock()
	p := v.current
	v.mu.Unlock()
	if p == nil {
		return false
	}
	_, c, err := peek(token)
	if err != nil {
		return false
	}
	iss, err := c.text("iss")
	return err == nil && iss == p.Issuer
}

// peek reads what a token says, and verifies nothing.
func peek(token string) (h header, c claims, err error) {
	if len(token) > maxToken {
		return h, nil, fmt.Errorf("it has %d bytes, at most %d are read", len(token), maxToken)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return h, nil, errors.New("it is no compact JWS")
	}
	for i, into := range []any{&h, &c} {
		text, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return h, nil, errors.New("it is no compact JWS: broken base64url")
		}
		if err := json.Unmarshal(text, into); err != nil {
			return h, nil, errors.New("it is no compact JWS: broken JSON")
		}
	}
	return h, c, nil
}

// Verify returns whom a token speaks for. Errors: usr.ErrUnauthenticated, with a reason that is for the log alone, or [ErrUnavailable].
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	v.mu.Lock()
	p := v.current
	v.mu.Unlock()
	if p == nil {
		return Identity{}, refuse(errors.New("there is no issuer"))
	}
	id, err := p.verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current != p {
		return Identity{}, refuse(errors.New("another issuer is configured now"))
	}
	return id, nil
}

// refuse wraps why a token is no good.
func refuse(err error) error {
	return fmt.Errorf("%w: OpenID token: %s", usr.ErrUnauthenticated, Printable(err.Error()))
}

func (p *provider) verify(ctx context.Context, token string) (Identity, error) {
	h, _, err := peek(token)
	if err == nil {
		err = h.usual()
	}
	if err != nil {
		return Identity{}, refuse(err)
	}
	known, _, usable := p.snapshot()
	if !usable {
		p.learn(ctx)
		if known, _, usable = p.snapshot(); !usable {
			return Identity{}, fmt.Errorf("%w: %s", ErrUnavailable, p.Issuer)
		}
	}
	var algs []string
	for _, a := range known.algs {
		algs = append(algs, string(a))
	}
	checker := oidc.NewVerifier(p.Issuer, p, &oidc.Config{
		ClientID: p.ClientID, SupportedSigningAlgs: algs,
		SkipExpiryCheck: true, // it allows for no other clock; see checkTimes
	})
	verified, err := checker.Verify(ctx, token)
	if err != nil {
		return Identity{}, refuse(err)
	}
	var c claims
	if err := verified.Claims(&c); err != nil {
		return Identity{}, refuse(errors.New("its claims are no JSON object"))
	}
	if err := errors.Join(c.checkKind(), c.checkParties(p.Issuer, p.ClientID), c.checkTimes(p.v.cfg.Now())); err != nil {
		return Identity{}, refuse(err)
	}
	id, err := p.identity(c)
	if err != nil {
		return Identity{}, refuse(err)
	}
	return id, nil
}

// usual says what is unusual about a header: extensions that must be understood (RFC 7515, 4.1.11), and types of tokens that prove
// something else (RFC 8725, 3.11).
func (h header) usual() error {
	if h.Critical != nil {
		return errors.New("its header has crit")
	}
	switch strings.ToLower(h.Type) {
	case "", "jwt", "at+jwt", "application/at+jwt":
		return nil
	}
	return fmt.Errorf("its type is %.32q", h.Type)
}

// VerifySignature implements [oidc.KeySet]. The algorithm is one of those allowed: go-oidc has looked.
func (p *provider) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	known, keys, _ := p.snapshot()
	jws, err := jose.ParseSignedCompact(token, known.algs)
	if err != nil {
		return nil, err
	}
	if len(jws.Signatures) != 1 {
		return nil, errors.New("it has not one signature")
	}
	kid, alg := jws.Signatures[0].Header.KeyID, jose.SignatureAlgorithm(jws.Signatures[0].Header.Algorithm)
	found := choose(keys, kid, alg)
	if len(found) == 0 {
		// OpenID Connect Core 1.0, 10.1.1: a key that is not known makes the keys be asked for again.
		p.learn(ctx)
		_, keys, _ = p.snapshot()
		found = choose(keys, kid, alg)
	}
	for _, key := range found {
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("the issuer has no key %.64q for %s", kid, alg)
	}
	return nil, fmt.Errorf("it is not signed by the key %.64q", kid)
}

// choose returns the keys that a token may be signed with. One that does not say is signed with the only one there is (OpenID
// Connect Core 1.0, 10.1).
func choose(keys []jose.JSONWebKey, kid string, alg jose.SignatureAlgorithm) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for _, key := range keys {
		if fits(key, alg) && (kid == "" || key.KeyID == kid) {
			found = append(found, key)
		}
	}
	if kid == "" && len(found) > 1 {
		return nil
	}
	return found
}

// checkKind refuses tokens of the issuer that are not for proving a name to a service: OpenID Connect Back-Channel Logout 1.0, 2.4, and
// what Keycloak says in a claim of its own.
func (c claims) checkKind() error {
	if c["events"] != nil {
		return errors.New("it tells an event")
	}
	if c["typ"] == nil {
		return nil
	}
	switch typ, err := c.text("typ"); {
	case err != nil:
		return err
	case typ == "Refresh" || typ == "Offline" || typ == "Logout":
		return fmt.Errorf("it is a token for %q", typ)
	}
	return nil
}

// checkParties holds who made the token and who asked for it against what is configured (OpenID Connect Core 1.0, 3.1.3.7). That the client
// is in the audience has been looked at by go-oidc.
func (c claims) checkParties(issuer, clientID string) error {
	iss, err := c.text("iss")
	if err != nil {
		return err
	}
	if iss != issuer { // go-oidc takes Google's without its scheme
		return fmt.Errorf("it is of %.128q, want %q", iss, issuer)
	}
	audience, err := c.list("aud")
	if err != nil {
		return err
	}
	if c["azp"] == nil {
		if len(audience) > 1 {
			return fmt.Errorf("it is for %.128q, and does not say by azp which of them asked for it", audience)
		}
		return nil
	}
	switch azp, err := c.text("azp"); {
	case err != nil:
		return err
	case azp != clientID:
		return fmt.Errorf("it was given to the client %.128q, want %q", azp, clientID)
	}
	return nil
}

// checkTimes holds exp, nbf and iat against the clock (RFC 7519, 4.1).
func (c claims) checkTimes(now time.Time) error {
	exp, err := c.time("exp")
	if err != nil {
		return err
	}
	if !now.Before(exp.Add(leeway)) {
		return fmt.Errorf("it expired at %s", exp.Format(time.RFC3339))
	}
	for _, name := range []string{"nbf", "iat"} {
		if c[name] == nil {
			continue
		}
		at, err := c.time(name)
		if err != nil {
			return err
		}
		if at.After(now.Add(leeway)) {
			return fmt.Errorf("its %s is %s, and here it is %s", name, at.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// text returns a claim that is a string.
func (c claims) text(name string) (string, error) {
	var text *string
	if json.Unmarshal(c[name], &text) != nil || text == nil {
		return "", fmt.Errorf("its claim %s is missing, or no string", name)
	}
	return *text, nil
}

// list returns a claim that is a string, or an array of them.
func (c claims) list(name string) ([]string, error) {
	if one, err := c.text(name); err == nil {
		return []string{one}, nil
	}
	var all []*string
	if json.Unmarshal(c[name], &all) != nil || len(all) == 0 || slices.Contains(all, nil) {
		return nil, fmt.Errorf("its claim %s is missing, or no strings", name)
	}
	list := make([]string, len(all))
	for i, text := range all {
		list[i] = *text
	}
	return list, nil
}

// time returns a claim that is a NumericDate: seconds, perhaps with a fraction.
func (c claims) time(name string) (time.Time, error) {
	const latest = 253402300799 // the last second of the year 9999
	var seconds *float64
	if json.Unmarshal(c[name], &seconds) != nil || seconds == nil || *seconds < 0 || *seconds > latest {
		return time.Time{}, fmt.Errorf("its claim %s is missing, or no time", name)
	}
	whole, part := math.Modf(*seconds)
	return time.Unix(int64(whole), int64(part*float64(time.Second))).UTC(), nil
}

package openid

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"omca/internal/hint"
	"omca/internal/outbound"
)

const (
	maxAnswer    = 512 << 10 // octets of a discovery document or of a set of keys
	maxRedirects = 3
	maxKeys      = 64
	minRSA       = 2048 // bits
	connect      = 3 * time.Second
)

// algorithms are those that are ever taken: asymmetric, each with one kind of key. What is not here (none, HS256 with a public key for a
// secret) has no key that fits (RFC 8725, 3.1 and 3.2).
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
}

// Rules are those of a client for what an issuer says of itself. The operator named the issuer; what its document names is filtered, unless it
// has the host and port of the issuer.
func Rules(issuer string) outbound.Rules {
	return outbound.Rules{
		Named: []string{issuer}, Hint: "have the issuer name addresses at its own host and port, or ones that are not of this machine",
		Connect: connect, Header: whole, Whole: whole, Bytes: maxAnswer, Redirects: maxRedirects, SameServer: true,
	}
}

// NewClient returns a client for what an issuer says of itself: any answer that is no success is an error.
func NewClient(network *outbound.Network, issuer string) *http.Client {
	client := network.Client(Rules(issuer))
	client.Transport = successful{client.Transport}
	return client
}

// successful is a transport whose answers are good: what else an answer says is not shown.
type successful struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (s successful) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := s.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	redirect := answer.StatusCode >= 300 && answer.StatusCode < 400
	if answer.StatusCode != http.StatusOK && !redirect {
		return nil, errors.Join(fmt.Errorf("it answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode)), answer.Body.Close())
	}
	return answer, nil
}

// discovery is what an issuer says of itself.
type discovery struct {
	found *oidc.Provider // nil: not known
	jwks  string
	algs  []jose.SignatureAlgorithm
}

// fetched is what an attempt brought.
type fetched struct {
	discovery
	keys []jose.JSONWebKey
}

// fetch asks the issuer for its keys, and before that where they are, unless it is known.
func (v *Verifier) fetch(ctx context.Context, s Settings, known discovery) (fetched, error) {
	f, client := fetched{discovery: known}, NewClient(v.cfg.Network, s.Issuer)
	var err error
	if f.found == nil {
		if f.discovery, err = discover(ctx, client, s); err != nil {
			return fetched{}, fmt.Errorf("discovery: %w", err)
		}
	}
	if f.keys, err = v.fetchKeys(ctx, client, f.jwks); err != nil {
		return fetched{}, fmt.Errorf("keys: %w", err)
	}
	return f, nil
}

// discover reads the discovery document of the issuer (OpenID Connect Discovery 1.0, section 4).
func discover(ctx context.Context, client *http.Client, s Settings) (discovery, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, client), s.Issuer)
	if err != nil {
		if wrong, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
			return discovery{}, hint.With(fmt.Errorf("it calls itself %.128q, and listener.openid_issuer says %.128q", wrong.Discovered, s.Issuer),
				"write the issuer as it writes itself, down to the last slash")
		}
		return discovery{}, outbound.Reason(err)
	}
	var about struct {
		Keys       string                    `json:"jwks_uri"`
		Algorithms []jose.SignatureAlgorithm `json:"id_token_signing_alg_values_supported"`
	}
	if err := found.Claims(&about); err != nil {
		return discovery{}, err
	}
	at, err := url.Parse(about.Keys)
	if err != nil || at.Host == "" || at.User != nil {
		return discovery{}, fmt.Errorf("its jwks_uri %.128q is no address", about.Keys)
	}
	if issuer, err := url.Parse(s.Issuer); err != nil || !sheltered(at) || issuer.Scheme == "https" && at.Scheme != "https" {
		return discovery{}, fmt.Errorf("its jwks_uri %.128q is not by https", about.Keys)
	}
	algs := algorithms()
	if len(about.Algorithms) > 0 {
		algs = slices.DeleteFunc(algs, func(a jose.SignatureAlgorithm) bool { return !slices.Contains(about.Algorithms, a) })
	}
	if len(algs) == 0 {
		return discovery{}, fmt.Errorf("it signs by %.128q, and none of them is taken here", about.Algorithms)
	}
	return discovery{found, about.Keys, algs}, nil
}

// fetchKeys reads a set of keys (RFC 7517, section 5).
func (v *Verifier) fetchKeys(ctx context.Context, client *http.Client, from string) ([]jose.JSONWebKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := client.Do(request)
	if err != nil {
		return nil, outbound.Reason(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return nil, err
	}
	keys, err := readKeys(body)
	if err != nil {
		return nil, err
	}
	keys = slices.DeleteFunc(keys, func(k jose.JSONWebKey) bool { return !v.cfg.Foreign(k.Key) })
	if len(keys) == 0 {
		return nil, errors.New("it has no key that a token can be verified with: asymmetric, for signatures, and its own")
	}
	return keys, nil
}

// readKeys returns the keys of a set that verify signatures; the others are of no use here, and no harm.
func readKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("the answer is no set of keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, at most %d are read", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		// RFC 7517, section 5: a key that is not understood is passed over.
		if err := json.Unmarshal(text, &key); err == nil && verifies(key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// verifies tells whether a key may verify signatures: it is public, as one that is published with its private part is anybody's, and
// for signatures.
func verifies(key jose.JSONWebKey) bool {
	if !key.Valid() || key.Use != "" && key.Use != "sig" {
		return false
	}
	return slices.ContainsFunc(algorithms(), func(a jose.SignatureAlgorithm) bool { return fits(key, a) })
}

// fits tells whether a key is one for the algorithm: by its kind, and by what it says itself (RFC 7517, 4.4).
func fits(key jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	if key.Algorithm != "" && key.Algorithm != string(alg) {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= minRSA && (alg[0] == 'R' || alg[0] == 'P')
	case *ecdsa.PublicKey:
		return public.Curve.Params().BitSize == map[jose.SignatureAlgorithm]int{jose.ES256: 256, jose.ES384: 384, jose.ES512: 521}[alg]
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

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
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"omca/internal/hint"
)

const (
	maxAnswer    = 512 << 10 // octets of a discovery document or of a set of keys
	maxHeader    = 64 << 10
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

// NewTransport returns a transport to an issuer: it trusts the roots of the system, uses no proxy, keeps no connection, and waits for
// moments.
func NewTransport() http.RoundTripper {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connect}).DialContext,
		TLSHandshakeTimeout:    connect,
		ResponseHeaderTimeout:  whole,
		MaxResponseHeaderBytes: maxHeader,
		DisableKeepAlives:      true, // the next request is minutes away
		DisableCompression:     true, // or few octets could become many
	}
}

// NewClient returns a client for what an issuer says of itself: it keeps no cookie and no secret, follows no redirect to elsewhere, and
// any answer that is endless, or no success, is an error.
func NewClient(transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: bounded{transport}, CheckRedirect: checkRedirect, Timeout: whole}
}

// checkRedirect lets a redirect lead only to the host that was asked, by the same scheme.
func checkRedirect(next *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case next.URL.Scheme != from.Scheme || next.URL.Host != from.Host || next.URL.User != nil:
		return fmt.Errorf("a redirect from %s://%s to %s://%s", from.Scheme, from.Host, next.URL.Scheme, next.URL.Host)
	}
	return nil
}

// bounded is a transport whose answers are short, and good: what else an answer says is nobody's business.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := b.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	redirect := answer.StatusCode >= 300 && answer.StatusCode < 400
	switch {
	case answer.StatusCode != http.StatusOK && !redirect:
		err = fmt.Errorf("it answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	case answer.ContentLength > maxAnswer:
		err = tooLong()
	}
	if err != nil {
		return nil, errors.Join(err, answer.Body.Close())
	}
	answer.Body = &boundedBody{answer.Body, maxAnswer}
	return answer, nil
}

func tooLong() error { return fmt.Errorf("its answer is longer than %d bytes", maxAnswer) }

// boundedBody is a body that is in error when it is too long, so that nobody takes its beginning for the whole.
type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements [io.Reader].
func (b *boundedBody) Read(to []byte) (int, error) {
	n, err := b.ReadCloser.Read(to[:min(len(to), b.left+1)])
	if b.left -= n; b.left < 0 {
		return 0, tooLong()
	}
	return n, err
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
	f := fetched{discovery: known}
	var err error
	if f.found == nil {
		if f.discovery, err = v.discover(ctx, s); err != nil {
			return fetched{}, fmt.Errorf("discovery: %w", err)
		}
	}
	if f.keys, err = v.fetchKeys(ctx, f.jwks); err != nil {
		return fetched{}, fmt.Errorf("keys: %w", err)
	}
	return f, nil
}

// discover reads the discovery document of the issuer (OpenID Connect Discovery 1.0, section 4).
func (v *Verifier) discover(ctx context.Context, s Settings) (discovery, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, v.client), s.Issuer)
	if err != nil {
		if wrong, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
			return discovery{}, hint.With(fmt.Errorf("it calls itself %.128q, and listener.openid_issuer says %.128q", wrong.Discovered, s.Issuer),
				"write the issuer as it writes itself, down to the last slash")
		}
		return discovery{}, bare(err)
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

// bare takes the URL from an error of the client: which issuer it is about is said beside it.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// fetchKeys reads a set of keys (RFC 7517, section 5).
func (v *Verifier) fetchKeys(ctx context.Context, from string) ([]jose.JSONWebKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := v.client.Do(request)
	if err != nil {
		return nil, bare(err)
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

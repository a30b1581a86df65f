package openidtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Lifetime is how long tokens live.
const Lifetime = 5 * time.Minute

// Config says what the issuer is. The zero value is one at https://idp.test/realms/clu with the client omca and the user alice.
type Config struct {
	URL       string                  // of the issuer; what serves it is the test's business
	ClientID  string                  // "" is omca
	User      map[string]any          // claims of whoever logs in; nil is alice, who is admin:ns1
	Algorithm jose.SignatureAlgorithm // "" is ES256
	Now       func() time.Time        // nil is time.Now
	Interval  time.Duration           // between two polls of the device flow at least; 0 is one second
	NoDevice  bool                    // there is no device flow
	Opaque    bool                    // access tokens are no JWT: only the ID token proves anything
	Audience  any                     // of access tokens; nil is the client
}

// Issuer is an issuer. Any number of goroutines may use it.
type Issuer struct {
	mu        sync.Mutex
	cfg       Config
	keys      []signer // the last one signs
	count     map[string]int
	overrides map[string]http.HandlerFunc
	down      bool
	grants    map[string]*grant // authorization codes, device codes and refresh tokens, by their value
}

// signer is one key of the issuer.
type signer struct {
	id  string
	alg jose.SignatureAlgorithm
	key crypto.Signer
}

// New returns an issuer that nobody can reach yet but by its methods.
func New(c Config) (*Issuer, error) {
	if c.URL == "" {
		c.URL = "https://idp.test/realms/clu"
	}
	if c.ClientID == "" {
		c.ClientID = "omca"
	}
	if c.User == nil {
		c.User = map[string]any{"sub": "f3a1c0de", "preferred_username": "alice", "grant": []string{"admin:ns1"}}
	}
	if c.Algorithm == "" {
		c.Algorithm = jose.ES256
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	i := &Issuer{cfg: c, count: map[string]int{}, overrides: map[string]http.HandlerFunc{}, grants: map[string]*grant{}}
	return i, i.Rotate()
}

// URL is the name of the issuer.
func (i *Issuer) URL() string { return i.cfg.URL }

// Rotate makes a new key that signs from now on. Of the older ones only the last is published still.
func (i *Issuer) Rotate() error {
	s, err := newSigner(i.cfg.Algorithm)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.keys = append(i.keys, s); len(i.keys) > 2 {
		i.keys = i.keys[1:]
	}
	return nil
}

// newSigner makes a key. Its id is its thumbprint (RFC 7638), in short.
func newSigner(alg jose.SignatureAlgorithm) (s signer, err error) {
	s.alg = alg
	switch alg[:2] {
	case "ES":
		curve := map[jose.SignatureAlgorithm]elliptic.Curve{jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521()}[alg]
		s.key, err = ecdsa.GenerateKey(curve, rand.Reader)
	case "RS", "PS":
		s.key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "Ed":
		_, s.key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("openidtest: no key is made for algorithm %q", alg)
	}
	if err != nil {
		return s, err
	}
	public := jose.JSONWebKey{Key: s.key.Public()}
	sum, err := public.Thumbprint(crypto.SHA256)
	s.id = base64.RawURLEncoding.EncodeToString(sum)[:16]
	return s, err
}

// Keys returns the public keys, as they are published.
func (i *Issuer) Keys() jose.JSONWebKeySet {
	i.mu.Lock()
	defer i.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, s := range i.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.key.Public(), KeyID: s.id, Algorithm: string(s.alg), Use: "sig"})
	}
	return set
}

// Claims returns those of an access token for the user at this moment, altered: a nil value takes a claim away.
func (i *Issuer) Claims(altered map[string]any) map[string]any {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.cfg.Now()
	claims := maps.Clone(i.cfg.User)
	maps.Copy(claims, map[string]any{
		"iss": i.cfg.URL, "aud": i.cfg.ClientID, "azp": i.cfg.ClientID, "iat": now.Unix(), "exp": now.Add(Lifetime).Unix(), "jti": rand.Text(),
	})
	if i.cfg.Audience != nil {
		claims["aud"] = i.cfg.Audience
	}
	maps.Copy(claims, altered)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

// Token returns an access token with the claims of [Issuer.Claims].
func (i *Issuer) Token(altered map[string]any) (string, error) {
	return i.Sign(map[string]any{"typ": "at+jwt"}, i.Claims(altered))
}

// Sign returns a compact JWS of the claims by the current key. The header is that of the key, altered: a nil value takes a parameter away.
// What it says of the algorithm does not change how it is signed.
func (i *Issuer) Sign(altered, claims map[string]any) (string, error) {
	i.mu.Lock()
	s := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	header := map[string]any{"alg": string(s.alg), "kid": s.id, "typ": "JWT"}
	maps.Copy(header, altered)
	maps.DeleteFunc(header, func(_ string, value any) bool { return value == nil })
	input, err := signingInput(header, claims)
	if err != nil {
		return "", err
	}
	signature, err := s.sign([]byte(input))
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func signingInput(header, claims map[string]any) (string, error) {
	head, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body), nil
}

// sign signs as RFC 7518, section 3, has it.
func (s signer) sign(input []byte) ([]byte, error) {
	digest := func(h crypto.Hash) []byte {
		w := h.New()
		w.Write(input)
		return w.Sum(nil)
	}
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[string(s.alg)[2:]]
	switch key := s.key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, input), nil
	case *rsa.PrivateKey:
		if s.alg[0] == 'P' {
			return rsa.SignPSS(rand.Reader, key, hash, digest(hash), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, key, hash, digest(hash))
	case *ecdsa.PrivateKey:
		r, t, err := ecdsa.Sign(rand.Reader, key, digest(hash))
		if err != nil {
			return nil, err
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), t.FillBytes(make([]byte, size))...), nil
	}
	return nil, errors.New("openidtest: a key of an unknown kind")
}

// hashOf is the claim at_hash of an access token (OpenID Connect Core 1.0, 3.1.3.6).
func (i *Issuer) hashOf(token string) string {
	h := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384}[string(i.cfg.Algorithm)[2:]]
	if h == 0 {
		h = crypto.SHA512 // ES512 and the like, and EdDSA
	}
	w := h.New()
	w.Write([]byte(token))
	sum := w.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// SetUser makes claims those of whoever logs in from now on.
func (i *Issuer) SetUser(claims map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cfg.User = claims
}

// Down takes the issuer away, and brings it back.
func (i *Issuer) Down(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Override makes answer the one who answers for an endpoint: "/keys", or "/.well-known/openid-configuration". Nil: the issuer itself does.
func (i *Issuer) Override(endpoint string, answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.overrides[endpoint] = answer
}

// Requests returns how often an endpoint was asked, while the issuer was away too; "" is all of them.
func (i *Issuer) Requests(endpoint string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if endpoint != "" {
		return i.count[endpoint]
	}
	sum := 0
	for _, n := range i.count {
		sum += n
	}
	return sum
}

// RoundTrip implements [http.RoundTripper] without a network, so that a test can hold the clock still.
func (i *Issuer) RoundTrip(request *http.Request) (*http.Response, error) {
	endpoint := i.endpoint(request.URL.Path)
	i.mu.Lock()
	if i.down {
		i.count[endpoint]++
		i.mu.Unlock()
		return nil, errors.New("connection refused")
	}
	i.mu.Unlock()
	asked := request.Clone(request.Context()) // a transport does not alter what it is given
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		w := httptest.NewRecorder()
		i.ServeHTTP(w, asked)
		answered <- w
	}()
	select {
	case w := <-answered:
		answer := w.Result()
		answer.Request = request
		return answer, nil
	case <-request.Context().Done():
		return nil, request.Context().Err()
	}
}

// endpoint is a path without that of the issuer.
func (i *Issuer) endpoint(path string) string {
	_, below, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(i.cfg.URL, "https://"), "http://"), "/")
	if below == "" {
		return path
	}
	return strings.TrimPrefix(path, "/"+strings.TrimSuffix(below, "/"))
}

// challenge is the S256 of a verifier (RFC 7636, 4.2).
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

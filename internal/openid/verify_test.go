package openid_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"omca/internal/openid"
	"omca/internal/openid/openidtest"
)

func TestAccepted(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS384, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA} {
		inWorld(t, openidtest.Config{Algorithm: alg}, nil, func(w *world) {
			w.run()
			id := w.accepts(string(alg), w.token(nil))
			if id.Name != "openid:alice" || id.Subject != "f3a1c0de" || id.Grants.String() != "admin:ns1" {
				t.Errorf("%s: %q, subject %q, grants %q", alg, id.Name, id.Subject, id.Grants)
			}
			if left := time.Until(id.Expires); left != openidtest.Lifetime {
				t.Errorf("%s: expires in %s, want %s", alg, left, openidtest.Lifetime)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		seconds := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		tests := []struct {
			what    string
			altered map[string]any
			reason  string // "": accepted
		}{
			{"aud as a list", map[string]any{"aud": []string{"omca"}}, ""},
			{"several audiences, azp is us", map[string]any{"aud": []string{"account", "omca"}}, ""},
			{"several audiences without azp", map[string]any{"aud": []string{"account", "omca"}, "azp": nil}, "azp"},
			{"one audience without azp", map[string]any{"azp": nil}, ""},
			{"given to another client", map[string]any{"azp": "grafana"}, "grafana"},
			{"azp is a number", map[string]any{"azp": 7}, "azp"},
			{"another audience", map[string]any{"aud": "account"}, "audience"},
			{"other audiences", map[string]any{"aud": []string{"account", "omca2"}}, "audience"},
			{"an audience that begins alike", map[string]any{"aud": "omca "}, "audience"},
			{"no audience", map[string]any{"aud": nil}, "audience"},
			{"an empty audience", map[string]any{"aud": []string{}}, "audience"},
			{"an audience that is an object", map[string]any{"aud": map[string]any{"omca": true}}, "claims"},
			{"another issuer", map[string]any{"iss": "https://evil.test"}, "different provider"},
			{"an issuer with a slash more", map[string]any{"iss": w.issuer.URL() + "/"}, "different provider"},
			{"no issuer", map[string]any{"iss": nil}, "different provider"},
			{"no exp", map[string]any{"exp": nil}, "exp"},
			{"exp as text", map[string]any{"exp": "2100"}, "exp"},
			{"exp after all time", map[string]any{"exp": 1e300}, "exp"},
			{"just expired, within the leeway", map[string]any{"exp": seconds(-59 * time.Second)}, ""},
			{"expired by the leeway", map[string]any{"exp": seconds(-60 * time.Second)}, "expired"},
			{"nbf ahead, within the leeway", map[string]any{"nbf": seconds(60 * time.Second)}, ""},
			{"nbf ahead", map[string]any{"nbf": seconds(61 * time.Second)}, "nbf"},
			{"nbf as text", map[string]any{"nbf": "now"}, "claims"},
			{"iat ahead, within the leeway", map[string]any{"iat": seconds(60 * time.Second)}, ""},
			{"iat ahead", map[string]any{"iat": seconds(61 * time.Second)}, "iat"},
			{"no iat", map[string]any{"iat": nil}, ""},
			{"no sub", map[string]any{"sub": nil}, "sub"},
			{"a logout token", map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, "event"},
			{"a refresh token of Keycloak", map[string]any{"typ": "Refresh"}, "Refresh"},
			{"an access token of Keycloak", map[string]any{"typ": "Bearer"}, ""},
		}
		for _, test := range tests {
			token := w.token(test.altered)
			if test.reason == "" {
				w.accepts(test.what, token)
			} else {
				w.refuses(test.what, token, test.reason)
			}
		}
		if n := w.issuer.Requests(""); n != 2 {
			t.Errorf("the issuer was asked %d times, want 2: once for the document, once for the keys", n)
		}
	})
}

// forged is a token with a header of its own making and somebody else's signature.
func forged(header, claims map[string]any, sign func(input string) []byte) string {
	var parts []string
	for _, part := range []map[string]any{header, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			return ""
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	input := strings.Join(parts, ".")
	return input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
}

func TestForged(t *testing.T) {
	inWorld(t, openidtest.Config{Algorithm: jose.RS256}, nil, func(w *world) {
		w.run()
		claims := w.issuer.Claims(nil)
		public := w.issuer.Keys().Keys[0]
		der, err := x509.MarshalPKIXPublicKey(public.Key)
		if err != nil {
			t.Fatal(err)
		}
		hs256 := func(secret []byte) func(string) []byte {
			return func(input string) []byte {
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(input))
				return mac.Sum(nil)
			}
		}
		nothing := func(string) []byte { return nil }
		own, err := openidtest.New(openidtest.Config{Algorithm: jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		stranger, err := own.Sign(map[string]any{"kid": public.KeyID}, claims)
		if err != nil {
			t.Fatal(err)
		}
		embedded, err := own.Sign(map[string]any{"kid": public.KeyID, "jwk": own.Keys().Keys[0]}, claims)
		if err != nil {
			t.Fatal(err)
		}
		good := w.token(nil)
		tests := []struct{ what, token, reason string }{
			{"alg none", forged(map[string]any{"alg": "none"}, claims, nothing), "algorithm"},
			{"alg None", forged(map[string]any{"alg": "None", "kid": public.KeyID}, claims, nothing), "algorithm"},
			{"no signature", good[:strings.LastIndex(good, ".")+1], ""},
			{"HS256 with the public key, PEM", forged(map[string]any{"alg": "HS256", "kid": public.KeyID}, claims, hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))), "algorithm"},
			{"HS256 with the public key, DER", forged(map[string]any{"alg": "HS256", "kid": public.KeyID}, claims, hs256(der)), "algorithm"},
			{"HS256 without a secret", forged(map[string]any{"alg": "HS256"}, claims, hs256(nil)), "algorithm"},
			{"a key that the token brings", embedded, "not signed"},
			{"somebody else's key under the id", stranger, "not signed"},
			{"another algorithm than the key says", w.sign(map[string]any{"alg": "PS256"}, claims), "algorithm"},
			{"a critical extension", w.sign(map[string]any{"crit": []string{"b64"}, "b64": true}, claims), "crit"},
			{"a token of another type", w.sign(map[string]any{"typ": "logout+jwt"}, claims), "type"},
			{"nothing", "", "compact"},
			{"dots", "..", "compact"},
			{"five parts", "a.b.c.d.e", "compact"},
			{"JSON serialization", `{"payload":"","signatures":[{"protected":"","signature":""}]}`, "compact"},
			{"padding", good + "=", "base64"},
			{"too long", good + strings.Repeat("A", 16<<10), "at most 16384"},
			{"a megabyte", strings.Repeat("A", 1<<20), "at most 16384"},
			{"a changed claim", strings.Replace(good, ".", ".A", 1), ""},
		}
		for _, test := range tests {
			w.refuses(test.what, test.token, test.reason)
		}
		w.accepts("the type of RFC 9068 in full", w.sign(map[string]any{"typ": "application/at+jwt"}, claims))
		w.accepts("no type", w.sign(map[string]any{"typ": nil}, claims))
		w.accepts("the only key, unnamed", w.sign(map[string]any{"kid": nil}, claims))
	})
}

// TestIssuerToTheLetter: go-oidc takes one issuer without its scheme, and we do not.
func TestIssuerToTheLetter(t *testing.T) {
	inWorld(t, openidtest.Config{URL: "https://accounts.google.com"}, nil, func(w *world) {
		w.run()
		w.accepts("with its scheme", w.token(nil))
		w.refuses("without its scheme", w.token(map[string]any{"iss": "accounts.google.com"}), "accounts.google.com")
	})
}

func TestUnnamedKeyAmongSeveral(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.rotate()
		w.run()
		w.refuses("which of two keys is not said", w.sign(map[string]any{"kid": nil}, w.issuer.Claims(nil)), "no key")
	})
}

func TestTokensOfOthers(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		other, err := openidtest.New(openidtest.Config{URL: "https://other.test"})
		if err != nil {
			t.Fatal(err)
		}
		token, err := other.Token(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !w.Mine(w.token(nil)) {
			t.Error("a token of the issuer is not its own")
		}
		for what, token := range map[string]string{
			"of another issuer": token, "nothing": "", "text": "omca", "too long": w.token(map[string]any{"pad": strings.Repeat("x", 16<<10)}),
			"without iss": w.token(map[string]any{"iss": nil}), "ISS": w.token(map[string]any{"iss": nil, "ISS": w.issuer.URL()}),
		} {
			if w.Mine(token) {
				t.Errorf("a token that is %s is the issuer's", what)
			}
		}
		w.refuses("of another issuer", token, "no key")
		if err := w.Configure(openid.Settings{}); err != nil {
			t.Fatal(err)
		}
		if token := w.token(nil); w.Mine(token) {
			t.Error("there is no issuer, and a token is its own")
		} else {
			w.refuses("there is no issuer", token, "no issuer")
		}
	})
}

// TestKeysThatVerifyNothing has the issuer publish keys that prove nothing: the tokens signed by them are refused.
func TestKeysThatVerifyNothing(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for what, key := range map[string]jose.JSONWebKey{
		"a small RSA key":       {Key: &small.PublicKey, KeyID: "k"},
		"a secret":              {Key: []byte("secret"), KeyID: "k"},
		"a private key":         {Key: large, KeyID: "k"},
		"a key for encryption":  {Key: &large.PublicKey, KeyID: "k", Use: "enc"},
		"a key for HS256":       {Key: &large.PublicKey, KeyID: "k", Algorithm: "HS256"},
		"a key for another alg": {Key: &large.PublicKey, KeyID: "k", Algorithm: "ES256"},
	} {
		inWorld(t, openidtest.Config{Algorithm: jose.RS256}, nil, func(w *world) {
			w.issuer.Override(keys, func(rw http.ResponseWriter, _ *http.Request) {
				if err := json.NewEncoder(rw).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}); err != nil {
					t.Error(err)
				}
			})
			w.run()
			if st := w.Status(); st.Usable || !strings.Contains(st.LastError, "no key that a token can be verified with") {
				t.Errorf("%s: %+v", what, st)
			}
		})
	}
}

// TestForeign: a token that is signed by one of our own keys is none of the issuer, whoever publishes the key.
func TestForeign(t *testing.T) {
	ours := func(any) bool { return false }
	inWorld(t, openidtest.Config{}, func(c *openid.Config) { c.Foreign = ours }, func(w *world) {
		w.run()
		w.unavailable("our own key", w.token(nil), 0)
	})
}

package openidtest

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// grant is what somebody may exchange for tokens, once.
type grant struct {
	kind      string // code, device or refresh
	challenge string // of PKCE
	redirect  string
	nonce     string
	scope     string
	userCode  string
	approved  bool
	denied    bool
	polled    time.Time
	expires   time.Time
}

// ServeHTTP implements [http.Handler].
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint := i.endpoint(r.URL.Path)
	i.mu.Lock()
	i.count[endpoint]++
	down, override := i.down, i.overrides[endpoint]
	i.mu.Unlock()
	handlers := map[string]http.HandlerFunc{
		"GET /.well-known/openid-configuration": i.discovery,
		"GET /keys":                             func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, i.Keys()) },
		"GET /authorize":                        i.authorize,
		"POST /token":                           i.token,
		"POST /device_authorization":            i.deviceAuthorization,
		"GET /device":                           i.device,
		"POST /revoke":                          i.revoke,
	}
	handler := handlers[r.Method+" "+endpoint]
	switch {
	case down:
		http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
	case override != nil:
		override(w, r)
	case handler == nil:
		http.NotFound(w, r)
	default:
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		handler(w, r)
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever asked is gone when this fails
}

// refuse answers with an error of OAuth 2.0 (RFC 6749, 5.2).
func refuse(w http.ResponseWriter, code string) {
	answer(w, http.StatusBadRequest, map[string]string{"error": code})
}

// discovery answers as OpenID Connect Discovery 1.0, section 3, has it.
func (i *Issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	document := map[string]any{
		"issuer":                                         i.cfg.URL,
		"authorization_endpoint":                         i.cfg.URL + "/authorize",
		"token_endpoint":                                 i.cfg.URL + "/token",
		"revocation_endpoint":                            i.cfg.URL + "/revoke",
		"jwks_uri":                                       i.cfg.URL + "/keys",
		"response_types_supported":                       []string{"code"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{string(i.cfg.Algorithm)},
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          []string{"none"},
		"scopes_supported":                               []string{"openid", "profile", "email", "offline_access"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token"},
		"authorization_response_iss_parameter_supported": true,
	}
	if !i.cfg.NoDevice {
		document["device_authorization_endpoint"] = i.cfg.URL + "/device_authorization"
		document["grant_types_supported"] = []string{"authorization_code", "refresh_token", deviceGrant}
	}
	answer(w, http.StatusOK, document)
}

// loopback tells whether a redirect goes back to the same machine, as that of a native client does (RFC 8252, 7.3), and that of a console under test.
func loopback(redirect string) bool {
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}

// authorize lets whoever comes in, and sends them back with a code (RFC 6749, 4.1.2, with RFC 9207).
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != i.cfg.ClientID || !loopback(q.Get("redirect_uri")) {
		http.Error(w, "an unknown client, or a redirect to elsewhere", http.StatusBadRequest) // RFC 6749, 4.1.2.1: never redirect then
		return
	}
	back := url.Values{"iss": {i.cfg.URL}}
	if state := q.Get("state"); state != "" {
		back.Set("state", state)
	}
	switch scopes := strings.Fields(q.Get("scope")); {
	case q.Get("response_type") != "code":
		back.Set("error", "unsupported_response_type")
	case len(scopes) == 0 || scopes[0] != "openid":
		back.Set("error", "invalid_scope")
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		back.Set("error", "invalid_request")
	case q.Get("deny") != "":
		back.Set("error", "access_denied")
	default:
		back.Set("code", i.remember(grant{
			kind: "code", challenge: q.Get("code_challenge"), redirect: q.Get("redirect_uri"), nonce: q.Get("nonce"), scope: q.Get("scope"),
		}, time.Minute))
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// remember keeps a grant and returns the secret that it goes by.
func (i *Issuer) remember(g grant, lives time.Duration) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	secret := rand.Text()
	g.expires = i.cfg.Now().Add(lives)
	i.grants[secret] = &g
	return secret
}

// take returns the grant of a kind that goes by a secret, and forgets it: it is used once.
func (i *Issuer) take(kind, secret string) (grant, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	g := i.grants[secret]
	if g == nil || g.kind != kind {
		return grant{}, false
	}
	delete(i.grants, secret)
	return *g, i.cfg.Now().Before(g.expires)
}

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// token exchanges a grant for tokens (RFC 6749, section 3.2).
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuse(w, "invalid_request")
		return
	}
	if r.PostForm.Get("client_id") != i.cfg.ClientID {
		refuse(w, "invalid_client")
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		g, ok := i.take("code", r.PostForm.Get("code"))
		proof := challenge(r.PostForm.Get("code_verifier"))
		if !ok || g.redirect != r.PostForm.Get("redirect_uri") || subtle.ConstantTimeCompare([]byte(proof), []byte(g.challenge)) != 1 {
			refuse(w, "invalid_grant")
			return
		}
		i.give(w, g)
	case "refresh_token":
		g, ok := i.take("refresh", r.PostForm.Get("refresh_token"))
		if !ok {
			refuse(w, "invalid_grant")
			return
		}
		g.nonce = "" // OpenID Connect Core 1.0, 12.2
		i.give(w, g)
	case deviceGrant:
		i.poll(w, r.PostForm.Get("device_code"))
	default:
		refuse(w, "unsupported_grant_type")
	}
}

// give answers with tokens (OpenID Connect Core 1.0, 3.1.3.3).
func (i *Issuer) give(w http.ResponseWriter, g grant) {
	access, err := i.Token(map[string]any{"scope": g.scope})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if i.cfg.Opaque {
		access = rand.Text()
	}
	about := map[string]any{"aud": i.cfg.ClientID, "at_hash": i.hashOf(access)}
	if g.nonce != "" {
		about["nonce"] = g.nonce
	}
	id, err := i.Sign(nil, i.Claims(about))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token": access, "id_token": id, "token_type": "Bearer", "expires_in": int(Lifetime.Seconds()), "scope": g.scope,
		"refresh_token": i.remember(grant{kind: "refresh", scope: g.scope}, 24*time.Hour),
	})
}

// deviceAuthorization begins the device flow (RFC 8628, 3.2).
func (i *Issuer) deviceAuthorization(w http.ResponseWriter, r *http.Request) {
	const lives = 5 * time.Minute
	if err := r.ParseForm(); err != nil || i.cfg.NoDevice {
		refuse(w, "invalid_request")
		return
	}
	if r.PostForm.Get("client_id") != i.cfg.ClientID {
		refuse(w, "invalid_client")
		return
	}
	user := rand.Text()[:8]
	code := i.remember(grant{kind: "device", userCode: user, scope: r.PostForm.Get("scope")}, lives)
	answer(w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": user, "verification_uri": i.cfg.URL + "/device",
		"verification_uri_complete": i.cfg.URL + "/device?user_code=" + user,
		"expires_in":                int(lives.Seconds()), "interval": max(1, int(i.cfg.Interval.Seconds())),
	})
}

// device is where the user says yes, or no by deny.
func (i *Issuer) device(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, g := range i.grants {
		if g.kind == "device" && g.userCode == r.URL.Query().Get("user_code") {
			g.denied = r.URL.Query().Get("deny") != ""
			g.approved = !g.denied
			fmt.Fprintln(w, "The device is connected.")
			return
		}
	}
	http.Error(w, "no device has this code", http.StatusNotFound)
}

// poll answers a device that asks whether its user said yes (RFC 8628, 3.5).
func (i *Issuer) poll(w http.ResponseWriter, code string) {
	i.mu.Lock()
	g, now := i.grants[code], i.cfg.Now()
	if g == nil || g.kind != "device" {
		i.mu.Unlock()
		refuse(w, "invalid_grant")
		return
	}
	fast := !g.polled.IsZero() && now.Sub(g.polled) < i.cfg.Interval*9/10 // a timer may be early
	g.polled = now
	state := *g
	i.mu.Unlock()
	switch {
	case !now.Before(state.expires):
		refuse(w, "expired_token")
	case state.denied:
		refuse(w, "access_denied")
	case fast:
		refuse(w, "slow_down")
	case !state.approved:
		refuse(w, "authorization_pending")
	default:
		if g, ok := i.take("device", code); ok {
			i.give(w, g)
			return
		}
		refuse(w, "invalid_grant")
	}
}

// revoke forgets a refresh token; of one that is not known it says the same (RFC 7009, 2.2).
func (i *Issuer) revoke(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.PostForm.Get("client_id") != i.cfg.ClientID {
		refuse(w, "invalid_client")
		return
	}
	i.take("refresh", r.PostForm.Get("token"))
	w.WriteHeader(http.StatusOK)
}

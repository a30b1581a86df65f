package console

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"omca/internal/wire"
)

const (
	// openIDCookie keeps, in the browser that began a login at the issuer, what the
	// answer must fit. It is Lax: the issuer sends the browser back, and what comes
	// from another site carries no Strict one.
	openIDCookie  = "__Host-omca-openid"
	openIDMinutes = 10
)

// question is what the cookie holds.
type question struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Next     string `json:"to"`
}

// callback is where the issuer sends the browser back to.
func (v *visit) callback() string { return "https://" + v.r.Host + "/login/openid/callback" }

// beginOpenID sends the visitor to the issuer.
func beginOpenID(v *visit) error {
	a, err := v.post("/api/auth/openid", nil, wire.OpenIDRequest{RedirectURI: v.callback()})
	if no, ok := problemOf(err); ok {
		return loginPage{Next: local(v.r.URL.Query().Get("next")), Wrong: "The OpenID issuer cannot be asked at the moment.", Hint: no.Detail}.show(v, no.Status)
	}
	if err != nil {
		return err
	}
	asked, err := read[wire.OpenIDQuestion](a)
	if err != nil {
		return err
	}
	text, err := json.Marshal(question{asked.State, asked.Nonce, asked.Verifier, local(v.r.URL.Query().Get("next"))})
	if err != nil {
		return err
	}
	v.keepQuestion(base64.RawURLEncoding.EncodeToString(text), openIDMinutes*60)
	return v.to(asked.Address)
}

func (v *visit) keepQuestion(value string, age int) {
	http.SetCookie(v.w, &http.Cookie{Name: openIDCookie, Value: value, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// question reads the cookie; ok is false when there is none, or more than one.
func (v *visit) question() (q question, ok bool) {
	cookies := v.r.CookiesNamed(openIDCookie)
	if len(cookies) != 1 {
		return q, false
	}
	text, err := base64.RawURLEncoding.DecodeString(cookies[0].Value)
	return q, err == nil && json.Unmarshal(text, &q) == nil && q.State != ""
}

// endOpenID takes what the issuer sent the browser back with. The answer is a page
// and no redirect: the browser would follow that without the cookie of the session,
// which is of requests that begin here alone.
func endOpenID(v *visit) error {
	query := v.r.URL.Query()
	q, ok := v.question()
	v.keepQuestion("", -1)
	again := loginPage{Next: local(q.Next)}
	if !ok || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(q.State)) != 1 {
		again.Wrong, again.Hint = "This is not the answer to a login that this browser began.", "Sign in once more."
		return again.show(v, http.StatusBadRequest)
	}
	// The page before this one is the issuer's. That it may come from there says the
	// state, which only this browser and the issuer know.
	v.r = v.r.Clone(v.r.Context())
	for _, name := range []string{"Sec-Fetch-Site", "Origin"} {
		v.r.Header.Del(name)
	}
	answer := wire.OpenIDAnswer{RedirectURI: v.callback(), State: q.State, Nonce: q.Nonce, Verifier: q.Verifier, Query: v.r.URL.RawQuery}
	a, err := v.post("/api/auth/openid/login", nil, answer)
	if no, ok := problemOf(err); ok {
		again.Wrong = "The login at the OpenID issuer came to nothing."
		again.Hint = "The log of the daemon says why, under request " + no.RequestID + "."
		if query.Get("error") == "access_denied" {
			again.Hint = "The issuer did not let you in, or you said no there."
		}
		if no.Status == http.StatusTooManyRequests {
			again.Hint = "Too many attempts. The next one is looked at in a moment."
		}
		return again.show(v, no.Status)
	}
	if err != nil {
		return err
	}
	v.w.Header()["Set-Cookie"] = append(v.w.Header()["Set-Cookie"], a.header["Set-Cookie"]...)
	return v.show(http.StatusOK, "signedin", "Signed in", "", signedIn{local(q.Next)})
}

// signedIn leads on to where the visitor wanted to go.
type signedIn struct{ Next string }

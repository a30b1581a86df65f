package console

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"omca/internal/wire"
)

const mediaForm = "application/x-www-form-urlencoded"

type loginPage struct {
	Name, Next, Wrong, Hint string
	Until                   time.Time // when the next attempt is looked at; zero for now
	Certificate             string    // common name of what the browser sent; "" for none
	OpenID                  string    // host of the issuer; "" for none
}

// ways fills in how else one may sign in.
func (p loginPage) ways(v *visit) (loginPage, error) {
	if v.r.TLS != nil && len(v.r.TLS.VerifiedChains) > 0 {
		p.Certificate = v.r.TLS.PeerCertificates[0].Subject.CommonName
	}
	info, err := get[wire.AuthInfo](v, "/api/auth/info", nil)
	if err != nil || info.OpenID == nil {
		return p, err
	}
	issuer, err := url.Parse(info.OpenID.Issuer)
	p.OpenID = issuer.Host
	return p, err
}

func (p loginPage) show(v *visit, status int) error {
	p, err := p.ways(v)
	if err != nil {
		return err
	}
	return v.show(status, "login", "Sign in", "", p)
}

// askLogin is for who is somebody already, too: they may want to be somebody else.
func askLogin(v *visit) error {
	return loginPage{Next: local(v.r.URL.Query().Get("next"))}.show(v, http.StatusOK)
}

// login begins a session. The form is one of two: name and password, or the
// button for the client certificate of the connection.
func login(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	again := loginPage{Name: form.Get("name"), Next: local(form.Get("next"))}
	var a *recorder
	if form.Get("with") == "certificate" {
		a, err = v.post("/api/auth/login", nil, nil)
	} else if again.Name == "" {
		again.Wrong = "Enter a name and a password."
		return again.show(v, http.StatusBadRequest)
	} else {
		a, err = v.post("/api/auth/login", nil, wire.LoginRequest{Name: again.Name, Password: form.Get("password")})
	}
	if no, ok := err.(*refusal); ok { //nolint:errorlint // send wraps none
		again.Wrong, again.Hint = no.Problem.Detail, no.Problem.Hint
		switch {
		case no.Problem.Status == http.StatusUnauthorized && form.Get("with") == "certificate":
			again.Wrong = "This browser sent no certificate that speaks for a user."
			again.Hint = "Import the certificate of the user (PKCS #12) into the browser, open this page anew and choose it, or sign in with a password."
		case no.Problem.Status == http.StatusUnauthorized:
			again.Wrong = "Name or password is wrong."
		case no.Problem.Status == http.StatusTooManyRequests:
			again.Wrong = "Too many attempts."
			again.Hint = "The next one is looked at in " + no.RetryAfter + " seconds. An administrator can unlock a user at once."
			if seconds, err := strconv.Atoi(no.RetryAfter); err == nil {
				again.Until = v.Now().Add(time.Duration(seconds) * time.Second)
			}
			v.w.Header().Set("Retry-After", no.RetryAfter)
		}
		return again.show(v, no.Problem.Status)
	}
	if err != nil {
		return err
	}
	v.w.Header()["Set-Cookie"] = a.header["Set-Cookie"]
	return v.to(again.Next)
}

func logout(v *visit) error {
	a, err := v.post("/api/auth/logout", nil, nil)
	if err != nil {
		return err
	}
	v.w.Header()["Set-Cookie"] = a.header["Set-Cookie"]
	return v.to("/login")
}

// form reads the fields of the form that was sent. Those of the address do not count.
func (v *visit) form() (url.Values, error) {
	if media, _, _ := strings.Cut(v.r.Header.Get("Content-Type"), ";"); strings.TrimSpace(media) != mediaForm {
		return nil, bad(http.StatusUnsupportedMediaType, "a page takes what its form sends")
	}
	if err := v.r.ParseForm(); err != nil {
		return nil, bad(http.StatusBadRequest, "the form cannot be read, or is too large")
	}
	return v.r.PostForm, nil
}

func bad(status int, detail string) error {
	return &refusal{Problem: problem{Status: status, Title: http.StatusText(status), Detail: detail}}
}

// local is an address on this server to go on to: "/" for anything else, so that
// no link can send somebody who just signed in to another place.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

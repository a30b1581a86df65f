package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"omca/internal/openid"
)

// callback is the path on the loopback that the issuer sends the browser back to.
const callback = "/callback"

// outcome is what the browser brought back.
type outcome struct {
	code string
	err  error
}

// visit is one login that waits for its browser.
type visit struct {
	f       *Flow
	state   string
	arrived chan outcome // of the first answer to our question; the others are too late
}

// Browser logs in through a browser: show is given the address to open, and the tokens come when the person has logged in there, or an
// error when ctx ends before that.
func (f *Flow) Browser(ctx context.Context, show func(address string)) (Tokens, error) {
	if !f.HasBrowser() {
		return Tokens{}, f.failed("login", errors.New("it has no login by browser"))
	}
	l, err := listen(ctx)
	if err != nil {
		return Tokens{}, err
	}
	v := &visit{f: f, state: rand.Text() + rand.Text(), arrived: make(chan outcome, 1)}
	nonce, verifier := rand.Text()+rand.Text(), oauth2.GenerateVerifier()
	server := &http.Server{Handler: v, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with the login
	}()
	defer func() {
		// The person should still see the page that says that it is done.
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = errors.Join(server.Shutdown(drain), server.Close()) // nothing of it matters any more
		<-served
	}()
	oauth := f.oauth
	oauth.RedirectURL = "http://" + l.Addr().String() + callback // RFC 8252, 7.3: an address and not a name
	show(oauth.AuthCodeURL(v.state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)))
	var back outcome
	select {
	case back = <-v.arrived:
	case <-ctx.Done():
		return Tokens{}, f.failed("waiting for the browser", ctx.Err())
	}
	if back.err != nil {
		return Tokens{}, f.failed("login", back.err)
	}
	t, err := oauth.Exchange(f.client(ctx), back.code, oauth2.VerifierOption(verifier))
	if err != nil {
		return Tokens{}, f.failed("login", err)
	}
	return f.accept(ctx, t, nonce)
}

// listen opens a free port of the loopback.
func listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err == nil {
		return l, nil
	}
	if l, six := lc.Listen(ctx, "tcp", "[::1]:0"); six == nil {
		return l, nil
	}
	return nil, err
}

// ServeHTTP implements [http.Handler]: the browser comes back here. Whoever does not know the state was not sent by the issuer in answer
// to our question, and changes nothing.
func (v *visit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if r.URL.Path != callback || r.Method != http.MethodGet {
		http.Error(w, "There is nothing here.", http.StatusNotFound)
		return
	}
	query := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(v.state)) != 1 {
		http.Error(w, "This is not the answer to the login that waits here. Open its address again.", http.StatusBadRequest)
		return
	}
	out := v.f.answer(query)
	select {
	case v.arrived <- out:
	default:
		http.Error(w, "The login is over.", http.StatusConflict)
		return
	}
	text := "You are logged in. Go back to the terminal; this page can be closed.\n"
	if out.err != nil {
		w.WriteHeader(http.StatusBadRequest)
		text = "The login failed. The terminal says why; this page can be closed.\n"
	}
	_, _ = io.WriteString(w, text) // the terminal says it too
}

// answer reads what the issuer sent the browser back with (RFC 6749, 4.1.2). Where the issuer says that it names itself, an answer that
// names nobody, or another one, is of an attacker who mixes issuers up (RFC 9207, 2.4).
func (f *Flow) answer(query url.Values) outcome {
	switch iss := query.Get("iss"); {
	case iss != "" && iss != f.cfg.Issuer, iss == "" && f.about.Names:
		return outcome{err: errors.New("the answer is of another issuer")}
	case query.Has("error"):
		text := query.Get("error")
		if about := query.Get("error_description"); about != "" {
			text += ": " + about
		}
		return outcome{err: errors.New(openid.Printable(text))}
	case query.Get("code") == "":
		return outcome{err: errors.New("the answer has no code")}
	}
	return outcome{code: query.Get("code")}
}

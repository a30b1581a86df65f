package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/url"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Question is what a login through a web server is an answer to. The browser that
// asked keeps it, and nobody else has it.
type Question struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE
}

// Ask begins a login through a web server, at redirect of which the issuer sends
// the browser back. It returns the address where the person logs in.
func (f *Flow) Ask(redirect string) (address string, q Question, err error) {
	if !f.HasBrowser() {
		return "", q, f.failed("login", errors.New("it has no login by browser"))
	}
	q = Question{State: rand.Text() + rand.Text(), Nonce: rand.Text() + rand.Text(), Verifier: oauth2.GenerateVerifier()}
	oauth := f.oauth
	oauth.RedirectURL = redirect
	return oauth.AuthCodeURL(q.State, oidc.Nonce(q.Nonce), oauth2.S256ChallengeOption(q.Verifier)), q, nil
}

// Answer exchanges what the issuer sent the browser back with, the query of that
// address, for tokens. The answer to another question is refused before the
// issuer is asked for anything.
func (f *Flow) Answer(ctx context.Context, redirect string, q Question, query url.Values) (Tokens, error) {
	if q.State == "" || q.Nonce == "" || q.Verifier == "" || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(q.State)) != 1 {
		return Tokens{}, f.failed("login", errors.New("it is the answer to another login: its state is not ours"))
	}
	back := f.answer(query)
	if back.err != nil {
		return Tokens{}, f.failed("login", back.err)
	}
	oauth := f.oauth
	oauth.RedirectURL = redirect
	t, err := oauth.Exchange(f.client(ctx), back.code, oauth2.VerifierOption(q.Verifier))
	if err != nil {
		return Tokens{}, f.failed("login", err)
	}
	return f.accept(ctx, t, q.Nonce)
}

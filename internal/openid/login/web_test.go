package login_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"omca/internal/openid/login"
	"omca/internal/openid/openidtest"
)

// TestWeb: the answer is taken once, and for the question that it is of.
func TestWeb(t *testing.T) {
	i := issuer(t, openidtest.Config{})
	f := discover(t, i)
	const redirect = "https://127.0.0.1:1215/login/openid/callback"
	goThere := func() (login.Question, url.Values) {
		t.Helper()
		address, q, err := f.Ask(redirect)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: i, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		answer, err := client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		back, err := answer.Location()
		if err != nil || !strings.HasPrefix(back.String(), redirect+"?") {
			t.Fatalf("back to %s: %v", back, err)
		}
		return q, back.Query()
	}
	q, back := goThere()
	got, err := f.Answer(t.Context(), redirect, q, back)
	if err != nil || got.Bearer == "" {
		t.Fatalf("%v", err)
	}
	if _, err := f.Answer(t.Context(), redirect, q, back); err == nil {
		t.Error("a code was taken twice")
	}
	for what, spoil := range map[string]func(*login.Question, url.Values, *string){
		"state":    func(q *login.Question, _ url.Values, _ *string) { q.State = "other" },
		"no state": func(q *login.Question, back url.Values, _ *string) { q.State = ""; back.Del("state") },
		"nonce":    func(q *login.Question, _ url.Values, _ *string) { q.Nonce = "other" },
		"no nonce": func(q *login.Question, _ url.Values, _ *string) { q.Nonce = "" },
		"verifier": func(q *login.Question, _ url.Values, _ *string) { q.Verifier = strings.Repeat("a", 43) },
		"redirect": func(_ *login.Question, _ url.Values, redirect *string) {
			*redirect = "https://127.0.0.1:1216/login/openid/callback"
		},
		"issuer":       func(_ *login.Question, back url.Values, _ *string) { back.Set("iss", "https://evil.test") },
		"no issuer":    func(_ *login.Question, back url.Values, _ *string) { back.Del("iss") },
		"code":         func(_ *login.Question, back url.Values, _ *string) { back.Set("code", "other") },
		"it said no":   func(_ *login.Question, back url.Values, _ *string) { back.Set("error", "access_denied") },
		"none of them": func(_ *login.Question, back url.Values, _ *string) { clear(back) },
	} {
		q, back := goThere()
		to := redirect
		spoil(&q, back, &to)
		if got, err := f.Answer(t.Context(), to, q, back); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

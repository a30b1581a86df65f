package openid_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"omca/internal/openid"
	"omca/internal/openid/openidtest"
	"omca/internal/outbound"
	"omca/usr"
)

const (
	document = "/.well-known/openid-configuration"
	keys     = "/keys"
)

// world is an issuer and a verifier that follows it, in a bubble with a clock of its own.
type world struct {
	*openid.Verifier
	t      *testing.T
	issuer *openidtest.Issuer
	log    *journal
}

// journal is what was logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(text []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(text)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) count(text string) int { return strings.Count(j.String(), text) }

// inWorld runs a test in a bubble. The verifier is configured, and has asked for nothing yet.
func inWorld(t *testing.T, c openidtest.Config, alter func(*openid.Config), test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		issuer, err := openidtest.New(c)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, issuer: issuer, log: &journal{}}
		config := openid.Config{Now: time.Now, Log: slog.New(slog.NewTextHandler(w.log, nil)), Network: &outbound.Network{Transport: issuer}, Rand: func() float64 { return 0.5 }}
		if alter != nil {
			alter(&config)
		}
		if w.Verifier, err = openid.New(config); err != nil {
			t.Fatal(err)
		}
		w.configure(issuer.URL(), "omca", "grant")
		defer w.Close()
		test(w)
	})
}

// run follows the issuer, and waits until the first attempt has ended.
func (w *world) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(cancel)
	go w.Run(ctx)
	synctest.Wait()
}

func (w *world) configure(issuer, client, claim string) {
	w.t.Helper()
	if err := w.Configure(openid.Settings{Issuer: issuer, ClientID: client, GrantClaim: claim}); err != nil {
		w.t.Fatal(err)
	}
}

// token is an access token with altered claims.
func (w *world) token(altered map[string]any) string {
	w.t.Helper()
	token, err := w.issuer.Token(altered)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) sign(header, claims map[string]any) string {
	w.t.Helper()
	token, err := w.issuer.Sign(header, claims)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) rotate() {
	w.t.Helper()
	if err := w.issuer.Rotate(); err != nil {
		w.t.Fatal(err)
	}
}

// accepts returns whom the token speaks for.
func (w *world) accepts(what, token string) openid.Identity {
	w.t.Helper()
	id, err := w.Verify(w.t.Context(), token)
	if err != nil {
		w.t.Errorf("%s: %v", what, err)
	}
	return id
}

// refuses wants the token refused, for a reason that has these words.
func (w *world) refuses(what, token, reason string) {
	w.t.Helper()
	id, err := w.Verify(w.t.Context(), token)
	switch {
	case !errors.Is(err, usr.ErrUnauthenticated):
		w.t.Errorf("%s: identity %+v, error %v; want %v", what, id, err, usr.ErrUnauthenticated)
	case !strings.Contains(err.Error(), reason):
		w.t.Errorf("%s: %v, want %q in it", what, err, reason)
	case id.Name != "":
		w.t.Errorf("%s: refused, and names %q", what, id.Name)
	}
}

// unavailable wants that nobody can say, and that it is said within a time.
func (w *world) unavailable(what, token string, within time.Duration) {
	w.t.Helper()
	began := time.Now()
	if _, err := w.Verify(w.t.Context(), token); !errors.Is(err, openid.ErrUnavailable) || errors.Is(err, usr.ErrUnauthenticated) {
		w.t.Errorf("%s: %v, want %v", what, err, openid.ErrUnavailable)
	}
	if took := time.Since(began); took > within {
		w.t.Errorf("%s: it took %s, want %s at most", what, took, within)
	}
}

package remote_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/internal/hint"
	"omca/internal/remote"
)

// now is the time of these tests.
func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// tokens writes a file of tokens.
func tokens(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token-prod.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// neverRenewed fails the test when a token is renewed.
func neverRenewed(t *testing.T) func(context.Context, remote.Tokens) (remote.Tokens, error) {
	return func(context.Context, remote.Tokens) (remote.Tokens, error) {
		t.Error("renewed")
		return remote.Tokens{}, errors.New("unexpected")
	}
}

func TestFreshTokensAreUsedAsTheyAre(t *testing.T) {
	for _, text := range []string{
		"abc.def\n", // a token alone, as "daemon auth token" prints it
		`{"access_token":"abc.def"}`,
		`{"access_token":"abc.def","access_expired_at":"2026-03-01T12:00:11Z","refresh_token":"r","another":1}`,
	} {
		s := remote.Session{File: tokens(t, text), Now: now, Renew: neverRenewed(t)}
		if got, err := s.Authorization(t.Context(), ""); err != nil || got != "Bearer abc.def" {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

func TestAnExpiredTokenIsRenewedOnceByAll(t *testing.T) {
	file := tokens(t, `{"access_token":"old","access_expired_at":"2026-03-01T12:00:09Z","refresh_token":"r1","refresh_expired_at":"2026-03-02T12:00:00Z","openid_issuer":"https://i"}`)
	var renewals atomic.Int32
	s := remote.Session{File: file, Now: now, Renew: func(_ context.Context, old remote.Tokens) (remote.Tokens, error) {
		renewals.Add(1)
		if old.RefreshToken != "r1" {
			t.Errorf("renewed with %q", old.RefreshToken)
		}
		return remote.Tokens{AccessToken: "new", AccessExpiredAt: now().Add(time.Hour)}, nil
	}}
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			if got, err := s.Authorization(context.Background(), ""); err != nil || got != "Bearer new" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	done.Wait()
	if n := renewals.Load(); n != 1 {
		t.Errorf("renewed %d times, want once", n)
	}
	want := remote.Tokens{
		AccessToken: "new", AccessExpiredAt: now().Add(time.Hour),
		RefreshToken: "r1", RefreshExpiredAt: now().Add(24 * time.Hour), Issuer: "https://i",
	}
	got, err := remote.ReadTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the file: -want +got\n%s", diff)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestARefusedTokenIsRenewed(t *testing.T) {
	file := tokens(t, `{"access_token":"old","refresh_token":"r1"}`)
	s := remote.Session{File: file, Now: now, Renew: func(context.Context, remote.Tokens) (remote.Tokens, error) {
		return remote.Tokens{AccessToken: "new", RefreshToken: "r2"}, nil
	}}
	for range 2 { // the second time it is another command's refusal of a token that has been renewed since
		if got, err := s.Authorization(t.Context(), "Bearer old"); err != nil || got != "Bearer new" {
			t.Errorf("%q, %v, want the new one", got, err)
		}
	}
	if got, err := remote.ReadTokens(file); err != nil || got.RefreshToken != "r2" {
		t.Errorf("in the file: %+v, %v, want the new refresh token", got, err)
	}
}

func TestNothingBetterThanTheTokenRefused(t *testing.T) {
	s := remote.Session{File: tokens(t, "abc"), Now: now, Renew: neverRenewed(t)}
	if got, err := s.Authorization(t.Context(), "Bearer abc"); err != nil || got != "Bearer abc" {
		t.Errorf("%q, %v, want the one that was refused", got, err)
	}
}

func TestExpiredTokensSayWhatToDo(t *testing.T) {
	for _, text := range []string{
		`{"access_token":"secret1","access_expired_at":"2026-03-01T11:00:00Z"}`,
		`{"access_token":"secret1","access_expired_at":"2026-03-01T11:00:00Z","refresh_token":"secret2","refresh_expired_at":"2026-03-01T11:30:00Z"}`,
	} {
		s := remote.Session{File: tokens(t, text), Now: now, Renew: neverRenewed(t)}
		_, err := s.Authorization(t.Context(), "")
		if !errors.Is(err, remote.ErrLogin) || !strings.Contains(hint.Of(err), "omca context login") || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v with hint %q", err, hint.Of(err))
		}
	}
}

func TestAFailedRenewalKeepsTheFile(t *testing.T) {
	const text = `{"access_token":"old","access_expired_at":"2026-03-01T11:00:00Z","refresh_token":"r1"}`
	file, away := tokens(t, text), errors.New("server away")
	s := remote.Session{File: file, Now: now, Renew: func(context.Context, remote.Tokens) (remote.Tokens, error) { return remote.Tokens{}, away }}
	if _, err := s.Authorization(t.Context(), ""); !errors.Is(err, away) {
		t.Errorf("error %v, want %v", err, away)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != text {
		t.Errorf("the file is now %s (%v)", got, err)
	}
}

func TestBadTokenFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "no token in it",
		"{}":                          "no token in it",
		`{"access_token":"secret`:     "not the JSON of a login",
		`{"access_token":["secret"]}`: "not the JSON of a login",
		"secret with spaces":          "characters that no token has",
		"secret\r\nX-Other: 1":        "characters that no token has",
	} {
		_, err := remote.ReadTokens(tokens(t, text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v, want %q and no secret", text, err, want)
		}
	}
	file := tokens(t, "abc")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.ReadTokens(file); err == nil || !strings.Contains(err.Error(), "mode 0640 lets others in") || !strings.Contains(hint.Of(err), "chmod 600") {
		t.Errorf("error %v with hint %q", err, hint.Of(err))
	}
}

func TestTheLockIsWaitedForWithTheContext(t *testing.T) {
	file := tokens(t, "abc")
	ctx, cancel := context.WithCancel(t.Context())
	inside, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- remote.Dir(filepath.Dir(file)).Update(context.Background(), func(*remote.Book) error {
			close(inside)
			<-ctx.Done()
			return nil
		})
	}()
	<-inside
	time.AfterFunc(30*time.Millisecond, cancel)
	if err := remote.WriteTokens(ctx, file, remote.Tokens{AccessToken: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that the wait was cut short", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got, err := remote.ReadTokens(file); err != nil || got.AccessToken != "abc" {
		t.Errorf("the file was written without the lock: %+v, %v", got, err)
	}
}

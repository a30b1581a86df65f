package openid_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"omca/internal/background"
	"omca/internal/openid"
	"omca/internal/openid/openidtest"
)

func TestDownAtStart(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.issuer.Down(true)
		w.run()
		w.unavailable("the issuer is down", w.token(nil), 0)
		if st := w.Status(); !st.Configured || st.Usable || st.Reachable || st.Since.IsZero() || !strings.Contains(st.LastError, "connection refused") {
			t.Errorf("down: %+v", st)
		}
		time.Sleep(time.Hour)
		if n := w.issuer.Requests(""); n < 60 || n > 150 {
			t.Errorf("%d attempts in an hour, want about one in 45 s", n)
		}
		if n := w.log.count("openid issuer"); n != 1 {
			t.Errorf("%d lines in the log, want one: %s", n, w.log)
		}
		w.issuer.Down(false)
		time.Sleep(time.Minute)
		w.accepts("the issuer came", w.token(nil))
		st := w.Status()
		if !st.Usable || !st.Reachable || st.LastError != "" || time.Since(st.Since) > time.Minute || st.Keys != 1 {
			t.Errorf("up: %+v", st)
		}
		if c := w.Counts(); c.Failures != c.Attempts-1 {
			t.Errorf("%+v, want one success", c)
		}
	})
}

// TestFirstTokenWaits: a token that comes with the start waits for the keys that are under way, and no longer than a moment.
func TestFirstTokenWaits(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.accepts("nobody follows the issuer: the token asks for the keys", w.token(nil))
	})
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.issuer.Override(document, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		w.run()
		w.unavailable("the issuer hangs", w.token(nil), 3*time.Second)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := w.Verify(ctx, w.token(nil)); err == nil || time.Since(began) > time.Second {
			t.Errorf("a caller that gives up after a second waited %s: %v", time.Since(began), err)
		}
		time.Sleep(time.Minute)
		if st := w.Status(); st.Reachable || !strings.Contains(st.LastError, "exceeded") {
			t.Errorf("an attempt that hangs ends: %+v", st)
		}
	})
}

func TestRotation(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		old := w.token(nil)
		time.Sleep(time.Minute)
		w.rotate()
		w.accepts("a new key", w.token(nil))
		w.accepts("the old key", old)
		time.Sleep(10 * time.Second)
		w.rotate()
		w.accepts("a newer key", w.token(nil))
		w.refuses("a key that the issuer took back", old, "no key")
	})
}

// TestKeyTakenBack: a key that the issuer does not publish any more is forgotten within minutes, though no token asks.
func TestKeyTakenBack(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		old := w.sign(nil, w.issuer.Claims(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))
		w.rotate()
		w.rotate()
		time.Sleep(10 * time.Minute)
		w.refuses("a key that the issuer took back", old, "no key")
	})
}

// TestFlood: tokens with made-up keys cost the issuer one request in ten seconds, and nobody waits behind them.
func TestFlood(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		before := w.issuer.Requests(keys)
		began := time.Now()
		for range 60 { // one minute
			var all sync.WaitGroup
			for k := range 50 {
				token := w.sign(map[string]any{"kid": fmt.Sprintf("made-up-%d", k)}, w.issuer.Claims(nil))
				all.Go(func() { w.refuses("a made-up key", token, "no key") })
			}
			all.Wait()
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("a flood of a minute took %s", took)
		}
		if n := w.issuer.Requests(keys) - before; n < 6 || n > 9 {
			t.Errorf("3000 tokens with made-up keys in a minute cost the issuer %d requests, want three at once and one in ten seconds", n)
		}
		w.accepts("behind the flood", w.token(nil))
	})
}

// TestFloodWhileDown: the wait after a failure holds for tokens too.
func TestFloodWhileDown(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		w.issuer.Down(true)
		time.Sleep(20 * time.Minute) // it was noticed
		before, token := w.issuer.Requests(""), w.sign(map[string]any{"kid": "made-up"}, w.issuer.Claims(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))
		for range 600 {
			w.refuses("a made-up key", token, "no key")
			time.Sleep(time.Second)
		}
		if n := w.issuer.Requests("") - before; n > 25 {
			t.Errorf("%d requests in ten minutes while the issuer is down", n)
		}
	})
}

func TestLastKeysAreKept(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		w.issuer.Down(true)
		time.Sleep(time.Hour)
		w.accepts("the issuer is away for an hour", w.token(nil))
		if st := w.Status(); !st.Usable || st.Reachable || st.LastError == "" {
			t.Errorf("away: %+v", st)
		}
		time.Sleep(23*time.Hour - 10*time.Minute)
		w.accepts("for nearly a day", w.token(nil))
		time.Sleep(11 * time.Minute)
		w.unavailable("for a day", w.token(nil), 0)
		w.issuer.Down(false)
		time.Sleep(time.Minute)
		w.accepts("it is back", w.token(nil))
	})
}

func TestReconfigured(t *testing.T) {
	other, err := openidtest.New(openidtest.Config{URL: "https://other.test"})
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		old := w.token(nil)
		w.accepts("before", old)
		w.configure(w.issuer.URL(), "omca", "grant")
		if n := w.Counts().Attempts; n != 1 {
			t.Errorf("the same configuration made %d attempts", n)
		}
		w.configure(w.issuer.URL(), "other", "grant")
		w.refuses("for another client now", old, "")
		w.configure(w.issuer.URL(), "omca", "entitlements")
		if id := w.accepts("another claim now", old); id.Grants.String() != "" {
			t.Errorf("the claim grant is not looked at any more, and gives %q", id.Grants)
		}
		w.configure(other.URL(), "omca", "grant")
		synctest.Wait()
		if w.Mine(old) {
			t.Error("a token of the issuer before is the issuer's")
		}
		if _, err := w.Verify(w.t.Context(), old); err == nil {
			t.Error("a token of the issuer before is taken")
		}
		if err := w.Configure(openid.Settings{}); err != nil {
			t.Fatal(err)
		}
		w.refuses("no issuer", old, "no issuer")
		if st := w.Status(); st != (openid.Status{}) {
			t.Errorf("no issuer: %+v", st)
		}
	})
}

// TestReconfiguredMeanwhile: a token whose keys were under way when the issuer was replaced is refused.
func TestReconfiguredMeanwhile(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		asked, resume := make(chan struct{}), make(chan struct{})
		w.issuer.Override(keys, func(rw http.ResponseWriter, r *http.Request) {
			close(asked)
			<-resume
			if err := json.NewEncoder(rw).Encode(w.issuer.Keys()); err != nil {
				t.Error(err)
			}
		})
		token := w.token(nil)
		result := make(chan error)
		go func() {
			_, err := w.Verify(w.t.Context(), token)
			result <- err
		}()
		<-asked
		w.configure("https://other.test", "omca", "grant")
		close(resume)
		if err := <-result; err == nil {
			t.Error("a token of the issuer before is taken")
		}
	})
}

// TestReconfiguredAtTheLastMoment: the issuer is replaced while a token of it, good in itself, is being looked at. The clock is read for
// the keys, for the signature, and then for the claims, which is when it happens.
func TestReconfiguredAtTheLastMoment(t *testing.T) {
	var w *world
	reads := 0 // 0: not counted
	now := func() time.Time {
		if reads > 0 {
			if reads++; reads == 4 {
				reads = 0
				w.configure("https://other.test", "omca", "grant")
			}
		}
		return time.Now()
	}
	inWorld(t, openidtest.Config{}, func(c *openid.Config) { c.Now = now }, func(in *world) {
		w = in
		w.accepts("before", w.token(nil))
		token := w.token(nil)
		reads = 1
		w.refuses("replaced meanwhile", token, "another issuer")
		if reads != 0 {
			t.Errorf("the clock was read %d times: the issuer was not replaced", reads-1)
		}
	})
}

func TestConfigureRefuses(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		token := w.token(nil)
		for _, s := range []openid.Settings{
			{Issuer: "http://idp.mycorp", ClientID: "omca", GrantClaim: "grant"},
			{Issuer: "ftp://127.0.0.1", ClientID: "omca", GrantClaim: "grant"},
			{Issuer: "https://", ClientID: "omca", GrantClaim: "grant"},
			{Issuer: "https://u:p@idp.mycorp", ClientID: "omca", GrantClaim: "grant"},
			{Issuer: "https://idp.mycorp?realm=1", ClientID: "omca", GrantClaim: "grant"},
			{Issuer: "https://idp.mycorp", GrantClaim: "grant"},
			{Issuer: "https://idp.mycorp", ClientID: "omca"},
		} {
			w.configure(w.issuer.URL(), "omca", "grant")
			if err := w.Configure(s); err == nil {
				t.Errorf("%+v is taken", s)
			}
			w.refuses("no issuer is left", token, "no issuer")
		}
		for _, issuer := range []string{"http://127.0.0.1:5556/dex", "http://localhost:1", "http://[::1]:1", "https://idp.mycorp/"} {
			w.configure(issuer, "omca", "grant")
		}
	})
}

// TestAnswersOfTheIssuer: what an issuer must not say leaves it unusable, with a reason.
func TestAnswersOfTheIssuer(t *testing.T) {
	say := func(text string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, text) }
	}
	about := func(w *world, altered map[string]any) http.HandlerFunc {
		doc := map[string]any{"issuer": w.issuer.URL(), "jwks_uri": w.issuer.URL() + keys, "id_token_signing_alg_values_supported": []string{"ES256"}}
		for name, value := range altered {
			doc[name] = value
		}
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return say(string(text))
	}
	tests := []struct {
		what     string
		endpoint string
		answer   func(*world) http.HandlerFunc
		reason   string
	}{
		{"another name", document, func(w *world) http.HandlerFunc { return about(w, map[string]any{"issuer": "https://evil.test"}) }, "calls itself"},
		{"keys in the clear", document, func(w *world) http.HandlerFunc { return about(w, map[string]any{"jwks_uri": "http://idp.test/keys"}) }, "not by https"},
		{"keys in the clear on this machine, of an issuer elsewhere", document, func(w *world) http.HandlerFunc {
			return about(w, map[string]any{"jwks_uri": "http://127.0.0.1/keys"})
		}, "not by https"},
		{"keys nowhere", document, func(w *world) http.HandlerFunc { return about(w, map[string]any{"jwks_uri": nil}) }, "no address"},
		{"algorithms that are not taken", document, func(w *world) http.HandlerFunc {
			return about(w, map[string]any{"id_token_signing_alg_values_supported": []string{"HS256", "none"}})
		}, "signs by"},
		{"no document", document, func(*world) http.HandlerFunc { return say("<html>welcome</html>") }, "discovery"},
		{"an endless document", document, func(*world) http.HandlerFunc { return say(strings.Repeat("x", 1<<20)) }, "more than 524288 bytes"},
		{"endless keys", keys, func(*world) http.HandlerFunc { return say(`{"keys":[` + strings.Repeat(" ", 1<<20) + `]}`) }, "more than 524288 bytes"},
		{"too many keys", keys, func(*world) http.HandlerFunc { return say(`{"keys":[` + strings.Repeat("{},", 64) + `{}]}`) }, "at most 64"},
		{"no set of keys", keys, func(*world) http.HandlerFunc { return say(`"keys"`) }, "no set of keys"},
		{"a text with the reason", keys, func(*world) http.HandlerFunc {
			return func(rw http.ResponseWriter, _ *http.Request) {
				http.Error(rw, "secret-of-the-issuer", http.StatusForbidden)
			}
		}, "403 Forbidden"},
		{"a redirect to elsewhere", keys, func(*world) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "https://evil.test/keys", http.StatusFound)
			}
		}, "a redirect"},
		{"a redirect into the clear", keys, func(*world) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "http://idp.test/keys", http.StatusFound)
			}
		}, "a redirect"},
		{"a redirect round and round", keys, func(*world) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "https://idp.test/realms/clu/keys", http.StatusFound)
			}
		}, "redirects"},
	}
	for _, test := range tests {
		inWorld(t, openidtest.Config{}, nil, func(w *world) {
			w.issuer.Override(test.endpoint, test.answer(w))
			w.run()
			st := w.Status()
			if st.Usable || st.Reachable || !strings.Contains(st.LastError, test.reason) {
				t.Errorf("%s: %+v, want %q", test.what, st, test.reason)
			}
			if strings.Contains(st.LastError+w.log.String(), "secret-of-the-issuer") || len(st.LastError) > 400 {
				t.Errorf("%s: what came is shown: %s", test.what, st.LastError)
			}
			w.issuer.Override(test.endpoint, nil)
			time.Sleep(time.Minute)
			w.accepts(test.what+", mended", w.token(nil))
		})
	}
}

func TestClose(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		token := w.token(nil)
		w.accepts("open", token)
		w.Close()
		w.refuses("closed", token, "no issuer")
		w.configure(w.issuer.URL(), "omca", "grant")
		w.refuses("closed for good", token, "no issuer")
	})
}

func TestNewRefuses(t *testing.T) {
	if v, err := openid.New(openid.Config{}); err == nil {
		t.Errorf("a Config without a clock and a log made %v", v)
	}
}

// TestNothingOfATokenIsLogged: tokens are secrets.
func TestNothingOfATokenIsLogged(t *testing.T) {
	inWorld(t, openidtest.Config{}, nil, func(w *world) {
		w.run()
		token := w.token(map[string]any{"grant": "nonsense"})
		w.accepts("good", token)
		for _, part := range strings.Split(token, ".") {
			if strings.Contains(w.log.String(), part) {
				t.Errorf("the log has a part of a token: %s", w.log)
			}
			_, err := w.Verify(w.t.Context(), token+"x")
			if err == nil || strings.Contains(err.Error(), part) {
				t.Errorf("an error has a part of a token: %v", err)
			}
		}
	})
}

// TestPanics: a panic over what an issuer says is a failed attempt.
func TestPanics(t *testing.T) {
	panics := background.New(time.Now, slog.New(slog.DiscardHandler))
	left := 2
	inWorld(t, openidtest.Config{}, func(c *openid.Config) {
		c.Panics = panics
		c.Foreign = func(any) bool {
			if left--; left >= 0 {
				panic("a key nobody thought of")
			}
			return true
		}
	}, func(w *world) {
		w.run()
		w.unavailable("the first attempt panicked", w.token(nil), 3*time.Second)
		if st := w.Status(); !strings.Contains(st.LastError, "panicked") || st.Reachable {
			t.Errorf("after the first attempt: %+v", st)
		}
		time.Sleep(time.Minute)
		w.accepts("the third did not", w.token(nil))
		if c := panics.Counts(); len(c) != 1 || c[0].Count != 2 {
			t.Errorf("counts %v", c)
		}
	})
}

// TestPanicWhileSettling: an attempt that cannot be settled does not keep tokens
// waiting for its end, and the next one is not made at once.
func TestPanicWhileSettling(t *testing.T) {
	panics := background.New(time.Now, slog.New(slog.DiscardHandler))
	inWorld(t, openidtest.Config{}, func(c *openid.Config) {
		c.Panics = panics
		c.Rand = func() float64 { panic("no such luck") }
	}, func(w *world) {
		w.run()
		time.Sleep(10*time.Minute + 30*time.Second) // none is under way
		if n := w.Counts().Attempts; n < 5 || n > 15 {
			t.Errorf("%d attempts in 10 minutes, want about one in a minute", n)
		}
		began := time.Now()
		w.rotate()
		w.accepts("the token had the keys asked for, and waited for the end of that", w.token(nil))
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a token waited %s", took)
		}
	})
}

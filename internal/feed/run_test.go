package feed

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"omca/crl"
	"omca/internal/background"
	"omca/internal/outbound"
)

// sleep lets d pass, and what is due then happen.
func sleep(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

// gaps returns the time between one request and the next.
func gaps(times []time.Time) []time.Duration {
	var all []time.Duration
	for i := 1; i < len(times); i++ {
		all = append(all, times[i].Sub(times[i-1]))
	}
	return all
}

// A list is fetched again before it lapses, never sooner than Often, never later than Seldom.
func TestSchedule(t *testing.T) {
	corp := newCA(t, "Corp")
	for _, c := range []struct {
		life  time.Duration
		least time.Duration
		most  time.Duration
	}{
		{7 * day, 40 * time.Minute, hour},
		{20 * time.Minute, time.Minute, 15 * time.Minute},
		{90 * time.Second, time.Minute, time.Minute},
	} {
		t.Run(c.life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Limits{}, corp)
				var number int64
				b.on(func(*http.Request) (*http.Response, error) {
					number++
					now := time.Now()
					return reply(200, corp.sign(t, draft{number: number, this: now, next: now.Add(c.life)})), nil
				})
				b.load(url1)
				b.run()
				for range 24 * 60 {
					sleep(time.Minute)
					if s := b.Status()[0]; s.State != Fresh || s.LastError != "" {
						t.Fatalf("%+v", s)
					}
				}
				all := gaps(b.requests())
				if len(all) < 20 || slices.Min(all) < c.least || slices.Max(all) > c.most {
					t.Errorf("%d requests, %s to %s apart, want %s to %s", len(all)+1, slices.Min(all), slices.Max(all), c.least, c.most)
				}
			})
		})
	}
}

// Nodes do not ask all at once.
func TestJitter(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		var next []time.Time
		for _, random := range []float64{0, 0.999} {
			b := newBench(t, Limits{}, corp)
			b.cfg.Rand = func() float64 { return random }
			b.serve(corp.sign(t, list(time.Now(), 1)))
			b.load(url1)
			next = append(next, b.Status()[0].NextTry)
		}
		if apart := next[1].Sub(next[0]); apart < 10*time.Minute {
			t.Errorf("the next tries are %s apart, want a good part of an hour", apart)
		}
	})
}

// A source that is away is asked ever more slowly, and its return is noticed without a restart. The log says each once.
func TestAwayAndBack(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		b.load(url1)
		b.is(Error, "connection refused")
		b.holds()
		b.run()
		sleep(2 * hour)
		all := gaps(b.requests())
		if all[0] > time.Second || all[1] > 5*time.Second || !slices.IsSorted(all) || slices.Max(all) > 5*time.Minute || len(all) < 20 || len(all) > 60 {
			t.Errorf("requests %s apart, want them at once, then soon, then every five minutes at most", all)
		}
		if got := b.log.taken(); len(got) != 1 || !strings.Contains(got[0], "state=error trouble=failed") {
			t.Errorf("log %q, want one line", got)
		}

		b.serve(corp.sign(t, list(time.Now(), 1)))
		sleep(5 * time.Minute)
		b.is(Fresh, "")
		b.holds("Corp 1")
		if got := b.log.taken(); len(got) != 1 || !strings.Contains(got[0], "state=fresh lists=1 entries=0") {
			t.Errorf("log %q, want one line", got)
		}

		calls := b.calls()
		b.down()
		sleep(22 * hour)
		b.is(Fresh, "connection refused")
		sleep(hour)
		b.is(Stale, "connection refused")
		got := b.log.taken()
		if len(got) != 2 || !strings.Contains(got[0], "state=fresh") || !strings.Contains(got[0], "trouble=failed") || !strings.Contains(got[1], "state=stale") {
			t.Errorf("log %q, want one line for the failure and one for the lapse", got)
		}
		if b.calls() != calls {
			t.Error("Changed was called, and nothing had")
		}

		b.serve(corp.sign(t, list(time.Now(), 2)))
		sleep(5 * time.Minute)
		b.is(Fresh, "")
		b.holds("Corp 2")
	})
}

// The lapse is in the log when it happens, not at some later try.
func TestLapseIsNoticed(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{Slow: hour, Retry: hour}, corp)
		now := time.Now()
		b.serve(corp.sign(t, draft{number: 1, this: now, next: now.Add(20 * time.Minute)}))
		b.load(url1)
		b.run()
		b.down()
		sleep(20*time.Minute + 2*time.Second)
		if got := b.log.taken(); len(got) != 3 || !strings.Contains(got[2], "state=stale") {
			t.Errorf("log %q, want the third line to tell of the lapse", got)
		}
	})
}

// A server that has only a lapsed list is asked as one that is away.
func TestLapsedIsAskedAgain(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		now := time.Now()
		b.serve(corp.sign(t, draft{number: 1, this: now.Add(-2 * hour), next: now.Add(-hour)}))
		b.load(url1)
		b.is(Stale, "")
		b.run()
		sleep(time.Hour)
		if all := gaps(b.requests()); len(all) < 10 || slices.Max(all) > 5*time.Minute || all[len(all)-1] < 2*time.Minute {
			t.Errorf("requests %s apart", all)
		}
		b.serve(corp.sign(t, list(time.Now(), 2)))
		sleep(5 * time.Minute)
		b.is(Fresh, "")
	})
}

// The source is away at the start: the last good copy counts, lapsed or not, and its validators do.
func TestLastGoodCopy(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		made := time.Now()
		der := corp.sign(t, list(made, 5, 77))
		b.serve(der, "ETag", `"5"`)
		b.load(url1)
		kept := b.memory

		again := newBench(t, Limits{}, corp)
		again.memory = kept
		again.build(again.cfg)
		again.load(url1)
		again.holds("Corp 5")
		again.is(Fresh, "connection refused")
		if s := again.Status()[0]; s.Number != "5" || s.Entries != 1 || s.Issuer != "CN=Corp" || !s.FetchedAt.Equal(made) || s.Delta {
			t.Errorf("%+v", s)
		}

		// The copy is older than nothing: what goes back is refused across a restart too.
		again.serve(corp.sign(t, list(made, 4)))
		if err := again.Refresh(t.Context(), url1); err == nil || !strings.Contains(err.Error(), "rollback") {
			t.Errorf("error %v", err)
		}

		sleep(2 * day)
		third := newBench(t, Limits{}, corp)
		third.memory = kept
		third.build(third.cfg)
		third.on(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("If-None-Match") != `"5"` {
				t.Error("the request is not conditional")
			}
			return reply(304, nil), nil
		})
		third.load(url1)
		third.holds("Corp 5")
		third.is(Stale, "")
	})
}

// A copy that is damaged, or of a CA that is trusted no more, is as good as none.
func TestBadCopy(t *testing.T) {
	corp, other := newCA(t, "Corp"), newCA(t, "Other")
	now := time.Now()
	good := corp.sign(t, list(now, 1))
	for name, der := range map[string][]byte{"cut": good[:90], "forged": broken(good), "foreign": other.sign(t, list(now, 1))} {
		b := newBench(t, Limits{}, corp)
		b.memory.kept[url1] = Kept{DER: der, ETag: `"1"`}
		b.on(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("If-None-Match") != "" {
				t.Errorf("%s: the request is conditional", name)
			}
			return nil, errors.New("away")
		})
		b.load(url1)
		b.holds()
		b.is(Error, "away")
	}
}

// Load waits for no server longer than Start, and Run asks again at once with the whole time.
func TestLoadIsBounded(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		der := corp.sign(t, list(time.Now(), 1))
		b.on(func(r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(20 * time.Second):
				return reply(200, der), nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		start := time.Now()
		b.load("http://a.mycorp/", "http://b.mycorp/", "http://c.mycorp/")
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("Load took %s, want 3s", took)
		}
		if got := b.Status()[0].LastError; got != "it did not come whole within 3s" {
			t.Error(got)
		}
		b.run()
		sleep(21 * time.Second)
		b.holds("Corp 1", "Corp 1", "Corp 1")
	})
}

// Errors of Memory are those of Load; what it will not take is used, and offered again.
func TestBrokenMemory(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("the store is full")
		b := newBench(t, Limits{}, corp)
		b.memory.fail(full)
		if err := b.Load(t.Context(), []string{url1}); !errors.Is(err, full) {
			t.Errorf("Load: %v", err)
		}
		b.serve(corp.sign(t, list(time.Now(), 1)), "ETag", `"1"`)
		if err := b.Refresh(t.Context(), url1); err != nil {
			t.Fatal(err)
		}
		b.holds("Corp 1")
		b.is(Fresh, "no copy was kept: the store is full")
		b.trust(newCA(t, "Other"))
		if err := b.Reverify(t.Context()); err != nil {
			t.Error("the copy that was not kept was asked of Memory:", err)
		}
		b.holds()
		b.trust(corp)
		if err := b.Refresh(t.Context(), url1); err != nil {
			t.Fatal(err)
		}
		b.holds("Corp 1")
		b.memory.fail(nil)
		b.on(func(*http.Request) (*http.Response, error) { return nil, errors.New("away") })
		b.run()
		sleep(2 * hour)
		if b.memory.kept[url1].ETag != `"1"` {
			t.Error("the copy was not offered again")
		}
		b.is(Fresh, "away")
	})
}

// What is as before is not saved, not announced, not logged.
func TestSteady(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		b.serve(corp.sign(t, draft{number: 1, this: time.Now(), next: time.Now().Add(10 * day)}))
		b.load(url1)
		b.run()
		calls, saves := b.calls(), b.memory.saves
		b.log.taken()
		sleep(day)
		if n := len(b.requests()); n < 24 {
			t.Errorf("%d requests in a day", n)
		}
		if b.calls() != calls || b.memory.saves != saves || len(b.log.taken()) != 0 {
			t.Errorf("%d calls of Changed, %d saves, want none", b.calls()-calls, b.memory.saves-saves)
		}
		if s := b.Status()[0]; time.Since(s.FetchedAt) > hour {
			t.Errorf("fetched at %s, it is %s", s.FetchedAt, time.Now())
		}
	})
}

// Sources come and go with the keyword.
func TestSetSources(t *testing.T) {
	corp, other := newCA(t, "Corp"), newCA(t, "Other")
	const url2 = "http://crl.other/ca.crl"
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp, other)
		a, o := corp.sign(t, list(time.Now(), 1)), other.sign(t, list(time.Now(), 2))
		b.on(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "crl.other" {
				return reply(200, o), nil
			}
			return reply(200, a), nil
		})
		b.load(url1)
		b.run()
		b.SetSources(t.Context(), []string{url2, url1, url2})
		synctest.Wait()
		b.holds("Other 2", "Corp 1")
		calls, asked := b.calls(), len(b.requests())
		b.SetSources(t.Context(), []string{url2, url1})
		synctest.Wait()
		if b.calls() != calls || len(b.requests()) != 0 || asked != 2 {
			t.Errorf("%d requests before; the same sources changed something", asked)
		}
		b.SetSources(t.Context(), []string{url2})
		b.holds("Other 2")
		if _, ok := b.memory.kept[url1]; ok || len(b.Status()) != 1 {
			t.Error("the source that left is remembered")
		}
		if err := b.Refresh(t.Context(), url1); !errors.Is(err, ErrUnknown) {
			t.Errorf("Refresh: %v", err)
		}
		sleep(day)
		for _, s := range b.Status() {
			if s.Source != url2 {
				t.Errorf("%+v", s)
			}
		}
	})
}

// What comes after its source has left is not taken in.
func TestRemovedMeanwhile(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		b.load()
		b.run()
		der := corp.sign(t, list(time.Now(), 1))
		b.on(func(*http.Request) (*http.Response, error) {
			<-time.After(10 * time.Second)
			return reply(200, der), nil
		})
		b.SetSources(t.Context(), []string{url1})
		sleep(time.Second)
		b.SetSources(t.Context(), nil)
		sleep(time.Minute)
		b.holds()
		if len(b.memory.kept) != 0 {
			t.Error("it was kept")
		}
	})
}

// A sec is read when it is said to have changed, also while it is being read.
func TestNotify(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		b.put("root/sec/crl", pemOf(corp.sign(t, list(time.Now(), 1))))
		b.load("sec/crl")
		b.holds("Corp 1")
		b.run()
		b.put("root/sec/crl", corp.sign(t, list(time.Now(), 2)))
		synctest.Wait()
		b.holds("Corp 2")
		b.put("root/sec/crl", []byte("nonsense"))
		synctest.Wait()
		b.holds("Corp 2")
		b.is(Fresh, "neither DER nor PEM")

		read := b.cfg.Object
		b.cfg.Object = func(ctx context.Context, path string) ([]byte, error) {
			value, err := read(ctx, path)
			<-time.After(time.Second)
			return value, err
		}
		b.put("root/sec/crl", corp.sign(t, list(time.Now(), 3)))
		synctest.Wait()
		b.put("root/sec/crl", corp.sign(t, list(time.Now(), 4)))
		b.Notify("root/sec/another")
		sleep(3 * time.Second)
		b.holds("Corp 4")
	})
}

// Lists stand and fall with the CAs that are trusted.
func TestReverify(t *testing.T) {
	corp, other := newCA(t, "Corp"), newCA(t, "Other")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		b.on(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("If-None-Match") != "" {
				return reply(304, nil), nil
			}
			return reply(200, pemOf(corp.sign(t, list(time.Now(), 1)), other.sign(t, list(time.Now(), 2))), "ETag", `"1"`), nil
		})
		b.load(url1)
		b.run()
		b.holds("Corp 1")
		recheck := func(signers ...ca) {
			t.Helper()
			b.trust(signers...)
			if err := b.Reverify(t.Context()); err != nil {
				t.Error(err)
			}
		}
		recheck(corp, other)
		synctest.Wait()
		b.holds("Corp 1", "Other 2")
		b.is2(t, Fresh)
		b.down()
		recheck(other)
		b.holds("Other 2")
		recheck(corp, other)
		synctest.Wait()
		b.holds("Other 2") // until the source, where the other list is, comes back
		b.memory.fail(errors.New("no store"))
		b.trust(corp)
		if err := b.Reverify(t.Context()); err == nil {
			t.Error("no error without Memory")
		}
		b.holds()
	})
}

// is2 checks that both lists of a source have a state and no error.
func (b *bench) is2(t *testing.T, state State) {
	t.Helper()
	all := b.Status()
	if len(all) != 2 || all[0].State != state || all[1].State != state || all[0].LastError != "" {
		t.Errorf("%+v", all)
	}
}

// A clock that was set back does not put off the next fetch.
func TestClockGoesBack(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		var ahead atomic.Int64
		ahead.Store(int64(100 * day))
		b.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		b.serve(corp.sign(t, list(time.Now(), 1)))
		b.load(url1)
		b.run()
		b.requests()
		ahead.Store(0)
		sleep(2 * time.Minute)
		if len(b.requests()) == 0 {
			t.Error("no request after the clock went back")
		}
		b.is(Fresh, "")
	})
}

// Everything at once, for the race detector; the last word counts.
func TestAtOnce(t *testing.T) {
	corp := newCA(t, "Corp")
	b := newBench(t, Limits{Poll: time.Millisecond}, corp)
	der := corp.sign(t, list(time.Now(), 1))
	b.serve(der)
	name := fileName(t)
	replace(t, name, der)
	b.load(url1, name)
	b.run()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 20 {
				b.SetSources(t.Context(), []string{url1, name, "sec/crl"}[i%3:])
				b.put("root/sec/crl", der)
				if err := b.Reverify(t.Context()); err != nil {
					t.Error(err)
				}
				if err := b.Refresh(t.Context(), "sec/crl"); err != nil && !errors.Is(err, ErrUnknown) {
					t.Error(err)
				}
				b.Status()
			}
		})
	}
	all.Wait()
	b.SetSources(t.Context(), []string{"sec/crl"})
	if err := b.Refresh(t.Context(), "sec/crl"); err != nil {
		t.Error(err)
	}
	b.holds("Corp 1")
}

// Where another process fetches, its copies are taken as they come and nobody
// is asked, until they lapse.
func TestElsewhere(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Limits{}, corp)
		var here atomic.Bool
		b.build(Config{Network: &outbound.Network{Transport: b}, Now: time.Now, Log: slog.New(slog.DiscardHandler), Elsewhere: func() bool { return !here.Load() }})
		start := time.Now()
		b.serve(corp.sign(t, draft{number: 9, this: start.Add(2 * time.Hour), next: start.Add(20 * day)}))
		keep := func(number int64) {
			t.Helper()
			der := corp.sign(t, draft{number: number, this: time.Now(), next: time.Now().Add(day)})
			if err := b.memory.SaveList(t.Context(), url1, Kept{DER: der, FetchedAt: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		keep(1)
		b.load(url1)
		b.run()
		sleep(time.Hour)
		keep(2)
		b.Brought()
		sleep(time.Second)
		if s := b.Status()[0]; s.State != Fresh || s.Number != "2" {
			t.Errorf("after a copy was brought: %+v", s)
		}
		sleep(20 * time.Hour)
		if asked := b.requests(); len(asked) > 0 {
			t.Errorf("asked at %s, and another process is there for that", asked)
		}
		sleep(5 * time.Hour) // nobody has brought another: the copy has lapsed
		if s := b.Status()[0]; s.State != Fresh || s.Number != "9" {
			t.Errorf("after the copy lapsed: %+v", s)
		}
		b.requests()
		here.Store(true)
		b.Brought()
		sleep(time.Second)
		if len(b.requests()) == 0 {
			t.Error("the process that is to fetch for all does not")
		}
	})
}

// TestPanics: a panic over what a source gave is a failed attempt of that source. What
// was read and not handed on is handed on with the next attempt, though its bytes are
// the same; and a panic over the attempt itself has the source rest.
func TestPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		corp := newCA(t, "Corp")
		b := newBench(t, Limits{}, corp)
		panics := background.New(time.Now, slog.New(slog.DiscardHandler))
		b.cfg.Panics = panics
		var unlucky atomic.Bool
		b.cfg.Rand = func() float64 {
			if unlucky.Load() {
				panic("in what takes note of the attempt")
			}
			return 0.5
		}
		b.load(url1) // nothing comes
		changed, left := b.cfg.Changed, 2
		b.cfg.Changed = func(ctx context.Context, lists []*crl.Verified) {
			if left--; left >= 0 {
				panic("a list nobody thought of")
			}
			changed(ctx, lists)
		}
		b.serve(corp.sign(t, list(time.Now(), 1, 7)))
		before := len(b.changed)
		b.run()
		synctest.Wait()
		if st := b.Status()[0]; !strings.Contains(st.LastError, "panicked") {
			t.Errorf("after the first attempt: %+v", st)
		}
		sleep(hour)
		b.mu.Lock()
		told := b.changed[before:]
		b.mu.Unlock()
		if len(told) != 1 || len(told[0]) != 1 || told[0][0].Len() != 1 {
			t.Errorf("told of %v, want the list that came first", told)
		}
		if st := b.Status()[0]; st.State != Fresh || st.LastError != "" {
			t.Errorf("after more attempts: %+v", st)
		}

		b.requests()
		b.on(func(*http.Request) (*http.Response, error) { panic("an answer nobody thought of") })
		if err := b.Refresh(t.Context(), url1); !background.Panicked(err) {
			t.Errorf("an answer that panics: %v", err)
		}
		b.serve(corp.sign(t, list(time.Now(), 2, 7)))
		unlucky.Store(true)
		sleep(3 * hour)
		if n := len(b.requests()); n < 4 || n > 50 {
			t.Errorf("%d requests in 3 h, want about one each quarter", n)
		}
		if c := panics.Counts(); len(c) != 1 || c[0].Count < 5 {
			t.Errorf("counts %v", c)
		}
	})
}

package usr_test

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca/usr"
)

// guesser is a [usr.Guesses] with a clock that stands still until it is moved.
type guesser struct {
	t     testing.TB
	now   time.Time
	limit usr.GuessLimit
	*usr.Guesses
}

func newGuesser(t testing.TB, rate float64, burst int) *guesser {
	g := &guesser{t: t, now: time.Unix(1_800_000_000, 0), limit: usr.GuessLimit{Rate: rate, Burst: burst}}
	g.Guesses = usr.NewGuesses(func() time.Time { return g.now })
	return g
}

// try takes an attempt and reports how long to wait, 0 when it was let through.
func (g *guesser) try(user, from string) time.Duration {
	g.t.Helper()
	_, err := g.Take(g.limit, user, netip.MustParseAddr(from))
	return g.wait(err)
}

func (g *guesser) wait(err error) time.Duration {
	g.t.Helper()
	if err == nil {
		return 0
	}
	var limited *usr.LimitedError
	if !errors.As(err, &limited) || !errors.Is(err, usr.ErrLimited) || errors.Is(err, usr.ErrUnauthenticated) || limited.After < time.Second {
		g.t.Fatalf("error is %v, want a LimitedError", err)
	}
	return limited.After
}

// passed counts how many of n attempts in a row are let through.
func (g *guesser) passed(n int, user, from string) int {
	g.t.Helper()
	let := 0
	for range n {
		if g.try(user, from) == 0 {
			let++
		}
	}
	return let
}

func TestGuessesOfUser(t *testing.T) {
	g := newGuesser(t, 0.5, 5)
	let := 0
	for i := range 20 { // each from another address
		if g.try("alice", fmt.Sprintf("192.0.2.%d", i)) == 0 {
			let++
		}
	}
	if let != 5 {
		t.Errorf("%d attempts were let through at once, want 5", let)
	}
	if wait := g.try("alice", "198.51.100.1"); wait != 2*time.Second {
		t.Errorf("the wait is %s, want 2s", wait)
	}
	if wait := g.try("bob", "198.51.100.1"); wait != 0 {
		t.Errorf("somebody else waits %s", wait)
	}
	g.now = g.now.Add(1900 * time.Millisecond)
	if wait := g.try("alice", "198.51.100.2"); wait != time.Second {
		t.Errorf("a moment before, the wait is %s, want 1s", wait)
	}
	g.now = g.now.Add(100 * time.Millisecond)
	if wait := g.try("alice", "198.51.100.2"); wait != 0 {
		t.Errorf("after it, the wait is %s", wait)
	}
	g.now = g.now.Add(24 * time.Hour)
	if let := g.passed(20, "alice", "198.51.100.3"); let != 5 {
		t.Errorf("a day later %d are let through at once, want 5", let)
	}
}

func TestGuessesFromAddress(t *testing.T) {
	g := newGuesser(t, 1, 5)
	for from, others := range map[string][]string{
		"192.0.2.1":      {"::ffff:192.0.2.1"},
		"2001:db8:1:2::": {"2001:db8:1:2::1", "2001:db8:1:2:ffff::9"}, // one network of 64 bits
	} {
		for i := range 5 {
			if wait := g.try(fmt.Sprintf("user%d", i), from); wait != 0 {
				t.Errorf("%s: attempt %d waits %s", from, i, wait)
			}
		}
		for _, other := range append(others, from) {
			if wait := g.try("fresh", other); wait != time.Second {
				t.Errorf("%s after %s waits %s, want 1s", other, from, wait)
			}
		}
	}
	if wait := g.try("fresh", "2001:db8:1:3::1"); wait != 0 {
		t.Errorf("the next network waits %s", wait)
	}
}

// Whoever mistyped and then got it right has not lost anything; whoever else guessed meanwhile has.
func TestGuessesThatSucceed(t *testing.T) {
	g := newGuesser(t, 0.001, 10)
	login := func(user, from string) {
		t.Helper()
		a, err := g.Take(g.limit, user, netip.MustParseAddr(from))
		if err != nil {
			t.Fatal(err)
		}
		a.Succeeded()
	}
	if let := g.passed(6, "alice", "192.0.2.1"); let != 6 {
		t.Fatalf("%d of 6", let)
	}
	for range 100 { // a script that logs in on every call is not limited
		login("alice", "192.0.2.1")
	}
	if let := g.passed(20, "alice", "192.0.2.2"); let != 10 {
		t.Errorf("alice has %d attempts after a success, want all 10", let)
	}

	// mallory has a password of her own, and an address that does not get anything back for it.
	g = newGuesser(t, 0.001, 10)
	guessed := 0
	for range 100 {
		if g.try(fmt.Sprintf("user%d", guessed), "203.0.113.1") == 0 { // each once, so that it is the address that counts
			guessed++
		}
		if a, err := g.Take(g.limit, "mallory", netip.MustParseAddr("203.0.113.1")); err == nil {
			a.Succeeded()
		}
	}
	if guessed > 10 {
		t.Errorf("with logins of her own in between mallory guesses %d times, want 10", guessed)
	}

	// Nor do the logins of the one whose password is guessed.
	g = newGuesser(t, 0.001, 10)
	guessed = 0
	for i := range 100 {
		if g.try("bob", fmt.Sprintf("203.0.113.%d", i)) == 0 {
			guessed++
		}
		if a, err := g.Take(g.limit, "bob", netip.MustParseAddr("192.0.2.7")); err == nil {
			a.Succeeded()
		}
	}
	if guessed > 10 {
		t.Errorf("while bob logs in, others guess %d times, want 10", guessed)
	}
}

func TestUnlock(t *testing.T) {
	g := newGuesser(t, 0.001, 5)
	if g.Unlock(g.limit, "alice") {
		t.Error("alice was locked before anything happened")
	}
	g.try("alice", "192.0.2.1")
	if g.Unlock(g.limit, "alice") {
		t.Error("one attempt locks alice out")
	}
	for i := range 9 {
		g.try("alice", fmt.Sprintf("192.0.2.%d", i))
	}
	if !g.Unlock(g.limit, "alice") {
		t.Error("alice was not locked out")
	}
	if let := g.passed(9, "alice", "198.51.100.1"); let != 5 {
		t.Errorf("after unlocking alice has %d attempts, want 5", let)
	}
}

// The limits follow the keywords: 0 is none, and less burst counts at once.
func TestLimitsAreHot(t *testing.T) {
	g := newGuesser(t, 0.001, 100)
	if let := g.passed(10, "alice", "192.0.2.1"); let != 10 {
		t.Fatalf("%d of 10", let)
	}
	g.limit.Burst = 3
	if let := g.passed(10, "alice", "192.0.2.1"); let != 3 {
		t.Errorf("with a burst of 3, %d are let through", let)
	}
	g.limit.Rate = 0
	if let := g.passed(10_000, "alice", "192.0.2.1"); let != 10_000 {
		t.Errorf("without a limit, %d of 10000 are let through", let)
	}
	g = newGuesser(t, 1, 0)
	if let := g.passed(10, "alice", "192.0.2.1"); let != 1 {
		t.Errorf("with a burst of 0, %d are let through, want 1", let)
	}
}

// A clock that goes back gives nothing away and locks nobody out for longer.
func TestGuessesAndTheClock(t *testing.T) {
	g := newGuesser(t, 1, 2)
	g.passed(5, "alice", "192.0.2.1")
	g.now = g.now.Add(-time.Hour)
	if wait := g.try("alice", "192.0.2.1"); wait != time.Second {
		t.Errorf("an hour before, the wait is %s", wait)
	}
	g.now = g.now.Add(time.Second)
	g.try("alice", "192.0.2.1") // the address is let through, and alice looked at
	g.now = g.now.Add(time.Second)
	if wait := g.try("alice", "192.0.2.1"); wait != 0 {
		t.Errorf("two seconds later, the wait is %s", wait)
	}
}

// However many names and addresses are made up, memory is bounded, and whom they are really after stays locked.
func TestGuessesAreBounded(t *testing.T) {
	g := newGuesser(t, 0.0001, 5)
	for i := range 10 {
		g.try("alice", fmt.Sprintf("192.0.2.%d", i))
	}
	if g.try("alice", "198.51.100.9") == 0 {
		t.Fatal("alice is not locked")
	}
	flood := func(from, to int) {
		for i := from; i < to; i++ {
			address := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			if _, err := g.Take(g.limit, strings.Repeat("x", 1000)+fmt.Sprint(i), address); err != nil {
				t.Fatalf("name %d: %v", i, err)
			}
		}
	}
	flood(0, 20_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	flood(20_000, 200_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("another 180000 names take %d bytes", grown)
	}
	if after.HeapAlloc > 16<<20 {
		t.Errorf("the counts take %d bytes", after.HeapAlloc)
	}
	if g.try("alice", "198.51.100.10") == 0 {
		t.Error("a flood of other names has unlocked alice")
	}
}

// Attempts at once do not get more than attempts one after another.
func TestGuessesRace(t *testing.T) {
	g := newGuesser(t, 0.001, 20)
	var let atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for range 200 {
				if _, err := g.Take(g.limit, "alice", netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})); err == nil {
					let.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if let.Load() != 20 {
		t.Errorf("of 10000 attempts at once %d were let through, want 20", let.Load())
	}
}

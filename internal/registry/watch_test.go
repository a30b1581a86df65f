package registry_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"omca/ca"
	"omca/internal/background"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/pki"
)

// guarded is a store of objects, shared with others, whose watch may panic. It is
// followed when told is registered, and until the test ends with err.
type guarded struct {
	*registry.Store
	db     store.Store
	panics *background.Panics
	ended  chan error
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{db: mem.New(), panics: background.New(time.Now, slog.New(slog.DiscardHandler)), ended: make(chan error, 1)}
	m := fileMaster(t)
	var err error
	g.Store, err = registry.OpenStore(t.Context(), registry.StoreConfig{
		Store: g.db, Shared: true, Master: m, Log: slog.New(slog.DiscardHandler), Now: time.Now, Panics: g.panics,
	})
	if err != nil {
		t.Fatal(err)
	}
	g.db = view(t, g.db, m)
	return g
}

// follow follows the store until the func that it returns is called.
func (g *guarded) follow(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	go func() { g.ended <- g.panics.Keep(ctx, "watch", g.Run) }()
	return func() {
		cancel()
		if err := <-g.ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ended with %v", err)
		}
	}
}

// panicking panics so many times, then does nothing.
func panicking(times int) func() {
	return func() {
		if times--; times >= 0 {
			var nothing *int
			*nothing = 1
		}
	}
}

// TestWatchGoesOn: a change over which a follower panics is followed again, in order,
// and the commit that made it returns when it has been.
func TestWatchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		var told []string
		revoking, listing := panicking(2), panicking(1)
		g.OnRevoke(func(r ca.Revocation) {
			revoking()
			told = append(told, string(r.Serial))
		})
		g.OnList(listing)
		stop := g.follow(t)
		began := time.Now()
		for _, serial := range []string{"01", "02"} {
			r := ca.Revocation{Authority: "ab"}
			r.Serial, r.At, r.NotAfter = pki.Serial(serial), began, began.Add(time.Hour)
			if err := g.Revoke(t.Context(), r); err != nil {
				t.Errorf("revoking %s: %v", serial, err)
			}
		}
		if got := strings.Join(told, " "); got != "01 02" {
			t.Errorf("told of %q", got)
		}
		if took := time.Since(began); took != 3*time.Second { // pauses of one second and of two
			t.Errorf("it took %s", took)
		}

		// What is counted is counted once, whatever panics beside it.
		before, err := g.CountRecords(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tx := store.Tx{Puts: []store.Put{{Key: "list/ab", Value: []byte("{}")}, {Key: "serial/01", Value: []byte("x")}}}
		if _, err := g.db.Commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if after, err := g.CountRecords(t.Context()); err != nil || after != before+1 {
			t.Errorf("%d certificates, %v, %d before one came", after, err, before)
		}
		if c := g.panics.Counts(); len(c) != 1 || c[0].Count != 3 {
			t.Errorf("panics %v", c)
		}
		stop()
	})
}

// TestWatchGivesUp: a change that panics each time ends the watch with an error that
// is none of a panic, and those who wait for it.
func TestWatchGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.OnChange(func(object.Path) { panicking(1)() })
		g.follow(t)
		p := path(t, "ns1/sec/web")
		err := g.Create(t.Context(), p, object.NewConfig(p))
		if err == nil || !strings.Contains(err.Error(), "no longer follows") {
			t.Errorf("a commit that is never followed: %v", err)
		}
		if err := <-g.ended; err == nil || background.Panicked(err) || !strings.Contains(err.Error(), "4 tries") {
			t.Errorf("the watch ended with %v", err)
		}
		if _, err := g.Get(t.Context(), p); err != nil {
			t.Errorf("reading: %v", err)
		}
	})
}

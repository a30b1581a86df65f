package trail_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"omca/internal/trail"
)

func events(t *trail.Trail, most int) string {
	var all []string
	for _, l := range t.Last(most) {
		all = append(all, l.Event)
	}
	return strings.Join(all, " ")
}

func TestWindow(t *testing.T) {
	window := trail.New(3)
	log := slog.New(window)
	if got := events(window, 9); got != "" {
		t.Errorf("a new trail has %q", got)
	}
	log.Debug("whispered")
	for i, want := range []string{"e0", "e0 e1", "e0 e1 e2", "e1 e2 e3", "e2 e3 e4", "e3 e4 e5", "e4 e5 e6"} {
		log.Info(fmt.Sprintf("e%d", i))
		if got := events(window, 9); got != want {
			t.Errorf("after %d: %q, want %q", i, got, want)
		}
	}
	if got := events(window, 2); got != "e5 e6" {
		t.Errorf("the last two: %q", got)
	}
}

func TestFields(t *testing.T) {
	window := trail.New(1)
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.FixedZone("", 3600))
	slog.New(window).With("by", "root").WithGroup("g").With("a", 1).Warn("issued", "until", at, "error", errors.New("no"), slog.Group("in", "x", true), "long", strings.Repeat("x", 10_000))
	line := window.Last(1)[0]
	long := line.Fields["g.long"]
	delete(line.Fields, "g.long")
	const want = "map[by:root g.a:1 g.error:no g.in.x:true g.until:2026-11-24T11:00:00Z]"
	if got := fmt.Sprint(line.Fields); got != want || line.Level != "WARN" || line.Event != "issued" {
		t.Errorf("%s %s %s, want %s", line.Level, line.Event, got, want)
	}
	if len(long) > 600 {
		t.Errorf("a field of %d bytes is kept", len(long))
	}
}

// TestHandler: it keeps the contract of slog.
func TestHandler(t *testing.T) {
	var window *trail.Trail
	slogtest.Run(t, func(*testing.T) slog.Handler { window = trail.New(1); return window }, func(t *testing.T) map[string]any {
		line := window.Last(1)[0]
		tree := map[string]any{slog.LevelKey: line.Level, slog.MessageKey: line.Event}
		if !line.Time.IsZero() {
			tree[slog.TimeKey] = line.Time
		}
		for name, value := range line.Fields {
			at, parts := tree, strings.Split(name, ".")
			for _, group := range parts[:len(parts)-1] {
				if _, ok := at[group]; !ok {
					at[group] = map[string]any{}
				}
				inner, ok := at[group].(map[string]any)
				if !ok {
					t.Fatalf("%s is a group and a field", group)
				}
				at = inner
			}
			at[parts[len(parts)-1]] = value
		}
		return tree
	})
}

func TestConcurrent(t *testing.T) {
	window := trail.New(10)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				slog.New(window).Info("e", "k", "v")
				if lines := window.Last(10); len(lines) > 10 || lines[len(lines)-1].Event != "e" {
					t.Error("lines got lost")
				}
			}
		})
	}
	all.Wait()
}

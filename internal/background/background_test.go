package background

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fails is where the panics of these tests come from: its name is looked for in stacks.
func fails() error {
	var nothing *int
	*nothing = 1
	return nil
}

func TestGuard(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	var log bytes.Buffer
	p := New(func() time.Time { return at }, slog.New(slog.NewTextHandler(&log, nil)))
	if err := p.Guard("sweep", func() error { return nil }); err != nil || len(p.Counts()) != 0 || log.Len() != 0 {
		t.Errorf("work that went well: %v, %v, %s", err, p.Counts(), log.String())
	}
	known := errors.New("known")
	if err := p.Guard("sweep", func() error { return known }); err != known || len(p.Counts()) != 0 {
		t.Errorf("work with an error: %v, %v", err, p.Counts())
	}
	err := p.Guard("sweep", fails)
	if !Panicked(err) || !strings.Contains(err.Error(), `"sweep"`) || !strings.Contains(err.Error(), "nil pointer") {
		t.Errorf("error %v", err)
	}
	if line := log.String(); !strings.Contains(line, "background.fails") || !strings.Contains(line, "task=sweep") {
		t.Errorf("the log does not name the task and where it panicked: %s", line)
	}
	if err := p.Guard("list", fails); !Panicked(err) {
		t.Errorf("error %v", err)
	}
	if err := p.Guard("sweep", fails); !Panicked(err) {
		t.Errorf("error %v", err)
	}
	if want := []Count{{"list", 1, at}, {"sweep", 2, at}}; !slices.Equal(p.Counts(), want) {
		t.Errorf("counts %v, want %v", p.Counts(), want)
	}
}

// TestKeep: the pauses double up to a minute, and begin anew after the work ran well.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(time.Now, slog.New(slog.DiscardHandler))
		began := time.Now()
		var at []time.Duration
		done := errors.New("done")
		err := p.Keep(t.Context(), "work", func(context.Context) error {
			at = append(at, time.Since(began))
			switch len(at) {
			case 9:
				time.Sleep(wellTime + time.Second)
			case 10:
				// A panic that was caught further down is one.
				return errors.Join(errors.New("inner"), p.Guard("inner", fails))
			case 11:
				return done
			}
			return fails()
		})
		if err != done {
			t.Errorf("error %v", err)
		}
		var pauses []time.Duration
		for i, d := range at[1:] {
			pauses = append(pauses, d-at[i])
		}
		const s = time.Second
		want := []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, wellTime + s + s, 2 * s}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
		if counts := p.Counts(); len(counts) != 2 || counts[0].Count != 1 || counts[1].Count != 9 {
			t.Errorf("counts %v", counts)
		}
	})
}

// TestKeepEnds: the end of the context ends the work, and the wait for it.
func TestKeepEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		runs := 0
		go func() {
			ended <- p.Keep(ctx, "work", func(context.Context) error { runs++; return fails() })
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil || runs != 1 {
			t.Errorf("%v after %d runs", err, runs)
		}
	})
}

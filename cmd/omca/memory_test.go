package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		live uint64
		busy bool
		want int64
	}{{0, false, smallMemory}, {5 << 20, false, smallMemory}, {5 << 20, true, busyMemory}, {40 << 20, false, 120 << 20}, {40 << 20, true, 120 << 20}, {1 << 63, false, 3 << 40}} {
		if got := memoryLimit(c.live, c.busy); got != c.want {
			t.Errorf("%d bytes live, busy %v: limit %d, want %d", c.live, c.busy, got, c.want)
		}
	}
}

// With much work, or while passwords come, the limit alone has the collector run, and
// it is higher; when that is over, what was taken for it is given back.
func TestPacer(t *testing.T) {
	const mb = 1 << 20
	var did []string
	p := &pacer{
		setLimit:   func(bytes int64) int64 { did = append(did, fmt.Sprint("limit ", bytes/mb)); return 0 },
		setPercent: func(percent int) int { did = append(did, fmt.Sprint("percent ", percent)); return 0 },
		free:       func() { did = append(did, "free") },
	}
	made := uint64(0)
	looks := func(live, since uint64) func() {
		return func() {
			made += since * mb
			if p.sees(live*mb, made) {
				did = append(did, "program")
			}
		}
	}
	hashes := func(sizes ...int64) func() {
		return func() {
			for _, size := range sizes {
				p.takes(size * mb)
			}
		}
	}
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"the start", p.set, []string{"limit 34", "percent 250"}},
		{"some work", looks(5, 60), []string{"limit 34", "program"}},
		{"much work", looks(5, 64), []string{"limit 64", "percent -1"}},
		{"less", looks(5, 16), []string{"limit 64"}},
		{"more lives", looks(40, 150), []string{"limit 120"}},
		{"the work is over", looks(5, 15), []string{"limit 34", "percent 250", "free", "program"}},
		{"nothing", looks(5, 0), []string{"limit 34", "program"}},
		{"nothing again", looks(5, 0), []string{"limit 34"}},
		{"many hashes", hashes(19, 19, 19, 19, 19, 19), []string{"limit 110", "percent -1"}},
		{"and nothing else", looks(5, 15), []string{"limit 110", "program"}},
		{"larger ones", hashes(20, 21), []string{"limit 114", "limit 118"}},
		{"the last one was before this look", looks(5, 15), []string{"limit 118", "program"}},
		{"no more hashes", looks(5, 15), []string{"limit 34", "percent 250", "free", "program"}},
		{"hashes, and much work", hashes(19), []string{"limit 110", "percent -1"}},
		{"both", looks(5, 200), []string{"limit 110", "program"}},
		{"the work goes on", looks(5, 200), []string{"limit 64"}},
		{"all is over", looks(5, 0), []string{"limit 34", "percent 250", "free", "program"}},
	} {
		did = nil
		if step.do(); !slices.Equal(did, step.want) {
			t.Errorf("%s: %q, want %q", step.what, did, step.want)
		}
	}
}

// TestPacerPanics: a look that panics is logged, gives its lock back, and ends nothing.
func TestPacerPanics(t *testing.T) {
	var said bytes.Buffer
	p := &pacer{setLimit: func(int64) int64 { panic("a limit nobody thought of") }, setPercent: func(int) int { return 0 }, free: func() {}}
	for range 2 {
		p.look(slog.New(slog.NewTextHandler(&said, nil)))
	}
	if n := strings.Count(said.String(), "panic in the background"); n != 2 || !strings.Contains(said.String(), "memory.go") {
		t.Errorf("%d lines: %s", n, said.String())
	}
}

// TestCollectAfter: what the operator says about the collector stands.
func TestCollectAfter(t *testing.T) {
	const before = 123
	defer debug.SetGCPercent(debug.SetGCPercent(before))
	for name, want := range map[string]int{"GOGC": before, "GOMEMLIMIT": before, "HOME": collectAt} {
		debug.SetGCPercent(before)
		collectAfter(collectAt, func(asked string) string {
			if asked == name {
				return "100"
			}
			return ""
		})
		if got := debug.SetGCPercent(before); got != want {
			t.Errorf("with %s set: %d percent, want %d", name, got, want)
		}
	}
}

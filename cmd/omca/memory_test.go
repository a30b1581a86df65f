package main

import (
	"fmt"
	"slices"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for live, want := range map[uint64]int64{0: busyMemory, 5 << 20: busyMemory, 40 << 20: 120 << 20, 1 << 63: 3 << 40} {
		if got := memoryLimit(live); got != want {
			t.Errorf("%d bytes live: limit %d, want %d", live, got, want)
		}
	}
}

// The limit follows what lives and the hashes of passwords. Memory is given back when
// they no longer come, and when there is no work and it is worth it.
func TestPacer(t *testing.T) {
	const mb = 1 << 20
	var did []string
	var is heap
	p := &pacer{
		setLimit: func(bytes int64) int64 { did = append(did, fmt.Sprint("limit ", bytes/mb)); return 0 },
		free:     func() { did = append(did, "free"); is.held = 20 * mb },
		look:     func() heap { return is },
	}
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"the start", func() { is = heap{live: 5 * mb, made: 90 * mb, held: 44 * mb}; p.looks() }, []string{"limit 48"}},
		{"no work", p.looks, []string{"limit 48", "free"}},
		{"no work, and little to win", func() { is.held = 40 * mb; p.looks() }, []string{"limit 48"}},
		{"work", func() { is.made, is.held = 190*mb, 48*mb; p.looks() }, []string{"limit 48"}},
		{"more lives", func() { is.made, is.live = 290*mb, 40*mb; p.looks() }, []string{"limit 120"}},
		{"many hashes", func() {
			for range 10 {
				p.takes(19 * mb)
			}
		}, []string{"limit 196"}},
		{"and nothing else", p.looks, []string{"limit 196"}},
		{"larger ones", func() { p.takes(20 * mb); p.takes(21 * mb) }, []string{"limit 200", "limit 204"}},
		{"the last hash is from before this look", p.looks, []string{"limit 204"}},
		{"no more hashes, and work", func() { is.made, is.live, is.held = 390*mb, 5*mb, 170*mb; p.looks() }, []string{"limit 48", "free"}},
		{"nothing", p.looks, []string{"limit 48"}},
	} {
		did = nil
		if step.do(); !slices.Equal(did, step.want) {
			t.Errorf("%s: %q, want %q", step.what, did, step.want)
		}
	}
}

package main

import (
	"fmt"
	"slices"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for live, want := range map[uint64]int64{0: smallMemory, 5 << 20: smallMemory, 40 << 20: 120 << 20, 1 << 63: 3 << 40} {
		if got := memoryLimit(live); got != want {
			t.Errorf("%d bytes live: limit %d, want %d", live, got, want)
		}
	}
}

// While passwords come, a few of their hashes may wait, and the limit alone has the
// collector run; when none came between two looks, all is as before.
func TestPacer(t *testing.T) {
	var did []string
	p := &pacer{
		setLimit:   func(bytes int64) int64 { did = append(did, fmt.Sprint("limit ", bytes>>20)); return 0 },
		setPercent: func(percent int) int { did = append(did, fmt.Sprint("percent ", percent)); return 0 },
		free:       func() { did = append(did, "free") },
	}
	p.sees(0)
	for range 10 {
		p.takes(19 << 20)
	}
	p.sees(40 << 20)
	p.takes(19 << 20)
	p.sees(5 << 20)
	p.sees(5 << 20)
	p.sees(5 << 20) // nothing to change
	p.takes(20 << 20)
	p.takes(21 << 20)
	want := []string{"percent 250", "limit 34", "limit 110", "percent -1", "limit 196", "limit 110", "percent 250", "limit 34", "free", "limit 34", "limit 114", "percent -1", "limit 118"}
	if !slices.Equal(did, want) {
		t.Errorf("%q, want %q", did, want)
	}
}

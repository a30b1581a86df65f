package main

import (
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

// What a hash takes comes on top of the limit, and goes again.
func TestPacer(t *testing.T) {
	var limits []int64
	p := &pacer{set: func(limit int64) int64 {
		limits = append(limits, limit)
		return 0
	}}
	p.sees(0)
	p.takes(19 << 20)
	p.takes(19 << 20)
	p.sees(40 << 20)
	p.takes(-19 << 20)
	p.takes(-19 << 20)
	want := []int64{smallMemory, smallMemory + 19<<20, smallMemory + 38<<20, (120 + 38) << 20, (120 + 19) << 20, 120 << 20}
	if !slices.Equal(limits, want) {
		t.Errorf("limits %v, want %v", limits, want)
	}
}

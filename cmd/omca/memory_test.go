package main

import "testing"

func TestMemoryLimit(t *testing.T) {
	for live, want := range map[uint64]int64{0: smallMemory, 5 << 20: smallMemory, 40 << 20: 120 << 20, 1 << 63: 3 << 40} {
		if got := memoryLimit(live); got != want {
			t.Errorf("%d bytes live: limit %d, want %d", live, got, want)
		}
	}
}

package bolt

import (
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
)

// TestRelease checks that pages are counted, given back, and still there.
func TestRelease(t *testing.T) {
	s := openIn(t, t.TempDir())
	var n atomic.Int64
	load(t, s, 64, &n, 3000)
	if err := s.settle(); err != nil { // a checkpoint on its way would release as well
		t.Fatal(err)
	}
	before := contents(t, s)
	if full, now := residentOf(t, s.path), s.resident.Load(); full == 0 || now == 0 || now >= residentBytes {
		t.Errorf("%d bytes are resident, %d counted, fewer than %d expected", full, now, residentBytes)
	}
	s.touched(residentBytes / s.pageSize)
	if left, counted := residentOf(t, s.path), s.resident.Load(); left != 0 || counted != 0 {
		t.Errorf("%d bytes are resident after the release, %d counted", left, counted)
	}
	if after := contents(t, s); len(after) != len(before) {
		t.Errorf("%d entries before, %d after", len(before), len(after))
	}
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	if err := s.turn(); err != nil {
		t.Fatal(err)
	}
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	if left := residentOf(t, s.path); left != 0 {
		t.Errorf("%d bytes are resident after a checkpoint", left)
	}
}

// residentOf returns the resident bytes of the mapping of a file.
func residentOf(t *testing.T, path string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^.* ` + regexp.QuoteMeta(path) + `\n(?:\w+: .*\n)*?Rss: +(\d+) kB`).FindSubmatch(maps)
	if found == nil {
		t.Fatalf("%s is not mapped", path)
	}
	kb, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

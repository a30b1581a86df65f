package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"omca/internal/store"
)

// TestFullDisk fills a small file system, makes room, and goes on.
func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "2m")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, dir)
	held := map[string]bool{}
	fill := func(round string) {
		t.Helper()
		for i := 0; ; i++ {
			key := fmt.Sprintf("%s/%d", round, i)
			_, err := s.Commit(t.Context(), put(key, strings.Repeat("x", 3000)))
			if errors.Is(err, store.ErrFull) {
				return
			}
			if err != nil || i > 1000 {
				t.Fatalf("commit %d: %v, expected ErrFull in the end", i, err)
			}
			held[key] = true
		}
	}
	check := func(when string) {
		t.Helper()
		got := contents(t, s)
		if len(got) != len(held) {
			t.Errorf("%s: %d keys, expected %d", when, len(got), len(held))
		}
		for _, e := range got {
			if !held[e.Key] || len(e.Value) != 3000 {
				t.Errorf("%s: %q with %d bytes", when, e.Key, len(e.Value))
			}
		}
	}
	fill("one")
	check("full")
	fill("still")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	n := len(held)
	fill("room")
	if len(held) == n {
		t.Error("no commit works after room was made")
	}
	check("with room")
	if err := s.Close(); err != nil {
		t.Fatalf("close on a full disk: %v", err)
	}
	s = openIn(t, dir)
	check("reopened")
}

// TestFullDiskAtFirst has no room for the store itself.
func TestFullDiskAtFirst(t *testing.T) {
	dir := tmpfs(t, "64k")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Path: filepath.Join(dir, "store")}); !errors.Is(err, store.ErrFull) {
		t.Errorf("open on a full disk: %v, expected ErrFull", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, openIn(t, dir), put("a", ""))
}

// tmpfs mounts a file system of its own.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		if strings.Contains(os.Getenv("OMCA_TEST_REQUIRE"), "tmpfs") {
			t.Fatalf("mounting a tmpfs: %v", err)
		}
		t.Skipf("mounting a tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

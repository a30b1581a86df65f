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

// TestFullDiskAtOpen opens a store that a crash left, where there is no room
// for what its journal holds: it can be read, and takes commits when there is.
func TestFullDiskAtOpen(t *testing.T) {
	whole := openIn(t, t.TempDir())
	whole.sync = func(tx txn) error { whole.sync = noRoom; return tx.Commit() }
	n := fillJournal(t, whole)
	<-whole.pending.done
	dir := tmpfs(t, "4m")
	if err := os.CopyFS(dir, os.DirFS(copyOf(t, whole))); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := os.Chmod(filepath.Join(dir, filepath.Base(journalPath(whole.path, i))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "store"), 0o600); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	for range 2 {
		s := openIn(t, dir)
		if got := contents(t, s); len(got) != n {
			t.Errorf("%d keys on a full disk, expected %d", len(got), n)
		}
		if _, err := s.Commit(t.Context(), put("a", "1")); !errors.Is(err, store.ErrFull) {
			t.Errorf("commit on a full disk: %v, expected ErrFull", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := openIn(t, dir)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, put("a", "1"))
	if got := contents(t, s); len(got) != n+1 {
		t.Errorf("%d keys with room, expected %d", len(got), n+1)
	}
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

package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"omca/internal/store"
)

func openCopy(t *testing.T, path string) *Copy {
	t.Helper()
	c, err := OpenCopy(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func set(rev int64, key, value string) store.Change {
	return store.Change{Rev: rev, Events: []store.Event{{Key: key, Value: []byte(value)}}}
}

func apply(t *testing.T, c *Copy, changes ...store.Change) {
	t.Helper()
	if err := c.Apply(changes...); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, c *Copy, key, value string, rev int64) {
	t.Helper()
	if e, err := c.Get(t.Context(), key); err != nil || string(e.Value) != value || e.Rev != rev {
		t.Errorf("%q is %q at %d, %v, expected %q at %d", key, e.Value, e.Rev, err, value, rev)
	}
}

// crash copies the files of a store that is open to another place.
func crash(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "crashed.db")
	for _, suffix := range []string{"", ".journal-0", ".journal-1"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestCopyKeepsRevisions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy.db")
	c := openCopy(t, path)
	apply(t, c, set(5, "a", "1"), set(9, "b", "2"))
	apply(t, c, store.Change{Rev: 1 << 40, Events: []store.Event{{Key: "a", Deleted: true}, {Key: "c", Value: []byte("3")}}})
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	var seen []int64
	for change, err := range c.Watch(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, change.Rev); len(seen) == 3 {
			break
		}
	}
	if fmt.Sprint(seen) != fmt.Sprint([]int64{5, 9, 1 << 40}) {
		t.Errorf("watched revisions %d", seen)
	}
	check := func(c *Copy) {
		t.Helper()
		has(t, c, "b", "2", 9)
		has(t, c, "c", "3", 1<<40)
		if _, err := c.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a deleted key: %v", err)
		}
		if rev, err := c.Rev(t.Context()); err != nil || rev != 1<<40 {
			t.Errorf("revision %d, %v", rev, err)
		}
	}
	check(c)
	check(openCopy(t, crash(t, path)))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	check(openCopy(t, path))
}

func TestCopyRefuses(t *testing.T) {
	dir := t.TempDir()
	c := openCopy(t, filepath.Join(dir, "copy.db"))
	apply(t, c, set(5, "a", "1"))
	for name, changes := range map[string][]store.Change{
		"a revision again": {set(5, "a", "2")},
		"an older one":     {set(4, "a", "2")},
		"out of order":     {set(8, "a", "2"), set(7, "a", "3")},
		"no events":        {{Rev: 9}},
	} {
		if err := c.Apply(changes...); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v, expected ErrInvalid", name, err)
		}
	}
	has(t, c, "a", "1", 5)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(set(9, "a", "2")); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := Open(t.Context(), Config{Path: filepath.Join(dir, "copy.db")}); err == nil {
		t.Error("a copy was opened as a store")
	}
	s, err := Open(t.Context(), Config{Path: filepath.Join(dir, "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCopy(t.Context(), Config{Path: filepath.Join(dir, "store.db")}); err == nil {
		t.Error("a store was opened as a copy")
	}
}

// Who watches learns that there were changes that nobody here has seen.
func TestCopyAmends(t *testing.T) {
	c := openCopy(t, filepath.Join(t.TempDir(), "copy.db"))
	apply(t, c, set(5, "a", "1"))
	if err := c.Amend(set(8, "a", "2"), set(9, "b", "3")); err != nil {
		t.Fatal(err)
	}
	has(t, c, "a", "2", 8)
	for _, err := range c.Watch(t.Context(), "", 5) {
		if !errors.Is(err, store.ErrCompacted) {
			t.Errorf("a watch from before: %v, expected ErrCompacted", err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	apply(t, c, set(11, "a", "4"))
	for change, err := range c.Watch(ctx, "", 9) {
		if err != nil || change.Rev != 11 {
			t.Errorf("a watch from after: %+v, %v", change, err)
		}
		break
	}
}

// After a power failure some pages of the journal are there and some are not:
// the copy ends before the first that is not, and goes on from there.
func TestCopyLosesItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy.db")
	c := openCopy(t, path)
	for rev := int64(1); rev <= 9; rev++ {
		apply(t, c, set(10*rev, "k", fmt.Sprint(rev)))
	}
	crashed := crash(t, path)
	f, err := os.OpenFile(crashed+".journal-0", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, pageBytes), 5*pageBytes); err != nil { // the fifth frame
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := openCopy(t, crashed)
	if rev, err := again.Rev(t.Context()); err != nil || rev != 40 {
		t.Fatalf("revision %d, %v, expected 40", rev, err)
	}
	apply(t, again, set(50, "k", "5"))
	more := openCopy(t, crash(t, crashed))
	has(t, more, "k", "5", 50)
	if rev, err := more.Rev(t.Context()); err != nil || rev != 50 {
		t.Errorf("what was lost came back: revision %d, %v", rev, err)
	}
}

// Many generations of the journal: each is on the disk before the next begins.
func TestCopyCarries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy.db")
	c := openCopy(t, path)
	var synced int
	c.s.disk.sync = func(f *os.File) error { synced++; return datasync(f) }
	value := make([]byte, 20<<10)
	for rev := int64(1); rev <= 40; rev++ {
		apply(t, c, set(3*rev, fmt.Sprint(rev), string(value)))
	}
	if synced == 0 {
		t.Error("a generation ended without a sync")
	}
	if now := c.Stats().Syncs; now > 40 {
		t.Errorf("%d syncs for 40 changes: they were to be few", now)
	}
	again := openCopy(t, crash(t, path))
	for rev := int64(1); rev <= 40; rev++ {
		has(t, again, fmt.Sprint(rev), string(value), 3*rev)
	}
}

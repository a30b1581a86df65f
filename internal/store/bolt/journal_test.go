package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/store"
)

// copyOf copies a store as a power failure would leave it: what was written,
// at this moment. Nothing may be writing to it.
func copyOf(t *testing.T, s *Store) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, path := range []string{s.path, journalPath(s.path, 0), journalPath(s.path, 1)} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// change rewrites a file.
func change(t *testing.T, path string, edit func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, edit(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func noRoom(tx txn) error { return errors.Join(syscall.ENOSPC, tx.Rollback()) }

// fillJournal commits, to a store that cannot make checkpoints, until both
// files of the journal have frames, and returns how many keys it holds.
func fillJournal(t *testing.T, s *Store) int {
	t.Helper()
	n := 0
	for ; s.journal == nil || s.journal.gen == 0 || s.journal.empty(); n++ {
		mustCommit(t, s, put(fmt.Sprintf("%04d", n), strings.Repeat("x", 10_000)))
	}
	return n
}

// TestTornTail cuts the last frame at every byte, and has zeros or what an
// earlier use of the file left there follow: the commit is gone, and those
// before it are not.
func TestTornTail(t *testing.T) {
	s := openIn(t, t.TempDir())
	for i := range 3 {
		mustCommit(t, s, put(fmt.Sprint(i), "kept"))
	}
	start := s.journal.off
	mustCommit(t, s, put("last", strings.Repeat("x", pageBytes)))
	end := s.journal.off
	b, err := os.ReadFile(journalPath(s.path, 0))
	if err != nil {
		t.Fatal(err)
	}
	b = b[:end+pageBytes]
	read := func(b []byte) []store.Change {
		t.Helper()
		changes, err := readFrames(bytes.NewReader(b), int64(len(b)), frameMagic, s.journal.id, 0)
		if err != nil {
			t.Fatal(err)
		}
		return changes
	}
	if n := len(read(b)); n != 4 {
		t.Fatalf("%d changes in the whole journal, expected 4", n)
	}
	// Where the body ends; behind it are only the zeros that fill the page.
	body := start + frameHead + int64(len("\x01\x04last\x81\x20")) + pageBytes
	stale := bytes.Repeat([]byte{0xff}, len(b))
	for cut := start; cut < body; cut++ {
		for name, rest := range map[string][]byte{"zeros": make([]byte, len(b)), "stale": stale, "nothing": nil} {
			if n := len(read(append(b[:cut:cut], rest[min(int(cut), len(rest)):]...))); n != 3 {
				t.Fatalf("cut after %d of %d bytes, then %s: %d changes, expected 3", cut-start, end-start, name, n)
			}
		}
	}
	if n := len(read(b[:body])); n != 4 {
		t.Errorf("without the zeros at the end: %d changes, expected 4", n)
	}
}

// TestTornTailReopens does it with a store, which then goes on.
func TestTornTailReopens(t *testing.T) {
	s := openIn(t, t.TempDir())
	mustCommit(t, s, put("a", "1"))
	torn := s.journal.off
	rev := mustCommit(t, s, put("a", "2"))
	dir := copyOf(t, s)
	change(t, journalPath(filepath.Join(dir, "store"), 0), func(b []byte) []byte {
		clear(b[torn+frameHead : torn+pageBytes])
		return b
	})
	for _, want := range []string{"1", "3"} {
		s = openIn(t, dir)
		if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != want {
			t.Errorf("%q, %v, expected %q", e.Value, err, want)
		}
		if got := mustCommit(t, s, put("a", "3")); want == "1" && got != rev {
			t.Errorf("revision %d after a torn one, expected %d again", got, rev)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCrash opens copies made at every stage of a checkpoint.
func TestCrash(t *testing.T) {
	s := openIn(t, t.TempDir())
	copies := map[string]string{}
	expect := map[string]int{}
	take := func(stage string, n int) { copies[stage], expect[stage] = copyOf(t, s), n }

	mustCommit(t, s, put("0000", "first"))
	take("one commit", 1)
	s.sync = noRoom
	n := fillJournal(t, s)
	<-s.pending.done
	take("frozen", n)
	s.sync = func(tx txn) error {
		err := tx.Commit()
		return errors.Join(err, syscall.EIO) // it is there, and nobody was told
	}
	if err := s.carry(); !errors.Is(err, store.ErrBroken) {
		t.Fatal(err)
	}
	take("checkpoint", n)
	take("checkpoint and no more", n)

	s = openIn(t, copies["checkpoint"])
	delete(copies, "checkpoint")
	take("reopened", n)
	mustCommit(t, s, put("more", ""))
	take("in use again", n+1)
	for i := range n {
		mustCommit(t, s, put(fmt.Sprintf("%04d", i), strings.Repeat("y", 10_000)))
	}
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	take("checkpoint before reuse", n+1)
	for gen := s.journal.gen; s.journal.gen < gen+2; {
		mustCommit(t, s, put("0001", strings.Repeat("z", 10_000)))
	}
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	take("reused", n+1)

	for stage, dir := range copies {
		want := contents(t, s)
		s := openIn(t, dir)
		if got := contents(t, s); len(got) != expect[stage] {
			t.Errorf("%s: %d keys, expected %d", stage, len(got), expect[stage])
		} else if stage == "reused" {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-before +after):\n%s", stage, diff)
			}
		}
		rev, err := s.Rev(t.Context())
		if next := mustCommit(t, s, put("z", "")); err != nil || next != rev+1 {
			t.Errorf("%s: revision %d after %d, %v", stage, next, rev, err)
		}
	}
}

// TestJournalRefused damages a journal with more than a torn tail. The store
// is not opened, the error says why, and nothing is changed.
func TestJournalRefused(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.sync = func(tx txn) error { s.sync = noRoom; return tx.Commit() }
	n := fillJournal(t, s)
	<-s.pending.done
	for range 3 {
		mustCommit(t, s, put("more", ""))
	}
	other := openIn(t, t.TempDir())
	mustCommit(t, other, put("a", ""))
	foreign, err := os.ReadFile(journalPath(other.path, 0))
	if err != nil {
		t.Fatal(err)
	}
	newer := appendFrame(nil, frameMagic, s.journal.id, 2, []store.Change{{Rev: 1}})
	blank := func(from, to int) func([]byte) []byte {
		return func(b []byte) []byte { clear(b[from:min(to, len(b))]); return b }
	}
	for _, c := range []struct {
		name string
		file int
		edit func([]byte) []byte
		want string
	}{
		{"good", 0, func(b []byte) []byte { return b }, ""},
		{"a frame in the middle", 0, blank(4*pageBytes, 4*pageBytes+50), "damaged: no frame at 16384, and revision 3 behind it"},
		{"the first frame", 0, blank(pageBytes, pageBytes+1), "damaged: no frame at 4096"},
		{"one bit", 1, func(b []byte) []byte { b[pageBytes+frameHead+3] ^= 1; return b }, "damaged: no frame at 4096"},
		{"all frames of the first", 0, blank(pageBytes, 1<<30), "revision 1 is missing before"},
		{"the end of the first", 0, func(b []byte) []byte { return b[:5*pageBytes] }, "damaged: it has 20480 bytes, and was made with 1048576"},
		{"the last octet of the second", 1, func(b []byte) []byte { return b[:len(b)-1] }, "damaged: it has 1048575 bytes, and was made with 1048576"},
		{"emptied", 1, func([]byte) []byte { return nil }, "reading its header"},
		{"header", 1, blank(20, 21), "it belongs to another store"},
		{"another store's", 0, func([]byte) []byte { return foreign }, "it belongs to another store"},
		{"of a later time", 0, func(b []byte) []byte {
			return append(append(b[:pageBytes:pageBytes], newer...), make([]byte, journalBytes)...)
		}, "newer than the store"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyOf(t, s)
			path := filepath.Join(dir, "store")
			change(t, journalPath(path, c.file), c.edit)
			checkOpen(t, dir, c.want, n+1)
		})
	}
	t.Run("missing", func(t *testing.T) {
		dir := copyOf(t, s)
		if err := os.Remove(journalPath(filepath.Join(dir, "store"), 1)); err != nil {
			t.Fatal(err)
		}
		checkOpen(t, dir, "its journal is missing", n+1)
	})
	t.Run("mode", func(t *testing.T) {
		dir := copyOf(t, s)
		if err := os.Chmod(journalPath(filepath.Join(dir, "store"), 1), 0o644); err != nil {
			t.Fatal(err)
		}
		checkOpen(t, dir, "mode 0644 lets others", n+1)
	})
}

// checkOpen opens the store in dir, and expects keys in it or an error that
// leaves every file as it was.
func checkOpen(t *testing.T, dir, want string, keys int) {
	t.Helper()
	before := filesIn(t, dir)
	s, err := Open(t.Context(), Config{Path: filepath.Join(dir, "store")})
	if err == nil {
		defer s.Close()
	}
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want == "":
		if got := contents(t, s); len(got) != keys {
			t.Errorf("%d keys, expected %d", len(got), keys)
		}
	case err == nil || !strings.Contains(err.Error(), want):
		t.Errorf("%v, expected %q", err, want)
	default:
		if diff := cmp.Diff(before, filesIn(t, dir)); diff != "" {
			t.Errorf("files were changed (-before +after):\n%.500s", diff)
		}
	}
}

func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[name.Name()] = string(b)
	}
	return files
}

// TestClosedNeedsNoJournal takes the journal away from a closed store.
func TestClosedNeedsNoJournal(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	n := fillJournal(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		info, err := os.Stat(journalPath(s.path, i))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("journal %d: %v, %v, expected 0600", i, info.Mode(), err)
		}
		if err := os.Remove(journalPath(s.path, i)); err != nil {
			t.Error(err)
		}
	}
	if got := contents(t, openIn(t, dir)); len(got) != n {
		t.Errorf("%d keys without the journal, expected %d", len(got), n)
	}
}

// FuzzFrames feeds the parser of the journal: no bytes may make it panic, and
// what it takes for a frame is one, of the id and generation asked for.
func FuzzFrames(f *testing.F) {
	id := journalID{1, 2, 3}
	changes := []store.Change{
		{Rev: 7, Events: []store.Event{{Key: "a", Value: []byte("1")}, {Key: "b", Deleted: true}}},
		{Rev: 8, Events: []store.Event{{Key: "c", Value: []byte{}}}},
	}
	good := appendFrame(header(id, 0, 0), frameMagic, id, 4, changes)
	page := make([]byte, pageBytes)
	f.Add(append(page, good[len(header(id, 0, 0)):]...), []byte{1, 1, 'a', 0})
	f.Add(append(page, appendFrame(nil, frameMagic, journalID{}, 4, changes)...), []byte{2, 1, 'a', 2, 'x', 1, 'b', 0})
	f.Add(append(page, appendFrame(nil, frameMagic, id, 3, changes)...), []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1})
	f.Add(append(page, appendFrame(nil, copyMagic, id, 4, changes)...), []byte{0, 1, 1, 'a', 0, 2, 1, 1, 'b', 2, 'x'})
	f.Add([]byte{}, []byte{1, 1, 'a', 0, 1, 1, 'b', 0, 1, 1, 'c', 0})
	f.Fuzz(func(t *testing.T, file, body []byte) {
		// An error or changes; which of them, the checksums decide.
		if got, err := readFrames(bytes.NewReader(file), int64(len(file)), frameMagic, id, 4); err != nil && got != nil {
			t.Errorf("both changes and %v", err)
		}
		// Bodies are read behind a checksum, and still not trusted.
		for _, magic := range []uint32{frameMagic, copyMagic} {
			info := frameInfo{first: 7, last: 9, gaps: magic == copyMagic}
			got, err := info.parseBody(body)
			if err != nil {
				continue
			}
			again := appendFrame(nil, magic, id, 4, got)
			head, ok := parseHead(id, again)
			if !ok || head.first != 7 || head.last != 9 {
				t.Fatalf("head %+v, %t", head, ok)
			}
			parsed, err := head.parseBody(again[frameHead : frameHead+head.body])
			if diff := cmp.Diff(got, parsed); err != nil || diff != "" {
				t.Errorf("%v (-got +again):\n%s", err, diff)
			}
		}
	})
}

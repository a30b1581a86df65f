package bolt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"omca/internal/store"
)

// TestFailedSync fails a write to the journal in every way that matters: before
// or after it is in the file, for want of room or otherwise.
func TestFailedSync(t *testing.T) {
	enospc := &os.PathError{Op: "write", Path: "store", Err: syscall.ENOSPC}
	for _, c := range []struct {
		name  string
		write error // met half-way
		sync  error
		want  error
		after string // value after reopening
	}{
		{"full", enospc, nil, store.ErrFull, "3"},
		{"quota", syscall.EDQUOT, nil, store.ErrFull, "3"},
		{"write", syscall.EIO, nil, store.ErrBroken, "1"},
		{"sync", nil, syscall.EIO, store.ErrBroken, "2"},
		{"full in the sync", nil, syscall.ENOSPC, store.ErrBroken, "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir)
			before := mustCommit(t, s, put("a", "1"))
			s.journal.disk.write = func(f *os.File, b []byte, off int64) (int, error) {
				if c.write != nil {
					b = b[:frameHead+1]
				}
				n, err := f.WriteAt(b, off)
				return n, errors.Join(err, c.write)
			}
			s.journal.disk.sync = func(*os.File) error { return c.sync }
			if _, err := s.Commit(t.Context(), put("a", "2")); !errors.Is(err, c.want) || !strings.Contains(err.Error(), s.path) {
				t.Errorf("commit: %v, expected %v and the path", err, c.want)
			}
			s.journal.disk = realDisk() // it is well again
			if rev, err := s.Rev(t.Context()); err != nil || rev != before {
				t.Errorf("revision %d, %v after a failed commit, expected %d", rev, err, before)
			}
			checkAfter(t, s, c.want)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openIn(t, dir)
			if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != c.after {
				t.Errorf("after reopening: %q, %v, expected %q", e.Value, err, c.after)
			}
			mustCommit(t, s, put("a", "4"))
		})
	}
}

// checkAfter asks a store that met an error for what it still does.
func checkAfter(t *testing.T, s *Store, failure error) {
	t.Helper()
	if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != "1" {
		t.Errorf("a read after a failed commit: %q, %v", e.Value, err)
	}
	if failure == store.ErrFull {
		mustCommit(t, s, put("a", "3"))
		return
	}
	if _, err := s.Commit(t.Context(), put("a", "3")); !errors.Is(err, store.ErrBroken) {
		t.Errorf("commit to a broken store: %v", err)
	}
	for _, err := range s.Watch(t.Context(), "", s.recent.Rev()) {
		if !errors.Is(err, store.ErrBroken) {
			t.Errorf("watch of a broken store: %v", err)
		}
	}
}

// TestFailedCheckpoint fails the commit to bbolt in every way that matters:
// before or after its header shows it, for want of room or otherwise. Nothing
// is lost by it.
func TestFailedCheckpoint(t *testing.T) {
	for _, c := range []struct {
		name    string
		visible bool
		err     error
		want    error
	}{
		{"full", false, &os.PathError{Op: "write", Path: "store", Err: syscall.ENOSPC}, store.ErrFull},
		{"quota", false, syscall.EDQUOT, store.ErrFull},
		{"full while growing", false, fmt.Errorf("file resize error: %s", syscall.ENOSPC), store.ErrFull},
		{"full in the header's sync", true, syscall.ENOSPC, store.ErrBroken},
		{"sync of the pages", false, syscall.EIO, store.ErrBroken},
		{"sync of the header", true, syscall.EIO, store.ErrBroken},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir)
			mustCommit(t, s, put("a", "1"))
			commit := s.sync
			s.sync = func(tx txn) error {
				if c.visible {
					return errors.Join(tx.Commit(), c.err)
				}
				return errors.Join(c.err, tx.Rollback())
			}
			// More than both files hold.
			n := 0
			var err error
			for ; err == nil && n < 100; n++ {
				_, err = s.Commit(t.Context(), put(fmt.Sprint(n), strings.Repeat("x", journalBytes/10)))
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), s.path) {
				t.Errorf("commit %d: %v, expected %v and the path", n, err, c.want)
			}
			if held := len(contents(t, s)); held != n {
				t.Errorf("%d keys after a failed checkpoint, expected %d", held, n)
			}
			s.sync = commit // the disk is well again
			if c.want == store.ErrFull {
				mustCommit(t, s, put("b", "2"))
				n++
			} else if _, err := s.Commit(t.Context(), put("b", "2")); !errors.Is(err, store.ErrBroken) {
				t.Errorf("commit to a broken store: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if held := len(contents(t, openIn(t, dir))); held != n {
				t.Errorf("%d keys after reopening, expected %d", held, n)
			}
		})
	}
}

// TestFullJournal has no room for the journal, at first and when a frame is
// larger than it.
func TestFullJournal(t *testing.T) {
	s := openIn(t, t.TempDir())
	no := func(f *os.File, from, to int64) error {
		return errors.Join(fill(f, from, from+pageBytes), syscall.ENOSPC)
	}
	s.disk.fill = no
	if _, err := s.Commit(t.Context(), put("a", "1")); !errors.Is(err, store.ErrFull) {
		t.Errorf("without a journal: %v, expected ErrFull", err)
	}
	s.disk = realDisk()
	mustCommit(t, s, put("a", "1"))
	s.journal.disk.fill = no
	big := put("b", strings.Repeat("x", store.MaxValue))
	if _, err := s.Commit(t.Context(), big); !errors.Is(err, store.ErrFull) {
		t.Errorf("a frame larger than the journal: %v, expected ErrFull", err)
	}
	mustCommit(t, s, put("c", "1"))
	s.journal.disk.fill = fill
	mustCommit(t, s, big)
	if got := contents(t, s); len(got) != 3 {
		t.Errorf("%d keys, expected 3", len(got))
	}
}

// TestFailedGroup checks that an error is everybody's.
func TestFailedGroup(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.disk.write = func(*os.File, []byte, int64) (int, error) { return 0, syscall.ENOSPC }
	group := []*request{
		{tx: put("a", ""), answer: make(chan verdict, 1)},
		{tx: store.Tx{Expect: []store.Expect{{Key: "a"}}}, answer: make(chan verdict, 1)}, // would be a conflict
	}
	s.commit(group)
	for i, r := range group {
		if v := <-r.answer; !errors.Is(v.err, store.ErrFull) {
			t.Errorf("transaction %d: %+v, expected ErrFull", i, v)
		}
	}
	if got := contents(t, s); len(got) != 0 {
		t.Errorf("a failed group left %v", got)
	}
}

// childDir tells the test binary to be the process that TestKill kills.
const childDir = "OMCA_TEST_KILL_DIR"

// TestKill kills a process that commits, again and again, and looks for what
// it had acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range 10 {
		for _, key := range killed(t, dir, round, 50+137*round%400) {
			acked[key] = true
		}
		s := openIn(t, dir)
		held := map[string]bool{}
		for _, e := range contents(t, s) {
			held[e.Key] = true
			if half := strings.TrimSuffix(e.Key, "+"); string(e.Value) != strings.Repeat(half, 300) {
				t.Errorf("round %d: %q has value %.40q", round, e.Key, e.Value)
			}
		}
		for key := range acked {
			if !held[key] || !held[key+"+"] {
				t.Errorf("round %d: %q was acknowledged and is gone", round, key)
			}
		}
		for key := range held {
			if half := strings.TrimSuffix(key, "+"); !held[half] || !held[half+"+"] {
				t.Errorf("round %d: %q is half of a transaction", round, key)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) < 1000 {
		t.Errorf("only %d commits were acknowledged in all", len(acked))
	}
}

// killed runs TestKillChild, kills it after n acknowledgements and returns
// all that it gave.
func killed(t *testing.T, dir string, round, n int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("ROUND=%d", round))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []string
	for in := bufio.NewReader(stdout); ; {
		line, err := in.ReadString('\n')
		if err != nil { // a line cut short was not acknowledged
			break
		}
		if acked = append(acked, strings.TrimSpace(line)); len(acked) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acked) < n {
		t.Fatalf("the child ended by itself after %d: %v\n%s", len(acked), err, stderr.String())
	}
	return acked
}

// TestKillChild commits pairs of keys until it is killed.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("runs as a child of TestKill")
	}
	s := openIn(t, dir)
	var all sync.WaitGroup
	for w := range 16 {
		all.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%s/%d/%d", os.Getenv("ROUND"), w, i)
				value := []byte(strings.Repeat(key, 300)) // so that there are checkpoints
				tx := store.Tx{Puts: []store.Put{{Key: key, Value: value}, {Key: key + "+", Value: value}}}
				if _, err := s.Commit(t.Context(), tx); err != nil {
					t.Error(err)
					return
				}
				fmt.Fprintln(os.Stdout, key)
			}
		})
	}
	all.Wait()
}

// TestPanicBreaks: a commit that panics is answered, and so are those behind it, as
// by a store that is broken: what it left half done is not built upon, and the turn
// to commit is not kept for ever. What was durable before is there.
func TestPanicBreaks(t *testing.T) {
	for name, panics := range map[string]func(*Store){
		"in the journal": func(s *Store) { s.journal.disk.sync = func(*os.File) error { panic("a disk nobody thought of") } },
		"in the tables":  func(s *Store) { s.tables.Store(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "store")})
			if err != nil {
				t.Fatal(err)
			}
			mustCommit(t, s, put("before", "1"))
			tables, sync := s.tables.Load(), s.journal.disk.sync
			panics(s)
			commit := func() (err error) {
				defer func() {
					if said := recover(); said != nil {
						t.Fatalf("a commit panicked: %v", said) // the store is not closed: that would wait for the commit
					}
				}()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				_, err = s.Commit(ctx, put("k", "v"))
				return err
			}
			for range 3 {
				if err := commit(); !errors.Is(err, store.ErrBroken) {
					t.Fatalf("a commit that panics, or comes after: %v, want ErrBroken", err)
				}
			}
			s.tables.Store(tables)
			s.journal.disk.sync = sync
			if e, err := s.Get(t.Context(), "before"); err != nil || string(e.Value) != "1" {
				t.Errorf("what was committed before: %q, %v", e.Value, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

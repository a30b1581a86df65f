package bolt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"omca/internal/store"
)

// TestFailedSync fails the commit in every way that matters: before or after
// bbolt's header shows it, for want of room or otherwise.
func TestFailedSync(t *testing.T) {
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
			before := mustCommit(t, s, put("a", "1"))
			commit := s.sync
			s.sync = func(tx txn) error {
				if c.visible {
					return errors.Join(tx.Commit(), c.err)
				}
				return errors.Join(c.err, tx.Rollback())
			}
			if _, err := s.Commit(t.Context(), put("a", "2")); !errors.Is(err, c.want) || !strings.Contains(err.Error(), s.path) {
				t.Errorf("commit: %v, expected %v and the path", err, c.want)
			}
			s.sync = commit // the disk is well again
			if rev, err := s.Rev(t.Context()); err != nil || rev != before {
				t.Errorf("revision %d, %v after a failed commit, expected %d", rev, err, before)
			}
			checkAfter(t, s, c.want, c.visible)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			want := map[error]string{store.ErrFull: "3", store.ErrBroken: "1"}[c.want]
			if c.visible {
				want = "2"
			}
			s = openIn(t, dir)
			if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != want {
				t.Errorf("after reopening: %q, %v, expected %q", e.Value, err, want)
			}
			mustCommit(t, s, put("a", "4"))
		})
	}
}

// checkAfter asks a store that met an error for what it still does.
func checkAfter(t *testing.T, s *Store, failure error, visible bool) {
	t.Helper()
	e, err := s.Get(t.Context(), "a")
	if visible {
		if !errors.Is(err, store.ErrBroken) {
			t.Errorf("a read shows %q, %v, which may not be on the disk", e.Value, err)
		}
	} else if err != nil || string(e.Value) != "1" {
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

// TestFailedGroup checks that an error is everybody's.
func TestFailedGroup(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.sync = func(tx txn) error { return errors.Join(syscall.ENOSPC, tx.Rollback()) }
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
			if half := strings.TrimSuffix(e.Key, "+"); string(e.Value) != half {
				t.Errorf("round %d: %q has value %q", round, e.Key, e.Value)
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
				tx := store.Tx{Puts: []store.Put{{Key: key, Value: []byte(key)}, {Key: key + "+", Value: []byte(key)}}}
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

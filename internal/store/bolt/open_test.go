package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"

	"omca/internal/store"
)

// txn is bbolt's.
type txn = *bbolt.Tx

func TestOpenCreates(t *testing.T) {
	s := openIn(t, t.TempDir())
	info, err := os.Stat(s.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new store has mode %v, %v, expected 0600", info.Mode(), err)
	}
	_, err = Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "no", "store")})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

// TestOpenAtOnce has many create the same store: one gets it, the others are
// told that it is in use, and nothing else is left in the directory.
func TestOpenAtOnce(t *testing.T) {
	dir := t.TempDir()
	var opened atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s, err := Open(t.Context(), Config{Path: filepath.Join(dir, "store")})
			if errors.Is(err, store.ErrLocked) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			opened.Add(1)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
	all.Wait()
	if n := opened.Load(); n != 1 {
		t.Errorf("%d have it open", n)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("the directory holds %v, %v", left, err)
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	_, err := Open(t.Context(), Config{Path: s.path})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), s.path) {
		t.Errorf("opened twice: %v, expected ErrLocked and the path", err)
	}
	mustCommit(t, s, put("a", "")) // undisturbed
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openIn(t, dir)
}

// samples returns the bytes of a store that was closed, of one that is in use
// (its list of free pages is not in the file), and of another program's file.
func samples(t *testing.T) (closed, live, other []byte) {
	t.Helper()
	s := openIn(t, t.TempDir())
	for i := range 50 {
		mustCommit(t, s, put(fmt.Sprint(i), strings.Repeat("x", 5000)))
	}
	stranger := filepath.Join(t.TempDir(), "stranger")
	db, err := bbolt.Open(stranger, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	update := db.Update(func(tx txn) error { _, err := tx.CreateBucket([]byte("other")); return err })
	live, err1 := os.ReadFile(s.path)
	err2 := errors.Join(update, db.Close(), s.Close())
	closed, err3 := os.ReadFile(s.path)
	other, err4 := os.ReadFile(stranger)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return closed, live, other
}

// TestFreePages checks where the list of free pages is, which decides whether
// Open reads the whole file.
func TestFreePages(t *testing.T) {
	listed := func(b []byte) bool {
		newest := b[headerAt:]
		second := b[os.Getpagesize()+headerAt:]
		if binary.NativeEndian.Uint64(second[48:]) > binary.NativeEndian.Uint64(newest[48:]) {
			newest = second
		}
		return binary.NativeEndian.Uint64(newest[32:]) != math.MaxUint64
	}
	closed, live, _ := samples(t)
	if !listed(closed) || listed(live) {
		t.Errorf("the list is in a closed store: %t, and in one that commits: %t", listed(closed), listed(live))
	}
}

func TestOpenRefuses(t *testing.T) {
	good, live, other := samples(t)
	for _, c := range []struct {
		name  string
		bytes []byte
		mode  os.FileMode
		want  string // "" opens
	}{
		{"good", good, 0o600, ""},
		{"copy of a live one", live, 0o600, "the store was not closed, and its journal is missing"},
		{"owner reads only", good, 0o400, ""}, // the test may be root
		{"group reads", good, 0o640, "mode 0640 lets others than the owner use it, expected 0600"},
		{"world writes", good, 0o602, "mode 0602"},
		{"truncated", good[:len(good)/2], 0o600, "truncated: it has"},
		{"truncated, live", live[:len(live)/2], 0o600, "truncated: it has"},
		{"only headers", good[:8192], 0o600, "truncated: it has 8192 bytes"},
		{"less than a header", good[:headerAt+8], 0o600, "truncated: it has 24 bytes, at least 80 expected"},
		{"empty", nil, 0o600, "truncated: it has 0 bytes"},
		{"text", []byte(strings.Repeat("hello\n", 100)), 0o600, "invalid database"},
		{"zeros", make([]byte, 1<<16), 0o600, "invalid database"},
		{"another program's", other, 0o600, `it does not hold "omca/1"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			if err := os.WriteFile(path, c.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), Config{Path: path})
			if err == nil {
				defer s.Close()
			}
			switch {
			case c.mode == 0o400 && errors.Is(err, fs.ErrPermission):
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, expected %q", err, c.want)
			}
		})
	}
	if _, err := Open(t.Context(), Config{Path: t.TempDir()}); err == nil {
		t.Error("a directory was opened")
	}
}

// FuzzExtent feeds the header parser: no bytes may make it panic.
func FuzzExtent(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed")
	s, err := Open(f.Context(), Config{Path: path})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:2*os.Getpagesize()])
	f.Add(good[:headerAt+headerSize])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.Write(b); err != nil {
			t.Fatal(err)
		}
		found, err := metas(file)
		if n := extent(found); err == nil && n < headerAt+headerSize {
			t.Errorf("extent %d", n)
		}
	})
}

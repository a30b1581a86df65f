package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"omca/internal/hint"
)

// putters are the two ways to put a whole file under a name, with a sync of the test's.
var putters = map[string]func(s syncer, path string, data string) error{
	"replace": func(s syncer, path, data string) error { return s.replace(path, ".new-*", []byte(data)) },
	"create": func(s syncer, path, data string) error {
		return s.create(path, ".new-*", func(f *os.File) error { return write(f, []byte(data)) })
	},
}

// The file is on the disk before it has its name, and its name before the caller goes on.
func TestOrder(t *testing.T) {
	for name, put := range putters {
		path := filepath.Join(t.TempDir(), "file")
		var steps []string
		err := put(func(f *os.File) error {
			info, err := f.Stat()
			if err != nil {
				return err
			}
			what := "file"
			if info.IsDir() {
				what = "directory"
			}
			steps = append(steps, fmt.Sprintf("%s, there is %q", what, read(t, path)))
			return f.Sync()
		}, path, "new")
		if want := []string{`file, there is ""`, `directory, there is "new"`}; err != nil || !slices.Equal(steps, want) {
			t.Errorf("%s synced %q, %v; expected %q", name, steps, err, want)
		}
		if left := names(t, filepath.Dir(path)); !slices.Equal(left, []string{"file"}) {
			t.Errorf("%s left %q", name, left)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s made a file of mode %v, %v; expected 0600", name, info.Mode(), err)
		}
	}
}

// A sync that fails leaves no temporary file, and of a new file nothing.
func TestSyncFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fails  int // which sync
		before string
		after  string
	}{
		{"replace", 1, "old", "old"},
		{"replace", 2, "old", "new"}, // it has its name, and the caller learns that a crash may take it back
		{"create", 1, "", ""},
		{"create", 2, "", ""},
	} {
		path := filepath.Join(t.TempDir(), "file")
		set(t, path, tt.before)
		calls := 0
		err := putters[tt.name](func(f *os.File) error {
			if calls++; calls == tt.fails {
				return &fs.PathError{Op: "sync", Path: f.Name(), Err: syscall.EIO}
			}
			return nil
		}, path, "new")
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), filepath.Dir(path)) {
			t.Errorf("%s, sync %d fails: %v, expected EIO and a name", tt.name, tt.fails, err)
		}
		if got := read(t, path); got != tt.after {
			t.Errorf("%s, sync %d fails: there is %q, expected %q", tt.name, tt.fails, got, tt.after)
		}
		for _, left := range names(t, filepath.Dir(path)) {
			if left != "file" {
				t.Errorf("%s, sync %d fails: %s is left", tt.name, tt.fails, left)
			}
		}
	}
}

const crashing = "OMCA_TEST_CRASH" // in the environment: putter, step and path

// A process that ends between two steps leaves the old file or the new one.
func TestCrash(t *testing.T) {
	if at := strings.Split(os.Getenv(crashing), ","); len(at) == 3 {
		calls := "0"
		err := putters[at[0]](func(*os.File) error {
			if calls += "+"; calls == at[1] {
				os.Exit(7) // no deferred function runs
			}
			return nil
		}, at[2], strings.Repeat("new", 10000))
		t.Fatal("there was no crash: ", err)
	}
	for _, tt := range []struct{ name, step, before, after string }{
		{"replace", "0+", "old", "old"},
		{"replace", "0++", "old", strings.Repeat("new", 10000)},
		{"create", "0+", "", ""},
		{"create", "0++", "", strings.Repeat("new", 10000)},
	} {
		path := filepath.Join(t.TempDir(), "file")
		set(t, path, tt.before)
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrash$")
		c.Env = append(os.Environ(), crashing+"="+tt.name+","+tt.step+","+path)
		if out, err := c.CombinedOutput(); c.ProcessState.ExitCode() != 7 {
			t.Fatalf("%s: %v: %s", tt.name, err, out)
		}
		if got := read(t, path); got != tt.after {
			t.Errorf("%s, a crash at %s: there is %.10q of %d bytes", tt.name, tt.step, got, len(got))
		}
		for _, left := range names(t, filepath.Dir(path)) {
			if info, err := os.Stat(filepath.Join(filepath.Dir(path), left)); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s, a crash at %s: %s of mode %v, %v is left", tt.name, tt.step, left, info.Mode(), err)
			}
		}
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, text := range []string{"one", "", "three"} {
		if err := Replace(path, "file.new-*", []byte(text)); err != nil || read(t, path) != text {
			t.Errorf("%v, and there is %q, expected %q", err, read(t, path), text)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := Replace(link, "x-*", []byte("four")); err != nil || read(t, path) != "three" || read(t, link) != "four" {
		t.Errorf("through a link: %v, %q and %q", err, read(t, path), read(t, link))
	}
	// A directory cannot be replaced by a file.
	taken := filepath.Join(dir, "taken", "deeper")
	if err := os.MkdirAll(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	err := Replace(filepath.Dir(taken), ".new-*", []byte("x"))
	if err == nil || !strings.Contains(err.Error(), filepath.Dir(taken)) {
		t.Errorf("over a directory: %v, expected an error that names it", err)
	}
	if err := Replace(filepath.Join(dir, "no", "file"), ".new-*", nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), filepath.Join(dir, "no")) {
		t.Errorf("in no directory: %v", err)
	}
	if left := names(t, dir); !slices.Equal(left, []string{"file", "link", "taken"}) {
		t.Errorf("left: %q", left)
	}
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	half := errors.New("half")
	if err := Create(path, ".x-*", func(f *os.File) error { return errors.Join(write(f, []byte("ha")), half) }); !errors.Is(err, half) {
		t.Errorf("a fill that fails: %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic of fill is gone")
			}
		}()
		_ = Create(path, ".x-*", func(*os.File) error { panic("fill") })
	}()
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	byName := func(f *os.File) error { return os.WriteFile(f.Name(), []byte("whole"), 0o600) }
	if err := Create(path, ".x-*", byName); err != nil || read(t, path) != "whole" {
		t.Errorf("%v, %q", err, read(t, path))
	}
	if err := Create(path, ".x-*", byName); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) || read(t, path) != "whole" {
		t.Errorf("over a file: %v", err)
	}
	if left := names(t, dir); !slices.Equal(left, []string{"file"}) {
		t.Errorf("left: %q", left)
	}
}

func TestWriteNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, mask := range []int{0, 0o077, 0o777} {
		before := syscall.Umask(mask)
		err := WriteNew(path, []byte("text"))
		syscall.Umask(before)
		if info, statErr := os.Stat(path); err != nil || statErr != nil || info.Mode() != 0o600 || read(t, path) != "text" {
			t.Errorf("umask %03o: %v, %v, %v", mask, info.Mode(), err, statErr)
		}
		if err := WriteNew(path, []byte("other")); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) || read(t, path) != "text" {
			t.Errorf("over a file: %v", err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSync(t *testing.T) {
	dir := t.TempDir()
	if err := Sync(dir); err != nil {
		t.Error(err)
	}
	if err := Sync(filepath.Join(dir, "no")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("no directory: %v", err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	var held [2]*os.File
	for i := range held {
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		held[i] = f
	}
	steps := []struct {
		do   func(*os.File) error
		on   int
		want error
	}{
		{Lock, 0, nil}, {TryLock, 0, nil}, {TryLock, 1, ErrLocked}, {Unlock, 0, nil},
		{TryLock, 1, nil}, {TryLock, 0, ErrLocked}, {(*os.File).Close, 1, nil}, {TryLock, 0, nil},
	}
	for i, s := range steps {
		if err := s.do(held[s.on]); !errors.Is(err, s.want) {
			t.Errorf("step %d: %v, expected %v", i, err, s.want)
		}
	}
}

func TestCheckMode(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	set(t, path, "x")
	for _, tt := range []struct {
		path string
		mode fs.FileMode
		bits fs.FileMode
		want string
	}{
		{path, 0o600, OthersUse, ""},
		{path, 0o400, OthersUse, ""},
		{path, 0o640, OthersUse, "mode 0640 lets others in, expected 0600"},
		{path, 0o644, OthersWrite, ""},
		{path, 0o620, OthersWrite, "mode 0620 lets others in, expected 0600"},
		{path, 0o602, OthersWrite, "mode 0602 lets others in, expected 0600"},
		{dir, 0o700, OthersUse, ""},
		{dir, 0o750, OthersUse, "mode 0750 lets others in, expected 0700"},
	} {
		if err := os.Chmod(tt.path, tt.mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := CheckMode(info, tt.bits, "in"); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("mode %04o: %q, expected %q", tt.mode, got, tt.want)
		}
	}
}

func TestMake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "home")
	for range 2 {
		if err := Make(dir); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := Make(dir)
	if err == nil || err.Error() != "home "+dir+": mode 0755 lets others in, expected 0700" || hint.Of(err) != "chmod 700 "+dir {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	file := filepath.Join(t.TempDir(), "file")
	set(t, file, "x")
	if err := Make(file); err == nil || !strings.HasPrefix(err.Error(), "home: ") {
		t.Errorf("where a file is: %v", err)
	}
}

// set writes a file; none for "".
func set(t *testing.T, path, text string) {
	t.Helper()
	if text == "" {
		return
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// read returns what is in a file, "" when there is none.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

package faults

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/interop/lab"
)

// pageSize is that of the store's file; the first two pages say where the others are.
const pageSize = 4096

// damage is something that has happened to a home while nobody looked.
type damage struct {
	do   func(t *testing.T, home string) error
	want []string // what the error and its hint must say
}

// damages are all of them, by what has happened.
func damages() map[string]damage {
	const seal, db = "seal.key", "omca.db"
	remove := func(name string) func(*testing.T, string) error {
		return func(_ *testing.T, home string) error { return os.Remove(filepath.Join(home, name)) }
	}
	write := func(name string, content []byte) func(*testing.T, string) error {
		return func(_ *testing.T, home string) error {
			return os.WriteFile(filepath.Join(home, name), content, 0o600)
		}
	}
	chmod := func(name string, mode fs.FileMode) func(*testing.T, string) error {
		return func(_ *testing.T, home string) error { return os.Chmod(filepath.Join(home, name), mode) }
	}
	cut := func(part int64) func(*testing.T, string) error {
		return func(_ *testing.T, home string) error {
			info, err := os.Stat(filepath.Join(home, db))
			if err != nil {
				return err
			}
			return os.Truncate(filepath.Join(home, db), info.Size()*part/100)
		}
	}
	return map[string]damage{
		"home that others can list":       {chmod(".", 0o755), []string{"0755", "0700", "chmod 700"}},
		"home that the group can read":    {chmod(".", 0o750), []string{"0750", "0700", "chmod 700"}},
		"no seal key":                     {remove(seal), []string{seal, "backup"}},
		"empty seal key":                  {write(seal, nil), []string{seal, "does not hold a seal key"}},
		"half a seal key":                 {write(seal, []byte("OMCA-SEAL-KEY-1 AAAA\n")), []string{seal, "does not hold a seal key"}},
		"seal key that the group reads":   {chmod(seal, 0o640), []string{seal, "0640", "chmod 600"}},
		"seal key that is a symlink":      {linked(seal), []string{seal, "not a regular file"}},
		"seal key of another store":       {anothers(seal), []string{"master key", "file:"}},
		"store that the group reads":      {chmod(db, 0o640), []string{db, "0640", "0600"}},
		"store of another seal key":       {anothers(db), []string{"master key", "file:"}},
		"empty store":                     {write(db, nil), []string{db}},
		"store of noise":                  {write(db, bytes.Repeat([]byte("noise"), 20_000)), []string{db}},
		"store that is a text":            {write(db, []byte("no store\n")), []string{db}},
		"store cut in half":               {cut(50), []string{db, "truncated"}},
		"store cut to its first pages":    {cut(10), []string{db, "truncated"}},
		"store with its first pages gone": {overwrite(db, 0, make([]byte, 2*pageSize)), []string{db}},
		"store with noise in its pages":   {overwrite(db, 4*pageSize, bytes.Repeat([]byte("noise"), 4*pageSize)), []string{db}},
		"directory in place of the store": {directory(db), []string{db}},
	}
}

// linked moves a file away and leaves a symbolic link to it.
func linked(name string) func(*testing.T, string) error {
	return func(_ *testing.T, home string) error {
		away := filepath.Join(home, "away")
		return errors.Join(os.Rename(filepath.Join(home, name), away), os.Symlink(away, filepath.Join(home, name)))
	}
}

// anothers puts the file of another home in place of that of this one.
func anothers(name string) func(*testing.T, string) error {
	return func(t *testing.T, home string) error {
		other := lab.NewHome(t)
		other.Run(t, "init")
		return os.Rename(filepath.Join(other.Dir, name), filepath.Join(home, name))
	}
}

// overwrite puts something else over a part of a file.
func overwrite(name string, offset int64, content []byte) func(*testing.T, string) error {
	return func(_ *testing.T, home string) error {
		f, err := os.OpenFile(filepath.Join(home, name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(content, offset)
		return errors.Join(err, f.Close())
	}
}

// directory puts a directory in place of a file.
func directory(name string) func(*testing.T, string) error {
	return func(_ *testing.T, home string) error {
		return errors.Join(os.Remove(filepath.Join(home, name)), os.Mkdir(filepath.Join(home, name), 0o700))
	}
}

// journals are damages to what a daemon that was killed has left of its journal.
func journals() map[string]damage {
	each := func(do func(name string) func(*testing.T, string) error) func(*testing.T, string) error {
		return func(t *testing.T, home string) error {
			return errors.Join(do("omca.db.journal-0")(t, home), do("omca.db.journal-1")(t, home))
		}
	}
	truncate := func(size int64) func(string) func(*testing.T, string) error {
		return func(name string) func(*testing.T, string) error {
			return func(_ *testing.T, home string) error { return os.Truncate(filepath.Join(home, name), size) }
		}
	}
	want := []string{"omca.db.journal-"}
	return map[string]damage{
		"no journal": {each(func(name string) func(*testing.T, string) error {
			return func(_ *testing.T, home string) error { return os.Remove(filepath.Join(home, name)) }
		}), want},
		"empty journal":            {each(truncate(0)), want},
		"journal cut short":        {each(truncate(10)), want},
		"journal of another store": {each(anothers), want},
		"journal of noise": {each(func(name string) func(*testing.T, string) error {
			return overwrite(name, 0, bytes.Repeat([]byte("noise"), 100))
		}), want},
		"journal that the group reads": {each(func(name string) func(*testing.T, string) error {
			return func(_ *testing.T, home string) error { return os.Chmod(filepath.Join(home, name), 0o640) }
		}), append(want, "0640", "0600")},
	}
}

// TestDamagedJournal starts omca on homes whose daemon was killed, and that
// something has happened to since.
func TestDamagedJournal(t *testing.T) {
	left := lab.NewHome(t)
	d := left.Start(t)
	d.Run(t, "system/usr/alice", "create")
	d.Kill(t)
	if err := os.Remove(left.Socket()); err != nil {
		t.Fatal(err)
	}
	for name, c := range journals() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := copied(t, left)
			if err := c.do(t, home.Dir); err != nil {
				t.Fatal(err)
			}
			refused(t, home, c.want)
		})
	}
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		copied(t, left).Run(t, "system/usr/alice", "certificate", "verify")
	})
}

// copied returns a home with the files of another.
func copied(t *testing.T, home lab.Home) lab.Home {
	t.Helper()
	other := lab.NewHome(t)
	if err := os.CopyFS(other.Dir, os.DirFS(home.Dir)); err != nil {
		t.Fatal(err)
	}
	for name := range snapshot(t, other.Dir) { // CopyFS leaves modes to the umask
		mode := fs.FileMode(0o600)
		if name == "" {
			mode = 0o700
		}
		if err := os.Chmod(filepath.Join(other.Dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return other
}

// TestDamagedHome starts omca on homes that something has happened to: it says
// what, and leaves everything as it is, so that it can be mended.
func TestDamagedHome(t *testing.T) {
	whole := lab.NewHome(t)
	whole.Run(t, "init")
	whole.Run(t, "system/usr/alice", "create")
	for name, c := range damages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := copied(t, whole)
			home.Run(t, "ls") // the copy is as good as the original
			if err := c.do(t, home.Dir); err != nil {
				t.Fatal(err)
			}
			refused(t, home, c.want)
		})
	}
}

// refused runs commands on a home, each of which must end with exit status 1, an
// error that says all of want, and nothing changed.
func refused(t *testing.T, home lab.Home, want []string) {
	t.Helper()
	before := snapshot(t, home.Dir)
	for _, command := range [][]string{
		{"ls"},
		{"system/usr/bob", "create"},
		{"daemon", "run", "--listen", "127.0.0.1:0"},
	} {
		r := home.Try(t, command...)
		if r.Status != 1 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "omca: error: ") || strings.Contains(r.Stderr, "goroutine ") {
			t.Errorf("omca %q: %+v, expected exit status 1 and an error", command, r)
		}
		for _, text := range want {
			if !strings.Contains(r.Stderr, text) {
				t.Errorf("omca %q: stderr %q, expected a word of %q", command, r.Stderr, text)
			}
		}
		if diff := cmp.Diff(before, snapshot(t, home.Dir)); diff != "" {
			t.Errorf("omca %q has changed the home (-before +after):\n%s", command, diff)
		}
	}
}

// snapshot describes every file in a directory: mode, size, content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content := []byte{}
		if info.Mode().IsRegular() {
			if content, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		all[strings.TrimPrefix(name, dir)] = fmt.Sprintf("%s %x", info.Mode(), sha256.Sum256(content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

package offline

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A process that was killed leaves both files or none, for whoever makes the next
// pair there.
func TestKilled(t *testing.T) {
	for scenario, left := range map[string][]string{
		"killed before":  {"bob.crt", "bob.key"},
		"killed between": {"bob.crt", "bob.key"},
		"killed after":   {"alice.crt", "alice.key", "bob.crt", "bob.key"},
	} {
		dir := open(t)
		if said := play(t, scenario, dir); said != "" {
			t.Fatalf("%s: %s", scenario, said)
		}
		stages := 0
		for _, name := range files(t, dir) {
			if strings.HasPrefix(name, stagePrefix) {
				stages++
				mine(t, dir, name)
			}
		}
		if stages != 1 {
			t.Fatalf("%s: it was not killed: %q", scenario, files(t, dir))
		}
		next(t, dir)
		if diff := cmp.Diff(left, files(t, dir)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", scenario, diff)
		}
	}
}

// What another process is about to make is left alone; so is what another user
// has left, and a file that only has the same name.
func TestSweepLeavesAlone(t *testing.T) {
	dir := t.TempDir()
	living, err := newPair(dir, "alice")
	if err != nil {
		t.Fatal(err)
	}
	next(t, dir)
	if err := living.putTexts([]byte("certificate"), []byte("key")); err != nil {
		t.Errorf("the other one was in the way: %v", err)
	}
	living.discard()
	if diff := cmp.Diff([]string{"alice.crt", "alice.key", "bob.crt", "bob.key"}, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	stage := filepath.Join(dir, stagePrefix+"left")
	if err := os.Mkdir(stage, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(stage, "alice.crt"), "another")
	write(t, filepath.Join(dir, stagePrefix+"file"), "no directory")
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{stagePrefix + "file", "alice.crt", "alice.key", "bob.crt", "bob.key"}, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if os.Geteuid() != 0 {
		return
	}
	foreign := filepath.Join(dir, stagePrefix+"foreign")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "bob.crt"), filepath.Join(foreign, "bob.crt")); err != nil {
		t.Fatal(err)
	}
	give(t, foreign)
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "bob.crt")); err != nil {
		t.Errorf("what another user left took a file of ours away: %v", err)
	}
}

// Where there are no links, a copy that was cut short is known by its beginning.
func TestCompare(t *testing.T) {
	dir := t.TempDir()
	prepared, there := filepath.Join(dir, "prepared"), filepath.Join(dir, "there")
	write(t, prepared, "certificate")
	for text, like := range map[string]likeness{"certificate": same, "certi": begun, "": begun, "another": other, "certificate, and more": other} {
		write(t, there, text)
		if got := compare(prepared, there); got != like {
			t.Errorf("%q: %d, want %d", text, got, like)
		}
	}
	remove(t, there)
	if got := compare(prepared, there); got != other {
		t.Errorf("no file: %d", got)
	}
	if err := os.Link(prepared, there); err != nil {
		t.Fatal(err)
	}
	if got := compare(prepared, there); got != same {
		t.Errorf("the file itself: %d", got)
	}
}

// next makes another pair in dir.
func next(t *testing.T, dir string) {
	t.Helper()
	p, err := newPair(dir, "bob")
	if err != nil {
		t.Fatal(err)
	}
	defer p.discard()
	if err := p.putTexts([]byte("certificate of bob"), []byte("key of bob")); err != nil {
		t.Fatal(err)
	}
}

// mine makes what the user of play has left that of the one who tests.
func mine(t *testing.T, dir, stage string) {
	t.Helper()
	if err := os.Chown(filepath.Join(dir, stage), os.Geteuid(), -1); err != nil {
		t.Fatal(err)
	}
}

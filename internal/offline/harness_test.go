package offline

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"omca/internal/home"
	"omca/pki"
	"omca/pki/flocker"
	"omca/pki/lint"
)

const nobody = 65534

// scenarioVariable makes this program run a scenario in place of the tests.
const scenarioVariable = "OMCA_TEST_OFFLINE_SCENARIO"

// scenarios are what a process of its own does in a directory: as another user, or
// to be killed in the middle. Its answer is the text of the error.
func scenarios() map[string]func(dir string) error {
	m := quick()
	return map[string]func(string) error{
		"open": func(dir string) error { _, err := m.Open(dir); return err },
		"create": func(dir string) error {
			p, err := newPair(dir, "alice")
			if err != nil {
				return err
			}
			defer p.discard()
			return p.putTexts([]byte("certificate"), []byte("key"))
		},
		"load": func(dir string) error {
			in := func(name string) string { return filepath.Join(dir, name) }
			_, err := flocker.Load(in("cluster.crt"), in("alice.crt"), in("alice.key"))
			return err
		},
		"umask": func(dir string) error {
			syscall.Umask(0o777)
			_, err := m.Initialize(context.Background(), dir, "x", "")
			return err
		},
		"killed before":  func(dir string) error { return killed(dir, 0) },
		"killed between": func(dir string) error { return killed(dir, 1) },
		"killed after":   func(dir string) error { return killed(dir, 2) },
	}
}

// killed prepares a pair, brings the first n of its files to their places, and is
// killed.
func killed(dir string, n int) error {
	p, err := newPair(dir, "alice")
	if err != nil {
		return err
	}
	for i, ending := range []string{".crt", ".key"} {
		if err := home.WriteNew(filepath.Join(p.stage, "alice"+ending), []byte("text "+ending)); err != nil {
			return err
		}
		if i < n {
			if err := place(filepath.Join(p.stage, "alice"+ending), p.path(ending)); err != nil {
				return err
			}
		}
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func TestMain(m *testing.M) {
	if name := os.Getenv(scenarioVariable); name != "" {
		if err := scenarios()[name](os.Args[1]); err != nil {
			fmt.Print(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play runs a scenario in a process of its own, as a user who is not root, and
// returns what it says.
func play(t *testing.T, name, dir string) string {
	t.Helper()
	program := filepath.Join(open(t), "program")
	copyFile(t, "/proc/self/exe", program, 0o755)
	c := exec.Command(program, dir)
	c.Env = append(os.Environ(), scenarioVariable+"="+name)
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	said, err := c.Output()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || !strings.HasPrefix(name, "killed")) {
		t.Fatalf("%s: %v", name, err)
	}
	return string(said)
}

// open is a directory that anybody reaches, and that the user of play owns.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "offline")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	give(t, dir)
	return dir
}

// give makes a file that of the user of play.
func give(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() == 0 {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, mode)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Chmod(mode), out.Close()); err != nil {
		t.Fatal(err)
	}
}

func begin() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// quick makes certificates over keys that are soon made.
func quick() Maker {
	return Maker{Now: begin, Linter: lint.New(), Program: "flocker-ca", Generate: func() (crypto.Signer, error) { return pki.GenerateKey(pki.ECP256) }}
}

// initialized is a new cluster, in a directory of its own.
func initialized(t *testing.T, m Maker) (*Cluster, string) {
	t.Helper()
	dir := t.TempDir()
	c, err := m.Initialize(t.Context(), dir, "mycluster", "")
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

// files are the names in a directory, hidden ones too, in order.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, e := range entries {
		names[e.Name()] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// want checks an error: its text begins so. "" wants none.
func want(t *testing.T, what string, err error, text string) {
	t.Helper()
	if (err == nil) != (text == "") || err != nil && !strings.HasPrefix(err.Error(), text) {
		t.Errorf("%s:\n got %v\nwant %s", what, err, text)
	}
}

type cryptoSigner = crypto.Signer

func processors() int { return runtime.GOMAXPROCS(0) }

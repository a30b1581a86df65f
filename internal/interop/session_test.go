package interop_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"omca/internal/interop/lab"
	"omca/internal/store/etcd/etcdtest"
)

// pageTime bounds a page.
const pageTime = 3 * time.Minute

// session is where the scripts of one page are run.
type session struct {
	dir string // the working directory
	tmp string // short, for a unix socket's path is
	env []string

	port string // takes the place of 1215
	etcd string // takes the place of 127.0.0.1:2379, on a page that speaks of it
}

// newSession makes a session in the root of the repository for README.md, which
// starts its daemon itself, and beside a daemon of its own for any other page.
func newSession(t *testing.T, page, script string) *session {
	t.Helper()
	for _, program := range []string{"openssl", "curl"} {
		if strings.Contains(script, program+" ") {
			lab.Require(t, program)
		}
	}
	home := lab.NewHome(t)
	s := &session{tmp: filepath.Dir(home.Dir)}
	s.env = home.Command(t.Context(), t).Env
	s.env = append(s.env, "PATH="+linkBinary(t)+":"+os.Getenv("PATH"), "TMPDIR="+s.tmp)
	if page == "README.md" {
		s.dir, s.port = root(t), lab.FreePort(t)
		return s
	}
	s.dir = filepath.Join(s.tmp, "work")
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(script, "etcd://") {
		s.etcd = etcdtest.Start(t, 1, nil).Addresses()[0]
	}
	d := home.Start(t, "--cluster-name", "demo", "--node-name", "node1", "--log-level", "warn")
	var err error
	if _, s.port, err = net.SplitHostPort(d.Address); err != nil {
		t.Fatal(err)
	}
	return s
}

// logs is the end of each log that the daemons of a script have written.
func (s *session) logs(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	names, err := filepath.Glob(filepath.Join(s.dir, "*.log"))
	if err != nil {
		t.Error(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(&all, "%s:\n%s\n", filepath.Base(name), lab.Tail(string(text)))
	}
	return all.String()
}

// linkBinary returns a directory that has the binary under both of its names.
func linkBinary(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"omca", "om"} {
		if err := os.Symlink(lab.Binary(t), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lookAtSources opens every directory of the module. The go command keeps the
// result of a test as long as what it opened is the same, and does not know that
// this one depends on a binary.
func lookAtSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root(t), func(_ string, d fs.DirEntry, err error) error {
		if name := d.Name(); err == nil && d.IsDir() && (name == "bin" || strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// adapt puts the port of this session in place of 1215, and its etcd in place of
// the one that a page speaks of.
func (s *session) adapt(text string) string {
	if s.etcd != "" {
		text = strings.ReplaceAll(text, "127.0.0.1:2379", s.etcd)
	}
	text = strings.ReplaceAll(text, ":1215", ":"+s.port)
	return strings.ReplaceAll(text, "omca daemon run", "omca daemon run --listen 127.0.0.1:"+s.port)
}

// run runs a script and returns all that it and whatever it started printed.
// What it has left in the background is ended.
func (s *session) run(t *testing.T, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pageTime)
	defer cancel()
	c := exec.CommandContext(ctx, "sh", "-eu", "-c", s.adapt(script))
	c.Dir, c.Env = s.dir, slices.Clone(s.env)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	group := func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.Cancel = group
	// A file and not a pipe: what is in the background would hold the pipe open.
	out, err := os.Create(filepath.Join(s.tmp, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	err = c.Run()
	if c.Process != nil {
		if err := group(); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
	text, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(text), err
}

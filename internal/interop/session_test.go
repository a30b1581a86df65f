package interop

import (
	"context"
	"errors"
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
)

// Bounds of what a test waits for.
const (
	pageTime  = 3 * time.Minute
	readyTime = 30 * time.Second
)

// build builds the binary and links it as om too; it returns their directory.
func build(t *testing.T) string {
	t.Helper()
	lookAtSources(t)
	bin := t.TempDir()
	run(t, root(t), "go", "build", "-o", filepath.Join(bin, "omca"), "./cmd/omca")
	if err := os.Symlink("omca", filepath.Join(bin, "om")); err != nil {
		t.Fatal(err)
	}
	return bin
}

// lookAtSources opens every directory of the module. The go command keeps the
// result of a test as long as what it opened is the same, and does not know that
// this one depends on a binary.
func lookAtSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if name := d.Name(); err == nil && d.IsDir() && (name == "bin" || strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a command that must succeed and returns all it prints.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pageTime)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// session is where one page is run.
type session struct {
	dir string // the working directory
	env []string
	tmp string // short, for a unix socket's path is
	bin string
	// port takes the place of 1215.
	port string
}

// newSession makes a session for a script, or skips when a program is missing that the script calls.
func newSession(t *testing.T, bin, script string) *session {
	t.Helper()
	for _, program := range []string{"openssl", "curl"} {
		if _, err := exec.LookPath(program); err == nil || !strings.Contains(script, program+" ") {
			continue
		}
		if slices.Contains(strings.Split(os.Getenv("OMCA_TEST_REQUIRE"), ","), program) {
			t.Fatalf("OMCA_TEST_REQUIRE names %s, which is not here", program)
		}
		t.Skipf("%s is not here", program)
	}
	tmp, err := os.MkdirTemp("", "omca")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(tmp); err != nil {
			t.Error(err)
		}
	})
	s := &session{dir: filepath.Join(tmp, "work"), tmp: tmp, bin: bin, port: freePort(t)}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OMCA_") || strings.HasPrefix(v, "NOTIFY_") })
	s.env = append(s.env, "PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+tmp, "OMCA_HOME="+filepath.Join(tmp, "home"))
	return s
}

// freePort returns a port of the loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

// adapt puts the port of this session in place of 1215.
func (s *session) adapt(text string) string {
	text = strings.ReplaceAll(text, ":1215", ":"+s.port)
	return strings.ReplaceAll(text, "omca daemon run", "omca daemon run --listen 127.0.0.1:"+s.port)
}

// command is a command of the session, in a process group of its own that ends with the test.
func (s *session) command(t *testing.T, ctx context.Context, name string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = s.dir, s.env
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	return c
}

// startDaemon starts the daemon of a page and waits until it serves: it says so
// to a service manager, which is this test.
func (s *session) startDaemon(t *testing.T) {
	t.Helper()
	socket := filepath.Join(s.tmp, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := manager.Close(); err != nil {
			t.Error(err)
		}
	})
	c := s.command(t, context.Background(), filepath.Join(s.bin, "omca"), "daemon", "run",
		"--listen", "127.0.0.1:"+s.port, "--cluster-name", "demo", "--node-name", "node1", "--log-level", "warn")
	c.Env = append(c.Env, "NOTIFY_SOCKET="+socket)
	log, err := os.Create(filepath.Join(s.tmp, "daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) { // the page may have stopped it
			t.Error(err)
		}
		err := c.Wait()
		if text, _ := os.ReadFile(log.Name()); err != nil || t.Failed() {
			t.Logf("the daemon ended: %v\n%s", err, text)
		}
	})
	if err := manager.SetReadDeadline(time.Now().Add(readyTime)); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, 256)
	for {
		n, err := manager.Read(message)
		if err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("the daemon is not ready: %v\n%s", err, text)
		}
		if strings.Contains(string(message[:n]), "READY=1") {
			return
		}
	}
}

// run runs a script and returns all that it and whatever it started printed.
// What is left running when the script ends is ended.
func (s *session) run(t *testing.T, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pageTime)
	defer cancel()
	c := s.command(t, ctx, "sh", "-eu", "-c", s.adapt(script))
	// A file and not a pipe: what stays in the background would hold the pipe open.
	out, err := os.Create(filepath.Join(s.tmp, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	err = c.Run()
	if err := syscall.Kill(-c.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	text, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(text), err
}

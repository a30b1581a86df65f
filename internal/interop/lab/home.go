package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"omca/internal/client"
)

// Home is a directory that omca may call its own. It need not exist.
type Home struct {
	Dir       string
	Namespace string // network namespace that commands run in; "" for that of the test
	Program   string // path of the binary; "" is [Binary]
}

// NewHome returns a home that does not exist yet.
func NewHome(t testing.TB) Home {
	t.Helper()
	// Not t.TempDir, whose path is too long for a unix socket.
	dir, err := os.MkdirTemp("", "omca")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return Home{Dir: filepath.Join(dir, "home")}
}

// Result is what became of a command.
type Result struct {
	Stdout, Stderr string
	Status         int
}

// Try runs omca on the home, with nothing to read.
func (h Home) Try(t testing.TB, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	return Finish(t, h.Command(ctx, t, args...))
}

// Run runs omca on the home and returns its stdout. It must succeed.
func (h Home) Run(t testing.TB, args ...string) string {
	t.Helper()
	r := h.Try(t, args...)
	if r.Status != 0 {
		t.Fatalf("omca %q: exit status %d\n%s%s", args, r.Status, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// File writes a file beside the home and returns its path.
func (h Home) File(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(h.Dir), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Socket returns the path of the unix socket of the home's daemon.
func (h Home) Socket() string { return filepath.Join(h.Dir, "omca.sock") }

// Client returns a client of the home's daemon, with the rights of root. It may
// be made before the daemon runs.
func (h Home) Client(t testing.TB) *client.Client {
	t.Helper()
	transport := client.Unix(h.Socket())
	transport.MaxIdleConnsPerHost = 64
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(client.Config{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Command makes the command that runs omca on the home, in the environment of an
// operator who has set nothing else.
func (h Home) Command(ctx context.Context, t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	program := h.Program
	if program == "" {
		program = Binary(t)
	}
	args = append([]string{program}, args...)
	if h.Namespace != "" {
		args = append([]string{"ip", "netns", "exec", h.Namespace}, args...)
	}
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "OMCA_") || strings.HasPrefix(v, "NOTIFY_")
	})
	c.Env = append(c.Env, "OMCA_HOME="+h.Dir)
	return c
}

// Finish runs a command that has been made.
func Finish(t testing.TB, c *exec.Cmd) Result {
	t.Helper()
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || exit != nil && !exit.Exited() {
		t.Fatalf("%s: %v\n%s", c, err, Tail(stderr.String()))
	}
	return Result{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
}

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience bounds every wait. It is long enough for a slow machine that does
// much else, and short enough for a test that hangs to say where.
const Patience = 90 * time.Second

// binDir makes the directory of the binaries, once for each test binary.
var binDir = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "omca-bin")
	if err != nil {
		return "", err
	}
	built = true
	return dir, os.Chmod(dir, 0o755) // other users run them too
})

// binary builds the program, once for each test binary.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := binDir()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "omca")
	out, err := exec.Command("go", "build", "-o", program, "omca/cmd/omca").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
})

// built says whether binDir has something to clear away.
var built bool

// Binary returns the path of the program under test.
func Binary(t testing.TB) string {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// Main runs the tests of a package, clears away the binaries that they built, and
// returns the exit status.
func Main(m *testing.M) int {
	status := m.Run()
	if built {
		if dir, err := binDir(); err == nil {
			if err := os.RemoveAll(dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
	}
	return status
}

// Require skips the test when one of the programs is not installed, or fails it
// when OMCA_TEST_REQUIRE names that program.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			Missing(t, program, err)
		}
	}
}

// Missing skips the test for want of what, or fails it when OMCA_TEST_REQUIRE names what.
func Missing(t testing.TB, what string, err error) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("OMCA_TEST_REQUIRE"), ","), what) {
		t.Fatalf("OMCA_TEST_REQUIRE names %s: %v", what, err)
	}
	t.Skipf("%s: %v", what, err)
}

// Root skips a test that needs the rights of the machine's root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// Tool runs another program, which must succeed, and returns its stdout.
func Tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	r := TryTool(t, name, args...)
	if r.Status != 0 {
		t.Fatalf("%s %q: exit status %d\n%s%s", name, args, r.Status, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// TryTool runs another program, with nothing to read, and returns what became of it.
func TryTool(t testing.TB, name string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	return Finish(t, exec.CommandContext(ctx, name, args...))
}

package interop_test

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"omca/internal/interop/lab"
)

// TestSocketRefusesOthers lets somebody else reach for the unix socket: first
// as it is, then with every permission in the file system given away, so that
// only the daemon's own look at its peer is left.
func TestSocketRefusesOthers(t *testing.T) {
	lab.Root(t)
	lab.Require(t, "curl")
	nobody := credential(t, "nobody")
	d := lab.NewHome(t).Start(t)
	ask := func(who *syscall.Credential) lab.Result {
		t.Helper()
		c := exec.CommandContext(t.Context(), "curl", "-sS", "--max-time", "20", "--unix-socket", d.Socket(), "http://omca/whoami")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: who}
		return lab.Finish(t, c)
	}
	omca := func() lab.Result {
		t.Helper()
		c := d.Command(t.Context(), t, "system/sec/ca", "key", "decode", "--name", "private_key")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: nobody}
		return lab.Finish(t, c)
	}
	if err := os.Chmod(filepath.Dir(d.Dir), 0o755); err != nil { // t's own directory, not omca's
		t.Fatal(err)
	}
	if r := ask(nobody); r.Status == 0 || r.Stdout != "" {
		t.Errorf("nobody asks: %+v", r)
	}
	const refused = 3
	if r := omca(); r.Status != refused || r.Stdout != "" || !strings.Contains(r.Stderr, "permission denied") {
		t.Errorf("omca as nobody: %+v", r)
	}

	for path, mode := range map[string]os.FileMode{d.Dir: 0o755, d.Socket(): 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if r := ask(nil); r.Status != 0 || !strings.Contains(r.Stdout, `"raw_grant":"root"`) {
		t.Fatalf("root asks: %+v", r) // or the rest would show nothing
	}
	if r := ask(nobody); r.Status == 0 || r.Stdout != "" {
		t.Errorf("nobody asks a socket that lets it connect: %+v", r)
	}
	if r := omca(); r.Status == 0 || r.Stdout != "" {
		t.Errorf("omca as nobody, on a socket that lets it connect: %+v", r)
	}
}

// credential returns the ids of a user of this machine.
func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Skip(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

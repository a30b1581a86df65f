package faults

import (
	"path/filepath"
	"syscall"
	"testing"

	"omca/internal/interop/lab"
)

// TestReadOnlyHome has the home on a file system that takes no writes, which is
// what the kernel makes of one whose disk has failed.
func TestReadOnlyHome(t *testing.T) {
	home := lab.Tmpfs(t, "4m")
	home.Run(t, "init")
	home.Run(t, "system/usr/alice", "create")
	remount(t, home, syscall.MS_RDONLY)
	refused(t, home, []string{"read-only file system"})
	remount(t, home, 0)
	home.Run(t, "system/usr/alice", "certificate", "verify")
	home.Start(t)
}

// TestNoHome has no home, and nowhere to make it.
func TestNoHome(t *testing.T) {
	home := lab.Tmpfs(t, "4m")
	remount(t, home, syscall.MS_RDONLY)
	r := home.Try(t, "init")
	if r.Status != 1 || r.Stdout != "" {
		t.Errorf("%+v, expected exit status 1", r)
	}
}

// remount changes the flags of the file system that a home is on.
func remount(t *testing.T, home lab.Home, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("none", filepath.Dir(home.Dir), "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
		t.Fatal(err)
	}
}

package lab

import (
	"path/filepath"
	"syscall"
	"testing"
)

// Tmpfs returns a home on a file system of its own, of the given size ("2m").
func Tmpfs(t testing.TB, size string) Home {
	t.Helper()
	dir := filepath.Dir(NewHome(t).Dir)
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		Missing(t, "tmpfs", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return Home{Dir: filepath.Join(dir, "home")}
}

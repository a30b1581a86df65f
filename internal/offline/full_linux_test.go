package offline

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/interop/lab"
)

// Wherever the room ends, there is no half pair, nor anything else.
func TestFullDisk(t *testing.T) {
	dir := filepath.Dir(lab.Tmpfs(t, "256k").Dir)
	ballast := filepath.Join(dir, "ballast")
	failed := 0
	for free := range 12 { // pages
		fill(t, ballast, free)
		before := files(t, dir)
		p, err := newPair(dir, "alice")
		if err == nil {
			err = p.putTexts(make([]byte, 6000), make([]byte, 6000))
			p.discard()
		}
		if err == nil {
			if diff := cmp.Diff(append([]string{"alice.crt", "alice.key"}, before...), files(t, dir)); diff != "" {
				t.Errorf("%d pages free (-want +got):\n%s", free, diff)
			}
			remove(t, filepath.Join(dir, "alice.crt"))
			remove(t, filepath.Join(dir, "alice.key"))
			continue
		}
		failed++
		want(t, "no room", err, "Unable to write ")
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%d pages free: %v", free, err)
		}
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("%d pages free (-want +got):\n%s", free, diff)
		}
	}
	if failed < 3 || failed == 12 {
		t.Errorf("it failed %d times of 12: the sizes are not right for this test", failed)
	}
}

// fill leaves so many pages of the file system.
func fill(t *testing.T, ballast string, pages int) {
	t.Helper()
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	size := int64(0)
	for err == nil {
		_, err = f.Write(make([]byte, page))
		size += page
	}
	info, errStat := f.Stat()
	if errStat != nil || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err, errStat)
	}
	if err := errors.Join(f.Truncate(info.Size()/page*page-int64(pages*page)), f.Close()); err != nil {
		t.Fatal(err)
	}
}

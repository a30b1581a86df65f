package bolt

import (
	"os"
	"syscall"
)

// datasync makes what was written to f durable. The file keeps its size and
// its place, so that nothing but the pages themselves need be written.
func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

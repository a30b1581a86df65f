//go:build linux || darwin || freebsd || netbsd || openbsd

package remote

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks an open directory for as long as it stays open, unless another process has it locked.
//
// A file system that cannot lock, as some on the network, goes without: the worst is a token renewed twice.
func tryLock(dir *os.File) (ours bool, err error) {
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil, errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.EBADF), errors.Is(err, errors.ErrUnsupported):
		return true, nil
	case errors.Is(err, syscall.EWOULDBLOCK), errors.Is(err, syscall.EINTR):
		return false, nil
	}
	return false, err
}

package home

import (
	"errors"
	"os"
	"syscall"
)

// ErrLocked means that another process, or another open file of this one, holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock locks an open file or directory, and waits for the lock. The lock ends when the file is
// closed, and with the process. An error is that of the system: the caller names the file.
func Lock(f *os.File) error { return flock(f, syscall.LOCK_EX) }

// TryLock is Lock without the wait: it returns [ErrLocked].
func TryLock(f *os.File) error {
	err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// Unlock ends a lock before the file is closed.
func Unlock(f *os.File) error { return flock(f, syscall.LOCK_UN) }

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

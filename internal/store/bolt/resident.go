package bolt

import (
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// residentBytes is how many bytes of the mapped file reads touch before the
// process gives them back (the kernel maps up to sixteen pages around one that
// is touched, so several times as many may be resident). bbolt maps the whole
// file, and every page ever read or written would count as the process's memory
// for as long as it runs: the more of the file it holds, the sooner the kernel
// chooses it when memory runs out.
const residentBytes = 1 << 20

// touched adds pages to those that the process has mapped, and gives all of
// them back to the kernel when there are many. They stay in its page cache:
// who needs one again pays for a minor fault and not for a read. It must be
// called outside of a transaction.
func (s *Store) touched(pages int64) {
	if s.resident.Add(pages*s.pageSize) < residentBytes {
		return
	}
	s.release()
}

// release unmaps the resident pages. The mapping is shared and read-only, so
// nothing is lost, and a reader at work does not notice. A failure costs
// memory and nothing else, hence no error.
func (s *Store) release() {
	s.resident.Store(0)
	_ = s.look(func(tx *bbolt.Tx) error { // keeps bbolt from mapping anew meanwhile
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, s.db.Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
		return nil
	})
}

package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"omca/internal/home"
	"omca/internal/store"
)

// guard calls what looks at the mapped file. bbolt believes its pages: it
// panics when one is of the wrong kind, and follows what a damaged one says to
// addresses where nothing is. Both come back as store.ErrDamaged, with what
// was said.
func guard(look func() error) (err error) {
	before := debug.SetPanicOnFault(true) // of this goroutine only
	defer func() {
		debug.SetPanicOnFault(before)
		if said := recover(); said != nil {
			err = fmt.Errorf("%w: %v", store.ErrDamaged, said)
			if fault, ok := said.(interface{ Addr() uintptr }); ok {
				err = fmt.Errorf("%w: fault at address %#x: %v", store.ErrDamaged, fault.Addr(), said)
			}
		}
	}()
	return look()
}

// whole calls a function that changes the store in memory and on the disk. A panic in
// it leaves the change half done: the store is broken then, and takes no more commits.
func (s *Store) whole(change func() error) error {
	ended := false
	err := guard(func() error {
		err := change()
		ended = true
		return err
	})
	if !ended {
		return s.fail(err)
	}
	return err
}

// locked is a guard for what takes locks of bbolt, or gives them back. Where
// that panics they stay as they are, and whoever wants one would wait for
// ever: from then on bbolt is not called any more.
func (s *Store) locked(look func() error) error {
	if lost := s.lost.Load(); lost != nil {
		return *lost
	}
	whole := false
	err := guard(func() error {
		err := look()
		whole = true
		return err
	})
	if !whole {
		s.lost.CompareAndSwap(nil, &err)
	}
	return err
}

// look is a transaction of bbolt that reads.
func (s *Store) look(read func(*bbolt.Tx) error) error {
	var tx *bbolt.Tx
	err := s.locked(func() (err error) {
		tx, err = s.db.Begin(false)
		return err
	})
	if err != nil {
		return err
	}
	err = guard(func() error { return read(tx) })
	return errors.Join(err, s.locked(tx.Rollback))
}

// shut closes the file. Of a bbolt that is lost the mapping stays until the
// process ends.
func (s *Store) shut() error {
	err := s.locked(s.db.Close)
	if s.lost.Load() != nil {
		err = errors.Join(err, giveUp(s.file))
	}
	if err != nil {
		return fmt.Errorf("closing %s: %w", s.path, err)
	}
	return nil
}

// giveUp closes a file that bbolt may have closed already, or else has mapped:
// the mapping would keep the lock.
func giveUp(f *os.File) error {
	unlocked := home.Unlock(f)
	closed := f.Close()
	if errors.Is(closed, fs.ErrClosed) {
		return nil
	}
	return errors.Join(unlocked, closed)
}

// data returns the bucket of keys and values.
func (s *Store) data(tx *bbolt.Tx) (*bbolt.Bucket, error) {
	b := tx.Bucket(s.name)
	if b == nil {
		return nil, fmt.Errorf("%w: it does not hold %q any more", store.ErrDamaged, s.name)
	}
	return b, nil
}

package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"omca/internal/home"
	"omca/internal/store"
	"omca/internal/store/internal/ring"
)

// The name of the one bucket, and with it the format of the file.
const (
	storeName = "omca/1"
	copyName  = "omca-copy/1"
)

// fillPercent is how full bbolt leaves a page that it splits. Most keys are
// appended in ascending order under their prefix, and pages left half empty
// behind them would stay so.
const fillPercent = 0.9

// Config says which file.
type Config struct {
	Path string // its directory must exist
}

// Open opens the store at c.Path, and creates it with mode 0600 when there is
// none. It does not wait: when another process has it open the error is
// store.ErrLocked. A file that others than its owner may use, that is cut
// short or that is not a store is refused, never replaced.
func Open(ctx context.Context, c Config) (*Store, error) {
	return open(ctx, c, storeName, frameMagic)
}

func open(ctx context.Context, c Config, name string, magic uint32) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := guard(func() error { return create(c.Path, []byte(name)) }); err != nil {
		return nil, describe(c.Path, err)
	}
	s := &Store{
		path:    c.Path,
		name:    []byte(name),
		magic:   magic,
		sync:    (*bbolt.Tx).Commit,
		disk:    realDisk(),
		closing: make(chan struct{}),
		lead:    make(chan struct{}, 1),
	}
	if err := s.open(); err != nil {
		return nil, describe(c.Path, err)
	}
	if err := s.load(); err != nil {
		return nil, describe(c.Path, errors.Join(err, s.shut()))
	}
	s.release() // after a crash bbolt has read the whole file
	return s, nil
}

// open has bbolt open the file, which is locked then. What bbolt had open when
// it met a damaged page is closed here.
func (s *Store) open() error {
	err := guard(func() (err error) {
		s.db, err = bbolt.Open(s.path, 0o600, options(func(path string, flag int, mode os.FileMode) (f *os.File, err error) {
			s.file, err = openFile(path, flag, mode)
			return s.file, err
		}))
		return err
	})
	if err != nil && s.file != nil {
		err = errors.Join(err, giveUp(s.file))
	}
	return err
}

// load takes in what the file and the journal hold.
func (s *Store) load() error {
	rev, u, err := s.state()
	if err != nil {
		return err
	}
	s.pageSize = int64(s.db.Info().PageSize)
	tables := []*table{new(table)}
	if u != (use{}) {
		missed, err := replay(s.path, u, rev, s.magic, s.disk.sync)
		if err != nil {
			return err
		}
		tables = append(tables, new(table))
		for _, c := range missed {
			tables[1].add(c)
			rev = c.Rev
		}
	}
	s.recent = ring.New(rev)
	s.tables.Store(&tables)
	if err := s.carry(); err != nil && !errors.Is(err, store.ErrFull) {
		return err
	}
	if rev == 0 {
		// Nothing was ever stored: whoever created the file may have been
		// stopped before its name was durable.
		return home.Sync(filepath.Dir(s.path))
	}
	return nil
}

func describe(path string, err error) error {
	switch {
	case errors.Is(err, home.ErrLocked):
		return fmt.Errorf("%w: %s", store.ErrLocked, path)
	case isFull(err):
		return fmt.Errorf("%w: opening %s: %w", store.ErrFull, path, err)
	}
	return fmt.Errorf("opening the store %s: %w", path, err)
}

// options are bbolt's. The list of free pages is kept out of the commits: it
// grows with the file, and would be written whole by each of them.
func options(openFile func(string, int, os.FileMode) (*os.File, error)) *bbolt.Options {
	return &bbolt.Options{
		Timeout:        1, // one attempt at the lock, which openFile has taken
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		OpenFile:       openFile,
	}
}

// create makes an empty store where there is none. It is made under another
// name and then linked, so that what stands at path is a whole store at any
// time, on a full disk too, and of two processes one finds the other's.
func create(path string, name []byte) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := home.Create(path, filepath.Base(path)+".new-*", func(f *os.File) error {
		db, err := bbolt.Open(f.Name(), 0o600, options(nil))
		if err != nil {
			return err
		}
		made := db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket(name)
			return err
		})
		return errors.Join(made, db.Close())
	})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// openFile is called by bbolt. It locks the very file that it has opened, as
// bbolt does once more, and looks at it.
func openFile(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag&^os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	if err = home.TryLock(f); err == nil {
		err = checkFile(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func checkFile(f *os.File) error {
	info, err := checkMode(f)
	if err != nil {
		return err
	}
	found, err := metas(f)
	if err != nil {
		return err
	}
	if want := extent(found); info.Size() < want {
		return fmt.Errorf("truncated: it has %d bytes, at least %d expected", info.Size(), want)
	}
	return checkPages(f, found)
}

// checkMode refuses what is not a file of its owner alone.
func checkMode(f *os.File) (fs.FileInfo, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("not a regular file but %s", info.Mode())
	}
	return info, home.CheckMode(info, home.OthersUse, "than the owner use it")
}

// state returns the revision of bbolt and the journal that it says is in use,
// and refuses a file that is not a store, or one of another format.
func (s *Store) state() (rev int64, u use, err error) {
	err = s.look(func(tx *bbolt.Tx) error {
		b := tx.Bucket(s.name)
		if b == nil {
			return fmt.Errorf("not a store that this version of omca knows: it does not hold %q", s.name)
		}
		rev = int64(b.Sequence())
		var err error
		u, err = loadUse(tx)
		return err
	})
	return rev, u, err
}

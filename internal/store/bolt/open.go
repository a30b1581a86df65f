package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"omca/internal/store"
	"omca/internal/store/internal/ring"
)

// bucketName names the one bucket, and with it the format of the file.
var bucketName = []byte("omca/1")

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
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := create(c.Path); err != nil {
		return nil, describe(c.Path, err)
	}
	db, err := bbolt.Open(c.Path, 0o600, options(openFile))
	if err != nil {
		return nil, describe(c.Path, err)
	}
	s, err := openStore(c.Path, db)
	if err != nil {
		return nil, describe(c.Path, errors.Join(err, db.Close()))
	}
	s.release() // after a crash bbolt has read the whole file
	return s, nil
}

// openStore returns the store in db, which is locked by now.
func openStore(path string, db *bbolt.DB) (*Store, error) {
	rev, u, err := state(db)
	if err != nil {
		return nil, err
	}
	s := &Store{
		db:       db,
		path:     path,
		pageSize: int64(db.Info().PageSize),
		sync:     (*bbolt.Tx).Commit,
		disk:     realDisk(),
		closing:  make(chan struct{}),
		lead:     make(chan struct{}, 1),
	}
	tables := []*table{new(table)}
	if u != (use{}) {
		missed, err := replay(path, u, rev, s.disk.sync)
		if err != nil {
			return nil, err
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
		return nil, err
	}
	if rev == 0 {
		// Nothing was ever stored: whoever created the file may have been
		// stopped before its name was durable.
		return s, syncDir(filepath.Dir(path))
	}
	return s, nil
}

func describe(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
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
		Timeout:        1, // one attempt at the lock
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		OpenFile:       openFile,
	}
}

// create makes an empty store where there is none. It is made under another
// name and then linked, so that what stands at path is a whole store at any
// time, on a full disk too, and of two processes one finds the other's.
func create(path string) (err error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	if err := f.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(f.Name(), 0o600, options(nil))
	if err != nil {
		return err
	}
	made := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucketName)
		return err
	})
	if err := errors.Join(made, db.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// openFile is called by bbolt. It looks at the very file that it has opened.
func openFile(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag&^os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	if err := checkFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func checkFile(f *os.File) error {
	// The header first: a file that another process has open grows before
	// its header says so.
	want, err := extent(f)
	if err != nil {
		return err
	}
	info, err := checkMode(f)
	if err != nil {
		return err
	}
	if info.Size() < want {
		return fmt.Errorf("truncated: it has %d bytes, at least %d expected", info.Size(), want)
	}
	return nil
}

// checkMode refuses what is not a file of its owner alone.
func checkMode(f *os.File) (fs.FileInfo, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("not a regular file but %s", info.Mode())
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("mode %#o lets others than the owner use it, expected 0600", info.Mode().Perm())
	}
	return info, nil
}

// state returns the revision of bbolt and the journal that it says is in use,
// and refuses a file that is not a store, or one of another format.
func state(db *bbolt.DB) (rev int64, u use, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketName)
		if b == nil {
			return fmt.Errorf("not a store that this version of omca knows: it does not hold %q", bucketName)
		}
		rev = int64(b.Sequence())
		var err error
		u, err = loadUse(tx)
		return err
	})
	return rev, u, err
}

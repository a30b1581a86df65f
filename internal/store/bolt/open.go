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
// store.ErrLocked. A file that others than its owner may use is refused.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db, err := open(c.Path)
	if err != nil {
		return nil, describe(c.Path, err)
	}
	rev, err := prepare(db)
	if err != nil {
		return nil, errors.Join(describe(c.Path, err), db.Close())
	}
	s := &Store{
		db:      db,
		path:    c.Path,
		recent:  ring.New(rev),
		queue:   make(chan *request),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		sync:    (*bbolt.Tx).Commit,
	}
	go s.run()
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

func open(path string) (*bbolt.DB, error) {
	if err := create(path); err != nil {
		return nil, err
	}
	return bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:        1, // one attempt at the lock
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		OpenFile:       openFile,
	})
}

// create makes an empty file where there is none, and sees to it that its
// name is durable before anything is stored in it.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return syncName(path)
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncName(path))
}

// syncName syncs the directory of path while the file is still empty. Another
// process, or one that was killed, may have created it, so the file's size
// decides and not who made it.
func syncName(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() > 0 {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
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
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("not a regular file but %s", info.Mode())
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("mode %#o lets others than the owner use it, expected 0600", info.Mode().Perm())
	case info.Size() < want:
		return fmt.Errorf("truncated: it has %d bytes, its header says %d", info.Size(), want)
	}
	return nil
}

// prepare makes the bucket in a new file, and returns the current revision.
func prepare(db *bbolt.DB) (int64, error) {
	rev := int64(-1)
	err := db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucketName); b != nil {
			rev = int64(b.Sequence())
		}
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			if string(name) != string(bucketName) {
				return fmt.Errorf("not a store of this version of omca: it holds %q, expected %q", name, bucketName)
			}
			return nil
		})
	})
	if err != nil || rev >= 0 {
		return rev, err
	}
	return 0, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucketName)
		return err
	})
}

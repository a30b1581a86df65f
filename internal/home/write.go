package home

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace puts data under path. Others find the old file or the new one, each whole, also after a
// crash. A symbolic link at path is replaced, and not followed.
//
// temp is the name of the temporary file, a pattern of [os.CreateTemp]. After an error the old
// file is still there, unless only the sync of the directory failed.
func Replace(path, temp string, data []byte) error {
	return syncer((*os.File).Sync).replace(path, temp, data)
}

// Create makes a file that fill writes. The file appears under path when it is whole.
// [os.ErrExist] means that path is taken: that file stays as it is.
//
// temp is as in [Replace]. After an error nothing new is under path. fill may also write to the
// file by its name.
func Create(path, temp string, fill func(*os.File) error) error {
	return syncer((*os.File).Sync).create(path, temp, fill)
}

// WriteNew writes a file straight into its place. [os.ErrExist] means that path is taken. A crash
// may leave a part of the file, an error leaves nothing. The caller syncs the directory, where
// that matters.
func WriteNew(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(ownerMode(f), write(f, data))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// ownerMode gives the owner what an unusual umask took. Other modes are left: not every file
// system can change them.
func ownerMode(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Mode().Perm()&0o600 == 0o600 {
		return err
	}
	return f.Chmod(0o600)
}

func write(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}

// Sync makes the names in a directory durable.
func Sync(dir string) error { return syncer((*os.File).Sync).directory(dir) }

// A syncer is [os.File.Sync]. A test sees with it in which order files and directories are
// synced, and fails each.
type syncer func(*os.File) error

func (s syncer) replace(path, temp string, data []byte) error {
	staged, err := s.stage(path, temp, func(f *os.File) error { return write(f, data) })
	if err != nil {
		return err
	}
	if err := os.Rename(staged, path); err != nil {
		return errors.Join(err, os.Remove(staged))
	}
	return s.directory(filepath.Dir(path))
}

func (s syncer) create(path, temp string, fill func(*os.File) error) error {
	staged, err := s.stage(path, temp, fill)
	if err != nil {
		return err
	}
	// A link never replaces what is there. A rename would.
	if err := os.Link(staged, path); err != nil {
		return errors.Join(err, os.Remove(staged))
	}
	if err := errors.Join(os.Remove(staged), s.directory(filepath.Dir(path))); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// stage makes a temporary file beside path, and returns its name when all of it is on the disk.
func (s syncer) stage(path, temp string, fill func(*os.File) error) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), temp) // O_EXCL, 0600
	if err != nil {
		return "", err
	}
	whole := false
	defer func() {
		if !whole { // also when fill panics
			_ = f.Close() // an error is under way
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := fill(f); err != nil {
		return "", err
	}
	if err := errors.Join(s(f), f.Close()); err != nil {
		return "", err
	}
	whole = true
	return f.Name(), nil
}

func (s syncer) directory(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(s(d), d.Close())
}

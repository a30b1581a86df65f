package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"omca/internal/hint"
	"omca/internal/home"
)

const (
	bookName = "contexts.yaml"
	maxFile  = 1 << 20 // bytes of any file that is read here

	lockTime  = 90 * time.Second // another command renews a token meanwhile: as long as a server may take to answer, and more
	lockPause = 10 * time.Millisecond
)

// Dir is the directory of one person's contexts. It is made when something is written.
type Dir string

// Load reads the contexts. Without a file there are none. A file that others could have written, that has a field nobody knows, or
// that is damaged in another way is an error: what would be called instead is anybody's guess.
func (d Dir) Load() (*Book, error) {
	file := filepath.Join(string(d), bookName)
	text, err := readFile(file, home.OthersWrite)
	if errors.Is(err, fs.ErrNotExist) {
		return &Book{}, nil
	}
	if err != nil {
		return nil, err
	}
	b := &Book{}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(b); err != nil && !errors.Is(err, io.EOF) { // an empty file holds no context
		return nil, damaged(file, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, damaged(file, errors.New("it goes on behind its first document"))
	}
	if err := b.check(); err != nil {
		return nil, damaged(file, err)
	}
	return b, nil
}

// damaged says what is wrong with a file, in one line.
func damaged(file string, err error) error {
	var wrong *yaml.TypeError
	if errors.As(err, &wrong) {
		first, _, _ := strings.Cut(wrong.Errors[0], " in type ")
		err = errors.New(first)
	}
	err = fmt.Errorf("%s: %w", file, err)
	if hint.Of(err) != "" {
		return err
	}
	return hint.With(err, "put it right, or remove it and \"omca context add\" again; --context local goes without it")
}

// Update changes the contexts: nothing is written when change returns an error.
func (d Dir) Update(ctx context.Context, change func(*Book) error) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	return locked(ctx, string(d), func() error {
		b, err := d.Load()
		if err != nil {
			return err
		}
		if err := change(b); err != nil {
			return err
		}
		text, err := yaml.Marshal(b)
		if err != nil {
			return err
		}
		return writeFile(filepath.Join(string(d), bookName), text)
	})
}

// TokenFile is the file of the tokens that a login to the context brought.
func (d Dir) TokenFile(name string) string { return filepath.Join(string(d), "token-"+name+".json") }

// Forget removes the tokens of a context, if there are any.
func (d Dir) Forget(name string) error {
	err := os.Remove(d.TokenFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ReadSecret reads a file that holds a secret: nobody but its owner may read it. A pipe has no mode that matters.
func ReadSecret(file string) ([]byte, error) { return readFile(file, home.OthersUse) }

// readFile reads a file of ours, unless its mode gives others what they must not have.
func readFile(file string, others fs.FileMode) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := home.CheckMode(info, others, "in"); err != nil && info.Mode().IsRegular() {
		return nil, hint.With(fmt.Errorf("%s: %w", file, err), "chmod 600 %s", file)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", file, maxFile)
	}
	return text, nil
}

// writeFile replaces a file. A symbolic link stays, and leads to the new file.
func writeFile(file string, text []byte) error {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	return home.Replace(file, ".omca-*", text)
}

// locked runs what changes files in dir while nobody else does.
func locked(ctx context.Context, dir string, change func() error) (err error) {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close() // ends the lock
	ctx, cancel := context.WithTimeoutCause(ctx, lockTime, fmt.Errorf("%s: another command has it locked for more than %s", dir, lockTime))
	defer cancel()
	for {
		err := home.TryLock(f)
		switch {
		case err == nil, cannotLock(err):
			return change()
		case !errors.Is(err, home.ErrLocked):
			return fmt.Errorf("locking %s: %w", dir, err)
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// cannotLock tells whether a file system has no locks for a directory, as some on the network. The change goes without one: at worst
// a token is renewed twice.
func cannotLock(err error) bool {
	return errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.EBADF) || errors.Is(err, errors.ErrUnsupported)
}

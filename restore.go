package omca

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"omca/internal/hint"
	"omca/internal/home"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store/bolt"
)

// RestoreConfig says where a backup goes.
type RestoreConfig struct {
	Home           string    // must not exist, or be empty
	PassphraseFile string    // file with the passphrase to seal it with; "" makes the file seal.key
	From           io.Reader // the backup, decrypted
	// Replaces is the home that the backup stands in for, or that of any node of the
	// cluster, as far as it can still be read, or "": what was revoked in it stays
	// revoked.
	Replaces string
	Mark     string // see Config

	Now func() time.Time // nil is time.Now
}

// Restored says what came out of a backup, and what the backup did not know.
type Restored = registry.Restored

// Restore makes a home of a backup. The home is there when everything in it is,
// and not before.
func Restore(ctx context.Context, c RestoreConfig) (Restored, error) {
	if c.Home == "" || c.From == nil {
		return Restored{}, errors.New("omca: RestoreConfig needs Home and From")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := checkEmpty(c.Home); err != nil {
		return Restored{}, err
	}
	beside := filepath.Dir(c.Home)
	if err := os.MkdirAll(beside, 0o755); err != nil {
		return Restored{}, fmt.Errorf("home: %w", err)
	}
	made, err := os.MkdirTemp(beside, ".omca-restore-")
	if err != nil {
		return Restored{}, fmt.Errorf("home: %w", err)
	}
	done, err := c.fill(ctx, made)
	if err == nil {
		err = moveHome(made, c.Home)
	}
	if err != nil {
		return Restored{}, errors.Join(err, os.RemoveAll(made))
	}
	return done, nil
}

// checkEmpty refuses a home in which something is.
func checkEmpty(home string) error {
	there, err := os.ReadDir(home)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(there) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return hint.With(fmt.Errorf("home %s is not empty: it has %s", home, there[0].Name()),
		"move it away, and name it with --replaces, so that what was revoked in it stays revoked: mv %[1]s %[1]s.old", home)
}

// fill puts the backup into the new home at dir.
func (c RestoreConfig) fill(ctx context.Context, dir string) (done Restored, err error) {
	into, err := bolt.Open(ctx, bolt.Config{Path: filepath.Join(dir, storeFile)})
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, into.Close()) }()
	master, err := newMaster(dir, c.PassphraseFile)
	if err != nil {
		return Restored{}, err
	}
	plan := registry.RestoreConfig{Into: into, Master: master, Now: c.Now}
	if c.Replaces != "" {
		old, err := openReplaced(ctx, c.Replaces)
		if err != nil {
			return Restored{}, fmt.Errorf("reading the home that is replaced: %w", err)
		}
		defer func() { err = errors.Join(err, old.Close()) }()
		plan.Known, plan.KnownMaster = old, c.replacedMaster
	}
	if done, err = registry.Restore(ctx, plan, c.From); err != nil {
		return Restored{}, err
	}
	// The sealed values open with the new key, or it is not worth keeping.
	objects, err := registry.OpenStore(ctx, registry.StoreConfig{Store: into, Master: master, Now: c.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return done, err
	}
	return done, c.aboveMark(ctx, objects)
}

// aboveMark has the numbers of the restored store go on above the mark of the home.
func (c RestoreConfig) aboveMark(ctx context.Context, objects *registry.Store) error {
	mark, err := readMark(c.markFile())
	if err != nil {
		return err
	}
	now, err := objects.MarkNow(ctx)
	if err != nil || len(now.Behind(mark)) == 0 {
		return err
	}
	return objects.AcceptSetBack(ctx, mark)
}

// markFile is the file of the mark of the home.
func (c RestoreConfig) markFile() string { return Config{Home: c.Home, Mark: c.Mark}.markFile() }

// replaced is what a home that was there knows.
type replaced interface {
	registry.Reader
	Close() error
}

// openReplaced opens the store of a home that was there, or, of a node of a
// cluster, its copy of the store: bolt would make one.
func openReplaced(ctx context.Context, home string) (replaced, error) {
	copied := filepath.Join(home, copyFile)
	if _, err := os.Stat(copied); err == nil {
		return bolt.OpenCopy(ctx, bolt.Config{Path: copied})
	}
	file := filepath.Join(home, storeFile)
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	return bolt.Open(ctx, bolt.Config{Path: file})
}

// replacedMaster opens the master key of the home that is replaced: its seal key, else the
// passphrase of the new home.
func (c RestoreConfig) replacedMaster() (seal.Master, error) {
	master, err := seal.OpenFileMaster(filepath.Join(c.Replaces, sealKey))
	if errors.Is(err, fs.ErrNotExist) && c.PassphraseFile != "" {
		return passphraseMaster(c.PassphraseFile)
	}
	return master, err
}

// newMaster makes the master key of a new home.
func newMaster(dir, passphraseFile string) (seal.Master, error) {
	if passphraseFile == "" {
		return seal.CreateFileMaster(filepath.Join(dir, sealKey))
	}
	return passphraseMaster(passphraseFile)
}

// moveHome gives the finished home its name.
func moveHome(made, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("home: %w", err)
	}
	if err := os.Rename(made, to); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if err := home.Sync(filepath.Dir(to)); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return nil
}

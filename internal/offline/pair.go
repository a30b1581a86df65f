package offline

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"omca/internal/home"
	"omca/pki"
	"omca/pki/flocker"
)

// stagePrefix begins the name of a directory in which a pair is prepared.
const stagePrefix = ".omca-new-"

// A pair is a certificate file and its key file on their way into a directory.
//
// Both are written and synced in a directory of their own beside their places,
// and then linked there, which takes no room on the disk and never replaces what
// is there. A process that is killed leaves that directory behind; whoever makes
// the next pair there finds it, and takes back the one file that may have got to
// its place without the other. While its owner lives the directory is locked.
type pair struct {
	dir, name string
	stage     string
	lock      *os.File // of stage
	placed    []string
}

// newPair prepares to write dir/name.crt and dir/name.key, neither of which may
// be there. The caller discards it.
func newPair(dir, name string) (*pair, error) {
	p := &pair{dir: dir, name: name}
	around, err := os.Open(dir)
	if err != nil {
		return nil, p.fail(".crt", err)
	}
	defer around.Close() // and with it the lock
	// Under the lock, so that nobody takes the new stage for one left behind.
	locked := home.Lock(around) == nil
	if locked {
		if err := sweep(dir); err != nil {
			return nil, p.fail(".crt", err)
		}
	}
	for _, ending := range []string{".crt", ".key"} {
		_, err := os.Lstat(p.path(ending))
		switch {
		case err == nil:
			return nil, p.fail(ending, syscall.EEXIST)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, p.fail(ending, err)
		}
	}
	if p.stage, err = os.MkdirTemp(dir, stagePrefix); err != nil {
		return nil, p.fail(".crt", err)
	}
	if err = os.Chmod(p.stage, 0o700); err == nil { // whatever the umask
		p.lock, err = os.Open(p.stage)
	}
	if err == nil && locked {
		err = home.TryLock(p.lock)
	}
	if err != nil {
		p.discard()
		return nil, p.fail(".crt", err)
	}
	return p, nil
}

// path is that of the file with the ending.
func (p *pair) path(ending string) string { return filepath.Join(p.dir, p.name+ending) }

// fail says what became of the file with the ending.
func (p *pair) fail(ending string, err error) error {
	what := whatCertificate
	if ending == ".key" {
		what = whatKey
	}
	return &flocker.FileError{What: what, Path: p.path(ending), Err: err}
}

// put writes the pair: both files are in their places when it returns nil, and
// neither is when it does not.
func (p *pair) put(cert *x509.Certificate, key crypto.Signer) error {
	keyText, err := pki.EncodePrivateKey(key)
	if err != nil {
		return err
	}
	return p.putTexts(pki.EncodeCertificates(cert), keyText)
}

func (p *pair) putTexts(cert, key []byte) error {
	for _, f := range []struct {
		ending string
		text   []byte
	}{{".crt", cert}, {".key", key}} {
		if err := home.WriteNew(filepath.Join(p.stage, p.name+f.ending), f.text); err != nil {
			return p.fail(f.ending, err)
		}
	}
	for _, ending := range []string{".crt", ".key"} {
		if err := place(filepath.Join(p.stage, p.name+ending), p.path(ending)); err != nil {
			p.takeBack()
			return p.fail(ending, err)
		}
		p.placed = append(p.placed, p.path(ending))
	}
	if err := home.Sync(p.dir); err != nil {
		p.takeBack()
		return p.fail(".crt", err)
	}
	return nil
}

// takeBack removes what this pair has put in its places.
func (p *pair) takeBack() {
	for _, path := range p.placed {
		_ = os.Remove(path) // an error is under way that says more
	}
	p.placed = nil
}

// discard removes what the pair was prepared in. What cannot be removed is found
// by the next one.
func (p *pair) discard() {
	if p.stage != "" {
		_ = os.RemoveAll(p.stage)
	}
	if p.lock != nil {
		_ = p.lock.Close() // only read
	}
}

// place gives the file at from the name to, unless there is one. Where the file
// system has no links it is copied.
func place(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return home.WriteNew(to, text)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweep takes back what processes that were killed have left half done in dir.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), stagePrefix) {
			continue
		}
		if err := undo(dir, filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("what is left in %s: %w", e.Name(), err)
		}
	}
	return nil
}

// undo takes back the pair that was prepared in stage, unless its owner lives or
// both files are in their places, and removes stage. That of another user is
// theirs to look after.
func undo(dir, stage string) error {
	info, err := os.Lstat(stage)
	if err != nil {
		return ignoreMissing(err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(owner.Uid) != os.Geteuid() {
		return nil
	}
	lock, err := os.Open(stage)
	if err != nil {
		return err
	}
	defer lock.Close() // only read
	if err := home.TryLock(lock); err != nil {
		return nil //nolint:nilerr // its owner lives
	}
	prepared, err := os.ReadDir(stage)
	if err != nil {
		return err
	}
	whole := 0
	var placed []string
	for _, e := range prepared {
		switch there := filepath.Join(dir, e.Name()); compare(filepath.Join(stage, e.Name()), there) {
		case same:
			whole++
			placed = append(placed, there)
		case begun:
			placed = append(placed, there)
		}
	}
	if whole < 2 {
		for _, there := range placed {
			if err := os.Remove(there); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(stage)
}

// likeness is what a file has of the one that was prepared.
type likeness int

const (
	other likeness = iota // it is another, or there is none
	begun                 // a copy that was cut short, where there are no links
	same                  // the file itself, or a copy
)

func compare(prepared, there string) likeness {
	infoP, errP := os.Lstat(prepared)
	infoT, errT := os.Lstat(there)
	if errP != nil || errT != nil || !infoP.Mode().IsRegular() || !infoT.Mode().IsRegular() {
		return other
	}
	if os.SameFile(infoP, infoT) {
		return same
	}
	textP, errP := os.ReadFile(prepared)
	textT, errT := os.ReadFile(there)
	switch {
	case errP != nil || errT != nil || !bytes.HasPrefix(textP, textT):
		return other
	case len(textT) < len(textP):
		return begun
	}
	return same
}

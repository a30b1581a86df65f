package lab

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The build before the store had the form that it has now, and what is read on stderr
// where that build and this one meet.
const (
	EarlierCommit = "e10a22b86bd44fa8b3deae9f2aaf35330e1a59a4"

	// EarlierRefusesStore is the earlier build's error about a store that was brought over.
	EarlierRefusesStore = "this program reads version 1"
	// EarlierJoins is in the earlier build's error when it joins a cluster that was brought over.
	EarlierJoins = "reads stores up to format 1, and this cluster has format 4"
)

// earlier builds the program of EarlierCommit from the history, once for each test binary.
var earlier = sync.OnceValues(func() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	dir, err := binDir()
	if err != nil {
		return "", err
	}
	source := filepath.Join(dir, "earlier")
	if err := archived(strings.TrimSpace(string(root)), EarlierCommit, source); err != nil {
		return "", err
	}
	program := filepath.Join(dir, "omca-earlier")
	build := exec.Command("go", "build", "-o", program, "./cmd/omca")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build of %s: %w\n%s", EarlierCommit, err, out)
	}
	return program, nil
})

// errNoHistory means that the sources came without the commit.
var errNoHistory = errors.New("the history of git has no such commit here")

// archived unpacks the sources of a commit into a new directory.
func archived(repository, commit, dir string) error {
	if err := exec.Command("git", "-C", repository, "cat-file", "-e", commit+"^{commit}").Run(); err != nil {
		return fmt.Errorf("%w: %s: %w", errNoHistory, commit, err)
	}
	archive := exec.Command("git", "-C", repository, "archive", "--format=tar", commit)
	var stderr strings.Builder
	archive.Stderr = &stderr
	stdout, err := archive.StdoutPipe()
	if err != nil {
		return err
	}
	if err := archive.Start(); err != nil {
		return err
	}
	err = Unpack(stdout, dir)
	if err := errors.Join(err, archive.Wait()); err != nil {
		return fmt.Errorf("git archive %s: %w\n%s", commit, err, stderr.String())
	}
	return nil
}

// Earlier returns the path of a binary of [EarlierCommit]. It skips the test when the history of
// git is not there, or fails it when OMCA_TEST_REQUIRE names "upgrade".
func Earlier(t testing.TB) string {
	t.Helper()
	program, err := earlier()
	if errors.Is(err, errNoHistory) {
		Missing(t, "upgrade", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// Unpack writes the directories and files of a tar archive into a directory, which it makes. Modes
// are those of the archive.
func Unpack(from io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // no name leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, from) // the padding behind the end
			return err
		}
		if err != nil {
			return err
		}
		mode := h.FileInfo().Mode().Perm()
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
		case tar.TypeDir:
			if err := root.MkdirAll(h.Name, mode); err != nil {
				return err
			}
		case tar.TypeReg:
			if err := unpackFile(root, h.Name, mode, r); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: an entry of type %q", h.Name, h.Typeflag)
		}
	}
}

func unpackFile(root *os.Root, name string, mode os.FileMode, from io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

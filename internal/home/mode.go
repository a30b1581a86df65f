package home

import (
	"fmt"
	"io/fs"
	"os"

	"omca/internal/hint"
)

// What a mode may let group and others do.
const (
	OthersUse   fs.FileMode = 0o077
	OthersWrite fs.FileMode = 0o022
)

// CheckMode rejects a file with one of the bits in its mode. may ends the sentence: "mode 0644 lets
// others MAY, expected 0600". The caller names the file.
func CheckMode(info fs.FileInfo, bits fs.FileMode, may string) error {
	mode, expected := info.Mode().Perm(), fs.FileMode(0o600)
	if info.IsDir() {
		expected = 0o700
	}
	if mode&bits == 0 {
		return nil
	}
	return fmt.Errorf("mode %04o lets others %s, expected %04o", mode, may, expected)
}

// Make makes the directory of a home with mode 0700, or checks that others cannot look into the
// one that is there.
func Make(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if err := CheckMode(info, OthersUse, "in"); err != nil {
		return hint.With(fmt.Errorf("home %s: %w", dir, err), "chmod 700 %s", dir)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"omca/internal/hint"
	"omca/internal/outbound"
	"omca/internal/wire"
)

const (
	maxValue      = 1_000_000        // bytes of the value of a key
	maxText       = 1_000_000        // bytes of a configuration
	maxRequest    = 64 << 10         // bytes of a certificate request or of a certificate to look at
	maxFiles      = 1000             // files of a directory that become keys
	sourceTimeout = 30 * time.Second // of a URL, all of it
	maxRedirects  = 5                // of a URL
)

func isStdin(from string) bool { return from == "-" || from == "stdin" || from == "/dev/stdin" }

func isURL(from string) bool {
	return strings.HasPrefix(from, "http://") || strings.HasPrefix(from, "https://")
}

func isDirectory(from string) bool {
	info, err := os.Stat(from)
	return err == nil && info.IsDir()
}

// baseName is the name of the key that a file or a URL becomes when none is given.
func baseName(from string) string {
	if u, err := url.Parse(from); err == nil && isURL(from) {
		return path.Base(u.Path)
	}
	return filepath.Base(from)
}

// readSource reads what --from names: standard input, a URL or a file. More than limit bytes are refused.
func (p *program) readSource(ctx context.Context, from string, limit int64) ([]byte, error) {
	switch {
	case isStdin(from):
		if p.stdinTaken {
			return nil, usagef("standard input was read already: it cannot be two things")
		}
		p.stdinTaken = true
		return patient(ctx, func() ([]byte, error) { return readAll(p.stdin, "standard input", limit) })
	case isURL(from):
		return readURL(ctx, from, limit)
	}
	return readFile(from, limit)
}

// aboutSource says which source an error is about that readSource has read.
func aboutSource(from string, err error) error {
	if err == nil {
		return nil
	}
	if isStdin(from) {
		from = "standard input"
	}
	return fmt.Errorf("%s: %w", from, err)
}

func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, "~") {
			err = hint.With(err, "the shell did not expand ~: write --from FILE with a space, or $HOME")
		}
		return nil, err
	}
	defer f.Close() // only read
	return readAll(f, name, limit)
}

func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	value, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(value)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return value, nil
}

// readURL fetches what a person typed: its own host and port may be anywhere, and where it redirects to is filtered.
func readURL(ctx context.Context, from string, limit int64) ([]byte, error) {
	client := new(outbound.Network).Client(outbound.Rules{
		Named: []string{from}, Hint: "if that address is meant, give it to the command itself",
		Whole: sourceTimeout, Bytes: limit, Redirects: maxRedirects,
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, fmt.Errorf("--from %q: %w", from, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the server answered %q, not 200", from, resp.Status)
	}
	return readAll(resp.Body, from, limit)
}

// readDirectory reads the files of a directory and of those below: the keys are their relative paths.
func readDirectory(dir, action string) ([]wire.KeyEdit, error) {
	var values []wire.KeyEdit
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := os.Stat(name) // a link stands for what it points to
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: neither a file nor a directory", name)
		}
		if len(values) == maxFiles {
			return fmt.Errorf("%s has more than %d files", dir, maxFiles)
		}
		key, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		value, err := readFile(name, maxValue)
		values = append(values, wire.KeyEdit{Action: action, Name: filepath.ToSlash(key), Bytes: value})
		return err
	})
	if err == nil && len(values) == 0 {
		err = fmt.Errorf("%s has no files", dir)
	}
	return values, err
}

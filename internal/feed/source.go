package feed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"omca/crl"
	"omca/pki"
)

// kind of a source.
type kind int

const (
	unusable kind = iota
	web
	file
	object
)

type digest [sha256.Size]byte

// source is one word of cluster.crl. All below turn is guarded by Feeds.mu, and lists, aside, refused, sum, etag, modified and unsaved are written by the
// holder of Feeds.settle only.
type source struct {
	name  string // as it was written
	shown string // the same, fit to be shown
	kind  kind
	place string // what to fetch
	bad   error  // why it is unusable

	freshest bool // it is of a delta list, and a complete list names it

	turn chan struct{} // holds a token while it is fetched

	lists          []*crl.Verified // the last good ones
	aside          []Unused        // lists that came with these and are of no trusted CA
	refused        []Unused        // lists that came later and were refused
	sum            digest          // of the DER they were read from, those set aside included; zero if unknown
	etag, modified string          // validators of the same
	unsaved        *Kept           // a copy that Memory would not take
	seen           fs.FileInfo     // of the file when it was read last
	fetched        time.Time       // when lists came, or were confirmed, last

	due      time.Time // of the next fetch
	polled   time.Time // when a file was looked at last
	again    bool      // fetch it at once
	running  bool      // Run has an attempt under way
	failures int       // in a row
	err      error     // of the last attempt
	unkept   error     // why Memory did not take them
	logged   condition // what the log said last
}

// newSource reads one word of cluster.crl. One that makes no sense is a source that always fails.
func newSource(name string) *source {
	s := &source{name: name, shown: name, place: name, turn: make(chan struct{}, 1)}
	switch {
	case filepath.IsAbs(name):
		s.kind = file
	case strings.Contains(name, "://"):
		address, err := url.Parse(name)
		switch {
		case err != nil:
			// The error quotes the URL, secrets and all.
			s.shown, s.bad = "a malformed URL", errors.New("a malformed URL")
		case address.User != nil:
			address.User = nil
			s.shown, s.bad = address.String(), errors.New("a URL with a password in it: a config is no place for secrets")
		case address.Scheme != "http" && address.Scheme != "https" || address.Host == "":
			s.bad = fmt.Errorf("%q is not an http or https URL", name)
		default:
			s.kind = web
		}
	case isSec(name):
		s.kind, s.place = object, fullPath(name)
	default:
		s.bad = fmt.Errorf("%q is none of a URL, an absolute file name and the path of a sec", name)
	}
	return s
}

func isSec(path string) bool {
	parts := strings.Split(fullPath(path), "/")
	return len(parts) == 3 && parts[0] != "" && parts[1] == "sec" && parts[2] != ""
}

// mode says what an attempt wants.
type mode int

const (
	ifChanged mode = iota // nothing, if it is what came last
	anew                  // the whole
)

// outcome of a fetch.
type outcome int

const (
	whole     outcome = iota // it came
	confirmed                // the server says that it is what came last
	untouched                // the file is the one read last, whatever came of that
)

// parcel is what a fetch brought.
type parcel struct {
	outcome        outcome
	body           []byte
	etag, modified string
	info           fs.FileInfo // of a file
	kept           bool        // Memory has it
	unused         []Unused    // if so, what Memory has beside it
}

// fetch brings what a source has, at most Limits.Bytes.
func (f *Feeds) fetch(ctx context.Context, s *source, m mode) (parcel, error) {
	f.mu.Lock()
	etag, modified, seen := s.etag, s.modified, s.seen
	s.again = false
	f.mu.Unlock()
	if m == anew {
		etag, modified, seen = "", "", nil
	}
	switch s.kind {
	case web:
		if m == ifChanged && f.cfg.Elsewhere != nil && f.cfg.Elsewhere() {
			if p, there, err := f.brought(ctx, s); there || err != nil {
				return p, err
			}
		}
		return f.get(ctx, s.place, etag, modified)
	case file:
		return f.look(ctx, s.place, seen)
	case object:
		body, err := f.cfg.Object(ctx, s.place)
		if err == nil && len(body) > f.limits.Bytes {
			err = tooLong(int64(len(body)), f.limits.Bytes)
		}
		return parcel{body: body}, err
	}
	return parcel{}, s.bad
}

// brought returns the copy that another process has left in Memory, unless that is not there, or no newer than what is held and that
// not fresh.
func (f *Feeds) brought(ctx context.Context, s *source) (p parcel, there bool, err error) {
	kept, err := f.cfg.Memory.LoadList(ctx, s.name)
	if err != nil || len(kept.DER) == 0 {
		return parcel{}, false, err
	}
	fresh, newer := f.compare(s, kept)
	if !fresh && !newer {
		return parcel{}, false, nil
	}
	// That it is what is held already shows in its bytes: clocks differ.
	return parcel{body: kept.DER, etag: kept.ETag, modified: kept.LastModified, kept: true, unused: kept.Unused}, true, nil
}

// compare reports whether the lists of s are fresh, and whether a copy is newer.
func (f *Feeds) compare(s *source, kept Kept) (fresh, newer bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.current(f.now()), kept.FetchedAt.After(s.fetched)
}

// look reads a file, unless it is the one seen before. A file system may hang: then the goroutine that reads is left behind.
func (f *Feeds) look(ctx context.Context, name string, seen fs.FileInfo) (parcel, error) {
	type result struct {
		parcel
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.err = f.guard(func() (err error) {
			r.parcel, err = readFile(name, seen, f.limits.Bytes)
			return err
		})
		done <- r
	}()
	select {
	case r := <-done:
		return r.parcel, r.err
	case <-ctx.Done():
		return parcel{}, context.Cause(ctx)
	}
}

func readFile(name string, seen fs.FileInfo, limit int) (p parcel, err error) {
	// Opening a pipe would wait for a writer, and reading a device may never end.
	info, err := os.Stat(name)
	if err != nil {
		return p, err
	}
	if !info.Mode().IsRegular() {
		return p, fmt.Errorf("%w: %s is not a regular file", pki.ErrInvalid, name)
	}
	if seen != nil && os.SameFile(info, seen) && info.ModTime().Equal(seen.ModTime()) && info.Size() == seen.Size() {
		return parcel{outcome: untouched}, nil
	}
	in, err := os.Open(name)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	// What is read is the file that is open, which another may have replaced since.
	if p.info, err = in.Stat(); err != nil {
		return p, err
	}
	p.body, err = readAll(in, limit)
	return p, err
}

// readAll reads what is there, and refuses it beyond limit bytes.
func readAll(in io.Reader, limit int) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err == nil && len(body) > limit {
		return nil, tooLong(-1, limit)
	}
	return body, err
}

// tooLong is the error for what has more bytes than limit; negative if nobody knows how many.
func tooLong(bytes int64, limit int) error {
	if bytes < 0 {
		return fmt.Errorf("%w: more than %d bytes came, which is all that is read", pki.ErrInvalid, limit)
	}
	return fmt.Errorf("%w: %d bytes, at most %d are read", pki.ErrInvalid, bytes, limit)
}

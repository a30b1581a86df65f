package bolt

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"omca/internal/home"
	"omca/internal/store"
)

// journalBytes is what each of the two files of a journal takes. They grow for
// a single frame that is larger, and make do with less on a full disk.
const journalBytes = 1 << 20

// keepBuffer is the largest buffer that is kept for the next frame.
const keepBuffer = 128 << 10

// A journal is two files that take turns: frames are appended to one while
// what the other holds goes to bbolt. A generation is one turn, and even ones
// are in the first file.
type journal struct {
	files [2]*os.File
	id    journalID
	gen   uint64 // the current generation
	off   int64  // where its next frame begins
	size  int64  // of each file
	buf   []byte
	disk  disk
	magic uint32 // of its frames
}

// A disk is what a journal does to its files; a test can fail each.
type disk struct {
	fill  func(f *os.File, from, to int64) error // writes zeros, and syncs
	write func(f *os.File, b []byte, off int64) (int, error)
	sync  func(*os.File) error
}

func realDisk() disk {
	return disk{fill: fill, write: (*os.File).WriteAt, sync: datasync}
}

// fill takes room by writing to it: of what is merely reserved the file system
// would have to note, with each sync, that it is in use now.
func fill(f *os.File, from, to int64) error {
	zeros := make([]byte, 64<<10)
	for at := from; at < to; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}

func journalPath(store string, which int) string {
	return fmt.Sprintf("%s.journal-%d", store, which)
}

// newJournal returns an empty journal beside a store, in the files of an
// earlier one if there are any.
func newJournal(path string, magic uint32, d disk) (j *journal, err error) {
	j = &journal{disk: d, off: pageBytes, magic: magic}
	defer func() {
		if err != nil {
			j, err = nil, errors.Join(err, j.close())
		}
	}()
	rand.Read(j.id[:])
	j.size = journalBytes
	for i := range j.files {
		var size int64
		if j.files[i], size, err = openJournal(path, i, os.O_CREATE); err != nil {
			return j, err
		}
		j.size = min(j.size, size&^(pageBytes-1))
	}
	if err := j.grow(2 * pageBytes); err != nil {
		return j, err
	}
	if err := j.stamp(); err != nil {
		return j, err
	}
	for _, f := range j.files {
		if err := errors.Join(f.Truncate(j.size), f.Sync()); err != nil {
			return j, err
		}
	}
	return j, home.Sync(filepath.Dir(path))
}

func openJournal(path string, which, flag int) (*os.File, int64, error) {
	f, err := os.OpenFile(journalPath(path, which), os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, 0, err
	}
	info, err := checkMode(f)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	return f, info.Size(), nil
}

// grow gives both files the usual size, or as much of it as there is room for
// and at least need, in whole pages.
func (j *journal) grow(need int64) error {
	for want := max(journalBytes, need); want > j.size; {
		err := j.resize(want)
		if err == nil || !isFull(err) || want == need {
			return err
		}
		want = max(need, want/2&^(pageBytes-1))
	}
	return nil
}

func (j *journal) resize(size int64) error {
	for _, f := range j.files {
		if err := j.disk.fill(f, j.size, size); err != nil {
			return errors.Join(err, j.files[0].Truncate(j.size), j.files[1].Truncate(j.size))
		}
	}
	j.size = size
	return j.stamp()
}

// stamp has each file say what it is, and how long.
func (j *journal) stamp() error {
	for i, f := range j.files {
		if _, err := f.WriteAt(header(j.id, byte(i), j.size), 0); err != nil {
			return err
		}
	}
	return nil
}

// frame returns the frame of changes in the current generation, until the
// next call.
func (j *journal) frame(changes []store.Change) []byte {
	b := appendFrame(j.buf[:0], j.magic, j.id, j.gen, changes)
	if cap(b) <= keepBuffer {
		j.buf = b
	}
	return b
}

func (j *journal) fits(frame []byte) bool { return j.off+int64(len(frame)) <= j.size }

// empty reports whether the current generation has no frames.
func (j *journal) empty() bool { return j.off == pageBytes }

// turn begins the next generation. What the file held is no longer needed.
func (j *journal) turn() {
	j.gen++
	j.off = pageBytes
}

// append writes a frame that fits. A frame that was not written to its end
// for want of room is none, and the next one takes its place.
func (j *journal) append(frame []byte) error {
	f := j.files[j.gen%2]
	if _, err := j.disk.write(f, frame, j.off); err != nil {
		return err
	}
	if j.magic == copyMagic {
		j.off += int64(len(frame))
		return nil // see Copy: who follows the changes can have them again
	}
	if err := j.sync(); err != nil {
		return err
	}
	j.off += int64(len(frame))
	return nil
}

// sync waits until what was appended in the current generation is on the disk.
func (j *journal) sync() error {
	if err := j.disk.sync(j.files[j.gen%2]); err != nil {
		return &syncError{err}
	}
	return nil
}

// A syncError leaves unknown what is on the disk, whatever its cause.
type syncError struct{ error }

func (j *journal) close() error {
	var errs []error
	for _, f := range j.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// replay returns what the journal of a store holds beyond revision rev, and
// makes sure that it is on the disk. It changes nothing.
func replay(path string, u use, rev int64, magic uint32, sync func(*os.File) error) ([]store.Change, error) {
	var changes []store.Change
	for gen := u.base; gen < u.base+2; gen++ {
		more, err := replayFile(path, u.id, gen, magic, sync)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the store was not closed, and its journal is missing: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("journal %s: %w", journalPath(path, int(gen%2)), err)
		}
		changes = append(changes, more...)
	}
	for _, c := range changes {
		if next := rev + 1; c.Rev < next || c.Rev > next && magic != copyMagic {
			return nil, fmt.Errorf("%w: its journal: revision %d is missing before %d", store.ErrDamaged, next, c.Rev)
		}
		rev = c.Rev
	}
	return changes, nil
}

func replayFile(path string, id journalID, gen uint64, magic uint32, sync func(*os.File) error) (_ []store.Change, err error) {
	which := int(gen % 2)
	f, size, err := openJournal(path, which, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	want := header(id, byte(which), 0)
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil {
		return nil, fmt.Errorf("reading its header: %w", err)
	}
	if !bytes.Equal(want[:headerName], got[:headerName]) {
		return nil, errors.New("it belongs to another store, or to another time of this one")
	}
	// Older builds left the length out: it is 0 then.
	if made := int64(binary.BigEndian.Uint64(got[headerName:])); size < made {
		return nil, fmt.Errorf("%w: it has %d bytes, and was made with %d", store.ErrDamaged, size, made)
	}
	changes, err := readFrames(f, size, magic, id, gen)
	if err != nil {
		return nil, err
	}
	return changes, sync(f)
}

// readFrames returns the changes of one generation. The last frame may be
// torn: its commit was never answered. No other may, so a sound one behind an
// unsound one is damage, as is one of a later generation. Those of a copy were
// not waited for, and reach the disk in any order: it ends before the first
// that did not.
func readFrames(r io.ReaderAt, size int64, magic uint32, id journalID, gen uint64) ([]store.Change, error) {
	var changes []store.Change
	off := int64(pageBytes)
	for off < size {
		more, length, err := readFrame(r, off, size, id, gen)
		if err != nil {
			return nil, err
		}
		if length == 0 {
			break
		}
		changes = append(changes, more...)
		off += length
	}
	for at := off; at < size; at += pageBytes {
		f, ok, err := readHead(r, at, id)
		if err != nil {
			return nil, err
		}
		switch {
		case ok && f.gen > gen:
			return nil, fmt.Errorf("it is newer than the store: generation %d, expected %d", f.gen, gen)
		case ok && f.gen == gen && at > off && magic != copyMagic:
			return nil, fmt.Errorf("%w: no frame at %d, and revision %d behind it", store.ErrDamaged, off, f.first)
		}
	}
	return changes, nil
}

// readFrame returns the changes of the frame at off and its length, 0 when
// there is no whole frame of that generation.
func readFrame(r io.ReaderAt, off, size int64, id journalID, gen uint64) ([]store.Change, int64, error) {
	f, ok, err := readHead(r, off, id)
	if err != nil || !ok || f.gen != gen || f.body < 0 || f.body > size-off-frameHead {
		return nil, 0, err
	}
	body := make([]byte, f.body)
	if _, err := r.ReadAt(body, off+frameHead); err != nil && err != io.EOF {
		return nil, 0, err
	}
	if crc32.Checksum(body, castagnoli) != f.sum {
		return nil, 0, nil
	}
	changes, err := f.parseBody(body)
	return changes, pages(f.body), err
}

func readHead(r io.ReaderAt, off int64, id journalID) (frameInfo, bool, error) {
	b := make([]byte, frameHead)
	n, err := r.ReadAt(b, off)
	if err != nil && err != io.EOF {
		return frameInfo{}, false, err
	}
	f, ok := parseHead(id, b[:n])
	return f, ok, nil
}

// Suffixes are what follows the path of a store in the names of all of its files.
// Renamed together, while nobody has it open, they are the same store.
func Suffixes() []string { return []string{"", journalPath("", 0), journalPath("", 1)} }

package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"omca/internal/store"
)

// A journal file is a header, alone in its page, and then frames, each from
// the beginning of a page on. Numbers are big endian.
//
//	header:  "omca journal 1\n" and a zero byte, the id, which file of the two
//	frame:   magic, length of the body, generation, first and last revision,
//	         CRC-32C of the body, CRC-32C of the id and all before it; the body
//	body:    for each revision the number of its events; for each of those the
//	         length of the key, the key, 0 for a deleted one or else the length
//	         of the value and 1, the value. Numbers are uvarints.
//
// Revisions are consecutive; in the frames of a copy, which have a magic of
// their own, each begins with the distance from the one before.
//
// The id is random and known to these files and to bbolt only, so that nothing
// else passes for a frame: not what an earlier use left in the file, and not
// what somebody has stored as a value.
const (
	pageBytes  = 4096
	frameMagic = 0x6f6d6a31
	copyMagic  = 0x6f6d6a32 // of a frame whose revisions may leave some out
	frameHead  = 44
	idBytes    = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type journalID [idBytes]byte

// headerName is how much of a header says which file of which journal it is.
const headerName = 16 + idBytes + 1

// header is what the file of a journal begins with: its name, and the length that it was
// given.
func header(id journalID, which byte, size int64) []byte {
	b := append([]byte("omca journal 1\n\x00"), id[:]...)
	return binary.BigEndian.AppendUint64(append(b, which), uint64(size))
}

// frameInfo is the head of a frame.
type frameInfo struct {
	body        int64 // bytes
	gen         uint64
	first, last int64
	sum         uint32 // of the body
	gaps        bool   // revisions may be left out
}

// pages returns the bytes of a frame with a body of n bytes, in whole pages.
func pages(n int64) int64 {
	return (frameHead + n + pageBytes - 1) &^ (pageBytes - 1)
}

// appendFrame appends the frame of changes, and fills its last page. With the
// magic of a copy their revisions need not be consecutive.
func appendFrame(b []byte, magic uint32, id journalID, gen uint64, changes []store.Change) []byte {
	at := len(b)
	b = append(b, make([]byte, frameHead)...)
	last := changes[0].Rev
	for _, c := range changes {
		if magic == copyMagic {
			b = binary.AppendUvarint(b, uint64(c.Rev-last))
			last = c.Rev
		}
		b = binary.AppendUvarint(b, uint64(len(c.Events)))
		for _, e := range c.Events {
			b = appendEvent(b, e)
		}
	}
	head, body := b[at:at:at+frameHead], b[at+frameHead:]
	head = binary.BigEndian.AppendUint32(head, magic)
	head = binary.BigEndian.AppendUint64(head, uint64(len(body)))
	head = binary.BigEndian.AppendUint64(head, gen)
	head = binary.BigEndian.AppendUint64(head, uint64(changes[0].Rev))
	head = binary.BigEndian.AppendUint64(head, uint64(changes[len(changes)-1].Rev))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(body, castagnoli))
	binary.BigEndian.AppendUint32(head, headSum(id, head))
	return append(b, make([]byte, pages(int64(len(body)))-frameHead-int64(len(body)))...)
}

func appendEvent(b []byte, e store.Event) []byte {
	b = binary.AppendUvarint(b, uint64(len(e.Key)))
	b = append(b, e.Key...)
	if e.Deleted {
		return binary.AppendUvarint(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Value))+1)
	return append(b, e.Value...)
}

func headSum(id journalID, head []byte) uint32 {
	return crc32.Update(crc32.Checksum(id[:], castagnoli), castagnoli, head)
}

// parseHead reads the head of a frame; ok is false when it is none of this id.
func parseHead(id journalID, b []byte) (f frameInfo, ok bool) {
	if len(b) < frameHead {
		return frameInfo{}, false
	}
	magic := binary.BigEndian.Uint32(b)
	if magic != frameMagic && magic != copyMagic || binary.BigEndian.Uint32(b[frameHead-4:]) != headSum(id, b[:frameHead-4]) {
		return frameInfo{}, false
	}
	return frameInfo{
		body:  int64(binary.BigEndian.Uint64(b[4:])),
		gen:   binary.BigEndian.Uint64(b[12:]),
		first: int64(binary.BigEndian.Uint64(b[20:])),
		last:  int64(binary.BigEndian.Uint64(b[28:])),
		sum:   binary.BigEndian.Uint32(b[36:]),
		gaps:  magic == copyMagic,
	}, true
}

// parseBody returns the changes of a frame; the values share memory with body.
// A body whose sum was right and that cannot be read is of a version to come.
func (f frameInfo) parseBody(body []byte) ([]store.Change, error) {
	r := reader{b: body}
	var changes []store.Change
	for rev := f.first; rev <= f.last && !r.bad; rev++ {
		if f.gaps {
			rev = f.skip(&r, rev, len(changes) == 0)
		}
		c := store.Change{Rev: rev}
		for n := r.number(); n > 0 && !r.bad; n-- {
			c.Events = append(c.Events, r.event())
		}
		changes = append(changes, c)
	}
	if r.bad || len(r.b) > 0 || len(changes) == 0 || changes[len(changes)-1].Rev != f.last {
		return nil, fmt.Errorf("%w: the frame of revisions %d to %d: %w", store.ErrDamaged, f.first, f.last, errBody)
	}
	return changes, nil
}

// skip reads how far a revision is from the one before, which rev follows.
func (f frameInfo) skip(r *reader, rev int64, first bool) int64 {
	distance := r.number()
	switch {
	case first && distance == 0:
		return rev
	case !first && distance > 0 && distance <= uint64(f.last-rev+1):
		return rev - 1 + int64(distance)
	}
	r.bad = true
	return rev
}

var errBody = errors.New("its body does not say what a frame should")

// A reader takes numbers and strings from the front of b.
type reader struct {
	b   []byte
	bad bool // there was less than asked for
}

func (r *reader) event() store.Event {
	e := store.Event{Key: string(r.take(r.number()))}
	n := r.number()
	if e.Deleted = n == 0; !e.Deleted {
		e.Value = r.take(n - 1)
	}
	return e
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"

	"omca/internal/store"
)

// The two headers of a bbolt file, one at the beginning of each of its first
// two pages: 16 bytes for the page, then these, in the byte order of the machine.
const (
	headerAt   = 16
	headerSize = 64
	magic      = 0xED0CDAED
	minPage    = 1024
	noFreelist = math.MaxUint64 // the list of free pages is not in the file
)

// A meta is what a header says.
type meta struct {
	pageSize uint64
	root     uint64 // page of the bucket of buckets
	freelist uint64 // page of the list of free pages, or noFreelist
	pages    uint64 // in use or free; what the file has beyond is of no meaning
	txn      uint64
}

// metas returns the sound headers of a file.
func metas(f *os.File) ([]meta, error) {
	var found []meta
	page := int64(os.Getpagesize())
	for i := range int64(2) {
		h := make([]byte, headerSize)
		if _, err := f.ReadAt(h, i*page+headerAt); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		sum := fnv.New64a()
		sum.Write(h[:56])
		if binary.NativeEndian.Uint32(h) != magic || binary.NativeEndian.Uint64(h[56:]) != sum.Sum64() {
			continue
		}
		m := meta{
			pageSize: uint64(binary.NativeEndian.Uint32(h[8:])),
			root:     binary.NativeEndian.Uint64(h[16:]),
			freelist: binary.NativeEndian.Uint64(h[32:]),
			pages:    binary.NativeEndian.Uint64(h[40:]),
			txn:      binary.NativeEndian.Uint64(h[48:]),
		}
		if m.pageSize < minPage || m.pages > math.MaxInt64/m.pageSize {
			return nil, fmt.Errorf("%w: header %d speaks of %d pages of %d bytes", store.ErrDamaged, i, m.pages, m.pageSize)
		}
		page = int64(m.pageSize)
		found = append(found, m)
	}
	return found, nil
}

// extent returns how many bytes a file must have for its headers to be true,
// or the size of a header when there is no sound one (bbolt says what is wrong
// then). bbolt takes an empty file for a new one, and maps others without
// asking.
func extent(metas []meta) int64 {
	want := int64(headerAt + headerSize)
	for _, m := range metas {
		want = max(want, int64(m.pages*m.pageSize))
	}
	return want
}

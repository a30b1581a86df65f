package bolt

import (
	"encoding/binary"
	"hash/fnv"
	"io"
	"os"
)

// The two headers of a bbolt file, one at the beginning of each of its first
// two pages: 16 bytes for the page, then these, in the byte order of the machine.
const (
	headerAt   = 16
	headerSize = 64
	magic      = 0xED0CDAED
)

// extent returns how many bytes the file must have for its headers to be
// true, or the size of a header when there is no sound one (bbolt says what is
// wrong then). bbolt takes an empty file for a new one, and maps others
// without asking: a process that reads beyond the end of a truncated one (a
// copy that ran out of room, say) is killed.
func extent(f *os.File) (int64, error) {
	want := int64(headerAt + headerSize)
	page := int64(os.Getpagesize())
	for i := range int64(2) {
		h := make([]byte, headerSize)
		if _, err := f.ReadAt(h, i*page+headerAt); err == io.EOF {
			break
		} else if err != nil {
			return 0, err
		}
		sum := fnv.New64a()
		sum.Write(h[:56])
		if binary.NativeEndian.Uint32(h) != magic || binary.NativeEndian.Uint64(h[56:]) != sum.Sum64() {
			continue
		}
		page = int64(binary.NativeEndian.Uint32(h[8:]))
		want = max(want, int64(binary.NativeEndian.Uint64(h[40:]))*page)
	}
	return want, nil
}

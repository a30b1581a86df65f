package bolt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"

	"omca/internal/store"
)

// A page of bbolt has a head (its number, its kind, how many elements there
// are, how many pages it takes beyond the first), the elements, and the keys
// and values that they point at. An element of a branch says where its key is
// and which page is below it; one of a leaf, of what kind it is and where its
// key and value are. The value of a bucket begins with the page of its root.
// A list of free pages has their numbers instead, and their count before them
// when it does not fit into the head.
const (
	pageHead    = 16
	elementSize = 16
	bucketHead  = 16
	maxDepth    = 64     // of pages; a tree of two elements a branch would be larger than any disk
	manyFree    = 0xffff // the count does not fit

	kindBranch   = 1
	kindLeaf     = 2
	kindFreelist = 16

	elementBucket = 1
)

// checkPages reads what bbolt is about to believe when it opens the file that
// begins with these headers: the list of free pages, for who writes to a page
// that is listed and not free destroys it; where there is none, all pages in
// use, which bbolt reads to make that list, in a goroutine that nothing guards.
func checkPages(r io.ReaderAt, metas []meta) error {
	if len(metas) == 0 {
		return nil // bbolt says what is wrong
	}
	m := newest(metas)
	if m.freelist != noFreelist {
		return checkFreelist(r, m)
	}
	c := &checker{file: r, meta: m, seen: make([]bool, m.pages)}
	_, err := c.tree(m.root, nil, nil)
	return err
}

func newest(metas []meta) meta {
	return slices.MaxFunc(metas, func(a, b meta) int { return cmp.Compare(a.txn, b.txn) })
}

// checkChange reads what bbolt is about to read, and write anew, when it
// changes tables: it takes sizes from a damaged page as they are, and would
// fill the memory, and the disk, with them.
func checkChange(f *os.File, name []byte, tables []*table) error {
	found, err := metas(f)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("%w: both headers", store.ErrDamaged)
	}
	c := &checker{file: f, meta: newest(found), known: map[uint64]page{}}
	if c.meta.freelist != noFreelist { // bbolt frees its pages, as many as it says
		if err := checkFreelist(f, c.meta); err != nil {
			return err
		}
	}
	if _, err := c.near(c.meta.root, useName, besideToo); err != nil {
		return err
	}
	root, err := c.near(c.meta.root, name, besideToo)
	if err != nil || root == 0 {
		return err
	}
	for _, t := range tables {
		for n := t.from(""); n != nil; n = n.next[0].Load() {
			wide := onWay // bbolt merges pages only where it took something away
			if n.newest.Load().deleted {
				wide = besideToo
			}
			if _, err := c.near(root, []byte(n.key), wide); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkFreelist(r io.ReaderAt, m meta) error {
	p, err := readPage(r, m, m.freelist)
	if err != nil {
		return err
	}
	if p.kind != kindFreelist {
		return p.damaged("it is of kind %#x, a list of free pages expected", p.kind)
	}
	free := p.bytes[pageHead:]
	n := uint64(p.count)
	if n == manyFree {
		n = binary.NativeEndian.Uint64(free)
		free = free[8:]
	}
	if room := uint64(len(free) / 8); n > room {
		return p.damaged("it lists %d free pages, and has room for %d", n, room)
	}
	last := uint64(1) // the headers are never free
	for i := range n {
		id := binary.NativeEndian.Uint64(free[8*i:])
		if id <= last || id >= m.pages {
			return p.damaged("it lists page %d after page %d as free, of %d", id, last, m.pages)
		}
		last = id
	}
	return nil
}

// A page as it is in the file, with those beyond the first.
type page struct {
	id    uint64
	kind  uint16
	count uint16
	bytes []byte

	elements []element // of a branch or a leaf
}

func (p page) damaged(format string, args ...any) error {
	return fmt.Errorf("%w: page %d: %s", store.ErrDamaged, p.id, fmt.Sprintf(format, args...))
}

func readPage(r io.ReaderAt, m meta, id uint64) (page, error) {
	p := page{id: id}
	if id < 2 || id >= m.pages {
		return p, p.damaged("there is none, the last is %d", m.pages-1)
	}
	head := make([]byte, pageHead)
	if _, err := r.ReadAt(head, int64(id*m.pageSize)); err != nil {
		return p, err
	}
	if is := binary.NativeEndian.Uint64(head); is != id {
		return p, p.damaged("it says that it is %d", is)
	}
	p.kind = binary.NativeEndian.Uint16(head[8:])
	p.count = binary.NativeEndian.Uint16(head[10:])
	more := uint64(binary.NativeEndian.Uint32(head[12:]))
	if more >= m.pages-id {
		return p, p.damaged("it takes %d pages, the last is %d", more+1, m.pages-1)
	}
	p.bytes = make([]byte, (1+more)*m.pageSize)
	_, err := r.ReadAt(p.bytes, int64(id*m.pageSize))
	return p, err
}

// An element is a key with the page below it, if there is one.
type element struct {
	key   []byte
	below uint64
}

// parse takes in the elements of a branch or a leaf.
func (p *page) parse() error {
	if p.kind != kindLeaf && (p.kind != kindBranch || p.count == 0) {
		return p.damaged("it is of kind %#x with %d elements, a branch or a leaf expected", p.kind, p.count)
	}
	if end := pageHead + int(p.count)*elementSize; end > len(p.bytes) {
		return p.damaged("it has %d elements, and no room for them", p.count)
	}
	p.elements = make([]element, p.count)
	for i := range p.elements {
		e, err := p.element(i)
		if err != nil {
			return err
		}
		if i > 0 && bytes.Compare(p.elements[i-1].key, e.key) >= 0 {
			return p.damaged("the key of element %d of %d is out of order", i, p.count)
		}
		p.elements[i] = e
	}
	return nil
}

func (p *page) element(i int) (element, error) {
	at := pageHead + i*elementSize
	e := p.bytes[at : at+elementSize]
	var flags, key, value uint32
	var start uint64
	if p.kind == kindBranch {
		start, key = uint64(binary.NativeEndian.Uint32(e)), binary.NativeEndian.Uint32(e[4:])
	} else {
		flags, start = binary.NativeEndian.Uint32(e), uint64(binary.NativeEndian.Uint32(e[4:]))
		key, value = binary.NativeEndian.Uint32(e[8:]), binary.NativeEndian.Uint32(e[12:])
	}
	start += uint64(at)
	keyEnd := start + uint64(key)
	end := keyEnd + uint64(value)
	if end > uint64(len(p.bytes)) || flags&^elementBucket != 0 {
		return element{}, p.damaged("element %d of %d ends at byte %d of %d, and is of kind %#x", i, p.count, end, len(p.bytes), flags)
	}
	found := element{key: p.bytes[start:keyEnd]}
	switch {
	case p.kind == kindBranch:
		found.below = binary.NativeEndian.Uint64(e[8:])
	case flags == elementBucket:
		var err error
		if found.below, err = p.bucket(p.bytes[keyEnd:end]); err != nil {
			return element{}, err
		}
	}
	return found, nil
}

// bucket returns the root of a bucket, or 0 when it is small enough to be kept
// in its value, as a page behind its head.
func (p *page) bucket(value []byte) (root uint64, err error) {
	if len(value) < bucketHead {
		return 0, p.damaged("a bucket has %d bytes, at least %d expected", len(value), bucketHead)
	}
	if root = binary.NativeEndian.Uint64(value); root != 0 {
		return root, nil
	}
	inner := page{id: p.id, bytes: value[bucketHead:]}
	if len(inner.bytes) < pageHead {
		return 0, p.damaged("a bucket kept in its value has %d bytes, at least %d expected", len(value), bucketHead+pageHead)
	}
	inner.kind = binary.NativeEndian.Uint16(inner.bytes[8:])
	inner.count = binary.NativeEndian.Uint16(inner.bytes[10:])
	if inner.kind != kindLeaf {
		return 0, p.damaged("a bucket kept in its value is of kind %#x, a leaf expected", inner.kind)
	}
	return 0, inner.parse()
}

// A checker has read some pages of a file.
type checker struct {
	file  io.ReaderAt
	meta  meta
	seen  []bool          // by tree
	known map[uint64]page // by near
}

// tree checks the pages from id on down, and the buckets in them, none of
// which it has seen before. Keys ascend, from min on and below max (nil is no
// bound), and the last is returned.
func (c *checker) tree(id uint64, min, max []byte) (last []byte, err error) {
	p, err := readPage(c.file, c.meta, id)
	if err == nil {
		err = p.parse()
	}
	if err != nil {
		return nil, err
	}
	for i := id; i < id+uint64(len(p.bytes))/c.meta.pageSize; i++ {
		if c.seen[i] {
			return nil, p.damaged("page %d is in use twice", i)
		}
		c.seen[i] = true
	}
	if last = min; len(p.elements) > 0 {
		last = p.elements[len(p.elements)-1].key
		if bytes.Compare(p.elements[0].key, min) < 0 || max != nil && bytes.Compare(last, max) >= 0 {
			return nil, p.damaged("its keys do not belong there")
		}
	}
	for i, e := range p.elements {
		switch {
		case p.kind == kindBranch:
			upper := max
			if i+1 < len(p.elements) {
				upper = p.elements[i+1].key
			}
			last, err = c.tree(e.below, e.key, upper)
		case e.below != 0:
			_, err = c.tree(e.below, nil, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	return last, nil
}

// A width is which pages near looks at on each level.
type width int

const (
	onWay     width = iota // that which leads to the key
	besideToo              // and those on both sides, which bbolt may merge with it
)

// near checks the pages from id down to a key. It returns the page below the
// key.
func (c *checker) near(id uint64, key []byte, wide width) (below uint64, err error) {
	for range maxDepth {
		p, err := c.know(id)
		if err != nil {
			return 0, err
		}
		i, found := slices.BinarySearchFunc(p.elements, key, func(e element, key []byte) int { return bytes.Compare(e.key, key) })
		if p.kind == kindLeaf {
			if found {
				below = p.elements[i].below
			}
			return below, nil
		}
		if !found && i > 0 {
			i--
		}
		if wide == besideToo {
			for _, beside := range p.elements[max(i-1, 0):min(i+2, len(p.elements))] {
				if _, err := c.know(beside.below); err != nil {
					return 0, err
				}
			}
		}
		id = p.elements[i].below
	}
	return 0, fmt.Errorf("%w: page %d: it is %d pages below its root", store.ErrDamaged, id, maxDepth)
}

// know returns a branch or a leaf.
func (c *checker) know(id uint64) (page, error) {
	p, ok := c.known[id]
	if ok {
		return p, nil
	}
	p, err := readPage(c.file, c.meta, id)
	if err == nil {
		err = p.parse()
	}
	c.known[id] = p
	return p, err
}

package bolt

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"omca/internal/store"
)

const (
	tableHeight  = 10  // lists of a table: about every second key of one is in the next
	nodeOverhead = 120 // bytes of a node and its version, for the size
)

// A table is an ordered map from keys to all that was done to them, each with
// its revision: a skip list. One goroutine at a time adds, and any number may
// read meanwhile without a lock: what is linked stays linked, and a reader
// passes over revisions that are newer than its own. The zero table is empty.
type table struct {
	head  [tableHeight]atomic.Pointer[node]
	bytes int   // its size, about; for those who add
	rev   int64 // of the newest change, 0 without one; for those who add
}

type node struct {
	key    string
	newest atomic.Pointer[version]
	next   []atomic.Pointer[node]
}

// A version is what one commit left under a key.
type version struct {
	rev     int64
	value   []byte // never written to
	deleted bool
	older   *version
}

// add adds what a commit did, which must be newer than all that is there. It
// keeps the values.
func (t *table) add(c store.Change) {
	for _, e := range c.Events {
		v := &version{rev: c.Rev, value: e.Value, deleted: e.Deleted}
		t.bytes += len(e.Key) + len(e.Value) + nodeOverhead
		t.rev = c.Rev
		var links [tableHeight]*atomic.Pointer[node]
		n := t.find(e.Key, &links)
		if n != nil && n.key == e.Key {
			v.older = n.newest.Load()
			n.newest.Store(v)
			continue
		}
		height := 1 + bits.TrailingZeros32(rand.Uint32()|1<<(tableHeight-1))
		n = &node{key: e.Key, next: make([]atomic.Pointer[node], height)}
		n.newest.Store(v)
		for i := range n.next {
			n.next[i].Store(links[i].Load())
			links[i].Store(n)
		}
	}
}

// find returns the first node whose key is not before key, and fills in the
// links that lead to it or, from a node of that key yet to be made, would.
func (t *table) find(key string, links *[tableHeight]*atomic.Pointer[node]) *node {
	next := t.head[:]
	var n *node // as it was met: looked at again, a link may lead to a new node before key
	for i := tableHeight - 1; i >= 0; i-- {
		for n = next[i].Load(); n != nil && n.key < key; n = next[i].Load() {
			next = n.next
		}
		links[i] = &next[i]
	}
	return n
}

// from returns the first node whose key is not before key.
func (t *table) from(key string) *node {
	var links [tableHeight]*atomic.Pointer[node]
	return t.find(key, &links)
}

// get returns what a key was at a revision, nil when the table does not know.
func (t *table) get(key string, rev int64) *version {
	if n := t.from(key); n != nil && n.key == key {
		return n.at(rev)
	}
	return nil
}

// at returns the newest version up to a revision, nil when there is none.
func (n *node) at(rev int64) *version {
	v := n.newest.Load()
	for v != nil && v.rev > rev {
		v = v.older
	}
	return v
}

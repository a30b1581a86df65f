package crl

import (
	"hash/maphash"
	"iter"

	"omca/pki"
)

// A revocation names one certificate: the CA that issued it, and the content octets of its serial number.
type revocation struct {
	id     pki.AuthorityID
	serial string
}

// recent holds the revocations of a Ledger that are in no table yet, in a persistent trie over the
// hashes of serial numbers: whoever has the trie before keeps it, since adding
// one copies the nodes on its way, and nothing else. So every call costs the
// same few nodes, whatever is there; a map that is copied now and then would
// make some revocation wait for all that came before it.
//
// The hash is seeded, so that whoever chooses serial numbers cannot make the
// ways long. Its seed is that of the first revocation.
type recent struct {
	seed  maphash.Seed
	root  *branch
	count int
}

const (
	branchBits = 4               // of a hash, for one step
	maxSteps   = 64 / branchBits // then hashes are equal, and so are the serial numbers
)

// A branch is a node of the trie. Nobody changes one that others may see.
type branch struct {
	next [1 << branchBits]*branch
	leaf []told // of one hash; a branch with a leaf has no next
	hash uint64 // of the leaf
}

// told is one revocation of [Ledger.With].
type told struct {
	revocation
	Entry
}

func slotOf(hash uint64, step int) uint64 { return hash >> (step * branchBits) % (1 << branchBits) }

// with returns r and one more, and how many nodes it made for that. What is
// there already stays as it was.
func (r recent) with(key revocation, e Entry) (with recent, made int) {
	if _, known := r.find(key.id, []byte(key.serial)); known {
		return r, 0
	}
	if r.root == nil {
		r.seed = maphash.MakeSeed()
	}
	r.root = r.root.with(maphash.String(r.seed, key.serial), 0, told{key, e}, &made)
	r.count++
	return r, made
}

// with returns a copy of b, nil for an empty one, that has one more.
func (b *branch) with(hash uint64, step int, one told, made *int) *branch {
	*made++
	switch {
	case b == nil:
		return &branch{leaf: []told{one}, hash: hash}
	case b.leaf == nil:
		fresh := *b
		slot := slotOf(hash, step)
		fresh.next[slot] = b.next[slot].with(hash, step+1, one, made)
		return &fresh
	case b.hash == hash || step == maxSteps:
		// The same serial number of another issuer: as many as there are issuers.
		return &branch{leaf: append(b.leaf[:len(b.leaf):len(b.leaf)], one), hash: hash}
	}
	fork := new(branch)
	fork.next[slotOf(b.hash, step)] = b
	return fork.with(hash, step, one, made)
}

// at returns what is told of serial numbers with a hash.
func (r recent) at(hash uint64) []told {
	b := r.root
	for step := 0; b != nil && b.leaf == nil; step++ {
		b = b.next[slotOf(hash, step)]
	}
	if b == nil || b.hash != hash {
		return nil
	}
	return b.leaf
}

// find looks a revocation up, without allocating.
func (r recent) find(id pki.AuthorityID, serial []byte) (Entry, bool) {
	if r.root == nil {
		return Entry{}, false
	}
	for _, one := range r.at(maphash.Bytes(r.seed, serial)) {
		if one.serial == string(serial) && one.id == id {
			return one.Entry, true
		}
	}
	return Entry{}, false
}

// all returns the revocations in no order.
func (r recent) all() iter.Seq[told] {
	return func(yield func(told) bool) { r.root.each(yield) }
}

// each yields what is below b until it is told to stop, and reports whether it was not.
func (b *branch) each(yield func(told) bool) bool {
	if b == nil {
		return true
	}
	for _, one := range b.leaf {
		if !yield(one) {
			return false
		}
	}
	for _, next := range b.next {
		if !next.each(yield) {
			return false
		}
	}
	return true
}

package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// A value in a store of the format [FormatAuthentic] is
//
//	value (n bytes) | counter (8, big endian) | tag (16)
//
// and its tag is the first half of an HMAC-SHA256, under a key that is kept with the data
// keys, over valueTag, the length of the key of the value in the store, that key, the
// counter and the value. So a value is refused when it was altered, or moved to another
// key. The counter is that of the value before, plus one, for the kinds that are counted, and 0
// for the rest.
const (
	TagSize     = 16
	CounterSize = 8
	TrailerSize = CounterSize + TagSize

	macKeySize = sha256.Size

	valueTag = "omca value\x00"
)

// A MAC makes and checks tags. Many may use it at once.
type MAC struct {
	key  [macKeySize]byte
	pool sync.Pool // of hash.Hash under key: making one takes longer than most MACs
}

// Sum returns the MAC over what write writes.
func (m *MAC) Sum(write func(hash.Hash)) (sum [sha256.Size]byte) {
	h, ok := m.pool.Get().(hash.Hash)
	if !ok {
		h = hmac.New(sha256.New, m.key[:])
	}
	defer m.pool.Put(h)
	h.Reset()
	write(h)
	h.Sum(sum[:0])
	return sum
}

// tag returns the tag of a value with its counter, as they lie in the store.
func (m *MAC) tag(key string, counted []byte) []byte {
	sum := m.Sum(func(h hash.Hash) {
		b := make([]byte, 0, len(valueTag)+4+len(key))
		b = append(b, valueTag...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
		h.Write(append(b, key...))
		// The counter has a fixed size, so what is before it is the value.
		h.Write(counted)
	})
	return sum[:TagSize]
}

// Attach returns a value as it lies in the store.
func (m *MAC) Attach(key string, value []byte, counter uint64) []byte {
	b := make([]byte, 0, len(value)+TrailerSize)
	b = binary.BigEndian.AppendUint64(append(b, value...), counter)
	return append(b, m.tag(key, b)...)
}

// Detach returns the value and its counter. It reports false when the tag is not that of
// the value at that key.
func (m *MAC) Detach(key string, stored []byte) (value []byte, counter uint64, ok bool) {
	if len(stored) < TrailerSize {
		return nil, 0, false
	}
	counted := stored[:len(stored)-TagSize]
	if !hmac.Equal(m.tag(key, counted), stored[len(counted):]) {
		return nil, 0, false
	}
	at := len(counted) - CounterSize
	return stored[:at:at], binary.BigEndian.Uint64(counted[at:]), true
}

package crl

import (
	"fmt"
	"hash/maphash"
	"iter"
	"math/big"
	"time"

	"omca/pki"
)

// maxSerial is how many content octets a serial number may have: 20 of value
// (RFC 5280, 4.1.2.2) and the zero in front of a set top bit.
const maxSerial = 21

// An Entry says that one certificate of a list's issuer was revoked.
type Entry struct {
	Serial pki.Serial
	At     time.Time // to the second, UTC
	Reason Reason
}

// A record is an Entry in 28 octets.
type record struct {
	low    uint32 // seconds since 1 January of the year 0, lowest 32 bits
	high   uint8  // and the bits above
	reason Reason
	size   uint8           // of serial
	serial [maxSerial]byte // content octets of the INTEGER: every number, negative ones too, has one form
}

// yearZero is the second that records count from.
const yearZero = -62167219200

func newRecord(serial []byte, at time.Time, reason Reason) record {
	seconds := uint64(at.Unix() - yearZero)
	r := record{low: uint32(seconds), high: uint8(seconds >> 32), reason: reason, size: uint8(len(serial))}
	copy(r.serial[:], serial)
	return r
}

func (r *record) content() []byte { return r.serial[:r.size] }

func (r *record) at() time.Time {
	return time.Unix(int64(uint64(r.high)<<32|uint64(r.low))+yearZero, 0).UTC()
}

func (r *record) entry() Entry {
	return Entry{Serial: pki.Serial(integer(r.content()).Text(16)), At: r.at(), Reason: r.reason}
}

// A table finds records by serial number: records in the order of the list, and
// an open-addressing index over them. The hash is seeded, so that whoever chooses
// serial numbers cannot make them collide. A million take 28 MB and 8 MB.
type table struct {
	seed    maphash.Seed
	records []record
	index   []uint32 // position in records, plus one; 0 is free; a power of two
}

// newTable returns a table with room for count records.
func newTable(count int) table {
	size := 1
	for size*3 < count*4 { // at most three quarters full
		size *= 2
	}
	return table{seed: maphash.MakeSeed(), records: make([]record, 0, count), index: make([]uint32, size)}
}

// find returns the record of a serial number, nil if there is none.
func (t *table) find(serial []byte) *record {
	if t == nil || len(t.records) == 0 {
		return nil
	}
	mask := uint64(len(t.index) - 1)
	for slot := maphash.Bytes(t.seed, serial) & mask; t.index[slot] != 0; slot = (slot + 1) & mask {
		r := &t.records[t.index[slot]-1]
		if string(r.content()) == string(serial) {
			return r
		}
	}
	return nil
}

// add puts r into the table, which has room for it. Of two records of one serial
// number, which no list should have, the first stays, unless it says that the
// certificate is not revoked.
func (t *table) add(r record) {
	if old := t.find(r.content()); old != nil {
		if old.reason == RemoveFromCRL {
			*old = r
		}
		return
	}
	t.records = append(t.records, r)
	mask := uint64(len(t.index) - 1)
	slot := maphash.Bytes(t.seed, r.content()) & mask
	for t.index[slot] != 0 {
		slot = (slot + 1) & mask
	}
	t.index[slot] = uint32(len(t.records))
}

// all returns the entries in the order of the list.
func (t *table) all() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := range t.records {
			if !yield(t.records[i].entry()) {
				return
			}
		}
	}
}

// serialContent writes the content octets of n as an INTEGER into buffer and
// returns them; false if they do not fit.
func serialContent(n *big.Int, buffer *[maxSerial]byte) ([]byte, bool) {
	if n == nil {
		return nil, false
	}
	if n.Sign() < 0 {
		return negativeContent(n, buffer)
	}
	size := n.BitLen()/8 + 1 // one bit more for the sign
	if size > maxSerial {
		return nil, false
	}
	return n.FillBytes(buffer[:size]), true
}

// negativeContent is serialContent for the negative numbers that RFC 5280,
// 4.1.2.2 asks users to handle gracefully: two's complement.
func negativeContent(n *big.Int, buffer *[maxSerial]byte) ([]byte, bool) {
	above := new(big.Int).Not(n) // -n-1, which has as many octets
	size := above.BitLen()/8 + 1
	if size > maxSerial {
		return nil, false
	}
	content := above.FillBytes(buffer[:size])
	for i := range content {
		content[i] = ^content[i]
	}
	return content, true
}

// content returns the content octets of e's serial number, and whether an
// Entry of ours may say what e says. Errors: pki.ErrInvalid.
func (e Entry) content() ([]byte, error) {
	serial, err := pki.ParseSerial(string(e.Serial))
	if err != nil {
		return nil, err
	}
	if !e.Reason.known() || e.Reason == RemoveFromCRL {
		return nil, fmt.Errorf("%w: serial %s: %s is no reason to revoke", pki.ErrInvalid, serial, e.Reason)
	}
	if year := e.At.UTC().Year(); year < 1950 || year > 9999 {
		return nil, fmt.Errorf("%w: serial %s: revoked in the year %d", pki.ErrInvalid, serial, year)
	}
	content, ok := serialContent(serial.Int(), new([maxSerial]byte))
	if !ok {
		return nil, fmt.Errorf("%w: serial %s has more than %d octets", pki.ErrInvalid, serial, maxSerial)
	}
	return content, nil
}

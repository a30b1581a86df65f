package crl

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/pki"
)

// packed is entries as a list has them, encoded once and sorted by serial
// number, so that one more is spliced in by copying.
type packed struct {
	der     []byte
	start   []uint32 // of each entry in der
	expires []int64  // last second, Unix, at which it must be on a list
	dates   []int64  // second, Unix, of the revocation
}

func (p *packed) len() int { return len(p.start) }

// at returns the DER of entry i.
func (p *packed) at(i int) []byte { return p.der[p.start[i]:p.end(i)] }

func (p *packed) end(i int) int {
	if i+1 < len(p.start) {
		return int(p.start[i+1])
	}
	return len(p.der)
}

// serial returns the content octets of the serial number of entry i: entries
// and serials are short, so each has two octets before its content.
func (p *packed) serial(i int) []byte {
	e := p.at(i)
	return e[4 : 4+e[3]]
}

// compareSerials orders content octets of integers that are not negative.
func compareSerials(a, b []byte) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), bytes.Compare(a, b))
}

// find returns where a serial number is, or would be.
func (p *packed) find(serial []byte) (int, bool) {
	lo, hi := 0, p.len()
	for lo < hi {
		if mid := (lo + hi) / 2; compareSerials(p.serial(mid), serial) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < p.len() && bytes.Equal(p.serial(lo), serial)
}

// appendRange puts entries from to to of q at the end of p.
func (p *packed) appendRange(q *packed, from, to int) {
	if from >= to {
		return
	}
	shift := uint32(len(p.der)) - q.start[from] // wraps around, and back
	p.der = append(p.der, q.der[q.start[from]:q.end(to-1)]...)
	for _, start := range q.start[from:to] {
		p.start = append(p.start, start+shift)
	}
	p.expires = append(p.expires, q.expires[from:to]...)
	p.dates = append(p.dates, q.dates[from:to]...)
}

// maxPacked bounds the octets of all entries, which uint32 counts.
const maxPacked = 1 << 31

// merged returns p with the entries of q that it does not have.
func (p *packed) merged(q *packed) (*packed, error) {
	if len(p.der)+len(q.der) > maxPacked {
		return nil, fmt.Errorf("%w: a list of more than %d bytes", pki.ErrInvalid, maxPacked)
	}
	m := &packed{
		der:     make([]byte, 0, len(p.der)+len(q.der)),
		start:   make([]uint32, 0, p.len()+q.len()),
		expires: make([]int64, 0, p.len()+q.len()),
		dates:   make([]int64, 0, p.len()+q.len()),
	}
	done := 0
	for i := range q.len() {
		place, known := p.find(q.serial(i))
		m.appendRange(p, done, place)
		if done = place; !known {
			m.appendRange(q, i, i+1)
		}
	}
	m.appendRange(p, done, p.len())
	return m, nil
}

// without returns p less the entries that a list of a time need have been the
// last to have.
func (p *packed) without(last time.Time) *packed {
	gone := func(at int64) bool { return at < last.Unix() }
	if !slices.ContainsFunc(p.expires, gone) {
		return p
	}
	kept := new(packed)
	for i, at := range p.expires {
		if !gone(at) {
			kept.appendRange(p, i, i+1)
		}
	}
	return kept
}

// dated returns p with no date behind that of the list: a revocation that a clock ahead of others dated is
// on the list all the same, and a list is not older than what it says.
func (p *packed) dated(list time.Time) (*packed, error) {
	if late := func(at int64) bool { return at > list.Unix() }; !slices.ContainsFunc(p.dates, late) {
		return p, nil
	}
	fixed := new(packed)
	for i, at := range p.dates {
		if at <= list.Unix() {
			fixed.appendRange(p, i, i+1)
			continue
		}
		one, err := redated(p.at(i), list)
		if err != nil {
			return nil, err
		}
		fixed.start = append(fixed.start, uint32(len(fixed.der)))
		fixed.der = append(fixed.der, one...)
		fixed.expires, fixed.dates = append(fixed.expires, p.expires[i]), append(fixed.dates, list.Unix())
	}
	return fixed, nil
}

// redated returns an entry of revokedCertificates with another date.
func redated(entry []byte, at time.Time) ([]byte, error) {
	in := cryptobyte.String(entry)
	var fields, serial, date cryptobyte.String
	var tag asn1.Tag
	if !in.ReadASN1(&fields, asn1.SEQUENCE) || !fields.ReadASN1Element(&serial, asn1.INTEGER) || !fields.ReadAnyASN1Element(&date, &tag) {
		return nil, fmt.Errorf("%w: an entry that cannot be read back", pki.ErrInvalid)
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(serial)
		addTime(b, at)
		b.AddBytes(fields)
	})
	return b.Bytes()
}

// pack encodes revocations; of two with one serial number it takes the first.
func pack(list []Revocation) (*packed, error) {
	type encoded struct {
		der     []byte
		expires int64
		date    int64
	}
	all := make([]encoded, 0, len(list))
	for _, r := range list {
		der, err := r.encode()
		if err != nil {
			return nil, err
		}
		// Whoever is revoked after the end of the certificate is on one list, too.
		all = append(all, encoded{der, max(r.NotAfter.Unix(), r.At.Unix()), r.At.Unix()})
	}
	serial := func(e encoded) []byte { return e.der[4 : 4+e.der[3]] }
	slices.SortStableFunc(all, func(a, b encoded) int { return compareSerials(serial(a), serial(b)) })
	all = slices.CompactFunc(all, func(a, b encoded) bool { return bytes.Equal(serial(a), serial(b)) })
	p := new(packed)
	for _, e := range all {
		if len(p.der) > maxPacked {
			return nil, fmt.Errorf("%w: a list of more than %d bytes", pki.ErrInvalid, maxPacked)
		}
		p.start = append(p.start, uint32(len(p.der)))
		p.der = append(p.der, e.der...)
		p.expires, p.dates = append(p.expires, e.expires), append(p.dates, e.date)
	}
	return p, nil
}

// encode returns an entry of revokedCertificates (RFC 5280, 5.1.2.6), DER.
func (r Revocation) encode() ([]byte, error) {
	serial, err := r.content()
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(serial) })
		addTime(b, r.At)
		// RFC 5280, 5.3.1: the reason should be absent instead of unspecified.
		if r.Reason == Unspecified {
			return
		}
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addExtension(b, "\x55\x1d\x15", optional, func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(r.Reason)) })
		})
	})
	return b.Bytes()
}

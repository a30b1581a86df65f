package crl

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"omca/pki"
)

func found(r recent, key revocation) (Entry, bool) { return r.find(key.id, []byte(key.serial)) }

// Every revocation that is put in force makes a few nodes, however many there
// are: none waits for those before it to be copied.
func TestRecentWork(t *testing.T) {
	const (
		count = 50_000
		most  = 24 // four or five on the way, and two for each step that two hashes have in common beyond
	)
	one := func(n int) revocation {
		return revocation{pki.AuthorityID{1}, string(binary.BigEndian.AppendUint64(nil, uint64(n)))}
	}
	var r recent
	var before []recent // one of every 10,000
	worst, at := 0, time.Unix(1<<30, 0)
	for n := range count {
		if n%10_000 == 0 {
			before = append(before, r)
		}
		next, made := r.with(one(n), Entry{At: at.Add(time.Duration(n))})
		r, worst = next, max(worst, made)
	}
	if worst > most {
		t.Errorf("one revocation made %d nodes, at most %d are allowed", worst, most)
	}
	if _, made := r.with(one(7), Entry{}); made != 0 {
		t.Errorf("one that is there made %d nodes", made)
	}
	for n := range count {
		if e, ok := found(r, one(n)); !ok || !e.At.Equal(at.Add(time.Duration(n))) {
			t.Fatalf("revocation %d: %v, %v", n, e, ok)
		}
	}
	if _, ok := found(r, one(count)); ok {
		t.Error("one that nobody told is there")
	}
	for i, old := range before {
		_, last := found(old, one(i*10_000-1))
		if _, next := found(old, one(i*10_000)); next || last != (i > 0) || old.count != i*10_000 {
			t.Errorf("the set of %d revocations changed", i*10_000)
		}
	}
	var all []string
	for one := range r.all() {
		all = append(all, one.serial)
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != count || r.count != count {
		t.Errorf("%d of %d revocations are listed, %d counted", len(all), count, r.count)
	}
}

// One serial number of many issuers is as many revocations.
func TestRecentOneSerial(t *testing.T) {
	of := func(n int) revocation { return revocation{pki.AuthorityID{byte(n)}, "\x05"} }
	var r recent
	for n := range 5 {
		former := r
		r, _ = r.with(of(n), Entry{Reason: Reason(n)})
		// Two branches of one past do not write into each other.
		other, _ := former.with(of(20), Entry{})
		if _, ok := found(other, of(n)); ok {
			t.Fatalf("revocation %d is in a set that it was not told to", n)
		}
	}
	for n := range 6 {
		if e, ok := found(r, of(n)); ok != (n < 5) || ok && e.Reason != Reason(n) {
			t.Errorf("issuer %d: %v, %v", n, e, ok)
		}
	}
}

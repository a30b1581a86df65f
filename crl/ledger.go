package crl

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"

	"omca/pki"
)

// A Ledger is a snapshot of what an authority took back itself: revocations by the identity of the CA that
// issued, whether or not a list of that CA is published. It convicts and never acquits. A Ledger does not
// change; any number of goroutines may use it. Keep it behind an atomic.Pointer.
//
// Entries never leave: the end of a certificate is for a clock to say, and clocks err.
type Ledger struct {
	known  *known
	tables map[pki.AuthorityID]*table
	recent recent // what is in no table yet
	places map[string]Entry
}

// NewLedger returns a ledger with no entries.
func NewLedger() *Ledger {
	return &Ledger{known: newKnown(), tables: make(map[pki.AuthorityID]*table)}
}

// With returns the ledger that also holds e, of a certificate that the CA issued. A certificate that is
// revoked already stays revoked as it was. A call takes a few microseconds, whatever is there. Errors:
// pki.ErrInvalid for what cannot be a serial number, and for RemoveFromCRL.
func (l *Ledger) With(id pki.AuthorityID, e Entry) (*Ledger, error) {
	serial, err := e.content()
	if err != nil {
		return nil, err
	}
	if l.tables[id].holds(serial) {
		return l, nil
	}
	next := *l
	next.recent, _ = l.recent.with(revocation{id, string(serial)}, e)
	return &next, nil
}

// WithUnplaced returns the ledger that also holds e, of a certificate whose CA is known by its key identifier
// alone: an old record whose CA certificate is nowhere any more. Errors: as for With.
func (l *Ledger) WithUnplaced(keyID []byte, e Entry) (*Ledger, error) {
	serial, err := e.content()
	if err != nil {
		return nil, err
	}
	next := *l
	if next.places = maps.Clone(l.places); next.places == nil {
		next.places = make(map[string]Entry)
	}
	next.places[unplacedKey(keyID, serial)] = e
	return &next, nil
}

func unplacedKey(keyID, serial []byte) string {
	return hex.EncodeToString(keyID) + "/" + string(serial)
}

// WithAll returns the ledger that also holds all entries of one CA; it copies what is there of that CA once.
// Errors: as for With, and those that the sequence yields.
func (l *Ledger) WithAll(id pki.AuthorityID, entries iter.Seq2[Entry, error]) (*Ledger, error) {
	var fresh []record
	for e, err := range entries {
		if err != nil {
			return nil, err
		}
		serial, err := e.content()
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, newRecord(serial, e.At, e.Reason))
	}
	next := *l
	next.tables = maps.Clone(l.tables)
	next.tables[id] = l.tables[id].extended(fresh)
	return &next, nil
}

// Recent returns how many entries came by With and are in no table. An entry there takes ten times the memory
// of one in a table: see Compacted.
func (l *Ledger) Recent() int { return l.recent.count }

// Compacted returns a ledger with the same entries, all in tables.
func (l *Ledger) Compacted() *Ledger {
	fresh := make(map[pki.AuthorityID][]record)
	for one := range l.recent.all() {
		fresh[one.id] = append(fresh[one.id], newRecord([]byte(one.serial), one.At, one.Reason))
	}
	next := *l
	next.recent, next.tables = recent{}, maps.Clone(l.tables)
	for id, records := range fresh {
		next.tables[id] = l.tables[id].extended(records)
	}
	return &next
}

// Rebased returns compacted, which was made of an earlier l, with what came to l since.
func (l *Ledger) Rebased(compacted *Ledger) *Ledger {
	next := *compacted
	next.places = l.places
	for one := range l.recent.all() {
		if !compacted.tables[one.id].holds([]byte(one.serial)) {
			next.recent, _ = next.recent.with(one.revocation, one.Entry)
		}
	}
	return &next
}

// Len returns the number of entries.
func (l *Ledger) Len() int {
	n := l.recent.count + len(l.places)
	for _, t := range l.tables {
		n += len(t.records)
	}
	return n
}

// Check reports whether cert, which issuer issued, was taken back. That the one signed the other is the
// caller's business. It takes well under a microsecond, and allocates nothing to answer no.
func (l *Ledger) Check(cert, issuer *x509.Certificate) (e Entry, revoked bool) {
	var buffer [maxSerial]byte
	serial, ok := serialContent(cert.SerialNumber, &buffer)
	if !ok {
		return Entry{}, false // more octets than a serial number of ours has
	}
	id := l.known.of(issuer).id
	if r := l.tables[id].find(serial); r != nil {
		return r.entry(), true
	}
	if e, ok := l.recent.find(id, serial); ok {
		return e, true
	}
	if l.places != nil {
		if e, ok := l.places[unplacedKey(issuer.SubjectKeyId, serial)]; ok {
			return e, true
		}
	}
	return l.CheckUnplaced(cert)
}

// CheckUnplaced is Check for a certificate whose issuer is not known: it finds what WithUnplaced added.
func (l *Ledger) CheckUnplaced(cert *x509.Certificate) (e Entry, revoked bool) {
	if l.places == nil {
		return Entry{}, false
	}
	var buffer [maxSerial]byte
	serial, ok := serialContent(cert.SerialNumber, &buffer)
	if !ok {
		return Entry{}, false
	}
	e, revoked = l.places[unplacedKey(cert.AuthorityKeyId, serial)]
	return e, revoked
}

// Entries yields the entries of one CA, in no order.
func (l *Ledger) Entries(id pki.AuthorityID) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		if t := l.tables[id]; t != nil {
			for e := range t.all() {
				if !yield(e) {
					return
				}
			}
		}
		for one := range l.recent.all() {
			if one.id == id && !yield(one.Entry) {
				return
			}
		}
	}
}

// String describes the ledger in a few words.
func (l *Ledger) String() string {
	return fmt.Sprintf("%d revocations of %d authorities", l.Len(), len(l.tables))
}

// extended returns a table with more records; of two with one serial number, the one that was there first.
// A nil table is an empty one, here and below.
func (t *table) extended(records []record) *table {
	had := 0
	if t != nil {
		had = len(t.records)
	}
	next := newTable(had + len(records))
	if t != nil {
		for _, r := range t.records {
			next.add(r)
		}
	}
	for _, r := range records {
		next.add(r)
	}
	return &next
}

func (t *table) holds(serial []byte) bool { return t.find(serial) != nil }

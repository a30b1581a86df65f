package registry

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/store"
	"omca/pki"
)

// Records lie in the order of their expiry: those that are issued one after
// another end up beside each other, so the store rewrites few pages, and the
// list of what expires next is a scan from the start.

// recordHead is what a stored record has in front of the certificate.
type recordHead struct {
	Issuer  string    `json:"i"`
	Owner   string    `json:"o"`
	Profile string    `json:"p"`
	By      string    `json:"b"`
	At      time.Time `json:"t"`
	Signer  string    `json:"k,omitempty"`
	Since   time.Time `json:"s,omitzero"` // when the object of the owner was made

	Again bool `json:"r,omitempty"` // it does not count for cluster.max_certificates

	Authority []byte `json:"a,omitempty"` // identity of the CA, 32 octets
}

// A stored record: the length of the head as a varint, the head as JSON, the
// certificate as DER.
func encodeRecord(r ca.Record) ([]byte, error) {
	head := recordHead{Issuer: r.Issuer, Owner: r.Owner, Profile: r.Profile, By: r.By, At: r.IssuedAt, Signer: r.Signer, Since: r.OwnerSince, Again: r.Again}
	if !r.Authority.IsZero() {
		head.Authority = r.Authority[:]
	}
	h, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	b := binary.AppendUvarint(make([]byte, 0, len(h)+len(r.Certificate.Raw)+binary.MaxVarintLen32), uint64(len(h)))
	return append(append(b, h...), r.Certificate.Raw...), nil
}

func decodeRecord(b []byte) (ca.Record, error) {
	h, der, err := decodeRecordHead(b)
	if err != nil {
		return ca.Record{}, err
	}
	return h.with(der)
}

// decodeRecordHead reads what is in front of the certificate, DER.
func decodeRecordHead(b []byte) (h recordHead, der []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return h, nil, errors.New("record: the head is cut off")
	}
	b = b[size:]
	if err := json.Unmarshal(b[:n], &h); err != nil {
		return h, nil, fmt.Errorf("record: %w", err)
	}
	if l := len(h.Authority); l != 0 && l != len(pki.AuthorityID{}) {
		return h, nil, fmt.Errorf("record: the identity of the CA has %d octets", l)
	}
	return h, b[n:], nil
}

// with returns the record of a certificate.
func (h recordHead) with(der []byte) (ca.Record, error) {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		cert, err = pki.WithExtensions(cert)
	}
	if err != nil {
		return ca.Record{}, fmt.Errorf("record: %w", err)
	}
	r := ca.Record{Certificate: cert, Issuer: h.Issuer, Owner: h.Owner, Profile: h.Profile, By: h.By, IssuedAt: h.At, Signer: h.Signer, OwnerSince: h.Since, Again: h.Again}
	copy(r.Authority[:], h.Authority)
	return r, nil
}

// expiryKey orders times as text: seconds since 1970, ten hexadecimal digits.
func expiryKey(t time.Time) string { return fmt.Sprintf("%010x", max(0, t.Unix())) }

func ownerKey(owner, expiry string, serial pki.Serial) string {
	return prefixOwner + owner + "//" + expiry + "/" + string(serial)
}

// putRecord adds to tx what one record needs: itself and its two indexes, on
// condition that its serial is unused.
func putRecord(tx *store.Tx, r ca.Record) error {
	value, err := encodeRecord(r)
	if err != nil {
		return err
	}
	expiry, serial := expiryKey(r.Certificate.NotAfter), r.Serial()
	tx.Expect = append(tx.Expect, store.Expect{Key: prefixSerial + string(serial)})
	tx.Puts = append(tx.Puts,
		store.Put{Key: prefixCert + expiry + "/" + string(serial), Value: value},
		store.Put{Key: prefixSerial + string(serial), Value: []byte(expiry)},
		store.Put{Key: ownerKey(r.Owner, expiry, serial)})
	return nil
}

// Record implements [ca.Store].
func (s *Store) Record(ctx context.Context, serial pki.Serial) (ca.Record, error) {
	e, err := s.db.Get(ctx, prefixSerial+string(serial))
	if errors.Is(err, store.ErrNotFound) {
		return ca.Record{}, fmt.Errorf("%w: no certificate with serial %s was issued here", ca.ErrNotFound, serial)
	}
	if err != nil {
		return ca.Record{}, err
	}
	return s.recordAt(ctx, prefixCert+string(e.Value)+"/"+string(serial))
}

func (s *Store) recordAt(ctx context.Context, key string) (ca.Record, error) {
	e, err := s.db.Get(ctx, key)
	if err != nil {
		return ca.Record{}, errIndex(err)
	}
	return decodeRecord(e.Value)
}

func errIndex(err error) error {
	return fmt.Errorf("the index names a record that cannot be read: %w", err)
}

// Records implements [ca.Store]. The cursor of a record is "<expiry>/<serial>".
func (s *Store) Records(ctx context.Context, q ca.Query) iter.Seq2[ca.Listed, error] {
	return func(yield func(ca.Listed, error) bool) {
		r := store.Range{Prefix: prefixCert}
		if q.Owner != "" {
			r.Prefix = prefixOwner + q.Owner + "//"
		}
		if !q.ExpiresAfter.IsZero() {
			r.After = r.Prefix + expiryKey(q.ExpiresAfter) + "/~" // behind every serial of that second
		}
		if q.After != "" {
			r.After = max(r.After, r.Prefix+q.After)
		}
		var octets []byte
		if q.Key != nil {
			octets = pki.KeyOctets(q.Key.PublicKey)
		}
		for e, err := range entriesIn(ctx, s.db, r) {
			if err != nil {
				yield(ca.Listed{}, err)
				return
			}
			listed, more, err := s.listed(ctx, q, octets, r.Prefix, e)
			if err != nil {
				yield(ca.Listed{}, err)
				return
			}
			if !more || listed.Certificate != nil && !yield(listed, nil) {
				return
			}
		}
	}
}

// listed reads the record that entry e of a scan stands for; octets are those of the
// key that q selects by, which looks at a record before it is parsed. Its certificate
// is nil when q does not select it; more is false when the scan has come to
// the end of what q selects.
func (s *Store) listed(ctx context.Context, q ca.Query, octets []byte, prefix string, e store.Entry) (l ca.Listed, more bool, err error) {
	cursor := strings.TrimPrefix(e.Key, prefix)
	if !q.ExpiresBefore.IsZero() && cursor >= expiryKey(q.ExpiresBefore) {
		return ca.Listed{}, false, nil
	}
	value := e.Value
	if q.Owner != "" {
		kept, err := s.db.Get(ctx, prefixCert+cursor)
		if err != nil {
			return ca.Listed{}, false, errIndex(err)
		}
		value = kept.Value
	}
	h, der, err := decodeRecordHead(value)
	if err != nil {
		return ca.Listed{}, false, err
	}
	if q.Issuer != "" && h.Issuer != q.Issuer || q.Profile != "" && h.Profile != q.Profile {
		return ca.Listed{}, true, nil // before the certificate is parsed, which takes most of the time
	}
	if !bytes.Contains(der, octets) {
		return ca.Listed{}, true, nil
	}
	record, err := h.with(der)
	if err != nil {
		return ca.Listed{}, false, err
	}
	if q.Key != nil && !pki.SameKey(record.Certificate.PublicKey, q.Key.PublicKey) {
		return ca.Listed{}, true, nil
	}
	return ca.Listed{Record: record, Cursor: cursor}, true, nil
}

// IssuedBy implements [ca.Store]. Serials lie in the order of issuing: those of the time
// asked for are read, and of their records the head.
func (s *Store) IssuedBy(ctx context.Context, by string, since time.Time) ([]time.Time, error) {
	const ahead = 10 * time.Minute // the clocks of other nodes
	last := prefixSerial + pki.SerialsFrom(s.now().Add(ahead))
	var all []time.Time
	first := store.Range{Prefix: prefixSerial, After: prefixSerial + pki.SerialsFrom(since)}
	for e, err := range entriesIn(ctx, s.db, first) {
		if err != nil {
			return nil, err
		}
		if e.Key > last {
			break
		}
		kept, err := s.db.Get(ctx, prefixCert+string(e.Value)+"/"+strings.TrimPrefix(e.Key, prefixSerial))
		if errors.Is(err, store.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		h, _, err := decodeRecordHead(kept.Value)
		if err != nil {
			return nil, err
		}
		if h.By == by && !h.Again && h.At.After(since) {
			all = append(all, h.At)
		}
	}
	return all, nil
}

// CountRecords returns the size of the inventory. The first call reads the
// index of serials from end to end, a matter of milliseconds per ten thousand;
// from then on what this process commits is added.
func (s *Store) CountRecords(ctx context.Context) (int, error) {
	s.counting.Lock()
	defer s.counting.Unlock()
	if s.counted {
		return int(s.records.Load()), nil
	}
	s.records.Store(0) // before the scan: what is committed meanwhile may count twice, and is never left out
	n := 0
	for _, err := range entries(ctx, s.db, prefixSerial) {
		if err != nil {
			return 0, err
		}
		n++
	}
	s.counted = true
	return int(s.records.Add(int64(n))), nil
}

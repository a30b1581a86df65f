package store

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Limits that every store keeps. They are those of etcd as it comes (128
// operations and 1.5 MiB a request), less what its envelope and a key prefix
// of ours need.
const (
	MaxKey    = 1 << 10   // bytes in a key or a prefix
	MaxValue  = 1_200_000 // bytes in a value
	MaxOps    = 100       // puts and deletes in a Tx; as many expectations again
	MaxTx     = 1_500_000 // bytes in a Tx, as counted by Size
	PageLimit = 1000      // entries in a Page when Range.Limit is 0
	PageBytes = 4 << 20   // a Page ends with the entry that reaches so many bytes
)

const opOverhead = 32 // envelope of one operation, for Size

// Size returns the bytes that count against MaxTx: keys, values and a fixed
// share for each operation.
func (tx Tx) Size() int {
	n := opOverhead * (len(tx.Expect) + tx.ops())
	for _, e := range tx.Expect {
		n += len(e.Key)
	}
	for _, p := range tx.Puts {
		n += len(p.Key) + len(p.Value)
	}
	for _, k := range tx.Deletes {
		n += len(k)
	}
	for _, k := range tx.DeletePrefixes {
		n += len(k)
	}
	return n
}

func (tx Tx) ops() int { return len(tx.Puts) + len(tx.Deletes) + len(tx.DeletePrefixes) }

// Check returns ErrTooLarge or ErrInvalid when tx breaks a rule that does not
// depend on what is stored: the limits; no empty key or prefix; no negative
// revision; no key touched twice, be it by two operations or by an operation
// and a deleted prefix above it. Every Commit begins with it.
func (tx Tx) Check() error {
	if n := max(tx.ops(), len(tx.Expect)); n > MaxOps {
		return fmt.Errorf("%w: %d operations, at most %d", ErrTooLarge, n, MaxOps)
	}
	for _, e := range tx.Expect {
		if err := checkKey(e.Key); err != nil {
			return err
		}
		if e.Rev < 0 {
			return fmt.Errorf("%w: expected revision %d of %q is negative", ErrInvalid, e.Rev, e.Key)
		}
	}
	for _, p := range tx.Puts {
		if len(p.Value) > MaxValue {
			return fmt.Errorf("%w: the value of %q has %d bytes, at most %d", ErrTooLarge, p.Key, len(p.Value), MaxValue)
		}
	}
	if err := tx.checkOverlap(); err != nil {
		return err
	}
	if n := tx.Size(); n > MaxTx {
		return fmt.Errorf("%w: the transaction has %d bytes, at most %d", ErrTooLarge, n, MaxTx)
	}
	return nil
}

// checkOverlap checks every key that tx touches. Sorted, a deleted prefix is
// followed at once by whatever lies under it.
func (tx Tx) checkOverlap() error {
	type touch struct {
		key    string
		prefix bool
	}
	touched := make([]touch, 0, tx.ops())
	for _, p := range tx.Puts {
		touched = append(touched, touch{key: p.Key})
	}
	for _, k := range tx.Deletes {
		touched = append(touched, touch{key: k})
	}
	for _, k := range tx.DeletePrefixes {
		touched = append(touched, touch{key: k, prefix: true})
	}
	// A prefix goes before the key of the same name, which lies under it.
	slices.SortFunc(touched, func(a, b touch) int {
		if c := strings.Compare(a.key, b.key); c != 0 || a.prefix == b.prefix {
			return c
		}
		if a.prefix {
			return -1
		}
		return 1
	})
	for i, t := range touched {
		if err := checkKey(t.key); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		last := touched[i-1]
		if last.prefix && strings.HasPrefix(t.key, last.key) {
			return fmt.Errorf("%w: %q lies under the deleted prefix %q", ErrInvalid, t.key, last.key)
		}
		if last.key == t.key {
			return fmt.Errorf("%w: %q is touched twice", ErrInvalid, t.key)
		}
	}
	return nil
}

func checkKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: empty key", ErrInvalid)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: a key of %d bytes (%q…), at most %d", ErrTooLarge, len(key), key[:32], MaxKey)
	}
	return nil
}

// Check returns ErrConflict, with the key and both sides, unless the key's
// revision (0 when it is absent) is the one expected.
func (e Expect) Check(have int64) error {
	if have == e.Rev {
		return nil
	}
	return fmt.Errorf("%w: %q is %s, expected %s", ErrConflict, e.Key, state(have), state(e.Rev))
}

func state(rev int64) string {
	if rev == 0 {
		return "absent"
	}
	return fmt.Sprintf("at revision %d", rev)
}

// Check returns ErrInvalid when the limit is negative.
func (r Range) Check() error {
	if r.Limit < 0 {
		return fmt.Errorf("%w: limit %d is negative", ErrInvalid, r.Limit)
	}
	return nil
}

// Start returns the first key that the range may contain.
func (r Range) Start() string {
	if r.After == "" {
		return r.Prefix
	}
	// The least string greater than a key is the key and a zero byte.
	return max(r.Prefix, r.After+"\x00")
}

// Full reports whether a page of n entries and size bytes is to end here.
func (r Range) Full(n, size int) bool {
	return n >= cmp.Or(r.Limit, PageLimit) || size >= PageBytes
}

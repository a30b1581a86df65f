package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"strings"
	"time"

	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/seal"
	"omca/internal/store"
)

// A tag says that a value is genuine where it lies. It does not say that the value is the
// last one, nor that nothing was removed. So what takes something away, or gives a right,
// is counted: each commit that changes a key of such a kind changes one record of the kind
// too, which has the number of its keys and a sum over their tags.
type kind struct {
	name     string // in the store: sum/<name>
	says     string
	prefixes []string
}

func kinds() []kind {
	return []kind{
		{"revocation", "revocations of certificates", []string{prefixRevocation}},
		{"blocked", "blocked keys", []string{prefixBlocked}},
		{"token-revoked", "revocations of tokens", []string{prefixTokenRevoked}},
		{"config", "users and the cluster", []string{prefixObject + object.NamespaceSystem + "/" + string(object.KindUsr) + "/", prefixObject + object.ClusterPath().Key()}},
	}
}

const (
	prefixSum = "sum/" // sum/<kind> → sumState, sealed

	sumTag = "omca sum\x00"
)

func (k kind) key() string { return prefixSum + k.name }

// has reports whether a key is of the kind.
func (k kind) has(key string) bool {
	for _, prefix := range k.prefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// kindsOf returns the kinds of which tx may change a key.
func kindsOf(tx store.Tx) []kind {
	var changed []kind
	for _, k := range kinds() {
		found := false
		for _, p := range tx.Puts {
			found = found || k.has(p.Key)
		}
		for _, key := range tx.Deletes {
			found = found || k.has(key)
		}
		if found {
			changed = append(changed, k)
		}
	}
	return changed
}

// sumState is what is counted of a kind. It is sealed: who saw the sums before and after
// a change could make other changes that cancel each other out.
type sumState struct {
	Keys    int64  `json:"keys"`
	Sum     []byte `json:"sum"`     // exclusive or over a MAC of each key and its tag
	Changes uint64 `json:"changes"` // ever
	Filling bool   `json:"filling"` // some values have no tags yet: nothing is counted
}

func newSum() sumState { return sumState{Sum: make([]byte, sha256.Size)} }

// toggle adds a value to the sum, or takes it out.
func (s *sumState) toggle(mac *seal.MAC, key string, stored []byte) {
	one := mac.Sum(func(h hash.Hash) {
		h.Write([]byte(sumTag))
		h.Write(stored[len(stored)-seal.TagSize:])
		h.Write([]byte(key))
	})
	subtle.XORBytes(s.Sum, s.Sum, one[:])
}

func (s sumState) equal(other sumState) bool {
	return s.Keys == other.Keys && bytes.Equal(s.Sum, other.Sum)
}

func (f formatNow) sealSum(k kind, s sumState) (store.Put, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return store.Put{}, err
	}
	sealed, err := f.keys.Seal(k.key(), text)
	return store.Put{Key: k.key(), Value: sealed}, err
}

// readSum returns what is counted of a kind, and the revision of its record.
func (a *authentic) readSum(ctx context.Context, now formatNow, k kind) (s sumState, rev int64, err error) {
	e, err := a.Store.Get(ctx, k.key())
	if errors.Is(err, store.ErrNotFound) {
		return s, 0, hint.With(fmt.Errorf("%w: store key %q is gone: it counts the %s", ErrForged, k.key(), k.says),
			"put the home back from a backup with \"omca restore\"")
	}
	if err != nil {
		return s, 0, err
	}
	sealed, err := now.open(e.Key, e.Value)
	if err != nil {
		return s, 0, err
	}
	text, err := now.keys.Open(e.Key, sealed)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err == nil && len(s.Sum) != sha256.Size {
		err = ErrForged
	}
	if err != nil {
		return s, 0, fmt.Errorf("store key %q: %w", e.Key, err)
	}
	return s, e.Rev, nil
}

// mostCounts is how often a commit counts anew because another process has changed the
// same kind.
const mostCounts = 100

// commitCounted commits tx, which changes keys of some kinds.
func (a *authentic) commitCounted(ctx context.Context, now formatNow, tx store.Tx, changed []kind) (int64, error) {
	defer a.takeTurn(ctx)()
	var last map[string]int64
	for try := 1; ; try++ {
		c := counting{authentic: a, now: now, basis: make(map[string]int64), counters: make(map[string]uint64)}
		next, err := c.count(ctx, tx, changed)
		if err != nil {
			return 0, err
		}
		if try > 1 && !moved(last, c.basis) || try > mostCounts {
			return a.Store.Commit(ctx, next) // the caller's expectations decide
		}
		last = c.basis
		rev, err := a.Store.Commit(ctx, next)
		if !errors.Is(err, store.ErrConflict) {
			return rev, err
		}
		if err := pause(ctx, rand.N(time.Duration(try)*100*time.Microsecond)); err != nil {
			return 0, err
		}
	}
}

// turnPatience is how long a commit waits for another one of this process.
const turnPatience = 50 * time.Millisecond

// takeTurn waits for the commit of this process that changes a counted kind, and returns
// what ends the turn. The wait spares tries in vain; the expectations of a commit are what
// keeps the count right, so it has an end.
func (a *authentic) takeTurn(ctx context.Context) (end func()) {
	timer := time.NewTimer(turnPatience)
	defer timer.Stop()
	select {
	case a.turn <- struct{}{}:
		return func() { <-a.turn }
	case <-timer.C:
	case <-ctx.Done():
	}
	return func() {}
}

func moved(before, after map[string]int64) bool {
	for key, rev := range after {
		if before[key] != rev {
			return true
		}
	}
	return false
}

// counting makes one commit of one that changes keys of some kinds.
type counting struct {
	*authentic
	now      formatNow
	basis    map[string]int64 // revisions of what was read
	counters map[string]uint64
}

func (c *counting) count(ctx context.Context, tx store.Tx, changed []kind) (store.Tx, error) {
	for _, prefix := range tx.DeletePrefixes {
		if underPrefix(prefix) {
			return tx, fmt.Errorf("%w: keys under %q are counted, and are deleted one by one", store.ErrInvalid, prefix)
		}
	}
	befores := make(map[string][]byte)
	for _, k := range changed {
		for _, key := range keysOf(tx, k) {
			before, err := c.before(ctx, key)
			if err != nil {
				return tx, err
			}
			if before != nil {
				befores[key] = before
			}
		}
	}
	next := c.now.attachAll(tx, c.counters)
	for _, k := range changed {
		put, err := c.sum(ctx, k, next, befores)
		if err != nil {
			return tx, err
		}
		if put.Key != "" {
			next.Puts = append(next.Puts, c.now.attachAll(store.Tx{Puts: []store.Put{put}}, nil).Puts...)
		}
	}
	next.Expect = next.Expect[:len(next.Expect):len(next.Expect)]
	for key, rev := range c.basis {
		if !expects(next, key) {
			next.Expect = append(next.Expect, store.Expect{Key: key, Rev: rev})
		}
	}
	return next, nil
}

// before reads what a key holds now, as it lies in the store, and notes its revision and
// the next counter. It returns nil when the key is absent.
func (c *counting) before(ctx context.Context, key string) ([]byte, error) {
	e, err := c.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		c.basis[key], c.counters[key] = 0, 1
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, counter, ok := c.now.mac.Detach(key, e.Value)
	if !ok && c.now.number >= seal.FormatAuthentic {
		return nil, forged(key)
	}
	c.basis[key], c.counters[key] = e.Rev, counter+1
	return e.Value, nil
}

// sum returns the put of what is counted of a kind after next: no put when nothing changes.
func (c *counting) sum(ctx context.Context, k kind, next store.Tx, befores map[string][]byte) (store.Put, error) {
	if c.now.number < seal.FormatAuthentic {
		s := newSum()
		s.Filling = true
		return c.now.sealSum(k, s)
	}
	s, rev, err := c.readSum(ctx, c.now, k)
	if err != nil {
		return store.Put{}, err
	}
	any := false
	for _, key := range next.Deletes {
		if before, there := befores[key]; there && k.has(key) {
			any = true
			s.Keys--
			s.toggle(c.now.mac, key, before)
		}
	}
	for _, p := range next.Puts {
		if !k.has(p.Key) {
			continue
		}
		any = true
		if before, there := befores[p.Key]; there {
			s.toggle(c.now.mac, p.Key, before)
		} else {
			s.Keys++
		}
		s.toggle(c.now.mac, p.Key, p.Value)
	}
	if !any {
		return store.Put{}, nil
	}
	c.basis[k.key()] = rev
	s.Changes++
	return c.now.sealSum(k, s)
}

// keysOf returns the keys of a kind that tx changes.
func keysOf(tx store.Tx, k kind) []string {
	var keys []string
	for _, p := range tx.Puts {
		if k.has(p.Key) {
			keys = append(keys, p.Key)
		}
	}
	for _, key := range tx.Deletes {
		if k.has(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func expects(tx store.Tx, key string) bool {
	for _, e := range tx.Expect {
		if e.Key == key {
			return true
		}
	}
	return false
}

// A Miscount is a kind of which the store does not have what was written last.
type Miscount struct {
	Kind        string // "revocations of certificates"
	Have, Wrote int64  // keys
	Forged      []string
}

func (m Miscount) String() string {
	switch {
	case len(m.Forged) > 0:
		return fmt.Sprintf("%d of the %s were not written by omca, such as store key %q", len(m.Forged), m.Kind, m.Forged[0])
	case m.Have != m.Wrote:
		return fmt.Sprintf("the store has %d %s, and omca wrote %d", m.Have, m.Kind, m.Wrote)
	}
	return fmt.Sprintf("some of the %d %s are older ones put back", m.Have, m.Kind)
}

// countAgain is how often a count begins anew because the kind was changed meanwhile.
const countAgain = 20

// miscounts returns the kinds of which the store does not have what was written last.
func (a *authentic) miscounts(ctx context.Context) ([]Miscount, error) {
	now := a.format.known()
	if now.number < seal.FormatAuthentic {
		return nil, nil
	}
	var all []Miscount
	for _, k := range kinds() {
		m, err := a.miscount(ctx, now, k)
		if err != nil {
			return nil, err
		}
		if m != nil {
			all = append(all, *m)
		}
	}
	return all, nil
}

func (a *authentic) miscount(ctx context.Context, now formatNow, k kind) (*Miscount, error) {
	for range countAgain {
		wrote, rev, err := a.readSum(ctx, now, k)
		if err != nil {
			return nil, err
		}
		have, bad, err := a.tally(ctx, now, k)
		if err != nil {
			return nil, err
		}
		_, again, err := a.readSum(ctx, now, k)
		if err != nil {
			return nil, err
		}
		if again != rev {
			continue
		}
		if have.equal(wrote) && len(bad) == 0 {
			return nil, nil
		}
		return &Miscount{Kind: k.says, Have: have.Keys, Wrote: wrote.Keys, Forged: bad}, nil
	}
	return nil, fmt.Errorf("the %s were changed %d times while they were counted", k.says, countAgain)
}

// tally counts what the store has of a kind, and returns the keys of values that are refused.
func (a *authentic) tally(ctx context.Context, now formatNow, k kind) (s sumState, bad []string, err error) {
	s = newSum()
	for _, prefix := range k.prefixes {
		for e, err := range entries(ctx, a.Store, prefix) {
			if err != nil {
				return s, nil, err
			}
			s.Keys++
			if _, _, ok := now.mac.Detach(e.Key, e.Value); !ok {
				bad = append(bad, e.Key)
				continue
			}
			s.toggle(now.mac, e.Key, e.Value)
		}
	}
	return s, bad, nil
}

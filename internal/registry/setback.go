package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/seal"
	"omca/internal/store"
)

// ErrSetBack is a store that does not have what was written last: it was put back from a
// copy, or somebody removed or put back a part of it. Nothing is signed, revoked or
// published until that is accepted.
var ErrSetBack = errors.New("the store was set back")

// A Mark is what is remembered of a store outside of it. Its numbers only rise.
type Mark struct {
	ClusterID string            `json:"cluster_id"`
	Origin    string            `json:"origin,omitempty"` // of the store: a copy has another, and other revisions
	Revision  int64             `json:"revision"`
	Format    int               `json:"format"`
	Lists     map[string]string `json:"lists,omitempty"`   // identity of a CA → number of its last list, decimal
	Changes   map[string]uint64 `json:"changes,omitempty"` // kind that is counted → changes ever
}

// MarkNow returns the mark of the store as it is.
func (s *Store) MarkNow(ctx context.Context) (Mark, error) {
	m := Mark{Format: s.Format(), Lists: make(map[string]string), Changes: make(map[string]uint64)}
	var err error
	if m.Revision, err = s.db.Rev(ctx); err != nil {
		return m, err
	}
	if m.Origin, err = s.readOrigin(ctx); err != nil {
		return m, err
	}
	known, err := s.look(ctx, object.ClusterPath())
	if err != nil {
		return m, err
	}
	if known.head != nil {
		m.ClusterID, _ = known.Config.Get("cluster.id")
	}
	for e, err := range entries(ctx, s.db, prefixCRL) {
		if err != nil {
			return m, err
		}
		kept, err := decodeList(e)
		if err != nil {
			return m, err
		}
		m.Lists[strings.TrimPrefix(e.Key, prefixCRL)] = kept.Number
	}
	if m.Format < seal.FormatAuthentic {
		return m, nil
	}
	for _, k := range kinds() {
		sum, _, err := s.db.readSum(ctx, s.format.known(), k)
		if err != nil {
			return m, err
		}
		m.Changes[k.name] = sum.Changes
	}
	return m, nil
}

// Changed returns once the store is at a later revision than after, and which that is.
func (s *Store) Changed(ctx context.Context, after int64) (int64, error) {
	rev, err := s.db.Rev(ctx)
	if err != nil || rev > after {
		return rev, err
	}
	for _, err := range s.db.Store.Watch(ctx, "", after) {
		if err != nil && !errors.Is(err, store.ErrCompacted) {
			return 0, err
		}
		return s.db.Rev(ctx)
	}
	return 0, ctx.Err()
}

// Behind returns in which ways m is older than the mark that was remembered: none when it
// is not, or when that is of another cluster.
func (m Mark) Behind(remembered Mark) []string {
	if m.ClusterID != remembered.ClusterID {
		return nil
	}
	var older []string
	if m.Format < remembered.Format {
		older = append(older, fmt.Sprintf("it has format %d, and had %d", m.Format, remembered.Format))
	}
	if m.Origin != "" && m.Origin == remembered.Origin && m.Revision < remembered.Revision {
		older = append(older, fmt.Sprintf("it is at revision %d, and was at %d", m.Revision, remembered.Revision))
	}
	for id, number := range remembered.Lists {
		if had, has := decimal(number), decimal(m.Lists[id]); has.Cmp(had) < 0 {
			older = append(older, fmt.Sprintf("the last revocation list of the CA %.16s has number %s, and %s was published", id, has, had))
		}
	}
	for _, k := range kinds() {
		if had, has := remembered.Changes[k.name], m.Changes[k.name]; has < had {
			older = append(older, fmt.Sprintf("%d of the changes to %s are not there", had-has, k.says))
		}
	}
	slices.Sort(older)
	return older
}

// Above returns a mark with the greater numbers of both, as far as they are of one cluster.
func (m Mark) Above(other Mark) Mark {
	if m.ClusterID != other.ClusterID {
		return m
	}
	above := Mark{ClusterID: m.ClusterID, Origin: m.Origin, Revision: m.Revision, Format: max(m.Format, other.Format), Lists: make(map[string]string), Changes: make(map[string]uint64)}
	for _, one := range []Mark{m, other} {
		for id, number := range one.Lists {
			if decimal(number).Cmp(decimal(above.Lists[id])) > 0 {
				above.Lists[id] = number
			}
		}
		for kind, changes := range one.Changes {
			above.Changes[kind] = max(above.Changes[kind], changes)
		}
	}
	return above
}

func decimal(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return new(big.Int)
	}
	return n
}

// Equal reports whether two marks say the same.
func (m Mark) Equal(other Mark) bool {
	return m.ClusterID == other.ClusterID && m.Origin == other.Origin && m.Revision == other.Revision && m.Format == other.Format &&
		len(m.Behind(other)) == 0 && len(other.Behind(m)) == 0
}

// Miscounts returns the kinds of which the store does not have what was written last: see
// [kind].
func (s *Store) Miscounts(ctx context.Context) ([]Miscount, error) { return s.db.miscounts(ctx) }

// Refuse has every commit refused with [ErrSetBack] and the reasons, but those of sessions
// and of what ends with a process. Without reasons commits are made again.
func (s *Store) Refuse(reasons []string) {
	if len(reasons) == 0 {
		s.db.refusal.Store(nil)
		return
	}
	err := hint.With(fmt.Errorf("%w: %s", ErrSetBack, strings.Join(reasons, "; ")),
		"put the home back from a backup with \"omca restore\", or accept the store as it is with \"omca daemon accept-rollback\"")
	s.db.refusal.Store(&err)
}

// Refusal returns why commits are refused; nil when they are not.
func (s *Store) Refusal() error { return s.db.refused(store.Tx{Puts: []store.Put{{Key: keyKeyring}}}) }

// refused returns why tx is refused.
func (a *authentic) refused(tx store.Tx) error {
	err := a.refusal.Load()
	if err == nil {
		return nil
	}
	free := func(key string) bool {
		return passing(key) || strings.HasPrefix(key, prefixSession) || strings.HasPrefix(key, prefixSessionOf) || strings.HasPrefix(key, prefixTask)
	}
	for _, p := range tx.Puts {
		if !free(p.Key) {
			return *err
		}
	}
	for _, key := range slices.Concat(tx.Deletes, tx.DeletePrefixes) {
		if !free(key) {
			return *err
		}
	}
	return nil
}

// changesLeap is how many changes of a kind have a second for themselves. What is counted
// anew begins above all that was counted in the seconds before.
const changesLeap = 1 << 20

// AcceptSetBack takes the store as it is for whole: what is there is counted anew, and all
// numbers go on above those of the mark. Values that omca has not written are not taken:
// [ErrForged].
func (s *Store) AcceptSetBack(ctx context.Context, above Mark) error {
	now := s.format.known()
	if now.number < seal.FormatAuthentic {
		return s.leapLists(ctx, now, above)
	}
	for range countAgain {
		tx := store.Tx{Expect: []store.Expect{{Key: keyKeyring, Rev: now.rev}}}
		states := make(map[string]sumState)
		for _, k := range kinds() {
			e, err := s.db.Store.Get(ctx, k.key())
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			tx.Expect = append(tx.Expect, store.Expect{Key: k.key(), Rev: e.Rev})
			state, bad, err := s.db.tally(ctx, now, k)
			if err != nil {
				return err
			}
			if len(bad) > 0 {
				return forged(bad[0])
			}
			state.Changes = max(countedFrom(s.now()), above.Changes[k.name]+changesLeap)
			states[k.name] = state
		}
		var err error
		if tx.Puts, err = now.sums(func(k kind) sumState { return states[k.name] }); err != nil {
			return err
		}
		_, err = s.db.Store.Commit(ctx, now.attachAll(tx, nil))
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		return s.leapLists(ctx, now, above)
	}
	return fmt.Errorf("%w: the store was written to faster than it could be counted", store.ErrConflict)
}

// leapLists has the numbers of all lists go on above those of the mark.
func (s *Store) leapLists(ctx context.Context, now formatNow, above Mark) error {
	for e, err := range entries(ctx, s.db, prefixCRL) {
		if err != nil {
			return err
		}
		kept, err := decodeList(e)
		if err != nil {
			return err
		}
		if published := decimal(above.Lists[strings.TrimPrefix(e.Key, prefixCRL)]); published.Cmp(decimal(kept.Number)) > 0 {
			kept.Number = published.String()
		}
		value, err := leaped(kept)
		if err != nil {
			return err
		}
		tx := store.Tx{Expect: []store.Expect{{Key: e.Key, Rev: e.Rev}}, Puts: []store.Put{{Key: e.Key, Value: value}}}
		if now.mac != nil {
			tx = now.attachAll(tx, nil)
		}
		if _, err := s.db.Store.Commit(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// mostNamed is how many keys an [Audit] names.
const mostNamed = 10

// An Audit is what is wrong with a store in which every value was read.
type Audit struct {
	Forged      int      // values that omca has not written where they lie
	SomeForged  []string // keys of the first of them
	Lacking     int      // certificates and tokens of which the record or an index is gone
	SomeLacking []string // keys that are gone, the first of them
}

// Audit reads every value.
func (s *Store) Audit(ctx context.Context) (Audit, error) {
	var found Audit
	now := s.format.known()
	if now.number < seal.FormatAuthentic {
		return found, nil
	}
	counts := make(map[string]int)
	for e, err := range entries(ctx, s.db.Store, "") {
		if err != nil {
			return found, err
		}
		prefix, _, _ := strings.Cut(e.Key, "/")
		counts[prefix+"/"]++
		if _, err := now.open(e.Key, e.Value); err == nil {
			continue
		}
		if found.Forged++; len(found.SomeForged) < mostNamed {
			found.SomeForged = append(found.SomeForged, e.Key)
		}
	}
	// A commit writes a record and its indexes. When their numbers differ a key is gone, or
	// was written while they were read.
	if counts[prefixCert] != counts[prefixSerial] || counts[prefixCert] != counts[prefixOwner] {
		if err := s.lacking(ctx, &found, prefixCert, prefixSerial, certificateOwner); err != nil {
			return found, err
		}
	}
	if counts[prefixToken] != counts[prefixTokenID] || counts[prefixToken] != counts[prefixTokenOf] {
		if err := s.lacking(ctx, &found, prefixToken, prefixTokenID, tokenOwner); err != nil {
			return found, err
		}
	}
	return found, nil
}

// lacking finds records, <expiry>/<id>, without an index, and indexes of the id without
// their record. owner returns the prefix of the index that a record has beside.
func (s *Store) lacking(ctx context.Context, found *Audit, records, ids string, owner func(value []byte) (string, error)) error {
	now := s.format.known()
	gone := func(key string) error {
		_, err := s.db.Store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			if found.Lacking++; len(found.SomeLacking) < mostNamed {
				found.SomeLacking = append(found.SomeLacking, key)
			}
			return nil
		}
		return err
	}
	for e, err := range entries(ctx, s.db.Store, records) {
		if err != nil {
			return err
		}
		cursor := strings.TrimPrefix(e.Key, records)
		value, err := now.open(e.Key, e.Value)
		if err != nil {
			continue // it is among the forged
		}
		of, err := owner(value)
		if err != nil {
			return fmt.Errorf("store key %q: %w", e.Key, err)
		}
		if err := errors.Join(gone(ids+cursor[strings.LastIndexByte(cursor, '/')+1:]), gone(of+cursor)); err != nil {
			return err
		}
	}
	for e, err := range entries(ctx, s.db.Store, ids) {
		if err != nil {
			return err
		}
		expiry, err := now.open(e.Key, e.Value)
		if err != nil {
			continue
		}
		if err := gone(records + string(expiry) + "/" + strings.TrimPrefix(e.Key, ids)); err != nil {
			return err
		}
	}
	return nil
}

// certificateOwner returns the prefix of the index of the owner of a record.
func certificateOwner(value []byte) (string, error) {
	h, _, err := decodeRecordHead(value)
	return prefixOwner + h.Owner + "//", err
}

// tokenOwner returns the prefix of the index of the subject of a token.
func tokenOwner(value []byte) (string, error) {
	var kept storedToken
	err := json.Unmarshal(value, &kept)
	return prefixTokenOf + kept.Subject + "//", err
}

// countedFrom is where the changes of a kind are counted from in a store that begins: above
// those of a store that it replaces.
func countedFrom(now time.Time) uint64 { return uint64(max(0, now.Unix())) * changesLeap }

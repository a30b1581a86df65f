package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	joining "omca/internal/join"
	"omca/internal/store"
)

// prefixJoin is where the tokens lie by which machines become members:
// join/<id> → record, sealed.
const prefixJoin = "join/"

// JoinTokens are the tokens by which machines become members. It is a [joining.Store].
type JoinTokens struct{ s *Store }

// JoinTokens returns the tokens by which machines become members.
func (s *Store) JoinTokens() JoinTokens { return JoinTokens{s} }

// Add keeps the record of a fresh token, and forgets those that have expired.
func (t JoinTokens) Add(ctx context.Context, r joining.Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key := prefixJoin + r.ID
	sealed, err := t.s.keys.Seal(key, text)
	if err != nil {
		return err
	}
	tx := store.Tx{Expect: []store.Expect{{Key: key}}, Puts: []store.Put{{Key: key, Value: sealed}}}
	page, err := t.s.db.Scan(ctx, store.Range{Prefix: prefixJoin, Limit: store.MaxOps / 2})
	if err != nil {
		return err
	}
	for _, e := range page.Entries {
		old, err := t.read(e)
		if err != nil {
			return err
		}
		if !t.s.now().Before(old.Expires) {
			tx.Deletes = append(tx.Deletes, e.Key)
		}
	}
	return t.s.commit(ctx, tx)
}

func (t JoinTokens) read(e store.Entry) (joining.Record, error) {
	var r joining.Record
	text, err := t.s.keys.Open(e.Key, e.Value)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return joining.Record{}, fmt.Errorf("store key %q: %w", e.Key, err)
	}
	return r, nil
}

// Token implements [joining.Store].
func (t JoinTokens) Token(ctx context.Context, id string) (joining.Record, int64, error) {
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return joining.Record{}, 0, joining.ErrRefused
	}
	e, err := t.s.db.Get(ctx, prefixJoin+id)
	if errors.Is(err, store.ErrNotFound) {
		return joining.Record{}, 0, joining.ErrRefused
	}
	if err != nil {
		return joining.Record{}, 0, err
	}
	r, err := t.read(e)
	return r, e.Rev, err
}

// Spend implements [joining.Store].
func (t JoinTokens) Spend(ctx context.Context, id string, rev int64) error {
	key := prefixJoin + id
	_, err := t.s.write(ctx, store.Tx{Expect: []store.Expect{{Key: key, Rev: rev}}, Deletes: []string{key}})
	if errors.Is(err, store.ErrConflict) {
		return joining.ErrRefused
	}
	return err
}

package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"math"
	"math/rand/v2"

	"omca/internal/store"
)

// A blob is a value of any size that the daemon keeps for itself, such as the
// last good copy of an external revocation list. It is not sealed.
const (
	prefixBlob = "blob/" // blob/<hash of the name> → head; blob/<hash>/<generation>/<n> → part
	blobPart   = 1 << 20 // bytes in a part
)

// blobHead says where the parts of a blob are.
type blobHead struct {
	Generation int64  `json:"generation"`
	Parts      int    `json:"parts"`
	SHA256     string `json:"sha256"`
}

func blobKey(name string) string { return prefixBlob + hexSum(sha256.New(), []byte(name)) }

func hexSum(h hash.Hash, b []byte) string {
	h.Write(b)
	return fmt.Sprintf("%x", h.Sum(nil))
}

func partKey(key string, generation int64, n int) string {
	return fmt.Sprintf("%s%04d", partPrefix(key, generation), n)
}

func partPrefix(key string, generation int64) string { return fmt.Sprintf("%s/%d/", key, generation) }

// SaveBlob keeps a value under a name; nil removes it. Readers see the old value
// or the new one, whole.
func (s *Store) SaveBlob(ctx context.Context, name string, value []byte) error {
	key := blobKey(name)
	old, rev, err := s.blobHead(ctx, key)
	if err != nil {
		return err
	}
	if rev == 0 && value == nil {
		return nil
	}
	// Drawn and not counted: two who save at once do not write into each other's parts.
	next := blobHead{Generation: 1 + rand.Int64N(math.MaxInt64-1), SHA256: hexSum(sha256.New(), value)}
	for rest := value; len(rest) > 0; next.Parts++ {
		part := rest[:min(len(rest), blobPart)]
		rest = rest[len(part):]
		put := store.Put{Key: partKey(key, next.Generation, next.Parts), Value: part}
		if _, err := s.db.Commit(ctx, store.Tx{Puts: []store.Put{put}}); err != nil {
			return fromStore(err)
		}
	}
	tx := store.Tx{Expect: []store.Expect{{Key: key, Rev: rev}}}
	if rev > 0 {
		tx.DeletePrefixes = []string{partPrefix(key, old.Generation)}
	}
	if value == nil {
		tx.Deletes = []string{key}
	} else {
		text, err := json.Marshal(next)
		if err != nil {
			return err
		}
		tx.Puts = []store.Put{{Key: key, Value: text}}
	}
	_, err = s.db.Commit(ctx, tx)
	if errors.Is(err, store.ErrConflict) && next.Parts > 0 {
		// Somebody else was first: what was written for nobody goes.
		_, left := s.db.Commit(ctx, store.Tx{DeletePrefixes: []string{partPrefix(key, next.Generation)}})
		err = errors.Join(err, left)
	}
	return fromStore(err)
}

// LoadBlob returns the value under a name, nil when there is none.
func (s *Store) LoadBlob(ctx context.Context, name string) ([]byte, error) {
	key := blobKey(name)
	head, rev, err := s.blobHead(ctx, key)
	if err != nil || rev == 0 {
		return nil, err
	}
	var value []byte
	for n := range head.Parts {
		e, err := s.db.Get(ctx, partKey(key, head.Generation, n))
		if err != nil {
			return nil, fmt.Errorf("part %d of %d of %q: %w", n, head.Parts, name, fromStore(err))
		}
		value = append(value, e.Value...)
	}
	if got := hexSum(sha256.New(), value); got != head.SHA256 {
		return nil, fmt.Errorf("what was kept of %q is not what was saved: its hash is %s, not %s", name, got, head.SHA256)
	}
	return value, nil
}

func (s *Store) blobHead(ctx context.Context, key string) (blobHead, int64, error) {
	var head blobHead
	e, err := s.db.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return head, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &head)
	}
	return head, e.Rev, err
}

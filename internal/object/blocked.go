package object

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"omca/ca"
	"omca/internal/store"
	"omca/pki"
)

// prefixBlocked is where the keys lie that are not to be certified again:
// blocked/<hash of the SubjectPublicKeyInfo> → storedBlock.
const prefixBlocked = "blocked/"

// storedBlock says why a key is blocked.
type storedBlock struct {
	Serial    pki.Serial `json:"serial"` // of the certificate that was revoked
	Authority string     `json:"authority"`
	At        time.Time  `json:"at"`
	By        string     `json:"by"`
}

func blockedKey(key pki.KeyHash) string { return prefixBlocked + key.String() }

// Blocked implements [ca.Revocations].
func (s *Store) Blocked(ctx context.Context, key pki.KeyHash) (bool, error) {
	_, err := s.db.Get(ctx, blockedKey(key))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Block implements [ca.Revocations].
func (s *Store) Block(ctx context.Context, r ca.Revocation) error {
	put, err := putBlock(r)
	if err != nil {
		return err
	}
	_, err = s.write(Repeatable(ctx), store.Tx{Expect: []store.Expect{{Key: put.Key}}, Puts: []store.Put{put}})
	if errors.Is(err, store.ErrConflict) {
		if blocked, read := s.Blocked(ctx, r.Block); read != nil || blocked {
			return read
		}
	}
	return fromStore(err)
}

// putBlock is the part of a revocation that blocks the key of the certificate.
func putBlock(r ca.Revocation) (store.Put, error) {
	text, err := json.Marshal(storedBlock{Serial: r.Serial, Authority: r.Authority, At: r.At, By: r.By})
	return store.Put{Key: blockedKey(r.Block), Value: text}, err
}

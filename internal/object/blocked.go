package object

import (
	"context"
	"errors"
	"time"

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

package registry

import (
	"context"
	"encoding/hex"
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

// AllBlocked yields the keys that are not to be certified again.
func (s *Store) AllBlocked(ctx context.Context) iter.Seq2[pki.KeyHash, error] {
	return func(yield func(pki.KeyHash, error) bool) {
		for e, err := range entries(ctx, s.db, prefixBlocked) {
			var key pki.KeyHash
			if err == nil {
				key, err = blockedIn(e.Key)
			}
			if !yield(key, err) || err != nil {
				return
			}
		}
	}
}

// blockedIn reads what blockedKey wrote.
func blockedIn(stored string) (pki.KeyHash, error) {
	text, _ := strings.CutPrefix(stored, prefixBlocked)
	hash, err := hex.DecodeString(text)
	if err != nil || len(hash) != len(pki.KeyHash{}) {
		return pki.KeyHash{}, fmt.Errorf("%q names no key", stored)
	}
	return pki.KeyHash(hash), nil
}

// tellBlock is told of a key that is blocked.
type tellBlock = func(pki.KeyHash)

// OnBlock registers who is told of each key that is blocked, before the call that blocks it
// returns. It must not commit.
func (s *Store) OnBlock(tell tellBlock) { s.tellBlocked = append(s.tellBlocked, tell) }

// blockInForce returns when everyone in this process has been told of a key that was
// blocked at a revision.
func (s *Store) blockInForce(ctx context.Context, key pki.KeyHash, rev int64) error {
	err := s.revoked.wait(ctx, rev)
	if !s.shared { // else the change has told of it, whichever process made it
		for _, tell := range s.tellBlocked {
			tell(key)
		}
	}
	return err
}

// blocksIn tells of a key that an event of a shared store blocks.
func (s *Store) blocksIn(e store.Event) error {
	if e.Deleted || !strings.HasPrefix(e.Key, prefixBlocked) {
		return nil
	}
	key, err := blockedIn(e.Key)
	if err != nil {
		return err
	}
	for _, tell := range s.tellBlocked {
		tell(key)
	}
	return nil
}

// Block implements [ca.Revocations].
func (s *Store) Block(ctx context.Context, r ca.Revocation) error {
	put, err := putBlock(r)
	if err != nil {
		return err
	}
	rev, err := s.write(Repeatable(ctx), store.Tx{Expect: []store.Expect{{Key: put.Key}}, Puts: []store.Put{put}})
	if errors.Is(err, store.ErrConflict) {
		if blocked, read := s.Blocked(ctx, r.Block); read != nil || blocked {
			return read
		}
	}
	if err != nil {
		return fromStore(err)
	}
	if !s.shared { // of what is watched, nothing has changed
		rev = 0
	}
	return s.blockInForce(ctx, r.Block, rev)
}

// putBlock is the part of a revocation that blocks the key of the certificate.
func putBlock(r ca.Revocation) (store.Put, error) {
	text, err := json.Marshal(storedBlock{Serial: r.Serial, Authority: r.Authority, At: r.At, By: r.By})
	return store.Put{Key: blockedKey(r.Block), Value: text}, err
}

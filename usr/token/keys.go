package token

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"omca/usr"
)

const (
	typeJWT    = "JWT"    // RFC 7519, 5.1
	keysFormat = 1        // version of the stored form
	maxKeys    = 100      // in a set
	maxKeysLen = 64 << 10 // bytes of the stored form
)

// A Key is the public half of a key that signs, or signed, tokens.
type Key struct {
	ID        string            // thumbprint of the public key (RFC 7638, with SHA-256), base64url: the kid of a token
	Public    ed25519.PublicKey // 32 bytes
	CreatedAt time.Time
	Until     time.Time // what it signed is accepted until then; zero for the key that signs
}

// KeySet is the keys of a cluster. It does not change; many may use it at once.
type KeySet struct {
	issuer string
	keys   []Key // the first one signs
	seed   []byte
	signer jose.Signer

	revision int64 // of the store, that it was read at; 0 for one that was not
}

// Revision is the one that [Store].LoadKeys gave with the set; 0 for a set that was not read from a store.
func (k *KeySet) Revision() int64 { return k.revision }

// NewKeySet makes a set with one fresh key. The issuer is how the cluster calls itself in tokens unless it is told otherwise.
func NewKeySet(issuer string, now time.Time) (*KeySet, error) {
	return (&KeySet{issuer: issuer}).with(now)
}

// with returns the set with a fresh key in front of its keys.
func (k *KeySet) with(now time.Time) (*KeySet, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	id, err := KeyID(public)
	if err != nil {
		return nil, err
	}
	next := &KeySet{issuer: k.issuer, seed: private.Seed()}
	next.keys = append([]Key{{ID: id, Public: public, CreatedAt: now.UTC().Truncate(time.Second)}}, k.keys...)
	next.signer, err = newSigner(private, id)
	return next, err
}

// KeyID is the thumbprint of a public key (RFC 7638, with the members of RFC 8037, appendix A.3).
func KeyID(public ed25519.PublicKey) (string, error) {
	jwk := jose.JSONWebKey{Key: public}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

func newSigner(private ed25519.PrivateKey, id string) (jose.Signer, error) {
	options := (&jose.SignerOptions{}).WithType(typeJWT).WithHeader("kid", id)
	return jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, options)
}

// Rotate returns a set in which a fresh key signs. The key that signed until now is kept, without its private half, for what it signed,
// until the given time. With the zero time no earlier key is kept, and what they signed is refused from then on. Keys whose time has
// come are dropped.
func (k *KeySet) Rotate(now, until time.Time) (*KeySet, error) {
	if until.IsZero() {
		return (&KeySet{issuer: k.issuer}).with(now)
	}
	kept := slices.Clone(k.keys)
	kept[0].Until = until.UTC()
	kept = slices.DeleteFunc(kept, func(key Key) bool { return key.ended(now) })
	if len(kept) >= maxKeys {
		return nil, fmt.Errorf("%w: %d earlier keys are still needed for what they signed", usr.ErrInvalid, len(kept))
	}
	return (&KeySet{issuer: k.issuer, keys: kept}).with(now)
}

// Issuer is how the cluster calls itself in tokens unless it is told otherwise. It was decided when the first key was made.
func (k *KeySet) Issuer() string { return k.issuer }

// Current is the key that signs.
func (k *KeySet) Current() Key { return k.keys[0] }

// Public returns the keys whose tokens are accepted at the given time, the one that signs first.
func (k *KeySet) Public(now time.Time) []Key {
	return slices.DeleteFunc(slices.Clone(k.keys), func(key Key) bool { return key.ended(now) })
}

func (k Key) ended(now time.Time) bool { return !k.Until.IsZero() && !now.Before(k.Until) }

// byID returns the key with that id. Ids are compared with those that are known, and lead nowhere else.
func (k *KeySet) byID(id string, now time.Time) (Key, error) {
	if id == "" {
		return Key{}, refused("kid is missing")
	}
	i := slices.IndexFunc(k.keys, func(key Key) bool { return key.ID == id })
	switch {
	case i < 0:
		return Key{}, refused("key %.64q is none of this cluster", id)
	case k.keys[i].ended(now):
		return Key{}, refused("key %s was rotated out, and its time ended at %s", id, k.keys[i].Until.Format(time.RFC3339))
	}
	return k.keys[i], nil
}

// Has reports whether id is that of a key of the set, ended or not: whose token it is to be.
func (k *KeySet) Has(id string) bool {
	return id != "" && slices.ContainsFunc(k.keys, func(key Key) bool { return key.ID == id })
}

// sign makes the compact form of a token.
func (k *KeySet) sign(payload []byte) (string, error) {
	signed, err := k.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed.CompactSerialize()
}

// JWKS is the public keys as a JWK Set (RFC 7517, section 5).
func (k *KeySet) JWKS(now time.Time) ([]byte, error) {
	var set jose.JSONWebKeySet
	for _, key := range k.Public(now) {
		set.Keys = append(set.Keys, key.JWK())
	}
	return json.Marshal(set)
}

// JWK is the public key as RFC 8037, section 2, has it.
func (k Key) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Public, KeyID: k.ID, Algorithm: string(jose.EdDSA), Use: "sig"}
}

// storedKeys is a set as a store keeps it, sealed.
type storedKeys struct {
	Version int         `json:"version"`
	Issuer  string      `json:"issuer"`
	Seed    []byte      `json:"seed"` // RFC 8032, 5.1.5: the private key of the first of the keys
	Keys    []storedKey `json:"keys"`
}

type storedKey struct {
	Public    []byte    `json:"public"`
	CreatedAt time.Time `json:"created_at"`
	Until     time.Time `json:"until,omitzero"`
}

// Marshal writes the set, with its private key, for a store that seals it.
func (k *KeySet) Marshal() ([]byte, error) {
	s := storedKeys{Version: keysFormat, Issuer: k.issuer, Seed: k.seed}
	for _, key := range k.keys {
		s.Keys = append(s.Keys, storedKey{key.Public, key.CreatedAt, key.Until})
	}
	return json.Marshal(s)
}

// ParseKeySet reads what Marshal wrote.
func ParseKeySet(text []byte) (*KeySet, error) {
	if len(text) > maxKeysLen {
		return nil, fmt.Errorf("token keys: %d bytes, at most %d", len(text), maxKeysLen)
	}
	damaged := errors.New("token keys: they are not what was written") // the errors beneath could quote the seed
	var s storedKeys
	if json.Unmarshal(text, &s) != nil {
		return nil, damaged
	}
	if s.Version != keysFormat {
		return nil, fmt.Errorf("token keys: format %d, this program reads format %d", s.Version, keysFormat)
	}
	if len(s.Seed) != ed25519.SeedSize || len(s.Keys) == 0 || len(s.Keys) > maxKeys {
		return nil, damaged
	}
	k := &KeySet{issuer: s.Issuer, seed: s.Seed}
	for _, key := range s.Keys {
		if len(key.Public) != ed25519.PublicKeySize {
			return nil, damaged
		}
		id, err := KeyID(key.Public)
		if err != nil || k.Has(id) {
			return nil, damaged
		}
		k.keys = append(k.keys, Key{ID: id, Public: key.Public, CreatedAt: key.CreatedAt, Until: key.Until})
	}
	private := ed25519.NewKeyFromSeed(s.Seed)
	if !k.keys[0].Public.Equal(private.Public()) || !k.keys[0].Until.IsZero() {
		return nil, damaged
	}
	var err error
	k.signer, err = newSigner(private, k.keys[0].ID)
	return k, err
}

// String names the key that signs, and no secret.
func (k *KeySet) String() string { return fmt.Sprintf("token keys, %s signs", k.keys[0].ID) }

// Format writes String whatever the verb, so that no verb prints a key.
func (k *KeySet) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

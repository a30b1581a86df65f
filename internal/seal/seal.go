package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
)

var (
	// ErrSeal is a value that does not open: it was altered, or sealed for
	// another place in the store.
	ErrSeal = errors.New("sealed value does not open")
	// ErrDataKey is a value sealed under a data key that the keyring does not
	// hold. Reading the keyring again helps when another node has rotated.
	ErrDataKey = errors.New("data key is not in the keyring")

	errUnsealed = errors.New("does not open")
)

// A sealed value is
//
//	version (1 byte, 1) | data key (8) | nonce (24) | ciphertext and tag (n+16)
//
// and its associated data is valueContext, the version, the data key and the
// key of the value in the store.
const (
	sealVersion = 1
	sealHeader  = 1 + 8

	valueContext   = "omca sealed value\x00"
	keyringContext = "omca keyring\x00"
	maxKeyring     = 1 << 20 // bytes of a serialized keyring, thousands of data keys
)

// keyID names a data key. It is random, and no secret.
type keyID [8]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// Keyring seals the values of the store under data keys. It is a tree of three
// levels: a [Master] wraps one ring key, which seals the data keys, which seal
// the values. So rotating the data key needs no master, and changing the master
// touches no value. A Keyring does not change; many may use it at once.
type Keyring struct {
	format  int    // of the store that it is of
	master  string // ID of the master that wrapped the ring key
	wrapped []byte // the ring key, wrapped
	ring    *xaes
	current keyID
	keys    map[keyID]dataKey
	mac     []byte // of what is in the clear; nil in a store of a format without
}

type dataKey struct {
	key    [KeySize]byte
	cipher *xaes
}

// NewKeyring makes a keyring with one fresh data key.
func NewKeyring(m Master) (*Keyring, error) {
	k := &Keyring{keys: make(map[keyID]dataKey)}
	if err := k.addKey(); err != nil {
		return nil, err
	}
	return k.InFormat(Reads).Rewrap(m)
}

// addKey makes a fresh data key the current one.
func (k *Keyring) addKey() error {
	var d dataKey
	rand.Read(d.key[:]) // never fails
	var err error
	if d.cipher, err = newXAES(d.key); err != nil {
		return err
	}
	rand.Read(k.current[:])
	k.keys[k.current] = d
	return nil
}

// Rotate returns a keyring that seals under a fresh data key and still opens
// what was sealed under the older ones.
func (k *Keyring) Rotate() (*Keyring, error) {
	next := *k
	next.keys = maps.Clone(k.keys)
	if err := next.addKey(); err != nil {
		return nil, err
	}
	return &next, nil
}

// StoreFormat returns the format of the store that the keyring is of.
func (k *Keyring) StoreFormat() int { return k.format }

// InFormat returns the keyring of a store of another format.
func (k *Keyring) InFormat(format int) *Keyring {
	next := *k
	next.format = format
	if format < FormatTagging {
		next.mac = nil
	} else if next.mac == nil {
		next.mac = make([]byte, macKeySize)
		rand.Read(next.mac) // never fails
	}
	return &next
}

// macKey returns the key that tags the values in the clear; nil when they have no tags.
func (k *Keyring) MAC() *MAC {
	if len(k.mac) != macKeySize {
		return nil
	}
	return &MAC{key: [macKeySize]byte(k.mac)}
}

// Rewrap returns the keyring with the same data keys under another master. The
// ring key is a fresh one, so the old master opens nothing that is written from
// now on; it still opens copies of the old keyring.
func (k *Keyring) Rewrap(m Master) (*Keyring, error) {
	next := *k
	var ringKey [KeySize]byte
	rand.Read(ringKey[:]) // never fails
	var err error
	if next.ring, err = newXAES(ringKey); err != nil {
		return nil, err
	}
	next.master = m.ID()
	if next.wrapped, err = m.Wrap(ringKey[:]); err != nil {
		return nil, fmt.Errorf("wrapping the keyring: %w", err)
	}
	return &next, nil
}

// KeyringJSON is a keyring as the store keeps it. Keys are sealed keysJSON.
type KeyringJSON struct {
	Version int    `json:"version"` // format of the store
	Master  string `json:"master"`
	Wrapped []byte `json:"wrapped"`
	Keys    []byte `json:"keys"`
}

type keysJSON struct {
	Current []byte    `json:"current"`
	Keys    []keyJSON `json:"keys"`
	MAC     []byte    `json:"mac,omitempty"`
}

type keyJSON struct {
	ID  []byte `json:"id"`
	Key []byte `json:"key"`
}

// keyringAAD ties the sealed data keys to what stands beside them.
func keyringAAD(j KeyringJSON) []byte {
	return []byte(fmt.Sprintf("%s%d\x00%s\x00%x", keyringContext, j.Version, j.Master, j.Wrapped))
}

// Marshal writes the keyring for the store, as JSON. Nothing in it is of use
// without the master.
func (k *Keyring) Marshal() ([]byte, error) {
	plain := keysJSON{Current: k.current[:], MAC: k.mac}
	for id, d := range k.keys {
		plain.Keys = append(plain.Keys, keyJSON{id[:], d.key[:]})
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	j := KeyringJSON{Version: k.format, Master: k.master, Wrapped: k.wrapped}
	if j.Keys, err = k.ring.seal(nil, text, keyringAAD(j)); err != nil {
		return nil, err
	}
	return json.Marshal(j)
}

// LoadKeyring reads what Marshal wrote. The master must be the one that wrapped
// it; [ErrMaster] otherwise.
func LoadKeyring(data []byte, m Master) (*Keyring, error) {
	if len(data) > maxKeyring {
		return nil, fmt.Errorf("keyring: %d bytes, at most %d", len(data), maxKeyring)
	}
	var j KeyringJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, errors.New("keyring: not JSON") // the error could quote it
	}
	if j.Version > Reads || j.Version < FormatKeyID {
		return nil, tooNew(j.Version)
	}
	if j.Master != m.ID() {
		return nil, fmt.Errorf("%w: the keyring was wrapped by %q, this is %q", ErrMaster, j.Master, m.ID())
	}
	ringKey, err := m.Unwrap(j.Wrapped)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	if len(ringKey) != KeySize {
		return nil, fmt.Errorf("keyring: the master gave a key of %d bytes, not %d", len(ringKey), KeySize)
	}
	k := &Keyring{format: j.Version, master: j.Master, wrapped: j.Wrapped, keys: make(map[keyID]dataKey)}
	if k.ring, err = newXAES([KeySize]byte(ringKey)); err != nil {
		return nil, err
	}
	text, err := k.ring.open(j.Keys, keyringAAD(j))
	if err != nil {
		return nil, fmt.Errorf("keyring: the data keys: %w", ErrSeal)
	}
	if err := k.loadKeys(text); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Keyring) loadKeys(text []byte) error {
	damaged := errors.New("keyring: the data keys are not what was written")
	var plain keysJSON
	if err := json.Unmarshal(text, &plain); err != nil {
		return damaged // the error could quote a key
	}
	for _, j := range plain.Keys {
		if len(j.ID) != len(keyID{}) || len(j.Key) != KeySize {
			return damaged
		}
		d := dataKey{key: [KeySize]byte(j.Key)}
		var err error
		if d.cipher, err = newXAES(d.key); err != nil {
			return err
		}
		k.keys[keyID(j.ID)] = d
	}
	if len(plain.Current) != len(keyID{}) {
		return damaged
	}
	k.current = keyID(plain.Current)
	if _, ok := k.keys[k.current]; !ok {
		return damaged
	}
	if has := len(plain.MAC) == macKeySize; has != (k.format >= FormatTagging) {
		return damaged
	}
	k.mac = plain.MAC
	return nil
}

// Seal seals plaintext for one place in the store: it opens under no other key.
func (k *Keyring) Seal(key string, plaintext []byte) ([]byte, error) {
	if key == "" {
		return nil, errors.New("sealing a value that has no key")
	}
	header := append([]byte{sealVersion}, k.current[:]...)
	return k.keys[k.current].cipher.seal(header, plaintext, valueAAD(header, key))
}

// Open is the inverse of Seal. Errors are [ErrDataKey] and [ErrSeal].
func (k *Keyring) Open(key string, sealed []byte) ([]byte, error) {
	if len(sealed) < sealHeader || sealed[0] != sealVersion {
		return nil, fmt.Errorf("%w: %q: it is not a sealed value of version %d", ErrSeal, key, sealVersion)
	}
	header, body := sealed[:sealHeader], sealed[sealHeader:]
	id := keyID(header[1:])
	d, ok := k.keys[id]
	if !ok {
		return nil, fmt.Errorf("%w: %q was sealed under %s", ErrDataKey, key, id)
	}
	plaintext, err := d.cipher.open(body, valueAAD(header, key))
	if err != nil {
		return nil, fmt.Errorf("%w: %q was altered or moved", ErrSeal, key)
	}
	return plaintext, nil
}

func valueAAD(header []byte, key string) []byte {
	return bytes.Join([][]byte{[]byte(valueContext), header, []byte(key)}, nil)
}

// String names the master and the current data key, and no secret.
func (k *Keyring) String() string {
	return fmt.Sprintf("keyring of %q, data key %s of %d", k.master, k.current, len(k.keys))
}

// Format writes String whatever the verb, so that no verb prints a key.
func (k *Keyring) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

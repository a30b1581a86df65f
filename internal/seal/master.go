package seal

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/argon2"

	"omca/internal/hint"
	"omca/internal/home"
)

// ErrMaster is a master key that is not the one that wrapped the keyring, or a
// seal key file that cannot be trusted.
var ErrMaster = errors.New("wrong master key")

// Master wraps the key at the top of a [Keyring]: 32 bytes, random each time.
// Many may use it at once.
type Master interface {
	// Wrap returns key in a form that only Unwrap of the same master opens, and
	// that says when it was altered.
	Wrap(key []byte) ([]byte, error)
	// Unwrap returns what Wrap was given. Its error is ErrMaster when another
	// master wrapped it, and never tells anything about key.
	Unwrap(wrapped []byte) ([]byte, error)
	// ID tells masters apart as well as can be without using them: "file:<hash>",
	// "passphrase". It is kept in clear beside what was wrapped.
	ID() string
}

// Contexts of what masters seal, so that one is never taken for another.
const (
	fileContext       = "omca wrapped by file\x00"
	passphraseContext = "omca wrapped by passphrase\x00"
)

// fileMaster is a random key that lies in a file.
type fileMaster struct {
	id     string
	cipher *xaes
	key    [KeySize]byte // for ExportMaster
}

// ExportMaster returns the text of the file that a master key lies in, for another
// member of the cluster, to be sealed for that one alone. A passphrase is not
// given away: ErrMaster.
func ExportMaster(m Master) ([]byte, error) {
	f, ok := m.(*fileMaster)
	if !ok {
		return nil, fmt.Errorf("%w: %s is in no file", ErrMaster, m.ID())
	}
	return sealKeyLine(f.key), nil
}

func sealKeyLine(key [KeySize]byte) []byte {
	return []byte(sealKeyText + sealKeyPrefix + base64.StdEncoding.EncodeToString(key[:]) + "\n")
}

// ImportFileMaster writes what ExportMaster returned into a new file at name, as
// CreateFileMaster does.
func ImportFileMaster(name string, text []byte) error {
	if len(text) > maxSealKey {
		return fmt.Errorf("%w: %d bytes are no seal key", ErrMaster, len(text))
	}
	if _, err := parseFileMaster("what was received", text); err != nil {
		return err
	}
	if err := writeNew(name, text); err != nil {
		return fmt.Errorf("writing the seal key: %w", err)
	}
	return nil
}

// Format keeps the key out of everything that is printed.
func (m *fileMaster) Format(f fmt.State, _ rune) { fmt.Fprint(f, m.ID()) }

func NewFileMaster(key [KeySize]byte) (*fileMaster, error) {
	cipher, err := newXAES(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte("omca seal key id\x00"), key[:]...))
	return &fileMaster{fmt.Sprintf("file:%x", sum[:8]), cipher, key}, nil
}

func (m *fileMaster) ID() string { return m.id }

func (m *fileMaster) Wrap(key []byte) ([]byte, error) {
	return m.cipher.seal(nil, key, []byte(fileContext))
}

func (m *fileMaster) Unwrap(wrapped []byte) ([]byte, error) {
	key, err := m.cipher.open(wrapped, []byte(fileContext))
	if err != nil {
		return nil, fmt.Errorf("%w: %s did not wrap this", ErrMaster, m.id)
	}
	return key, nil
}

const (
	sealKeyPrefix = "OMCA-SEAL-KEY-1 "
	sealKeyText   = "# This key opens every secret in the store beside it. Keep a copy, but not with the store's backups.\n"
	maxSealKey    = 4 << 10 // bytes in the file
)

// CreateFileMaster makes a fresh master key in a new file at name, which must
// not exist ([os.ErrExist]). The file is whole and on the disk when it returns,
// with mode 0600. A start that was cut short leaves the whole file or none.
func CreateFileMaster(name string) (Master, error) {
	var key [KeySize]byte
	rand.Read(key[:]) // never fails
	m, err := NewFileMaster(key)
	if err != nil {
		return nil, err
	}
	if err := writeNew(name, sealKeyLine(key)); err != nil {
		return nil, fmt.Errorf("creating the seal key: %w", err)
	}
	return m, nil
}

// writeNew writes a new file, whole or not at all: a start that is cut short must not leave half a key.
func writeNew(name string, text []byte) error {
	return home.Create(name, ".seal-*", func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}

// OpenFileMaster reads the file that CreateFileMaster made; [os.ErrNotExist]
// when there is none. A file that group or others can touch, a symbolic link,
// and anything that is no key is [ErrMaster].
func OpenFileMaster(name string) (Master, error) {
	text, err := readPrivate(name)
	if err != nil {
		return nil, fmt.Errorf("reading the seal key: %w", err)
	}
	return parseFileMaster(name, text)
}

func parseFileMaster(name string, text []byte) (Master, error) {
	bad := fmt.Errorf("%w: %s does not hold a seal key", ErrMaster, name)
	var found [][]byte
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		return nil, bad
	}
	encoded, ok := bytes.CutPrefix(found[0], []byte(sealKeyPrefix))
	if !ok {
		return nil, bad
	}
	key, err := base64.StdEncoding.DecodeString(string(encoded))
	if err != nil || len(key) != KeySize {
		return nil, bad
	}
	return NewFileMaster([KeySize]byte(key))
}

// readPrivate reads a small regular file that only its owner can touch.
func readPrivate(name string) (text []byte, err error) {
	before, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file (%s)", ErrMaster, name, before.Mode().Type())
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(before, info) {
		return nil, fmt.Errorf("%w: %s was replaced while it was opened", ErrMaster, name)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, hint.With(fmt.Errorf("%w: %s has mode %#o, so others can touch it", ErrMaster, name, mode), "chmod 600 %s", name)
	}
	if text, err = io.ReadAll(io.LimitReader(f, maxSealKey+1)); err != nil {
		return nil, err
	}
	if len(text) > maxSealKey {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrMaster, name, maxSealKey)
	}
	return text, nil
}

// cost is how hard a passphrase is to guess: passes, memory in KiB, lanes.
type cost struct {
	Time, Memory uint32
	Threads      uint8
}

// wrapCost is the second recommended choice of RFC 9106, section 4: 64 MiB.
func wrapCost() cost { return cost{Time: 3, Memory: 64 << 10, Threads: 4} }

// check bounds what a wrapped key may ask of this machine: 16 passes over 1 GiB.
func (c cost) check() error {
	if c.Time < 1 || c.Time > 16 || c.Memory < 8<<10 || c.Memory > 1<<20 || c.Threads < 1 || c.Threads > 16 {
		return fmt.Errorf("the wrapped key asks for %d passes over %d KiB in %d lanes", c.Time, c.Memory, c.Threads)
	}
	return nil
}

// What a passphrase wraps is
//
//	version (1 byte, 1) | passes (4) | KiB (4) | lanes (1) | salt (16) | nonce, ciphertext, tag
//
// big endian, and all before the nonce is associated data.
const (
	wrapVersion = 1
	saltSize    = 16
	wrapHeader  = 1 + 4 + 4 + 1 + saltSize
)

const minPassphrase = 8 // bytes; NIST SP 800-63B, section 5.1.1.1

// passphraseMaster derives a key from a passphrase, with a salt each time.
type passphraseMaster struct {
	passphrase []byte
	cost       cost
}

// ErrPassphrase is a passphrase that is too short.
var ErrPassphrase = errors.New("the passphrase is too short")

// short is [ErrPassphrase] with the two lengths instead of these words.
type short struct{ error }

func (short) Is(target error) bool { return target == ErrPassphrase }

// NewPassphraseMaster returns the master that is in somebody's head: argon2id
// makes a key of the passphrase, 8 bytes at least, each time that it is used.
func NewPassphraseMaster(passphrase []byte) (Master, error) {
	if len(passphrase) < minPassphrase {
		return nil, short{fmt.Errorf("the passphrase has %d bytes, at least %d are needed", len(passphrase), minPassphrase)}
	}
	return &passphraseMaster{bytes.Clone(passphrase), wrapCost()}, nil
}

func (m *passphraseMaster) ID() string { return "passphrase" }

// Format keeps the passphrase out of everything that is printed.
func (m *passphraseMaster) Format(f fmt.State, _ rune) { fmt.Fprint(f, m.ID()) }

func (m *passphraseMaster) Wrap(key []byte) ([]byte, error) {
	header := []byte{wrapVersion}
	header = binary.BigEndian.AppendUint32(header, m.cost.Time)
	header = binary.BigEndian.AppendUint32(header, m.cost.Memory)
	header = append(header, m.cost.Threads)
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	header = append(header, salt...)
	cipher, err := m.derive(header)
	if err != nil {
		return nil, err
	}
	return cipher.seal(header, key, append([]byte(passphraseContext), header...))
}

func (m *passphraseMaster) Unwrap(wrapped []byte) ([]byte, error) {
	if len(wrapped) < wrapHeader || wrapped[0] != wrapVersion {
		return nil, fmt.Errorf("%w: no passphrase wrapped this", ErrMaster)
	}
	header := wrapped[:wrapHeader]
	cipher, err := m.derive(header)
	if err != nil {
		return nil, err
	}
	key, err := cipher.open(wrapped[wrapHeader:], append([]byte(passphraseContext), header...))
	if err != nil {
		return nil, fmt.Errorf("%w: the passphrase is not the one that the store was sealed with", ErrMaster)
	}
	return key, nil
}

// derive makes the key that a header describes, as RFC 9106 has it.
func (m *passphraseMaster) derive(header []byte) (*xaes, error) {
	c := cost{binary.BigEndian.Uint32(header[1:]), binary.BigEndian.Uint32(header[5:]), header[9]}
	if err := c.check(); err != nil {
		return nil, err
	}
	salt := header[wrapHeader-saltSize:]
	return newXAES([KeySize]byte(argon2.IDKey(m.passphrase, salt, c.Time, c.Memory, c.Threads, KeySize)))
}

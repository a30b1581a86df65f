package clustercockpit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// MaxKeyText is the length in bytes of the longest text that is looked at for a key: a whole .env or config.json.
const MaxKeyText = 64 << 10

// The names under which a key is found in a .env, in the output of gen-keypair and in the configuration of the metric store.
const (
	namePublic      = "JWT_PUBLIC_KEY"
	namePrivate     = "JWT_PRIVATE_KEY"
	nameCrossLogin  = "CROSS_LOGIN_JWT_PUBLIC_KEY"
	nameMetricStore = "jwt-public-key"

	// With a space: the output of gen-keypair is no .env yet.
	nameGeneratedPublic  = "ED25519 PUBLIC_KEY"
	nameGeneratedPrivate = "ED25519 PRIVATE_KEY"
)

var (
	linePattern   = regexp.MustCompile(`(?m)^[ \t]*(?:export[ \t]+)?((?:CROSS_LOGIN_)?JWT_(?:PUBLIC|PRIVATE)_KEY|ED25519 (?:PUBLIC|PRIVATE)_KEY)[ \t]*=[ \t]*["']?([^"'\s]*)`)
	memberPattern = regexp.MustCompile(`"(jwt-public-key)"\s*:\s*"([^"]*)"`)
)

const (
	blockPublic  = "PUBLIC KEY"  // SPKI (RFC 8410, 4)
	blockPrivate = "PRIVATE KEY" // PKCS #8 (RFC 8410, 7)
)

// demoKey is the public key whose private half is in ClusterCockpit's own documentation and in what "cc-backend -init" writes.
const demoKey = "kzfYrYy+TzpanWZHJ5qSdMj5uKUWgq74BWhQG6copP0="

// IsDemo tells whether key is the one of ClusterCockpit's demonstration. Everybody can sign with it.
func IsDemo(key ed25519.PublicKey) bool { return base64.StdEncoding.EncodeToString(key) == demoKey }

// ParsePublicKey finds the public key in text, which is one of
//
//   - the 44 characters of standard base64 that are its 32 bytes,
//   - PEM "PUBLIC KEY" (SPKI),
//   - lines, of which one is JWT_PUBLIC_KEY=…, CROSS_LOGIN_JWT_PUBLIC_KEY=…, ED25519 PUBLIC_KEY=… or "jwt-public-key": "…".
//
// Anything else is [ErrInvalid]: two keys that differ, a key of another length, and one with which everybody can sign.
func ParsePublicKey(text []byte) (ed25519.PublicKey, error) {
	raw, err := find(text, blockPublic, namePublic, nameCrossLogin, nameGeneratedPublic, nameMetricStore)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if len(raw) == ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w public key: it has %d bytes, which is a private key; a public one has %d", ErrInvalid, len(raw), ed25519.PublicKeySize)
	}
	if len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w public key: it has %d bytes, want %d", ErrInvalid, len(raw), ed25519.PublicKeySize)
	}
	if weak(raw) {
		return nil, fmt.Errorf("%w public key: it is a point of small order, with which everybody can sign", ErrInvalid)
	}
	return ed25519.PublicKey(raw), nil
}

// ParsePrivateKey finds the private key in text, which is one of
//
//   - the 88 characters of standard base64 that are its 64 bytes, the seed and the public key,
//   - PEM "PRIVATE KEY" (PKCS #8),
//   - lines, of which one is JWT_PRIVATE_KEY=… or ED25519 PRIVATE_KEY=…. Where the public key is beside it, it must be the same pair.
//
// Anything else is [ErrInvalid]: a key of another length, and one whose public half is not that of its seed.
func ParsePrivateKey(text []byte) (ed25519.PrivateKey, error) {
	raw, err := find(text, blockPrivate, namePrivate, nameGeneratedPrivate)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	switch len(raw) {
	case ed25519.PrivateKeySize:
	case ed25519.PublicKeySize:
		return nil, fmt.Errorf("%w private key: it has %d bytes, which is a public key or a bare seed; want the %d bytes of seed and public key",
			ErrInvalid, len(raw), ed25519.PrivateKeySize)
	default:
		return nil, fmt.Errorf("%w private key: it has %d bytes, want %d", ErrInvalid, len(raw), ed25519.PrivateKeySize)
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if !bytes.Equal(key, raw) {
		return nil, fmt.Errorf("%w private key: its second half is not the public key of its first", ErrInvalid)
	}
	beside, err := named(text, namePublic, nameGeneratedPublic)
	if err != nil || beside != nil && !bytes.Equal(beside, key[ed25519.SeedSize:]) {
		return nil, fmt.Errorf("%w private key: the public key beside it is that of another pair", ErrInvalid)
	}
	return key, nil
}

// find returns the bytes of the key in text: that of a PEM block of this type, that of lines with these names, or the whole text in base64.
func find(text []byte, block string, names ...string) ([]byte, error) {
	if len(text) > MaxKeyText {
		return nil, fmt.Errorf("%w: %d bytes of text, at most %d are looked at", ErrInvalid, len(text), MaxKeyText)
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrInvalid)
	}
	if bytes.HasPrefix(text, []byte("-----BEGIN")) {
		return fromPEM(text, block)
	}
	if raw, err := named(text, names...); raw != nil || err != nil {
		return raw, err
	}
	if bytes.ContainsAny(text, " \t\r\n\"'{:") {
		return nil, fmt.Errorf("%w: want base64, PEM %q, or a line with one of %s", ErrInvalid, block, strings.Join(names, ", "))
	}
	return decode(string(text))
}

// named returns the key of the line that has one of the names: nil without such a line, [ErrInvalid] when two have different keys.
func named(text []byte, names ...string) ([]byte, error) {
	var raw []byte
	for _, match := range append(linePattern.FindAllSubmatch(text, -1), memberPattern.FindAllSubmatch(text, -1)...) {
		name := string(match[1])
		if !slices.Contains(names, name) {
			continue
		}
		key, err := decode(string(match[2]))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if raw != nil && !bytes.Equal(raw, key) {
			return nil, fmt.Errorf("%w: %s is another key than the one before it: give one of them", ErrInvalid, name)
		}
		raw = key
	}
	return raw, nil
}

// fromPEM returns the bytes of the Ed25519 key in the only block of text, as base64 has them: 32 of a public key, 64 of a private one.
func fromPEM(text []byte, want string) ([]byte, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w: the PEM block cannot be read", ErrInvalid)
	}
	if block.Type != want || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: want one PEM block %q and nothing behind it, the first one is %.32q", ErrInvalid, want, block.Type)
	}
	var key any
	var err error
	if want == blockPublic {
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil { // its text may quote what it read
		return nil, fmt.Errorf("%w: the PEM block %q holds no key that can be read", ErrInvalid, want)
	}
	switch key := key.(type) {
	case ed25519.PublicKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("%w: the PEM block %q holds a %T, want an Ed25519 key", ErrInvalid, want, key)
}

// decode reads standard base64 with padding, and nothing that only resembles it: what two programs read differently is no key.
func decode(text string) ([]byte, error) {
	if text == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrInvalid)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, fmt.Errorf("%w: %d characters that are not standard base64 with padding", ErrInvalid, len(text))
	}
	return raw, nil
}

// weak tells whether a public key is a point of small order: for these, signatures can be made without a private key. The list is that of
// the encodings of such points and of their equals modulo the field's prime, without the bit of the sign.
func weak(key []byte) bool {
	y := bytes.Clone(key)
	y[31] &= 0x7f
	return slices.Contains([]string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	}, hex.EncodeToString(y))
}

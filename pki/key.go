package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"strings"

	"go.step.sm/crypto/pemutil"
	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds on keys that come from outside.
const (
	maxKeyPEM  = 64 << 10 // bytes of PEM text
	minRSABits = 2048     // NIST SP 800-57, part 1: 112 bits of security
	maxRSABits = 8192     // as crypto/tls: beyond, verifying is a denial of service
	// A second of PBKDF2, about. OpenSSL writes 2,048 and Go's libraries up to 600,000; the
	// highest advice for a PRF that is read here is 1,300,000 (OWASP, for HMAC-SHA-1).
	maxKDFIterations = 1_500_000
)

// A KeyType names a kind of key that can be generated.
type KeyType string

// The key types. DefaultKeyType is what the empty string means.
const (
	ECP256         KeyType = "ec-p256"
	ECP384         KeyType = "ec-p384"
	Ed25519        KeyType = "ed25519"
	RSA2048        KeyType = "rsa-2048"
	RSA3072        KeyType = "rsa-3072"
	RSA4096        KeyType = "rsa-4096"
	DefaultKeyType         = ECP256
)

// ParseKeyType reads the name of a key type; "" is the default, ec-p256.
// Errors: ErrInvalid, naming the known types.
func ParseKeyType(s string) (KeyType, error) {
	switch t := KeyType(s); t {
	case "":
		return DefaultKeyType, nil
	case ECP256, ECP384, Ed25519, RSA2048, RSA3072, RSA4096:
		return t, nil
	}
	return "", fmt.Errorf("%w: key type %q: want ec-p256, ec-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096", ErrInvalid, s)
}

// GenerateKey makes a private key. The zero KeyType is the default type.
func GenerateKey(t KeyType) (crypto.Signer, error) {
	t, err := ParseKeyType(string(t))
	if err != nil {
		return nil, err
	}
	switch t {
	case ECP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	default:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
}

// ParsePrivateKey reads the one private key in a PEM text: PKCS #1, SEC 1 or
// PKCS #8, plain or encrypted (PKCS #8 PBES2, or the legacy Proc-Type header).
// An EC PARAMETERS block beside it, as OpenSSL writes, is tolerated. password
// is used only for encrypted keys. Errors: ErrInvalid; no error ever holds a
// part of the input.
func ParsePrivateKey(text, password []byte) (crypto.Signer, error) {
	block, err := onlyKeyBlock(text)
	if err != nil {
		return nil, err
	}
	if encrypted(block) {
		if len(password) == 0 {
			return nil, fmt.Errorf("%w: private key is encrypted and no password was given", ErrInvalid)
		}
		if err := checkEncryption(block); err != nil {
			return nil, err
		}
	}
	// What the library says is dropped on purpose: it sees the secret.
	parsed, err := pemutil.Parse(pem.EncodeToMemory(block), pemutil.WithPassword(password))
	switch {
	case err != nil && encrypted(block):
		return nil, fmt.Errorf("%w: private key cannot be decrypted: wrong password, or not PBES2 with PBKDF2 and AES or DES", ErrInvalid)
	case err != nil:
		return nil, fmt.Errorf("%w: %s block holds no private key that can be read", ErrInvalid, strings.ToLower(block.Type))
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: private key of type %T cannot sign", ErrInvalid, parsed)
	}
	if err := CheckPublicKey(key.Public()); err != nil {
		return nil, err
	}
	return key, nil
}

// onlyKeyBlock returns the private key block of a PEM text that holds exactly one.
func onlyKeyBlock(text []byte) (*pem.Block, error) {
	if len(text) > maxKeyPEM {
		return nil, fmt.Errorf("%w: private key of %d bytes, at most %d are read", ErrInvalid, len(text), maxKeyPEM)
	}
	if len(text) > 0 && text[0] == 0x30 { // a DER SEQUENCE
		return nil, fmt.Errorf("%w: private key is DER, not PEM: convert it with \"openssl pkey -inform DER\"", ErrInvalid)
	}
	var found *pem.Block
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "EC PARAMETERS":
		case "RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			if found != nil {
				return nil, fmt.Errorf("%w: more than one private key, want exactly one", ErrInvalid)
			}
			found = block
		default:
			return nil, fmt.Errorf("%w: PEM block %.40q where a private key is expected", ErrInvalid, block.Type)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: no PEM block with a private key", ErrInvalid)
	}
	return found, nil
}

// KeyEncrypted reports whether text is a private key that ParsePrivateKey needs a
// password for.
func KeyEncrypted(text []byte) bool {
	block, err := onlyKeyBlock(text)
	return err == nil && encrypted(block)
}

func encrypted(block *pem.Block) bool {
	return block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] == "4,ENCRYPTED"
}

// checkEncryption bounds what an encrypted PKCS #8 key asks of the reader
// (RFC 8018, appendix A.2 and A.4): the number of iterations is the writer's
// choice, and the library indexes the IV and the cipher text without a look.
func checkEncryption(block *pem.Block) error {
	if block.Type != "ENCRYPTED PRIVATE KEY" {
		return nil
	}
	var kdfSalt, iv, ciphertext cryptobyte.String
	var iterations int64
	info := cryptobyte.String(block.Bytes)
	var algorithm, params, kdf, kdfParams, scheme cryptobyte.String
	ok := info.ReadASN1(&info, cryptobyte_asn1.SEQUENCE) &&
		info.ReadASN1(&algorithm, cryptobyte_asn1.SEQUENCE) &&
		info.ReadASN1(&ciphertext, cryptobyte_asn1.OCTET_STRING) &&
		algorithm.SkipASN1(cryptobyte_asn1.OBJECT_IDENTIFIER) &&
		algorithm.ReadASN1(&params, cryptobyte_asn1.SEQUENCE) &&
		params.ReadASN1(&kdf, cryptobyte_asn1.SEQUENCE) &&
		params.ReadASN1(&scheme, cryptobyte_asn1.SEQUENCE) &&
		kdf.SkipASN1(cryptobyte_asn1.OBJECT_IDENTIFIER) &&
		kdf.ReadASN1(&kdfParams, cryptobyte_asn1.SEQUENCE) &&
		kdfParams.ReadASN1(&kdfSalt, cryptobyte_asn1.OCTET_STRING) &&
		kdfParams.ReadASN1Integer(&iterations)
	var cipher asn1.ObjectIdentifier
	ok = ok && scheme.ReadASN1ObjectIdentifier(&cipher) &&
		scheme.ReadASN1(&iv, cryptobyte_asn1.OCTET_STRING)
	if !ok {
		return fmt.Errorf("%w: private key is encrypted in a way that is not PBES2 with PBKDF2", ErrInvalid)
	}
	if iterations < 1 || iterations > maxKDFIterations {
		return fmt.Errorf("%w: private key is encrypted with %d iterations of PBKDF2, at least 1 and at most %d are accepted", ErrInvalid, iterations, maxKDFIterations)
	}
	blockSize := 8 // DES and triple DES
	if strings.HasPrefix(cipher.String(), "2.16.840.1.101.3.4.1.") {
		blockSize = 16 // AES
	}
	if len(iv) != blockSize || len(ciphertext)%blockSize != 0 {
		return fmt.Errorf("%w: private key is encrypted with an IV of %d bytes, the cipher has blocks of %d", ErrInvalid, len(iv), blockSize)
	}
	return nil
}

// EncodePrivateKey returns key as PKCS #8 PEM, unencrypted. Errors: ErrInvalid
// for a key that does not leave its device.
func EncodePrivateKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: private key of type %T cannot be exported", ErrInvalid, key)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// DescribeKey names the kind of key for people: "EC P-256", "RSA 2048", "Ed25519".
func DescribeKey(pub crypto.PublicKey) string {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return "EC " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return fmt.Sprintf("%T", pub)
	}
}

// CheckPublicKey refuses keys that no certificate should carry: RSA below 2048
// or above 8192 bits or with a bad exponent, curves other than P-256, P-384 and
// P-521, unknown kinds. Errors: ErrInvalid.
func CheckPublicKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return fmt.Errorf("%w: %s key: want curve P-256, P-384 or P-521", ErrInvalid, DescribeKey(pub))
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: Ed25519 key of %d bytes, want %d", ErrInvalid, len(k), ed25519.PublicKeySize)
		}
		return nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("%w: RSA key of %d bits, want %d to %d", ErrInvalid, bits, minRSABits, maxRSABits)
		}
		// FIPS 186-5, 5.1: the exponent is odd and greater than 2^16. Exponent 3
		// has a history of forged signatures.
		if k.E < 1<<16 || k.E%2 == 0 {
			return fmt.Errorf("%w: RSA key with exponent %d, want an odd one above 65536", ErrInvalid, k.E)
		}
		return nil
	default:
		return fmt.Errorf("%w: public key of type %T: want RSA, EC or Ed25519", ErrInvalid, pub)
	}
}

// SameKey reports whether a and b are the same public key.
func SameKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// SubjectKeyID returns the key identifier of pub by RFC 7093, section 2,
// method 1: the leftmost 160 bits of the SHA-256 hash of the subjectPublicKey
// bits. Errors: ErrInvalid for a key that has no encoding.
func SubjectKeyID(pub crypto.PublicKey) ([]byte, error) {
	encoded, err := encodePublicKey(pub)
	if err != nil {
		return nil, err
	}
	return keyID(encoded)
}

// keyID is SubjectKeyID of an encoded key.
func keyID(encoded []byte) ([]byte, error) {
	in := cryptobyte.String(encoded)
	var bits asn1.BitString
	if !in.ReadASN1(&in, cryptobyte_asn1.SEQUENCE) ||
		!in.SkipASN1(cryptobyte_asn1.SEQUENCE) ||
		!in.ReadASN1BitString(&bits) {
		return nil, fmt.Errorf("%w: no SubjectPublicKeyInfo", ErrInvalid)
	}
	sum := sha256.Sum256(bits.Bytes)
	return sum[:20], nil
}

// encodePublicKey returns the DER SubjectPublicKeyInfo of pub (RFC 5280, 4.1.2.7), the
// octets of [x509.MarshalPKIXPublicKey]. A request asks for several: those of keys on a
// curve are put together here, without reflection.
func encodePublicKey(pub crypto.PublicKey) ([]byte, error) {
	if head, bits := publicKeyParts(pub); bits != nil {
		return append([]byte(head), bits...), nil
	}
	encoded, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: public key of type %T has no encoding", ErrInvalid, pub)
	}
	return encoded, nil
}

// The SubjectPublicKeyInfo of each key on a curve begins with these octets: the lengths,
// the algorithm, the curve (RFC 5480, 2; RFC 8410, 4). The key is the rest.
const (
	headP256    = "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
	headP384    = "\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00"
	headP521    = "\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00"
	headEd25519 = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"
)

// publicKeyParts returns the two parts of the SubjectPublicKeyInfo of a key on a curve:
// what is before the key, and the key. It returns nil for other keys.
func publicKeyParts(pub crypto.PublicKey) (head string, bits []byte) {
	switch key := pub.(type) {
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize {
			return headEd25519, key
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			head = headP256
		case elliptic.P384():
			head = headP384
		case elliptic.P521():
			head = headP521
		default:
			return "", nil
		}
		if point, err := key.Bytes(); err == nil { // a point of the curve
			return head, point
		}
	}
	return "", nil
}

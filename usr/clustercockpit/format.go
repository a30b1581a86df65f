package clustercockpit

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
)

// Format is how a key is written.
type Format string

// The formats of keys. Each ends with a new line.
const (
	FormatBase64      Format = "base64"       // the text alone: what both sides take
	FormatPEM         Format = "pem"          // SPKI or PKCS #8, for everybody else
	FormatEnv         Format = "env"          // JWT_PUBLIC_KEY="…", JWT_PRIVATE_KEY="…": ready for the .env of cc-backend
	FormatGenKeypair  Format = "gen-keypair"  // as ClusterCockpit's gen-keypair prints a pair
	FormatMetricStore Format = "metric-store" // "jwt-public-key": "…", for the configuration of cc-metric-store
	FormatCrossLogin  Format = "cross-login"  // CROSS_LOGIN_JWT_PUBLIC_KEY="…": ready for the .env of cc-backend
)

// PublicFormats returns the formats that a public key can be written in.
func PublicFormats() []Format {
	return []Format{FormatBase64, FormatPEM, FormatEnv, FormatMetricStore, FormatCrossLogin}
}

// PrivateFormats returns the formats that a private key can be written in.
func PrivateFormats() []Format {
	return []Format{FormatEnv, FormatGenKeypair, FormatBase64, FormatPEM}
}

// FormatPublicKey writes a public key. [ParsePublicKey] reads it back.
func FormatPublicKey(format Format, key ed25519.PublicKey) (string, error) {
	if len(key) != ed25519.PublicKeySize {
		return "", fmt.Errorf("%w public key: it has %d bytes, want %d", ErrInvalid, len(key), ed25519.PublicKeySize)
	}
	text := base64.StdEncoding.EncodeToString(key)
	switch format {
	case FormatBase64:
		return text + "\n", nil
	case FormatPEM:
		der, err := x509.MarshalPKIXPublicKey(key)
		return string(pem.EncodeToMemory(&pem.Block{Type: blockPublic, Bytes: der})), err
	case FormatEnv:
		return line(namePublic, text), nil
	case FormatMetricStore:
		return fmt.Sprintf("%q: %q\n", nameMetricStore, text), nil
	case FormatCrossLogin:
		return line(nameCrossLogin, text), nil
	}
	return "", fmt.Errorf("%w format %.32q of a public key: want one of %q", ErrInvalid, format, PublicFormats())
}

// FormatPrivateKey writes a private key, and the public one beside it where the format has room for both. [ParsePrivateKey] reads it back.
func FormatPrivateKey(format Format, key ed25519.PrivateKey) (string, error) {
	if len(key) != ed25519.PrivateKeySize {
		return "", fmt.Errorf("%w private key: it has %d bytes, want %d", ErrInvalid, len(key), ed25519.PrivateKeySize)
	}
	text := base64.StdEncoding.EncodeToString(key)
	public := base64.StdEncoding.EncodeToString(key[ed25519.SeedSize:])
	switch format {
	case FormatBase64:
		return text + "\n", nil
	case FormatPEM:
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return string(pem.EncodeToMemory(&pem.Block{Type: blockPrivate, Bytes: der})), err
	case FormatEnv:
		return line(namePublic, public) + line(namePrivate, text), nil
	case FormatGenKeypair:
		return line(nameGeneratedPublic, public) + line(nameGeneratedPrivate, text), nil
	}
	return "", fmt.Errorf("%w format %.32q of a private key: want one of %q", ErrInvalid, format, PrivateFormats())
}

func line(name, value string) string { return fmt.Sprintf("%s=%q\n", name, value) }

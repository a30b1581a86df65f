package pki

import (
	"crypto"
	"crypto/x509"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

// A PKCS12Format chooses the ciphers of a PKCS #12 file.
type PKCS12Format string

// The formats. Modern is AES-256 and SHA-256 (OpenSSL 1.1 and later, Windows
// 10 1709, macOS 15); Legacy is triple DES and SHA-1, for everything older,
// and protects next to nothing.
const (
	PKCS12Modern PKCS12Format = "modern"
	PKCS12Legacy PKCS12Format = "legacy"
)

// EncodePKCS12 returns a PKCS #12 file (RFC 7292), DER, with the key and its
// chain, leaf first, under a password. Errors: ErrInvalid.
func EncodePKCS12(key crypto.Signer, chain []*x509.Certificate, password string, format PKCS12Format) ([]byte, error) {
	switch {
	case len(chain) == 0:
		return nil, fmt.Errorf("%w: PKCS #12 without a certificate", ErrInvalid)
	case password == "":
		return nil, fmt.Errorf("%w: PKCS #12 without a password", ErrInvalid)
	case !SameKey(chain[0].PublicKey, key.Public()):
		return nil, fmt.Errorf("%w: the certificate of %q holds another key (%s) than the private key (%s)",
			ErrInvalid, chain[0].Subject, DescribeKey(chain[0].PublicKey), DescribeKey(key.Public()))
	}
	var encoder *pkcs12.Encoder
	switch format {
	case PKCS12Modern:
		encoder = pkcs12.Modern2023
	case PKCS12Legacy:
		encoder = pkcs12.LegacyDES
	default:
		return nil, fmt.Errorf("%w: PKCS #12 format %q: want modern or legacy", ErrInvalid, format)
	}
	der, err := encoder.Encode(key, chain[0], chain[1:], password)
	if err != nil {
		// What the library says is dropped on purpose: it sees key and password.
		return nil, fmt.Errorf("%w: PKCS #12: the key cannot be exported, or the password not be encoded", ErrInvalid)
	}
	return der, nil
}

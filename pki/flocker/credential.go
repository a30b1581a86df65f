package flocker

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"unicode"
	"unicode/utf8"

	"omca/pki"
)

// maxFile bounds a file of a cluster: a certificate or a key, in bytes.
const maxFile = 64 << 10

// A Credential is a certificate of a cluster with its key.
type Credential struct {
	Identity
	Certificate *x509.Certificate
	Key         crypto.Signer
	Authority   *x509.Certificate // the cluster's CA
}

// A FileError says what became of a file, in Flocker's words: "Certificate file
// could not be opened. No such file or directory /etc/flocker/node.crt".
type FileError struct {
	What string // a sentence without its full stop
	Path string
	Err  error
}

// Error returns the sentence, the reason and the path.
func (e *FileError) Error() string { return e.What + ". " + Reason(e.Err) + " " + e.Path }

// Unwrap returns the reason.
func (e *FileError) Unwrap() error { return e.Err }

// Reason says an error without the file that it is about, as the C library
// does: with a capital.
func Reason(err error) string {
	text := err.Error()
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		text = errno.Error()
	}
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

// Load reads the credential of a holder, whatever its role: authority names the
// file of the cluster's CA certificate, certificate and key the holder's own. The
// key must be the certificate's; whether the CA signed it is what [Verify] tells.
// Errors: *FileError for a file that cannot be read or holds something else.
func Load(authority, certificate, key string) (Credential, error) {
	var c Credential
	var err error
	const whatCertificate, whatKey = "Certificate file could not be opened", "Private key file could not be opened"
	if c.Authority, err = ReadCertificate(authority); err != nil {
		return Credential{}, &FileError{whatCertificate, authority, err}
	}
	if c.Certificate, err = ReadCertificate(certificate); err != nil {
		return Credential{}, &FileError{whatCertificate, certificate, err}
	}
	if c.Identity, err = Identify(c.Certificate); err != nil {
		return Credential{}, &FileError{whatCertificate, certificate, err}
	}
	if c.Key, err = ReadKey(key); err != nil {
		return Credential{}, &FileError{whatKey, key, err}
	}
	if !pki.SameKey(c.Certificate.PublicKey, c.Key.Public()) {
		return Credential{}, &FileError{whatKey, key, fmt.Errorf("%w: it is not the key of %s", pki.ErrInvalid, certificate)}
	}
	return c, nil
}

// ReadCertificate reads a file with one certificate, PEM. Errors: of the system,
// or pki.ErrInvalid.
func ReadCertificate(path string) (*x509.Certificate, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := pki.ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("%w: %d certificates, want one", pki.ErrInvalid, len(certs))
	}
	return certs[0], nil
}

// ReadKey reads a file with one private key, PEM, not encrypted. Errors: of the
// system, or pki.ErrInvalid.
func ReadKey(path string) (crypto.Signer, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return pki.ParsePrivateKey(text, nil)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%w: more than %d bytes", pki.ErrInvalid, maxFile)
	}
	return text, err
}

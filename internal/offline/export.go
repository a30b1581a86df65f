package offline

import (
	"errors"
	"fmt"
	"os"

	"omca/pki"
	"omca/pki/flocker"
)

// Export writes a CA that lives elsewhere to dir, as Initialize does with a new
// one; a directory that is not there is made, for its owner alone. Both texts are
// PEM. Errors: pki.ErrInvalid for what Open would refuse, *flocker.FileError.
func (m Maker) Export(dir string, certificate, key []byte) (err error) {
	certs, err := pki.ParseCertificates(certificate)
	if err != nil {
		return err
	}
	if len(certs) != 1 {
		return fmt.Errorf("%w: the CA has a chain of %d certificates, and an offline cluster hangs from one root", pki.ErrInvalid, len(certs))
	}
	if err := flocker.CheckAuthority(certs[0]); err != nil {
		return err
	}
	if err := pki.VerifyChain(certs, m.Now()); err != nil {
		return err
	}
	signer, err := pki.ParsePrivateKey(key, nil)
	if err != nil {
		return err
	}
	if !pki.SameKey(certs[0].PublicKey, signer.Public()) {
		return fmt.Errorf("%w: the private key is not that of the certificate of %q", pki.ErrInvalid, certs[0].Subject)
	}
	made := os.Mkdir(dir, 0o700) == nil // where it cannot be, what follows says why
	defer func() {
		if err != nil && made {
			err = errors.Join(err, ignoreMissing(os.Remove(dir)))
		}
	}()
	p, err := newPair(dir, "cluster")
	if err != nil {
		return err
	}
	defer p.discard()
	return p.put(certs[0], signer)
}

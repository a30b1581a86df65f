package offline

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"omca/pki"
	"omca/pki/flocker"
)

// Names of the CA's files.
const (
	CertificateFile = "cluster.crt"
	KeyFile         = "cluster.key"
)

// Lifetime is that of every certificate: twenty years of 365 days.
const Lifetime = 20 * 365 * 24 * time.Hour

const (
	whatCertificate = "Unable to write certificate file"
	whatKey         = "Unable to write private key file"
)

// Maker is what making certificates takes.
type Maker struct {
	Now    func() time.Time // required
	Linter pki.Linter       // of every certificate; required

	// Program is what the operator types, for the advice in an error: "flocker-ca".
	Program string

	// Generate makes a private key; nil: RSA of 4096 bits. It is called from
	// several goroutines at once.
	Generate func() (crypto.Signer, error)

	// Progress is told how many of the keys are made, from 0 on, from one
	// goroutine. May be nil.
	Progress func(made, of int)
}

// A Cluster is a CA that was read from its directory, ready to sign.
type Cluster struct {
	Maker
	issuer *pki.Issuer
}

// Authority returns the certificate of the CA.
func (c *Cluster) Authority() *x509.Certificate { return c.issuer.Certificate() }

// Initialize makes a CA called name in dir, for the cluster with that UUID; "" is a
// new random one. Errors: *flocker.FileError, or *NameError.
func (m Maker) Initialize(ctx context.Context, dir, name, cluster string) (*Cluster, error) {
	if cluster == "" {
		cluster = newUUID()
	}
	subject := pki.Subject{CommonName: name, OrganizationalUnit: cluster}
	if err := checkClusterName(subject); err != nil {
		return nil, err
	}
	p, err := newPair(dir, "cluster")
	if err != nil {
		return nil, err
	}
	defer p.discard()
	keys, err := m.keys(ctx, 1)
	if err != nil {
		return nil, err
	}
	cert, err := m.root(subject, keys[0])
	if err != nil {
		return nil, err
	}
	if err := p.put(cert, keys[0]); err != nil {
		return nil, err
	}
	issuer, err := pki.NewIssuer([]*x509.Certificate{cert}, keys[0], m.Linter)
	return &Cluster{m, issuer}, err
}

// root makes the certificate of a CA over its own key.
func (m Maker) root(subject pki.Subject, key crypto.Signer) (*x509.Certificate, error) {
	root, err := pki.NewRoot(key, m.Linter)
	if err != nil {
		return nil, err
	}
	leavesOnly := 0
	return m.sign(root, key, order{profile: "ca", subject: subject, pathLen: &leavesOnly})
}

// Open reads the CA in dir: a root that is valid now, with its own key. Errors:
// *flocker.FileError.
func (m Maker) Open(dir string) (*Cluster, error) {
	path := filepath.Join(dir, CertificateFile)
	cert, err := m.readAuthority(path)
	if err != nil {
		return nil, &flocker.FileError{What: m.unloadable(err), Path: path, Err: err}
	}
	path = filepath.Join(dir, KeyFile)
	key, err := flocker.ReadKey(path)
	if err == nil && !pki.SameKey(cert.PublicKey, key.Public()) {
		err = fmt.Errorf("%w: it is not the key of %s", pki.ErrInvalid, CertificateFile)
	}
	if err != nil {
		return nil, &flocker.FileError{What: m.unloadable(err), Path: path, Err: err}
	}
	issuer, err := pki.NewIssuer([]*x509.Certificate{cert}, key, m.Linter)
	if err != nil {
		return nil, &flocker.FileError{What: m.unloadable(err), Path: filepath.Join(dir, CertificateFile), Err: err}
	}
	return &Cluster{m, issuer}, nil
}

// ReadAuthority reads the certificate of the CA in dir alone, as whoever verifies
// has it. Errors: *flocker.FileError.
func (m Maker) ReadAuthority(dir string) (*x509.Certificate, error) {
	path := filepath.Join(dir, CertificateFile)
	cert, err := m.readAuthority(path)
	if err != nil {
		return nil, &flocker.FileError{What: m.unloadable(err), Path: path, Err: err}
	}
	return cert, nil
}

// readAuthority reads the certificate of a CA that is one, and valid now.
func (m Maker) readAuthority(path string) (*x509.Certificate, error) {
	cert, err := flocker.ReadCertificate(path)
	if err != nil {
		return nil, err
	}
	if err := flocker.CheckAuthority(cert); err != nil {
		return nil, err
	}
	return cert, pki.VerifyChain([]*x509.Certificate{cert}, m.Now())
}

// unloadable is the first sentence of an error about the CA's files. Another CA is
// a remedy for one that is not there, and for nothing else.
func (m Maker) unloadable(err error) string {
	const what = "Unable to load certificate authority file"
	if !errors.Is(err, fs.ErrNotExist) {
		return what
	}
	return fmt.Sprintf("%s. Please run `%s initialize` to generate a new certificate authority", what, m.Program)
}

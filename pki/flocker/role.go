package flocker

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"omca/pki"
)

// ErrRole means that a certificate is none of a Flocker cluster, or not that of
// the role asked for.
var ErrRole = errors.New("not of that role")

// A Role is what the holder of a certificate may be.
type Role string

// The roles. The control service is called by the others.
const (
	Control Role = "control"
	Node    Role = "node"
	User    Role = "user"
)

// ControlName is the common name of the control service, and the host name that
// everybody asks it for, wherever it runs.
const ControlName = "control-service"

const (
	nodePrefix = "node-"
	userPrefix = "user-"
)

// ParseRole reads the name of a role. Errors: ErrRole, naming the known ones.
func ParseRole(s string) (Role, error) {
	switch r := Role(s); r {
	case Control, Node, User:
		return r, nil
	}
	return "", fmt.Errorf("%w: role %q: want control, node or user", ErrRole, s)
}

// CommonName returns the common name of the holder of a role: name is the UUID
// of a node or the name of a user, and nothing for the control service.
func (r Role) CommonName(name string) string {
	switch r {
	case Node:
		return nodePrefix + name
	case User:
		return userPrefix + name
	}
	return ControlName
}

// An Identity is who a certificate says its holder is. Whether to believe it is
// what [Verify] tells.
type Identity struct {
	Role    Role
	Name    string // of a user, or the UUID of a node; "" for the control service
	Cluster string // the UUID of the cluster: the organizational unit, "" if there is none
}

// Identify reads the subject of a certificate. The roles exclude each other.
// Errors: ErrRole for a subject that is none of a Flocker cluster.
func Identify(cert *x509.Certificate) (Identity, error) {
	id := Identity{}
	if units := cert.Subject.OrganizationalUnit; len(units) == 1 {
		id.Cluster = units[0]
	}
	cn := cert.Subject.CommonName
	if commonNames(cert) != 1 {
		return Identity{}, fmt.Errorf("%w: %q has %d common names, want one", ErrRole, cert.Subject, commonNames(cert))
	}
	node, isNode := strings.CutPrefix(cn, nodePrefix)
	user, isUser := strings.CutPrefix(cn, userPrefix)
	switch {
	case cert.IsCA:
		return Identity{}, fmt.Errorf("%w: the certificate of %q is a CA's", ErrRole, cert.Subject)
	case cn == ControlName:
		id.Role = Control
	case isNode && isUUID(node):
		id.Role, id.Name = Node, node
	case isUser && user != "":
		id.Role, id.Name = User, user
	default:
		return Identity{}, fmt.Errorf("%w: common name %q: want %q, %q or %q", ErrRole, cn, ControlName, nodePrefix+"UUID", userPrefix+"NAME")
	}
	return id, nil
}

// commonNames counts them: crypto/x509 keeps the last, other readers the first.
func commonNames(cert *x509.Certificate) int {
	n := 0
	for _, attribute := range cert.Subject.Names {
		if attribute.Type.Equal([]int{2, 5, 4, 3}) {
			n++
		}
	}
	return n
}

// isUUID tells the form of RFC 9562, section 4.
func isUUID(s string) bool {
	groups := strings.Split(s, "-")
	if len(groups) != 5 {
		return false
	}
	for i, n := range []int{8, 4, 4, 4, 12} {
		if len(groups[i]) != n || strings.Trim(groups[i], "0123456789abcdefABCDEF") != "" {
			return false
		}
	}
	return true
}

// Verify reports who the holder of cert is, when cert was signed by ca itself, is
// valid at a time (the zero time is now), and may be what it says: the control
// service by the alternative name control-service, a user by a certificate for
// clients only, a node as a client. Errors: ErrRole or pki.ErrInvalid.
func Verify(cert, ca *x509.Certificate, at time.Time) (Identity, error) {
	cert, err := pki.WithExtensions(cert)
	if err != nil {
		return Identity{}, err
	}
	if ca, err = pki.WithExtensions(ca); err != nil {
		return Identity{}, err
	}
	if err := CheckAuthority(ca); err != nil {
		return Identity{}, err
	}
	id, err := Identify(cert)
	if err != nil {
		return Identity{}, err
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	options.Roots.AddCert(ca)
	if id.Role == Control {
		options.DNSName, options.KeyUsages = ControlName, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if _, err := cert.Verify(options); err != nil {
		return Identity{}, fmt.Errorf("%w: the certificate of %q: %w", pki.ErrInvalid, cert.Subject.CommonName, err)
	}
	// RFC 5280, 4.2.1.12: a certificate without the extension is not restricted,
	// and a user's that is not could be a server.
	if id.Role == User && (!slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(cert.UnknownExtKeyUsage) > 0) {
		return Identity{}, fmt.Errorf("%w: the certificate of %q is not for clients alone (extendedKeyUsage clientAuth)", ErrRole, cert.Subject.CommonName)
	}
	return id, nil
}

// Verify is [Verify] for a role that must be the holder's.
func (r Role) Verify(cert, ca *x509.Certificate, at time.Time) (Identity, error) {
	id, err := Verify(cert, ca, at)
	if err == nil && id.Role != r {
		return Identity{}, fmt.Errorf("%w: the certificate of %q is for the role %q, not %q", ErrRole, cert.Subject.CommonName, id.Role, r)
	}
	return id, err
}

// CheckAuthority checks that a certificate is one that a cluster can hang from: a
// self-signed CA that may sign certificates. Its dates are not looked at.
// Errors: pki.ErrInvalid.
func CheckAuthority(ca *x509.Certificate) error {
	ca, err := pki.WithExtensions(ca)
	switch {
	case err != nil:
		return err
	case !ca.BasicConstraintsValid || !ca.IsCA:
		return fmt.Errorf("%w: the certificate of %q is not a CA's (basicConstraints CA:TRUE is missing)", pki.ErrInvalid, ca.Subject)
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%w: the certificate of %q may not sign certificates (keyUsage keyCertSign is missing)", pki.ErrInvalid, ca.Subject)
	case !bytes.Equal(ca.RawIssuer, ca.RawSubject):
		return fmt.Errorf("%w: the certificate of %q was signed by %q, and a cluster hangs from a root", pki.ErrInvalid, ca.Subject, ca.Issuer)
	}
	if err := pki.CheckPublicKey(ca.PublicKey); err != nil {
		return err
	}
	if err := ca.CheckSignature(ca.SignatureAlgorithm, ca.RawTBSCertificate, ca.Signature); err != nil {
		return fmt.Errorf("%w: the certificate of %q is not signed by its own key: %w", pki.ErrInvalid, ca.Subject, err)
	}
	return nil
}

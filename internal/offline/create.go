package offline

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"omca/pki"
	"omca/pki/flocker"
)

// A NameError says why a name cannot be that of a host, a user or a cluster:
// "Invalid username: Could not be converted to UTF-8".
type NameError struct {
	Of  string // "username", "hostname" or "cluster name"
	Why string
}

// Error returns what the name is of, and the reason.
func (e *NameError) Error() string { return "Invalid " + e.Of + ": " + e.Why }

// order is a certificate to be made.
type order struct {
	file    string // its files less their endings
	profile string
	subject pki.Subject
	names   pki.Names
	pathLen *int
}

// Created is a pair that was made.
type Created struct {
	Name        string // of the files, less .crt and .key
	Certificate *x509.Certificate
}

// CreateControl makes the pair of the control service on a host, a DNS name or an
// address, in dir. Errors: *flocker.FileError, or *NameError.
func (c *Cluster) CreateControl(ctx context.Context, dir, host string) (Created, error) {
	kind := "DNS:"
	if _, err := netip.ParseAddr(host); err == nil {
		kind = "IP:"
	}
	names, err := pki.ParseNames([]string{"DNS:" + flocker.ControlName, kind + host})
	if err != nil {
		return Created{}, &NameError{"hostname", plain(err)}
	}
	made, err := c.create(ctx, dir, order{
		file: "control-" + host, profile: "listener", subject: c.subject(flocker.Control.CommonName("")), names: names,
	})
	if err != nil {
		return Created{}, err
	}
	return made[0], nil
}

// CreateNodes makes the pairs of n new nodes in dir, all of them or none. Errors:
// *flocker.FileError.
func (c *Cluster) CreateNodes(ctx context.Context, dir string, n int) ([]Created, error) {
	orders := make([]order, n)
	for i := range orders {
		id := newUUID()
		orders[i] = order{file: id, profile: "node", subject: c.subject(flocker.Node.CommonName(id))}
	}
	return c.create(ctx, dir, orders...)
}

// CreateUser makes the pair of a user of the API in dir. Errors:
// *flocker.FileError, or *NameError.
func (c *Cluster) CreateUser(ctx context.Context, dir, name string) (Created, error) {
	if err := checkUserName(name); err != nil {
		return Created{}, err
	}
	made, err := c.create(ctx, dir, order{file: name, profile: "usr", subject: c.subject(flocker.User.CommonName(name))})
	if err != nil {
		return Created{}, err
	}
	return made[0], nil
}

// subject is that of a holder in this cluster: the unit is the cluster's UUID.
func (c *Cluster) subject(commonName string) pki.Subject {
	s := pki.Subject{CommonName: commonName}
	if units := c.Authority().Subject.OrganizationalUnit; len(units) > 0 {
		s.OrganizationalUnit = units[0]
	}
	return s
}

// create makes the pairs that are ordered, all of them or none.
func (c *Cluster) create(ctx context.Context, dir string, orders ...order) (made []Created, err error) {
	pairs := make([]*pair, 0, len(orders))
	defer func() {
		for _, p := range pairs {
			if err != nil {
				p.takeBack()
			}
			p.discard()
		}
	}()
	for _, o := range orders { // before the keys, which take their time
		p, err := newPair(dir, o.file)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, p)
	}
	keys, err := c.keys(ctx, len(orders))
	if err != nil {
		return nil, err
	}
	for i, o := range orders {
		cert, err := c.sign(c.issuer, keys[i], o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.subject.CommonName, err)
		}
		if err := pairs[i].put(cert, keys[i]); err != nil {
			return nil, err
		}
		made = append(made, Created{o.file, cert})
	}
	return made, nil
}

// sign is the one way to a certificate: request, draft, signature.
func (m Maker) sign(issuer *pki.Issuer, key crypto.Signer, o order) (*x509.Certificate, error) {
	profile, err := pki.LookupProfile(o.profile)
	if err != nil {
		return nil, err
	}
	now := m.Now()
	serial, err := pki.NewSerial(now)
	if err != nil {
		return nil, err
	}
	request, err := pki.NewRequest(key.Public(), o.subject, o.names)
	if err != nil {
		return nil, err
	}
	draft, err := issuer.Draft(request, pki.Terms{
		Profile: profile, Serial: serial, PathLen: o.pathLen, Outlives: !profile.IsCA,
		NotBefore: now, NotAfter: now.Add(Lifetime), // Flocker's: to the second, the last one not counted
	})
	if err != nil {
		return nil, err
	}
	return issuer.Sign(draft)
}

// checkUserName refuses names that would be another file, or read as something
// else in the textual form of a subject (RFC 4514, 2.4).
func checkUserName(name string) error {
	const most = 64 - len("user-") // RFC 5280, A.1: ub-common-name
	bad := func(why string) error { return &NameError{"username", fmt.Sprintf("%.80q %s", name, why)} }
	switch {
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }):
		return &NameError{"username", "Could not be converted to UTF-8"} // Flocker's words, also for what is not ASCII
	case name == "":
		return bad("is empty")
	case len(name) > most:
		return bad(fmt.Sprintf("has %d characters, at most %d fit a certificate", len(name), most))
	case name+".crt" == CertificateFile:
		return bad("is that of the certificate authority's own files")
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return bad("has a character that does not print")
	case strings.ContainsAny(name, `/\,+"<>;=#`):
		return bad(`has one of the characters / \ , + " < > ; = #`)
	case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || strings.TrimSpace(name) != name:
		return bad("begins with a dot or a hyphen, or has blanks around it")
	}
	return nil
}

func checkClusterName(subject pki.Subject) error {
	name := subject.CommonName
	bad := func(why string) error { return &NameError{"cluster name", why} }
	if name == "" {
		return bad("it is empty")
	}
	if strings.TrimSpace(name) != name {
		return bad(fmt.Sprintf("%.80q has blanks around it", name))
	}
	if err := subject.Check(); err != nil {
		return bad(plain(err))
	}
	return nil
}

// plain is the text of an error of pki without the word that every one begins with.
func plain(err error) string { return strings.TrimPrefix(err.Error(), pki.ErrInvalid.Error()+": ") }

// newUUID returns a random UUID (RFC 9562, 5.4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

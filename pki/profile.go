package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"time"
)

const day = 24 * time.Hour

// A Profile says what a certificate is for. [LookupProfile] is the only maker
// of one; the zero Profile is refused.
type Profile struct {
	Name     string        // "ca", "listener", "usr", "node" or "ocsp"
	Lifetime time.Duration // default
	IsCA     bool

	serverAuth, clientAuth bool
	ocspSigning            bool // and id-pkix-ocsp-nocheck
	needsNames             bool // at least one subject alternative name
}

// profiles returns the table of all profiles.
func profiles() []Profile {
	return []Profile{
		{Name: "ca", Lifetime: 3650 * day, IsCA: true},
		{Name: "listener", Lifetime: 365 * day, serverAuth: true, clientAuth: true, needsNames: true},
		{Name: "usr", Lifetime: 365 * day, clientAuth: true},
		{Name: "node", Lifetime: 365 * day, serverAuth: true, clientAuth: true},
		// RFC 6960, 4.2.2.2.1: nobody asks whether it is revoked, so it is short-lived.
		{Name: "ocsp", Lifetime: 30 * day, ocspSigning: true},
	}
}

// LookupProfile returns the profile called name. Errors: ErrInvalid, naming
// the known ones.
func LookupProfile(name string) (Profile, error) {
	var known []string
	for _, p := range profiles() {
		if p.Name == name {
			return p, nil
		}
		known = append(known, p.Name)
	}
	return Profile{}, fmt.Errorf("%w: profile %q: want one of %s", ErrInvalid, name, strings.Join(known, ", "))
}

// extKeyUsage returns the extended key usages; none for a CA.
func (p Profile) extKeyUsage() []x509.ExtKeyUsage {
	var list []x509.ExtKeyUsage
	if p.serverAuth {
		list = append(list, x509.ExtKeyUsageServerAuth)
	}
	if p.clientAuth {
		list = append(list, x509.ExtKeyUsageClientAuth)
	}
	if p.ocspSigning {
		list = append(list, x509.ExtKeyUsageOCSPSigning)
	}
	return list
}

// keyUsage returns the key usage of a certificate for a key of algorithm.
func (p Profile) keyUsage(algorithm x509.PublicKeyAlgorithm) x509.KeyUsage {
	switch {
	case p.IsCA:
		return x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	case algorithm == x509.RSA && p.serverAuth:
		// Only RSA keys can wrap a key (RFC 8813, RFC 8410), and RFC 5280, 4.2.1.12
		// has no use for that with clientAuth alone.
		return x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	default:
		return x509.KeyUsageDigitalSignature
	}
}

// clientOnly reports whether certificates of the profile are for clients and for
// nothing else.
func (p Profile) clientOnly() bool { return p.clientAuth && !p.serverAuth }

// extensions returns what crypto/x509 does not write by itself.
func (p Profile) extensions() []pkix.Extension {
	if !p.ocspSigning {
		return nil
	}
	return []pkix.Extension{{Id: oidNoCheck(), Value: asn1.NullBytes}}
}

// oidNoCheck is id-pkix-ocsp-nocheck (RFC 6960, 4.2.2.2.1).
func oidNoCheck() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
}

// known reports whether p came from LookupProfile unaltered but for its Lifetime.
func (p Profile) known() bool {
	return slices.ContainsFunc(profiles(), func(k Profile) bool {
		k.Lifetime = p.Lifetime
		return k == p
	})
}

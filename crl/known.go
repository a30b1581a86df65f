package crl

import (
	"crypto/x509"
	"maps"
	"sync/atomic"

	"omca/pki"
)

// octets is the subject and the SubjectPublicKeyInfo of a CA certificate, DER.
type octets struct{ name, key string }

// An identity is the identity of a CA, however its certificate spells the name.
type identity struct {
	id   pki.AuthorityID
	name string // the subject in the form of pki.CanonicalName
}

func identityOf(cert *x509.Certificate) identity {
	return identity{pki.AuthorityOf(cert), string(pki.CanonicalName(cert.RawSubject))}
}

// maxLearned bounds the identities that a known keeps beside those of newKnown.
const maxLearned = 256

// known keeps the identities of CA certificates: working one out takes microseconds, and a verdict less than
// one. Any number of goroutines may use it.
type known struct {
	fixed   map[octets]identity
	learned atomic.Pointer[map[octets]identity] // replaced, never written to
}

// newKnown returns a known with the identities of certs, which it never drops.
func newKnown(certs ...*x509.Certificate) *known {
	k := &known{fixed: make(map[octets]identity, len(certs))}
	for _, cert := range certs {
		key := octets{string(cert.RawSubject), string(cert.RawSubjectPublicKeyInfo)}
		if _, there := k.fixed[key]; !there {
			k.fixed[key] = identityOf(cert)
		}
	}
	return k
}

// of returns the identity of the CA with that certificate. One that is known takes some ten nanoseconds and
// allocates nothing.
func (k *known) of(cert *x509.Certificate) identity {
	// The compiler makes no strings of octets within an index expression.
	if is, ok := k.fixed[octets{string(cert.RawSubject), string(cert.RawSubjectPublicKeyInfo)}]; ok {
		return is
	}
	learned := k.learned.Load()
	if learned != nil {
		if is, ok := (*learned)[octets{string(cert.RawSubject), string(cert.RawSubjectPublicKeyInfo)}]; ok {
			return is
		}
	}
	is := identityOf(cert)
	next := make(map[octets]identity)
	// A full map is dropped: its certificates are worked out again.
	if learned != nil && len(*learned) < maxLearned {
		maps.Copy(next, *learned)
	}
	next[octets{string(cert.RawSubject), string(cert.RawSubjectPublicKeyInfo)}] = is
	// Another goroutine may have been first: then the next call learns it.
	k.learned.CompareAndSwap(learned, &next)
	return is
}

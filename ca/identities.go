package ca

import (
	"crypto/x509"
	"sync"

	"omca/pki"
)

// mostIdentities bounds the certificates of which the identity is kept: those that clients bring
// are parsed anew for each connection.
const mostIdentities = 256

// identities keeps the identities of CAs: each request asks for those above its caller, whose
// certificates are the same ones each time.
type identities struct {
	mu sync.RWMutex
	of map[*x509.Certificate]pki.AuthorityID
}

// get is [pki.AuthorityOf]. The certificate must not change.
func (i *identities) get(cert *x509.Certificate) pki.AuthorityID {
	i.mu.RLock()
	id, known := i.of[cert]
	i.mu.RUnlock()
	if known {
		return id
	}
	id = pki.AuthorityOf(cert)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.of == nil || len(i.of) >= mostIdentities {
		i.of = make(map[*x509.Certificate]pki.AuthorityID)
	}
	i.of[cert] = id
	return id
}

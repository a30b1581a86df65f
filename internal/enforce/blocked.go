package enforce

import (
	"crypto/x509"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"omca/pki"
)

// blockedKeys are the keys that were revoked as compromised: a certificate over one proves
// nothing, whichever CA made it. They only become more.
type blockedKeys struct {
	some atomic.Bool // there is one at all

	mu      sync.RWMutex
	all     map[pki.KeyHash]bool
	learned map[string]pki.KeyHash // of CAs, by the octets of the SubjectPublicKeyInfo
}

// mostLearned bounds the CAs whose keys are kept: to hash one takes a microsecond.
const mostLearned = 256

func (b *blockedKeys) add(key pki.KeyHash) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = make(map[pki.KeyHash]bool)
	}
	b.all[key] = true
	b.some.Store(true)
}

func (b *blockedKeys) load(keys iter.Seq2[pki.KeyHash, error]) error {
	for key, err := range keys {
		if err != nil {
			return err
		}
		b.add(key)
	}
	return nil
}

// check refuses a certificate over a blocked key.
func (b *blockedKeys) check(cert *x509.Certificate) error {
	if !b.some.Load() {
		return nil
	}
	b.mu.RLock()
	key, known := b.learned[string(cert.RawSubjectPublicKeyInfo)]
	blocked := known && b.all[key]
	b.mu.RUnlock()
	if !known {
		key = pki.KeyHashOf(cert)
		b.mu.RLock()
		blocked = b.all[key]
		b.mu.RUnlock()
		if cert.IsCA {
			b.learn(cert, key)
		}
	}
	if blocked {
		return fmt.Errorf("%w: the key of %q was revoked here as compromised", ErrRevoked, cert.Subject)
	}
	return nil
}

func (b *blockedKeys) learn(cert *x509.Certificate, key pki.KeyHash) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.learned == nil || len(b.learned) >= mostLearned {
		b.learned = make(map[string]pki.KeyHash)
	}
	b.learned[string(cert.RawSubjectPublicKeyInfo)] = key
}

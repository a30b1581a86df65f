package ca

import (
	"slices"
	"sync"
	"time"

	"omca/crl"
	"omca/pki"
)

// mostAnswers bounds what is kept for one CA; an answer is about a kilobyte.
const mostAnswers = 8192

// answers keeps the signed answers of one responder, so that a popular
// certificate costs no signature a request. It is safe for concurrent use.
type answers struct {
	mu     sync.Mutex
	drops  uint64 // revocations so far
	byKey  map[string]kept
	serial map[pki.Serial][]string // keys of the answers about a certificate
}

// kept is an answer about one certificate.
type kept struct {
	serial pki.Serial
	answer []byte
	window crl.Window
	status crl.Status // that it gives
}

func newAnswers() *answers {
	return &answers{byKey: make(map[string]kept), serial: make(map[pki.Serial][]string)}
}

// find returns the answer to the request with that key while less than half of
// its window is over.
func (c *answers) find(key string, now time.Time) (k kept, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok = c.byKey[key]
	if !ok || now.Before(k.window.This) || !now.Before(k.window.This.Add(k.window.Next.Sub(k.window.This)/2)) {
		return kept{}, false
	}
	return k, true
}

// count returns how many revocations there were: ask before what is known is
// read, for keep.
func (c *answers) count() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drops
}

// keep keeps an answer, unless there was a revocation since count returned seen:
// the answer may be from before it.
func (c *answers) keep(key string, k kept, seen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops != seen {
		return
	}
	if _, there := c.byKey[key]; !there {
		if len(c.byKey) >= mostAnswers {
			c.evict()
		}
		c.serial[k.serial] = append(c.serial[k.serial], key)
	}
	c.byKey[key] = k
}

// evict makes room by an answer that chance picks.
func (c *answers) evict() {
	for key, k := range c.byKey {
		delete(c.byKey, key)
		keys := slices.DeleteFunc(c.serial[k.serial], func(other string) bool { return other == key })
		if len(keys) == 0 {
			delete(c.serial, k.serial)
		} else {
			c.serial[k.serial] = keys
		}
		return
	}
}

// drop forgets the answers about a certificate.
func (c *answers) drop(serial pki.Serial) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	for _, key := range c.serial[serial] {
		delete(c.byKey, key)
	}
	delete(c.serial, serial)
}

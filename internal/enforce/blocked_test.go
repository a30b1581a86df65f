package enforce

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"omca/ca"
	"omca/pki"
)

// TestBlockedKeyInAChain: a certificate over a key that was revoked as compromised is refused
// in every place of a chain, whichever CA made it, and however it spells the key.
func TestBlockedKeyInAChain(t *testing.T) {
	w := &tree{t: t}
	root, corp := w.ca("Root", nil), w.ca("Corp", nil)
	sub := w.ca("Sub", root)
	crossed := w.certify("Sub", sub.key, corp)
	leaf := w.certify("leaf", w.ca("leaf", nil).key, sub)
	leaf.IsCA = false
	other := w.ca("Other", nil)
	e := New(Config{Now: time.Now})
	e.lineage.Store(ca.NewLineage([]*x509.Certificate{crossed, corp.cert}, []*x509.Certificate{root.cert}))
	chains := map[string][]*x509.Certificate{
		"below its root":     {leaf, sub.cert, root.cert},
		"below an anchor":    {leaf, crossed},
		"below another root": {leaf, crossed, corp.cert},
		"below itself":       {leaf, w.certify("Sub", sub.key, &branch{key: sub.key})},
	}
	for _, tt := range []struct {
		what    string
		key     *x509.Certificate
		refused bool
	}{
		{"another key", other.cert, false},
		{"the key of the CA", sub.cert, true},
		{"the key of the leaf", leaf, true},
	} {
		e.blocked = new(blockedKeys)
		for _, blocked := range []bool{false, true} {
			if blocked {
				e.blocked.add(pki.KeyHashOf(tt.key))
			}
			for range 2 { // the second look finds what the first has learned
				for name, chain := range chains {
					if err := e.checkChain(chain); errors.Is(err, ErrRevoked) != (blocked && tt.refused) || err != nil && !(blocked && tt.refused) {
						t.Errorf("%s, blocked is %t, %s: %v", tt.what, blocked, name, err)
					}
				}
			}
		}
	}
}

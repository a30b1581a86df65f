package offline

import (
	"context"
	"crypto"
	"runtime"

	"omca/pki"
)

// keys makes n private keys on all processors. Each looks for keys of its own
// until there are enough, so that a single one is soon found too: how long the
// search for primes takes is chance, and the luckiest ends it.
func (m Maker) keys(ctx context.Context, n int) ([]crypto.Signer, error) {
	type outcome struct {
		key crypto.Signer
		err error
	}
	generate := m.Generate
	if generate == nil {
		generate = func() (crypto.Signer, error) { return pki.GenerateKey(pki.RSA4096) }
	}
	found, enough := make(chan outcome), make(chan struct{})
	defer close(enough) // a search that is under way ends by itself, and nobody waits for it
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for {
				key, err := generate()
				select {
				case found <- outcome{key, err}:
				case <-enough:
					return
				}
			}
		}()
	}
	keys := make([]crypto.Signer, 0, n)
	for len(keys) < n {
		m.progress(len(keys), n)
		select {
		case o := <-found:
			if o.err != nil {
				return nil, o.err
			}
			keys = append(keys, o.key)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	m.progress(n, n)
	// The last key may have come at the moment of the interruption.
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return keys, nil
}

func (m Maker) progress(made, of int) {
	if m.Progress != nil {
		m.Progress(made, of)
	}
}

package feed

import (
	"context"
	"fmt"
	"slices"

	"omca/crl"
	"omca/internal/hint"
	"omca/pki"
)

// maxFreshest is how many addresses of delta lists are followed. The signer of a list names them, not the operator: they are filtered,
// unless they have the host and port of a source.
const maxFreshest = 16

// freshestPrefix sets the copies of delta lists apart, in Memory, from those of a source that an operator wrote.
const freshestPrefix = "freshest "

// newFreshest returns the source of the delta list at an address that a list names (RFC 5280, 5.2.6); nil if it is no http or https URL:
// directories are not asked.
func newFreshest(address string) *source {
	s := newSource(address)
	if s.kind != web {
		return nil
	}
	s.name, s.freshest, s.again = freshestPrefix+address, true, true
	return s
}

// seekFreshest makes the delta lists that are followed those that the complete lists name now. One that an operator wrote down is followed
// as such. New ones begin with the last good copy, and are fetched by Run at once. It wants settle.
func (f *Feeds) seekFreshest(ctx context.Context) {
	former, next := f.replaceDeltas()
	for _, s := range former {
		if !slices.Contains(next, s) {
			f.forget(ctx, s)
		}
	}
	fresh := slices.DeleteFunc(slices.Clone(next), func(s *source) bool { return slices.Contains(former, s) })
	if len(fresh) == 0 {
		return
	}
	f.rouse()
	signers, err := f.signers(ctx)
	for _, s := range fresh {
		if err == nil {
			err = f.restore(ctx, s, signers)
		}
	}
	if err != nil {
		f.cfg.Log.WarnContext(ctx, "crl copies not read", "error", err)
	}
}

// replaceDeltas makes the delta lists that are followed those that are named now, and returns those before and those from now on.
func (f *Feeds) replaceDeltas() (former, next []*source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	former = f.deltas
	for _, address := range f.named() {
		at := slices.IndexFunc(former, func(s *source) bool { return s.place == address })
		if at >= 0 {
			next = append(next, former[at])
		} else if s := newFreshest(address); s != nil {
			next = append(next, s)
		}
	}
	next = next[:min(len(next), maxFreshest)]
	f.deltas = next
	return former, next
}

// named returns the addresses of delta lists that complete lists name and no operator wrote, each once. It wants mu.
func (f *Feeds) named() []string {
	var all []string
	for _, s := range f.sources {
		for _, v := range s.lists {
			for _, address := range v.Header().Freshest {
				written := slices.ContainsFunc(f.sources, func(s *source) bool { return s.kind == web && s.place == address })
				if !v.Header().Delta() && !written && !slices.Contains(all, address) {
					all = append(all, address)
				}
			}
		}
	}
	return all
}

// based says why one of lists is not what s was named for: a delta list of the CA, and of the scope, of a complete list that names its
// address (RFC 5280, 5.2.4). Whether the numbers fit is asked with each verdict, since either of the two may be fetched first. It wants
// settle. Errors: pki.ErrInvalid.
func (f *Feeds) based(s *source, lists []*crl.Verified) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, delta := range lists {
		if !delta.Header().Delta() {
			return fmt.Errorf("%w: the %s is complete, and was named as a delta list", pki.ErrInvalid, delta.Header())
		}
		if !slices.ContainsFunc(f.sources, func(of *source) bool {
			return slices.ContainsFunc(of.lists, func(base *crl.Verified) bool { return extends(delta.Header(), base.Header(), s.place) })
		}) {
			return hint.With(fmt.Errorf("%w: the %s of %q has another CA or another scope than the lists that name it", pki.ErrInvalid, delta.Header(), delta.Signer().Subject),
				"the list that its CA publishes is wrong; what it is to extend goes on counting until its own end")
		}
	}
	return nil
}

// extends reports whether a delta list that came from an address may be held against a complete one.
func extends(delta, base *crl.Header, address string) bool {
	return !base.Delta() && slices.Contains(base.Freshest, address) &&
		ofOneKind(delta, base)
}

// loadFreshest fetches the delta lists that the lists of Load named: they too are to be here before the first connection.
func (f *Feeds) loadFreshest(ctx context.Context) {
	f.start(ctx, f.soughtFreshest(ctx))
}

// soughtFreshest returns the delta lists to be followed, which it looks for first.
func (f *Feeds) soughtFreshest(ctx context.Context) []*source {
	f.settle.Lock()
	defer f.settle.Unlock()
	f.seekFreshest(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.deltas)
}

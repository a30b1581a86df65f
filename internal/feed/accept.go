package feed

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"omca/crl"
)

// accept makes what came the lists of s, if it is good, hands all lists on, and then saves a copy. It wants settle. Errors:
// pki.ErrInvalid; those of Signers.
func (f *Feeds) accept(ctx context.Context, s *source, p parcel) error {
	ders, unread, err := split(p.body, f.limits.Lists)
	sum := sumOf(ders)
	if err == nil && s.sum == sum {
		f.mu.Lock()
		s.etag, s.modified = p.etag, p.modified
		f.mu.Unlock()
		if p.kept {
			f.leaveOut(ctx, s, p, asideOf(p.unused), refusedOf(p.unused))
		} else {
			f.leaveOut(ctx, s, p, s.aside, nil)
		}
		return nil
	}
	signers, unknown := f.signers(ctx)
	if unknown != nil {
		return unknown
	}
	now := f.now()
	b, err := f.examine(s, ders, err, signers, now)
	if err != nil {
		f.leaveOut(ctx, s, p, s.aside, s.lost(ders, unread, err))
		return err
	}
	aside, refused := append(b.aside, asideOf(p.unused)...), refusedOf(p.unused)
	f.mu.Lock()
	s.lists, s.aside, s.refused = b.lists, aside, refused
	s.sum, s.etag, s.modified = sum, p.etag, p.modified
	f.mu.Unlock()
	f.announce(ctx)
	if p.kept {
		return nil
	}
	f.save(ctx, s, Kept{DER: b.der, ETag: p.etag, LastModified: p.modified, FetchedAt: now, Unused: s.unused()})
	return nil
}

// examine returns what is good of ders, which split returned with an error, and says why it cannot take the place of what s has.
func (f *Feeds) examine(s *source, ders [][]byte, err error, signers []*x509.Certificate, now time.Time) (b believed, _ error) {
	if err != nil {
		return b, err
	}
	if b, err = f.believe(ders, signers); err != nil {
		return b, err
	}
	if s.freshest {
		if err := f.based(s, b.lists); err != nil {
			return b, err
		}
	}
	return b, follow(s.lists, b.lists, signers, now)
}

// leaveOut takes note of the lists of s that are not in force, and announces it when other CAs are undetermined for them. It wants settle.
func (f *Feeds) leaveOut(ctx context.Context, s *source, p parcel, aside, refused []Unused) {
	if slices.EqualFunc(s.aside, aside, Unused.same) && slices.EqualFunc(s.refused, refused, Unused.same) {
		return
	}
	before := f.undetermined(s)
	f.mu.Lock()
	s.aside, s.refused = aside, refused
	f.mu.Unlock()
	if !slices.EqualFunc(before, f.undetermined(s), (*x509.Certificate).Equal) {
		f.announce(ctx)
	}
	if p.kept || len(s.lists) == 0 {
		return // the copy is of another process, or there is none: then a start knows that nothing came
	}
	kept, err := f.recall(ctx, s)
	switch {
	case err != nil:
		f.mu.Lock()
		s.unkept = fmt.Errorf("in use, but no copy was kept: %w", err)
		f.mu.Unlock()
	case len(kept.DER) > 0:
		kept.Unused = s.unused()
		f.save(ctx, s, kept)
	}
}

// save gives Memory a copy. One that it does not take is in use nonetheless, and is offered again after the next attempt. It wants settle.
func (f *Feeds) save(ctx context.Context, s *source, k Kept) {
	err := f.cfg.Memory.SaveList(ctx, s.name, k)
	f.mu.Lock()
	defer f.mu.Unlock()
	s.unsaved, s.unkept = nil, nil
	if err != nil {
		s.unsaved, s.unkept = &k, fmt.Errorf("in use, but no copy was kept: %w", err)
	}
}

// restore makes the copy kept last the lists of s, as far as it is of signers. It wants settle. Errors: Memory's; a copy that is damaged
// is as good as none.
func (f *Feeds) restore(ctx context.Context, s *source, signers []*x509.Certificate) error {
	kept, err := f.recall(ctx, s)
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		s.lists = slices.DeleteFunc(slices.Clone(s.lists), func(v *crl.Verified) bool { return !trusts(signers, v.Signer()) })
		return fmt.Errorf("the copy kept of %s: %w", s.shown, err)
	}
	ders, unread, damaged := splitDER(kept.DER, f.limits.Lists)
	var lists []*crl.Verified
	var left []Unused
	for _, der := range ders {
		// One by one: that a CA changed its key is no reason to lose the lists of others.
		if one, err := f.believe([][]byte{der}, signers); err != nil {
			left = append(left, unusedOf(der, keyIDOf(der, f.limits), err))
		} else {
			lists = append(lists, one.lists...)
		}
	}
	if unread > 0 {
		left = append(left, unusedOf(nil, nil, damaged))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.lists, s.aside, s.refused = lists, append(left, asideOf(kept.Unused)...), refusedOf(kept.Unused)
	s.sum, s.etag, s.modified, s.fetched = digest{}, "", "", time.Time{}
	if len(lists) > 0 {
		s.fetched = kept.FetchedAt
	}
	if len(lists) > 0 && len(left) == 0 && kept.Unused != nil && !slices.ContainsFunc(signers, s.unusedMayBeOf) {
		// Else what was left out can only be had by asking for the whole.
		s.etag, s.modified = kept.ETag, kept.LastModified
	}
	return nil
}

// recall returns the last good copy.
func (f *Feeds) recall(ctx context.Context, s *source) (Kept, error) {
	if s.unsaved != nil {
		return *s.unsaved, nil
	}
	return f.cfg.Memory.LoadList(ctx, s.name)
}

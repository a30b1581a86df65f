package feed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"reflect"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"

	"omca/crl"
	"omca/internal/hint"
	"omca/pki"
)

// split returns the lists in what came, DER each.
func split(body []byte, limit int) ([][]byte, error) {
	// A list is a SEQUENCE of more than 127 octets, so the second octet is no ASCII.
	if len(body) > 1 && body[0] == 0x30 && body[1] >= 0x80 {
		return splitDER(body, limit)
	}
	begin := []byte("-----BEGIN ")
	count := bytes.Count(body, begin)
	if count == 0 {
		return nil, fmt.Errorf("%w: neither DER nor PEM (%d bytes)", pki.ErrInvalid, len(body))
	}
	if count > limit {
		return nil, tooMany(limit)
	}
	var lists [][]byte
	for range count {
		var block *pem.Block
		// Decode passes over what is broken, such as the last block of a text that was cut off.
		if block, body = pem.Decode(body); block == nil {
			return nil, fmt.Errorf("%w: PEM block %d of %d is broken", pki.ErrInvalid, len(lists)+1, count)
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("%w: a PEM block of another type than X509 CRL", pki.ErrInvalid)
		}
		lists = append(lists, block.Bytes)
	}
	if len(bytes.TrimSpace(body)) > 0 {
		return nil, fmt.Errorf("%w: text behind the last PEM block, as if another was cut off", pki.ErrInvalid)
	}
	return lists, nil
}

// splitDER returns the lists that are one right behind the other.
func splitDER(body []byte, limit int) ([][]byte, error) {
	var lists [][]byte
	for in := cryptobyte.String(body); !in.Empty(); {
		var one cryptobyte.String
		switch {
		case len(lists) == limit:
			return nil, tooMany(limit)
		case !in.ReadASN1Element(&one, tags.SEQUENCE):
			return nil, fmt.Errorf("%w: broken DER behind %d lists", pki.ErrInvalid, len(lists))
		}
		lists = append(lists, one)
	}
	return lists, nil
}

func tooMany(limit int) error {
	return fmt.Errorf("%w: more than %d lists, which is all that are read", pki.ErrInvalid, limit)
}

func sumOf(lists [][]byte) (sum digest) {
	h := sha256.New()
	for _, der := range lists {
		h.Write(der)
	}
	h.Sum(sum[:0])
	return sum
}

// believed is what is good of what came.
type believed struct {
	lists []*crl.Verified
	der   []byte // of lists
	aside error  // names a list that is of no signer; nil if there is none
}

// believe holds lists against signers. Errors: pki.ErrInvalid; all are refused if one cannot be read, is badly signed, or none is left.
func (f *Feeds) believe(ders [][]byte, signers []*x509.Certificate) (believed, error) {
	limits := crl.DefaultLimits()
	limits.Bytes = f.limits.Bytes
	var b believed
	var kept [][]byte
	for _, der := range ders {
		list, err := crl.Parse(der, limits)
		if err != nil {
			return believed{}, err
		}
		own := slices.DeleteFunc(slices.Clone(signers), func(ca *x509.Certificate) bool { return !named(list, ca) })
		if len(own) == 0 {
			b.aside = hint.With(fmt.Errorf("%w: the %s is of %s, key %x, which is none of the trusted CAs", pki.ErrInvalid, list, nameText(list.RawIssuer), list.AuthorityKeyID),
				"if it should be trusted, load its certificate into a sec and add that to cluster.ca")
			continue
		}
		v, err := list.Verify(own...)
		if err != nil {
			return believed{}, err
		}
		b.lists, kept = append(b.lists, v), append(kept, der)
	}
	if len(b.lists) == 0 {
		return believed{}, b.aside
	}
	b.der = bytes.Join(kept, nil)
	return b, nil
}

// named reports whether a list says that it is signed by ca: by its name, and its key identifier where both have one.
func named(list *crl.List, ca *x509.Certificate) bool {
	return bytes.Equal(list.RawIssuer, ca.RawSubject) &&
		(len(list.AuthorityKeyID) == 0 || len(ca.SubjectKeyId) == 0 || bytes.Equal(list.AuthorityKeyID, ca.SubjectKeyId))
}

func nameText(der []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return "an unreadable name"
	}
	return fmt.Sprintf("%q", name.String())
}

// follow says why next cannot take the place of held: a list is from the future, goes back, or is missing.
func follow(held, next []*crl.Verified, signers []*x509.Certificate, now time.Time) error {
	for _, n := range next {
		if n.Header().ThisUpdate.After(now) {
			return hint.With(fmt.Errorf("%w: the %s is from the future, here it is %s", pki.ErrInvalid, n.Header(), now.UTC().Format(time.RFC3339)),
				"compare the clocks of this machine and of the CA")
		}
	}
	for _, h := range held {
		// What is of a CA that left is not missed.
		if slices.ContainsFunc(signers, h.Signer().Equal) {
			if err := followed(h, next, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// followed says why no list of next stands for h.
func followed(h *crl.Verified, next []*crl.Verified, now time.Time) error {
	var older *crl.Verified
	for _, n := range next {
		switch {
		case !bytes.Equal(n.Header().RawIssuer, h.Header().RawIssuer) || !reflect.DeepEqual(n.Header().Scope, h.Header().Scope):
		case n.Header().Delta() && !h.Header().Delta():
		case !before(n, h):
			return nil // a complete list has all that a delta before it had
		case n.Header().Delta() == h.Header().Delta():
			older = n
		}
	}
	switch {
	case older != nil:
		return hint.With(fmt.Errorf("%w: rollback: the %s is older than the %s that is held", pki.ErrInvalid, older.Header(), h.Header()),
			"if its CA really began anew, take the source out of cluster.crl and add it again")
	case lapsed(h, now):
		return nil
	}
	return hint.With(fmt.Errorf("%w: the %s of %q is missing, and good until %s", pki.ErrInvalid, h.Header(), h.Signer().Subject, h.Header().NextUpdate.Format(time.RFC3339)),
		"if it is to go, take the source out of cluster.crl and add it again")
}

// before reports whether n is older than h: by date, or by number, which never falls as long as the key is the same (RFC 5280, 5.2.3).
func before(n, h *crl.Verified) bool {
	a, b := n.Header(), h.Header()
	return a.ThisUpdate.Before(b.ThisUpdate) ||
		a.Number != nil && b.Number != nil && a.Number.Cmp(b.Number) < 0 &&
			bytes.Equal(n.Signer().RawSubjectPublicKeyInfo, h.Signer().RawSubjectPublicKeyInfo)
}

// lapsed reports whether a list acquits nobody any more.
func lapsed(v *crl.Verified, now time.Time) bool { return now.After(v.Header().NextUpdate) }

// accept makes what came the lists of s, if it is good, hands all lists on, and then saves a copy. It wants settle. Errors:
// pki.ErrInvalid; those of Signers.
func (f *Feeds) accept(ctx context.Context, s *source, p parcel) error {
	ders, err := split(p.body, f.limits.Lists)
	if err != nil {
		return err
	}
	sum := sumOf(ders)
	if s.sum == sum {
		f.mu.Lock()
		s.etag, s.modified = p.etag, p.modified
		f.mu.Unlock()
		return nil
	}
	signers, err := f.cfg.Signers(ctx)
	if err != nil {
		return fmt.Errorf("the CAs whose lists are believed: %w", err)
	}
	b, err := f.believe(ders, signers)
	if err != nil {
		return err
	}
	if s.freshest {
		if err := f.based(s, b.lists); err != nil {
			return err
		}
	}
	now := f.now()
	if err := follow(s.lists, b.lists, signers, now); err != nil {
		return err
	}
	f.mu.Lock()
	s.lists, s.aside, s.sum, s.etag, s.modified = b.lists, b.aside, sum, p.etag, p.modified
	f.mu.Unlock()
	f.announce(ctx)
	if p.kept {
		return nil
	}
	f.save(ctx, s, Kept{DER: b.der, ETag: p.etag, LastModified: p.modified, FetchedAt: now})
	return nil
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
		s.lists = slices.DeleteFunc(slices.Clone(s.lists), func(v *crl.Verified) bool { return !slices.ContainsFunc(signers, v.Signer().Equal) })
		return fmt.Errorf("the copy kept of %s: %w", s.shown, err)
	}
	ders, refused := splitDER(kept.DER, f.limits.Lists)
	var lists []*crl.Verified
	for _, der := range ders {
		// One by one: that a CA changed its key is no reason to lose the lists of others.
		if one, err := f.believe([][]byte{der}, signers); err != nil {
			refused = err
		} else {
			lists = append(lists, one.lists...)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.lists, s.aside = lists, refused
	s.sum, s.etag, s.modified, s.fetched = digest{}, "", "", time.Time{}
	if len(lists) > 0 {
		s.fetched = kept.FetchedAt
	}
	if refused == nil && len(lists) > 0 {
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

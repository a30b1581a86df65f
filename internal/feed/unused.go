package feed

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"omca/crl"
	"omca/internal/hint"
	"omca/pki"
)

// Unused is a list that came and is not in force.
type Unused struct {
	Issuer  []byte // Name, DER; nil if it cannot be read
	KeyID   []byte // authorityKeyIdentifier; nil if it is absent, or cannot be read
	Why     string // it is not in force
	Refused bool   // all that it came with was refused; else it was set aside
}

// unusedOf describes a list, nil for one that cannot be read, that is not in force for an error.
func unusedOf(der, keyID []byte, err error) Unused {
	u := Unused{KeyID: bytes.Clone(keyID), Why: strings.TrimPrefix(err.Error(), pki.ErrInvalid.Error()+": ")}
	if issuer := crl.IssuerOf(der); issuer != nil {
		u.Issuer = bytes.Clone(issuer)
	}
	return u
}

// keyIDOf returns the key identifier of a list; nil if there is none that can be read.
func keyIDOf(der []byte, l Limits) []byte {
	limits := crl.DefaultLimits()
	limits.Bytes = l.Bytes
	list, err := crl.Parse(der, limits)
	if err != nil {
		return nil
	}
	return list.AuthorityKeyID
}

// mayBeOf reports whether the list may speak for a CA: it has the name of the CA, or the key identifier, or a name that cannot be read.
func (u Unused) mayBeOf(ca *x509.Certificate) bool {
	return u.Issuer == nil || pki.EqualNames(u.Issuer, ca.RawSubject) || len(u.KeyID) > 0 && bytes.Equal(u.KeyID, ca.SubjectKeyId)
}

func (u Unused) same(other Unused) bool {
	return u.Refused == other.Refused && u.Why == other.Why && bytes.Equal(u.Issuer, other.Issuer) && bytes.Equal(u.KeyID, other.KeyID)
}

func asideOf(all []Unused) []Unused {
	return slices.DeleteFunc(slices.Clone(all), func(u Unused) bool { return u.Refused })
}

func refusedOf(all []Unused) []Unused {
	return slices.DeleteFunc(slices.Clone(all), func(u Unused) bool { return !u.Refused })
}

// unused returns the lists of s that are not in force; never nil.
func (s *source) unused() []Unused {
	return append(append(make([]Unused, 0, len(s.aside)+len(s.refused)), s.aside...), s.refused...)
}

// unusedMayBeOf reports whether a list of s that is not in force may speak for a CA.
func (s *source) unusedMayBeOf(ca *x509.Certificate) bool {
	of := func(u Unused) bool { return u.mayBeOf(ca) }
	return slices.ContainsFunc(s.aside, of) || slices.ContainsFunc(s.refused, of)
}

// mayBeOf reports whether s may have lists of a CA that are not in force. A source that never gave anything may have those of any CA. A
// list at the address that another list names is awaited by none: the other counts without it.
func (s *source) mayBeOf(ca *x509.Certificate) bool {
	return !s.freshest && (len(s.lists) == 0 || s.unusedMayBeOf(ca))
}

// lost returns the lists that were refused with what they came in, and that no list which is held stands for. What cannot be read is taken
// for the next of those that are held and did not come.
func (s *source) lost(ders [][]byte, unread int, why error) (lost []Unused) {
	awaited := slices.Clone(s.lists)
	for _, der := range ders {
		issuer := crl.IssuerOf(der)
		if issuer == nil {
			unread++
			continue
		}
		of := func(v *crl.Verified) bool { return pki.EqualNames(v.Header().RawIssuer, issuer) }
		if i := slices.IndexFunc(awaited, of); i >= 0 {
			awaited = slices.Delete(awaited, i, i+1)
		}
		if !slices.ContainsFunc(s.lists, of) {
			lost = append(lost, unusedOf(der, keyIDOf(der, Limits{Bytes: len(der)}), why))
		}
	}
	if unread > len(awaited) {
		lost = append(lost, unusedOf(nil, nil, why))
	}
	for i := range lost {
		lost[i].Refused = true
	}
	return lost
}

// Awaited returns those of cas for which a source may have a list that is not in force: one that cannot be used, or one of a source that
// never gave anything. Where such a CA has no other list, nothing settles what it revoked.
func (f *Feeds) Awaited(cas []*x509.Certificate) []*x509.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(cas), func(ca *x509.Certificate) bool {
		return !slices.ContainsFunc(f.sources, func(s *source) bool { return s.mayBeOf(ca) })
	})
}

// undetermined returns the trusted CAs for which s may have a list that is not in force, and which no other list speaks for.
func (f *Feeds) undetermined(s *source) []*x509.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.undeterminedBy(s)
}

// undeterminedBy does the work of undetermined. It wants mu.
func (f *Feeds) undeterminedBy(s *source) []*x509.Certificate {
	return slices.DeleteFunc(slices.Clone(f.trusted), func(ca *x509.Certificate) bool { return !s.mayBeOf(ca) || f.set.HasList(ca) })
}

// signers returns the CAs whose lists are believed, and keeps them for Status.
func (f *Feeds) signers(ctx context.Context) ([]*x509.Certificate, error) {
	signers, err := f.cfg.Signers(ctx)
	if err != nil {
		return nil, fmt.Errorf("the CAs whose lists are believed: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trusted = signers
	return signers, nil
}

// setAside returns why lists of s are not in force: of a trusted CA that is undetermined for it, else of any; nil if all are in force.
func (s *source) setAside(undetermined []*x509.Certificate) error {
	all := s.unused()
	if len(all) == 0 {
		return nil
	}
	i := slices.IndexFunc(all, func(u Unused) bool { return slices.ContainsFunc(undetermined, u.mayBeOf) })
	if i < 0 {
		i = len(all) - 1
	}
	return fmt.Errorf("%w: %s", pki.ErrInvalid, all[i].Why)
}

// incomplete says which list of s leaves a trusted CA undetermined; nil if none does. Errors: pki.ErrInvalid.
func (f *Feeds) incomplete(s *source) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	undetermined := f.undeterminedBy(s)
	if err := s.setAside(undetermined); err != nil && len(undetermined) > 0 {
		return hint.With(fmt.Errorf("%s: %w", s.shown, err),
			"have a list published there that a trusted CA signed, or load the certificate of the key that signed this one into a sec and add that to cluster.ca")
	}
	return nil
}

// trouble returns what is wrong with s, the gravest first; nil for nothing. It wants mu.
func (f *Feeds) trouble(s *source) error {
	undetermined := f.undeterminedBy(s)
	aside := s.setAside(undetermined)
	switch {
	case len(undetermined) == 0 || aside == nil || errors.Is(s.err, pki.ErrInvalid):
		// A refusal says more than what was refused.
	case s.err != nil:
		return fmt.Errorf("%w; %w", s.err, aside)
	default:
		return aside
	}
	for _, err := range []error{s.err, s.unkept, aside} {
		if err != nil {
			return err
		}
	}
	return nil
}

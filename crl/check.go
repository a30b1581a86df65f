package crl

import (
	"crypto/x509"
	"fmt"
	"time"

	"omca/pki"
)

// maxSigners is how many signers of lists are checked on the way to one verdict:
// each may have been certified by a CA whose lists are signed by yet another.
const maxSigners = 3

// Check says what is known about cert, which issuer issued, at a time. That the
// one signed the other is the caller's business. It is RFC 5280, section 6.3;
// the package comment says what the answers mean. For lists without a
// distribution point it takes well under a microsecond, and allocates nothing to
// answer Good or Revoked.
func (s *Set) Check(cert, issuer *x509.Certificate, at time.Time) Verdict {
	return s.check(cert, issuer, at, maxSigners)
}

// CheckChain checks every certificate of a chain, leaf first, but the last,
// which is the trust anchor. The verdict is the gravest of all, the one nearest
// to the leaf of equals: Revoked, Undetermined, NotCovered, Good. A chain of one
// is NotCovered: nobody takes back a trust anchor.
func (s *Set) CheckChain(chain []*x509.Certificate, at time.Time) Verdict {
	switch len(chain) {
	case 0:
		return undetermined("there is no certificate")
	case 1:
		return Verdict{Status: NotCovered, Why: "it is the trust anchor", Certificate: chain[0]}
	}
	gravest := Verdict{Status: Good, Certificate: chain[0]}
	for i, issuer := range chain[1:] {
		v := s.Check(chain[i], issuer, at)
		if v.Certificate = chain[i]; v.worse(gravest) {
			gravest = v
		}
	}
	return gravest
}

func undetermined(format string, args ...any) Verdict {
	return Verdict{Status: Undetermined, Why: fmt.Sprintf(format, args...)}
}

func (s *Set) check(cert, issuer *x509.Certificate, at time.Time, signers int) Verdict {
	if !pki.EqualNames(cert.RawIssuer, issuer.RawSubject) {
		return undetermined("the certificate is of issuer %q, not of %q", cert.Issuer, issuer.Subject)
	}
	var buffer [maxSerial]byte
	serial, ok := serialContent(cert.SerialNumber, &buffer)
	if !ok {
		return undetermined("its serial number has more octets than any list may name")
	}
	ca := s.known.of(issuer)
	all := s.series[ca.id]
	if len(all) == 0 {
		if s.names[ca.name] {
			return undetermined("no list signed with the key of %q is here", issuer.Subject)
		}
		return Verdict{Status: NotCovered, Why: "its issuer has no lists"}
	}
	return s.judge(all, cert, serial, at, signers)
}

// judge asks all series of an issuer. Each adds the reasons that it acquits of;
// only all together make the certificate good (RFC 5280, 6.3.3).
func (s *Set) judge(all []*series, cert *x509.Certificate, serial []byte, at time.Time, signers int) Verdict {
	var acquitted ReasonSet
	var verdict Verdict // the first that did not acquit
	for _, one := range all {
		mask, why := one.scope.covers(cert)
		if mask == 0 && (!one.scope.Indirect || one.scope.about(cert) != "") {
			verdict.note("%s does not speak for it: %s", one.newest(), why)
			continue
		}
		if why := s.mistrust(one, at, signers); why != "" {
			verdict.note("%s", why)
			continue
		}
		v := one.judge(serial, at)
		switch v.Status {
		case Revoked:
			return v
		case Good:
			if acquitted |= mask; mask == 0 {
				verdict.note("%s does not acquit: %s", one.newest(), why)
			}
		default:
			verdict.note("%s", v.Why)
		}
	}
	if acquitted == AllReasons {
		return Verdict{Status: Good}
	}
	verdict.note("the lists speak for some reasons of revocation only")
	return verdict
}

// note keeps the first explanation.
func (v *Verdict) note(format string, args ...any) {
	if v.Why == "" {
		v.Why = fmt.Sprintf(format, args...)
	}
}

// mistrust says why the signer of a series does not count; "" if it does. RFC
// 5280, 6.3.3 (f): the path of a signer with a key of its own is validated.
func (s *Set) mistrust(one *series, at time.Time, signers int) string {
	switch {
	case one.signer == nil:
		return ""
	case signers == 0:
		return "too many signers of lists certify each other"
	case at.Before(one.signer.NotBefore) || at.After(one.signer.NotAfter):
		return "the certificate that its lists are signed with is not valid at the time"
	case one.parent == nil:
		return ""
	}
	v := s.check(one.signer, one.parent, at, signers-1)
	if v.Status == Good || v.Status == NotCovered {
		return ""
	}
	return fmt.Sprintf("the certificate that its lists are signed with is %s: %s", v.Status, v.Why)
}

// judge says what the lists of a series, all of one scope, say of a serial
// number. Lists convict as long as they are the newest of their kind; they
// acquit only if they are also current and understood in full.
func (one *series) judge(serial []byte, at time.Time) Verdict {
	var base *List
	for _, l := range one.complete {
		if base = l; !l.future(at) {
			break
		}
		// The clock may be wrong: better to believe a list from the future.
		if r := l.convicts(serial); r != nil {
			return l.conviction(r)
		}
	}
	removed := false
	for _, delta := range one.deltas {
		if base != nil && !delta.follows(base) {
			continue
		}
		if r := delta.convicts(serial); r != nil {
			return delta.conviction(r)
		}
		if base != nil && delta.extends(base) && delta.unusable(at) == "" {
			// A list names a certificate that does not convict: it is removeFromCRL.
			removed = delta.names(serial)
			break
		}
	}
	switch {
	case base == nil:
		return undetermined("there are delta lists, and no complete one")
	case !removed:
		if r := base.convicts(serial); r != nil {
			return base.conviction(r)
		}
	}
	if why := base.unusable(at); why != "" {
		return undetermined("%s", why)
	}
	return Verdict{Status: Good}
}

// names reports whether a serial number is on the list, whatever it says.
func (l *List) names(serial []byte) bool { return l.entries.find(serial) != nil }

// convicts returns the record that revokes a serial number, nil for none. A list
// with entries of other issuers convicts nobody: a serial number alone means
// nothing. RFC 5280, 6.3.3 (k): removeFromCRL is not revoked.
func (l *List) convicts(serial []byte) *record {
	if l.foreign {
		return nil
	}
	r := l.entries.find(serial)
	if r == nil || r.reason == RemoveFromCRL {
		return nil
	}
	return r
}

func (l *List) conviction(r *record) Verdict {
	return Verdict{Status: Revoked, Reason: r.reason, RevokedAt: r.at(), Number: l.Number, Why: l.because[r.reason]}
}

// becauses returns why a list convicts, for each reason. Writing it takes several
// times as long as finding the entry, so it is done once for a list.
func (h *Header) becauses() (all [AACompromise + 1]string) {
	for _, r := range Reasons() {
		all[r] = fmt.Sprintf("revoked (%s) by %s", r, h)
	}
	return all
}

// follows reports whether a delta list is newer than a complete one, which
// otherwise has everything that it says.
func (l *List) follows(base *List) bool { return l.compare(&base.Header) > 0 }

// extends reports whether a delta list and a complete one make a complete one
// (RFC 5280, 5.2.4): the scope and the key are the same, as they are within a
// series, and the complete list is at least as new as the delta's base.
func (l *List) extends(base *List) bool {
	return base.Number != nil && l.Number != nil && base.Number.Cmp(l.BaseNumber) >= 0
}

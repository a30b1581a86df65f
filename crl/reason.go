package crl

import (
	"fmt"
	"strings"

	"omca/pki"
)

// A Reason says why a certificate was revoked: a CRLReason of RFC 5280, 5.3.1.
type Reason uint8

// The reasons. The number 7 is not used.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	CertificateHold      Reason = 6
	RemoveFromCRL        Reason = 8 // only in a delta list: the certificate is no longer revoked
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

// Reasons returns all reasons, in the order of their numbers.
func Reasons() []Reason {
	return []Reason{
		Unspecified, KeyCompromise, CACompromise, AffiliationChanged, Superseded,
		CessationOfOperation, CertificateHold, RemoveFromCRL, PrivilegeWithdrawn, AACompromise,
	}
}

// String returns the name of RFC 5280, such as "keyCompromise", or "reason(7)".
func (r Reason) String() string {
	switch r {
	case Unspecified:
		return "unspecified"
	case KeyCompromise:
		return "keyCompromise"
	case CACompromise:
		return "cACompromise"
	case AffiliationChanged:
		return "affiliationChanged"
	case Superseded:
		return "superseded"
	case CessationOfOperation:
		return "cessationOfOperation"
	case CertificateHold:
		return "certificateHold"
	case RemoveFromCRL:
		return "removeFromCRL"
	case PrivilegeWithdrawn:
		return "privilegeWithdrawn"
	case AACompromise:
		return "aACompromise"
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// known reports whether r is one of Reasons.
func (r Reason) known() bool { return r <= AACompromise && r != 7 }

// ParseReason reads the name of a reason in any case, with hyphens, underscores
// or nothing between its words. Errors: pki.ErrInvalid, with the name that was
// probably meant.
func ParseReason(s string) (Reason, error) {
	const maxInput = 64
	if len(s) > maxInput {
		return 0, fmt.Errorf("%w: reason of %d characters, want one of %v", pki.ErrInvalid, len(s), Reasons())
	}
	word := foldReason(s)
	var nearest Reason
	distance := len(word) + maxInput
	for _, r := range Reasons() {
		d := editDistance(word, foldReason(r.String()))
		if d == 0 {
			return r, nil
		}
		if d < distance {
			nearest, distance = r, d
		}
	}
	if 3*distance <= len(word) {
		return 0, fmt.Errorf("%w: reason %q, did you mean %q?", pki.ErrInvalid, s, nearest)
	}
	return 0, fmt.Errorf("%w: reason %q, want one of %v", pki.ErrInvalid, s, Reasons())
}

func foldReason(s string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s))
}

// editDistance returns how many single octets must be put in, taken out or
// changed to make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// A ReasonSet is a set of reasons as lists and distribution points write it
// (RFC 5280, 4.2.1.13: ReasonFlags): bit n of the BIT STRING is 1<<n.
type ReasonSet uint16

// AllReasons is what a list must cover, alone or with others, to acquit: the
// bits keyCompromise (1) to aACompromise (8).
const AllReasons ReasonSet = 0x1fe

// parseReasonSet reads the content octets of a ReasonFlags BIT STRING. Bits
// beyond those of RFC 5280 are dropped.
func parseReasonSet(content []byte) (ReasonSet, bool) {
	if len(content) == 0 || content[0] > 7 || len(content) == 1 && content[0] != 0 {
		return 0, false
	}
	unused, octets := int(content[0]), content[1:]
	var set ReasonSet
	for n := range 9 {
		if n < 8*len(octets)-unused && octets[n/8]&(0x80>>(n%8)) != 0 {
			set |= 1 << n
		}
	}
	return set & AllReasons, true
}

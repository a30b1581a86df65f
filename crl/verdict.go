package crl

import (
	"crypto/x509"
	"math/big"
	"time"
)

// A Status is what is known about a certificate. The zero Status is
// Undetermined, so that nothing is good by accident.
type Status uint8

// The statuses; the package comment says what each means.
const (
	Undetermined Status = iota
	Good
	Revoked
	NotCovered
)

// String returns "good", "revoked", "undetermined" or "not covered".
func (s Status) String() string {
	switch s {
	case Good:
		return "good"
	case Revoked:
		return "revoked"
	case NotCovered:
		return "not covered"
	default:
		return "undetermined"
	}
}

// A Verdict is what a Set says about one certificate.
type Verdict struct {
	Status    Status
	Reason    Reason    // if Revoked
	RevokedAt time.Time // if Revoked; UTC
	Number    *big.Int  // of the list that names the certificate, not to be changed; nil if it was Set.With, or the list has none
	Why       string    // for people, in a few words; "" if Good

	// Certificate is the one that decided, after CheckChain.
	Certificate *x509.Certificate
}

// worse reports whether v weighs more than other when a chain is judged.
func (v Verdict) worse(other Verdict) bool { return v.weight() > other.weight() }

func (v Verdict) weight() int {
	switch v.Status {
	case Good:
		return 0
	case NotCovered:
		return 1
	case Revoked:
		return 3
	default:
		return 2
	}
}

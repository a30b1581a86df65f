package enforce

import (
	"crypto/x509"
	"fmt"

	"omca/crl"
)

// Check refuses unless one of the verified chains has nothing against it. A leaf that
// our own record convicts in one chain is refused in each: another chain has the same
// leaf, below a certificate that spells the CA another way.
func (e *Enforcer) Check(chains [][]*x509.Certificate) error {
	if len(chains) > 1 {
		own := e.ledger.Load()
		for _, chain := range chains {
			if len(chain) < 2 {
				continue
			}
			if err := onRecord(own, chain[0], chain[1]); err != nil {
				return err
			}
		}
	}
	var worst error
	for _, chain := range chains {
		if worst = e.checkChain(chain); worst == nil {
			return nil
		}
	}
	return worst
}

// checkChain asks about every certificate of a chain. The trust anchor has none above it
// there, and may have been issued all the same.
func (e *Enforcer) checkChain(chain []*x509.Certificate) error {
	if err := e.CheckBelow(chain); err != nil {
		return err
	}
	return e.checkAnchor(chain[len(chain)-1], mostAbove)
}

// CheckBelow asks about every certificate below the trust anchor.
func (e *Enforcer) CheckBelow(chain []*x509.Certificate) error {
	for i, cert := range chain[:len(chain)-1] {
		if err := e.checkIssued(cert, chain[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// checkIssued asks about a certificate of issuer, and about its key.
func (e *Enforcer) checkIssued(cert, issuer *x509.Certificate) error {
	if err := e.blocked.check(cert); err != nil {
		return err
	}
	own, foreign := e.ledger.Load(), e.foreign.Load()
	if err := onRecord(own, cert, issuer); err != nil {
		return err
	}
	return e.judge(foreign.Check(cert, issuer, e.config.Now()), issuer)
}

// mostAbove is how many CAs above a trust anchor are asked about: CAs may have certified
// each other.
const mostAbove = 8

// checkAnchor asks about a trust anchor what the CAs known here that issued it say, then
// about those, up to a root. An issuer with several certificates needs one that nothing is
// against. A root is trusted because an operator says so: its own list has no say.
func (e *Enforcer) checkAnchor(cert *x509.Certificate, most int) error {
	if err := e.blocked.check(cert); err != nil {
		return err
	}
	issuers := e.lineage.Load().Issuers(cert)
	if len(issuers) == 0 {
		if entry, revoked := e.ledger.Load().CheckUnplaced(cert); revoked {
			return takenBack(entry)
		}
		return nil
	}
	for _, issuer := range issuers {
		if err := e.checkIssued(cert, issuer); err != nil {
			return fmt.Errorf("trust anchor %q: %w", cert.Subject, err)
		}
	}
	if most == 0 {
		return nil
	}
	var worst error
	for _, issuer := range issuers {
		if worst = e.checkAnchor(issuer, most-1); worst == nil {
			return nil
		}
	}
	return worst
}

// onRecord refuses a certificate of issuer that our own record convicts.
func onRecord(own *crl.Ledger, cert, issuer *x509.Certificate) error {
	if entry, revoked := own.Check(cert, issuer); revoked {
		return takenBack(entry)
	}
	return nil
}

func takenBack(e crl.Entry) error {
	return fmt.Errorf("%w: %s was taken back here (%s)", ErrRevoked, e.Serial, e.Reason)
}

// judge says what a verdict of the lists of others about a certificate of issuer
// means here.
func (e *Enforcer) judge(v crl.Verdict, issuer *x509.Certificate) error {
	switch v.Status {
	case crl.Good, crl.NotCovered:
		return nil
	case crl.Revoked:
		return fmt.Errorf("%w: %s (%s)", ErrRevoked, v.Why, v.Reason)
	}
	soft, alone := e.standing(issuer)
	if alone {
		return nil // no list of others speaks for it
	}
	if !soft {
		return fmt.Errorf("revocation not settled, and the policy is hard: %s", v.Why)
	}
	e.config.Log.Warn("revocation not settled", "why", v.Why, "policy", "soft")
	return nil
}

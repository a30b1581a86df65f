package ca

import (
	"context"
	"encoding/hex"

	"omca/pki"
)

// CountBelow counts the certificates, neither expired nor revoked, that lead to a CA: those
// that it signed, and those that a CA below it signed. Certificates of CAs and of
// responders do not count.
func (a *Authority) CountBelow(ctx context.Context, id pki.AuthorityID) (int, error) {
	known, err := a.onRecord(ctx)
	if err != nil {
		return 0, err
	}
	living := map[pki.AuthorityID]int{id: 0}
	for grown := true; grown; {
		grown = false
		for below, r := range known.byID {
			_, counted := living[below]
			if counted {
				continue
			}
			if above, ok := known.above(r); !ok || !has(living, above) {
				continue
			}
			_, revoked, err := a.RevocationOf(ctx, r.Chain[0])
			if err != nil {
				return 0, err
			}
			if !revoked {
				living[below], grown = 0, true
			}
		}
	}
	if err := a.countLiving(ctx, living); err != nil {
		return 0, err
	}
	total := 0
	for _, n := range living {
		total += n
	}
	return total, nil
}

func has(living map[pki.AuthorityID]int, id pki.AuthorityID) bool {
	_, ok := living[id]
	return ok
}

// above returns the CA that signed a CA on record; false when it is not on record.
func (r *roll) above(one AuthorityRecord) (pki.AuthorityID, bool) {
	if len(one.Chain) > 1 {
		return pki.AuthorityOf(one.Chain[1]), true
	}
	return r.signer(one.Chain[0], hex.EncodeToString(one.Chain[0].AuthorityKeyId))
}

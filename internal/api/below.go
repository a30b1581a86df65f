package api

import (
	"context"
	"errors"
	"log/slog"

	"omca/ca"
	"omca/pki"
)

// endBelow ends the sessions and the tokens of the users that the certificates below a CA
// speak for, whichever CA between the two signed them. It reads the inventory, once for
// each generation of CAs below and once for the users.
func (d *door) endBelow(ctx context.Context, c *call, cert ca.Record) error {
	below, err := d.below(ctx, pki.AuthorityOf(cert.Certificate))
	if err != nil {
		return err
	}
	var failed []error
	ended := make(map[string]bool) // owners of which all has ended
	for r, err := range d.Authority.Records(ctx, ca.Query{Profile: ca.ProfileUser}) {
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		one, err := d.rightful(ctx, r.Record)
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		if ended[one.Owner] {
			continue
		}
		signer, known, err := d.Authority.AuthorityOf(ctx, one)
		if err != nil || !known || !below[signer] {
			failed = append(failed, err)
			continue
		}
		did, err := d.endUser(ctx, c, one)
		failed = append(failed, err)
		ended[one.Owner] = did && err == nil
	}
	c.note(slog.Int("users_below", len(ended)))
	return errors.Join(failed...)
}

// below returns the identities of a CA and of all CAs on record below it.
func (d *door) below(ctx context.Context, id pki.AuthorityID) (map[pki.AuthorityID]bool, error) {
	found := map[pki.AuthorityID]bool{id: true}
	for before := 0; before < len(found); {
		before = len(found)
		for r, err := range d.Authority.Records(ctx, ca.Query{Profile: ca.ProfileCA}) {
			if err != nil {
				return nil, err
			}
			signer, known, err := d.Authority.AuthorityOf(ctx, r.Record)
			if err != nil {
				return nil, err
			}
			if known && found[signer] {
				found[pki.AuthorityOf(r.Certificate)] = true
			}
		}
	}
	return found, nil
}

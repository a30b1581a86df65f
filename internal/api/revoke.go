package api

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

// stateRevoked is the state of a certificate that was taken back, whatever its
// dates say.
const stateRevoked = "revoked"

// userRoot is the path of the user with the name of the machine's root.
const userRoot = "system/usr/" + usr.RootUser

// revokes is for taking back the certificate of an object.
func (d *door) revokes() rule {
	return rule{says: "as for a change, or the user itself", check: func(ctx context.Context, c *call) error { return d.mayRevoke(ctx, c.who, c.path) }}
}

// mayRevoke decides whether who may take back what was issued for the object at
// p. Users may take back their own: who fears for a key must not have to ask.
func (d *door) mayRevoke(ctx context.Context, who usr.Caller, p object.Path) error {
	if who.Is(target(p)) {
		return nil
	}
	return d.mayChange(ctx, who, p)
}

// revokeHeld takes back the certificate that an object holds.
func (d *door) revokeHeld(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.RevokeRequest](c)
	if err != nil {
		return response{}, err
	}
	held, err := d.Authority.Held(ctx, c.path.String())
	switch {
	case err != nil:
		return response{}, err
	case len(held.Chain) == 0:
		return response{}, fmt.Errorf("%w: %s has no certificate to revoke", ca.ErrConflict, c.path)
	case held.SignedBy == "":
		return response{}, hint.With(fmt.Errorf("%w: the certificate of %s was signed by %q, not by this cluster", ca.ErrConflict, c.path, held.Chain[0].Issuer.CommonName),
			"revoke it where it was signed, and name that CA's list in the keyword cluster.crl")
	}
	r, err := d.Authority.Record(ctx, pki.SerialOf(held.Chain[0]))
	if err == nil { // it may have been issued for another owner, and be imported here
		err = d.mayRevokeRecord(ctx, c.who, r)
	}
	if err != nil {
		return response{}, err
	}
	return d.revoke(ctx, c, r, want)
}

// revokeSerial takes back a certificate of the inventory. It is
// ErrNotFound for a caller that may not read the record.
func (d *door) revokeSerial(ctx context.Context, c *call) (response, error) {
	r, err := d.visibleRecord(ctx, c)
	if err != nil {
		return response{}, err
	}
	want, err := decode[wire.RevokeRequest](c)
	if err != nil {
		return response{}, err
	}
	if err := d.mayRevokeRecord(ctx, c.who, r); err != nil {
		return response{}, err
	}
	return d.revoke(ctx, c, r, want)
}

// revoke takes back a certificate. The user that it speaks for, whose key may be in
// other hands, loses tokens and sessions too: they may have been got with it. A later
// user of the same name keeps theirs.
func (d *door) revoke(ctx context.Context, c *call, record ca.Record, want wire.RevokeRequest) (response, error) {
	serial := record.Serial()
	c.note(slog.String("serial", string(serial)))
	if err := revocable(record.Certificate); err != nil {
		return response{}, err
	}
	if err := c.askFirst(func() ([]wire.Break, error) { return d.revocationBreaks(ctx, record) }); err != nil {
		return response{}, err
	}
	reason := crl.Unspecified
	if want.Reason != "" {
		var err error
		if reason, err = crl.ParseReason(want.Reason); err != nil {
			return response{}, err
		}
	}
	before, err := d.Authority.Revoked(ctx, serial)
	if err != nil {
		return response{}, err
	}
	r, err := d.Authority.Revoke(ctx, c.who, serial, reason)
	if err != nil {
		return response{}, err
	}
	if listed, err := d.Authority.Lists(ctx, r); err != nil {
		return response{}, err
	} else if !listed {
		c.notice("certificate %s is refused here, and on no list: the key of the CA that signed it (%q) is not here", serial, record.Certificate.Issuer.String())
	}
	others, err := d.Authority.RevokeKey(registry.Unnoted(ctx), c.who, record, reason)
	if len(others) > 0 {
		c.overTheSameKey(others)
	}
	if err != nil {
		return response{}, err
	}
	if reason != crl.Superseded {
		for _, one := range append(others, record) {
			if err := d.endUse(ctx, c, one); err != nil {
				return response{}, err
			}
		}
	}
	if before && want.Reason != "" && r.Reason != reason {
		stays := "and that stays"
		if reason == crl.KeyCompromise || reason == crl.CACompromise {
			stays = "and that stays on its list; the key is blocked all the same"
		}
		c.notice("certificate %s was revoked at %s already, for %s, %s", serial, r.At.UTC().Format(time.RFC3339), r.Reason, stays)
	}
	return reply(http.StatusOK, wire.Revoked{Serial: string(r.Serial), Reason: r.Reason.String(), RevokedAt: r.At.UTC()})
}

// mostNamed is how many certificates a notice names.
const mostNamed = 5

// overTheSameKey tells which certificates were taken back with the one that was asked for.
func (c *call) overTheSameKey(others []ca.Record) {
	names := make([]string, 0, mostNamed)
	for _, r := range others[:min(len(others), mostNamed)] {
		names = append(names, string(r.Serial())+" of "+r.Owner)
	}
	more := ""
	if len(others) > mostNamed {
		more = ", …"
	}
	c.note(slog.Int("same_key", len(others)))
	c.notice("revoked with it, since they are over the same key: %d (%s%s)", len(others), strings.Join(names, ", "), more)
}

// endUse ends the sessions and the tokens of the users that a revoked certificate, or one
// below it, speaks for, in this order: a token that a session is getting is on record by
// then, or its issuer finds the session gone. The command may be repeated when it fails.
func (d *door) endUse(ctx context.Context, c *call, r ca.Record) error {
	if r.Certificate.IsCA {
		return d.endBelow(registry.Unnoted(ctx), c, r)
	}
	if r.Profile != ca.ProfileUser {
		return nil
	}
	r, err := d.rightful(ctx, r)
	if err != nil {
		return err
	}
	_, err = d.endUser(ctx, c, r)
	return err
}

// endUser ends the sessions and the tokens of the user that a certificate was issued for,
// and reports whether that user is there.
func (d *door) endUser(ctx context.Context, c *call, r ca.Record) (there bool, err error) {
	there, err = d.belongs(ctx, r)
	if err != nil || !there {
		return false, err
	}
	p, err := object.ParsePath(r.Owner)
	if err != nil {
		return false, err
	}
	return true, errors.Join(d.endSessions(ctx, c, p), d.endTokens(ctx, c, p))
}

// endSessions ends the sessions of the user at p.
func (d *door) endSessions(ctx context.Context, c *call, p object.Path) error {
	if d.Sessions == nil {
		return nil
	}
	n, err := d.Sessions.EndAll(ctx, p.Name)
	if n > 0 {
		c.note(slog.Int("sessions_ended", n))
	}
	if err != nil {
		return fmt.Errorf("%s: done, and its sessions have not all ended: %w", p, err)
	}
	return nil
}

// revocable refuses root certificates. RFC 5280, 6.1: a trust anchor is trusted
// because somebody says so, and no list ends that.
func revocable(cert *x509.Certificate) error {
	if !cert.IsCA || !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return nil
	}
	return hint.With(fmt.Errorf("%w: %s is the root certificate of a CA: no revocation list can take it back", ca.ErrInvalid, pki.SerialOf(cert)),
		"whoever trusts it must stop doing so; a CA with another key is made by \"omca PATH certificate renew --rekey\"")
}

// mayReplace is replaced, for a call that takes the former certificate back.
func (d *door) mayReplace(ctx context.Context, c *call) (pki.Serial, error) {
	old, err := d.replaced(ctx, c.path)
	if err != nil || old == "" {
		return old, err
	}
	r, err := d.Authority.Record(ctx, old)
	if err == nil {
		err = d.mayRevokeRecord(ctx, c.who, r)
	}
	if err == nil {
		err = c.askFirst(func() ([]wire.Break, error) { return d.revocationBreaks(ctx, r) })
	}
	return old, err
}

// replaced is the certificate that an object holds before it gets another one;
// "" when there is none, or when it is not ours to take back.
func (d *door) replaced(ctx context.Context, p object.Path) (pki.Serial, error) {
	held, err := d.Authority.Held(ctx, p.String())
	if err != nil || len(held.Chain) == 0 || held.SignedBy == "" {
		return "", err
	}
	return pki.SerialOf(held.Chain[0]), revocable(held.Chain[0])
}

// reaches refuses to revoke the certificate that the call came with while the
// answer has another one in it: the connection would end before the answer, and
// there would be no other way to get it.
func (c *call) reaches(old pki.Serial) error {
	if old == "" || c.request.TLS == nil || len(c.request.TLS.PeerCertificates) == 0 || pki.SerialOf(c.request.TLS.PeerCertificates[0]) != old {
		return nil
	}
	return hint.With(fmt.Errorf("%w: %s is the certificate of this very call: revoked, it could not bring back the new one", ca.ErrInvalid, old),
		"renew without --revoke, and revoke it by its serial number once the new one is in use")
}

// supersede takes back a certificate in whose place there is a new one by now.
func (d *door) supersede(ctx context.Context, c *call, old pki.Serial) error {
	if old == "" {
		return nil
	}
	c.note(slog.String("revoked", string(old)))
	if _, err := d.Authority.Revoke(ctx, c.who, old, crl.Superseded); err != nil {
		return fmt.Errorf("%s has a new certificate, and the former one, %s, is not revoked: %w", c.path, old, err)
	}
	return nil
}

// supersedeOwned takes back all that the object of the call, made at that time, had
// before it was made anew.
func (d *door) supersedeOwned(ctx context.Context, c *call, made time.Time) error {
	keep, err := d.replaced(ctx, c.path)
	if err == nil {
		err = d.revokeOwned(ctx, c, made, keep, crl.Superseded)
	}
	if err != nil {
		return fmt.Errorf("%s was made anew, and not all that it had before is revoked: %w", c.path, err)
	}
	return nil
}

// revokeOwned takes back every certificate of the object of the call, as it was made
// at that time, but the one to keep: of a user also what speaks for it and is on record
// for another owner. Root takes back those of earlier objects of the path too. The user
// root is an exception: earlier builds kept what the machine's root had issued under
// that path.
func (d *door) revokeOwned(ctx context.Context, c *call, made time.Time, keep pki.Serial, reason crl.Reason) error {
	if c.who.May(usr.Root()) == nil && c.path.String() != userRoot {
		made = time.Time{}
	}
	ctx = registry.Unnoted(ctx)
	n, err := d.Authority.RevokeOwned(ctx, c.who, c.path.String(), made, keep, reason)
	if err == nil {
		var strays int
		strays, err = d.revokeStrays(ctx, c, made, keep, reason)
		n += strays
	}
	if n > 0 {
		c.note(slog.Int("revoked", n))
	}
	return err
}

// revokeStrays takes back what speaks for the user of the call, as it was made at that
// time, and what an older build has on record for another owner. It returns the number
// of these certificates.
func (d *door) revokeStrays(ctx context.Context, c *call, made time.Time, keep pki.Serial, reason crl.Reason) (int, error) {
	if self, err := object.UserPath(c.path.Name); err != nil || self != c.path {
		return 0, nil //nolint:nilerr // a name that is no user's
	}
	serials, err := d.Objects.Strays(ctx, c.path.Name)
	if err != nil {
		return 0, err
	}
	var ours []pki.Serial
	for _, serial := range serials {
		r, err := d.Authority.Record(ctx, serial)
		if err == nil {
			r, err = d.rightful(ctx, r)
		}
		if err != nil {
			return 0, err
		}
		if serial != keep && (made.IsZero() || r.BelongsTo(made)) {
			ours = append(ours, serial)
		}
	}
	taken, err := d.Authority.RevokeEach(ctx, c.who, ours, reason)
	return len(taken), err
}

// endOf takes back what was issued for the object of the call, which is about
// to be deleted, and reports whether that was wanted and when the object was made:
// for a user unless told not to, for any other only when told to.
func (d *door) endOf(ctx context.Context, c *call) (wanted bool, made time.Time, err error) {
	wanted = c.path.Kind == object.KindUsr
	if _, said := c.query["revoke"]; said {
		if wanted, err = c.flag("revoke"); err != nil {
			return false, made, err
		}
	}
	if !wanted {
		return false, made, nil
	}
	o, err := d.Objects.Get(ctx, c.path)
	if err != nil {
		return false, made, err
	}
	return true, o.Created, d.revokeOwned(ctx, c, o.Created, "", crl.CessationOfOperation)
}

package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/usr"
	"omca/usr/token"
)

// The owner of a certificate or a token (docs/authorization.md, What belongs to an
// object). The path of an owner is not enough: the object may be gone, or another one
// may have its place. What belonged to an object that is not there needs root, and so
// does what belongs to the machine's root, which has none.

// selfPath is the object of the user that the caller goes by. ca.ErrNotFound for the
// machine's root, which is no user; ca.ErrInvalid for the subject of an identity
// provider, whose names are no users'.
func selfPath(who usr.Caller) (object.Path, error) {
	if who.IsMachine() {
		return object.Path{}, fmt.Errorf("%w: %q is the root of the machine and has no object", ca.ErrNotFound, usr.MachineRoot)
	}
	return object.UserPath(who.Name)
}

// belongs reports whether the object that a certificate was issued for is there.
func (d *door) belongs(ctx context.Context, r ca.Record) (bool, error) {
	p, err := object.ParsePath(r.Owner)
	if err != nil {
		return false, nil //nolint:nilerr // ca.OwnerRoot, which has no object
	}
	o, err := d.Objects.Get(ctx, p)
	if errors.Is(err, ca.ErrNotFound) {
		return false, nil
	}
	return err == nil && r.BelongsTo(o.Created), err
}

// rightful is r as it would be recorded today.
func (d *door) rightful(ctx context.Context, r ca.Record) (ca.Record, error) {
	if r.Profile != ca.ProfileUser {
		return r, nil
	}
	cluster, err := d.Objects.Cluster(ctx)
	return r.Rightful(cluster.Name), err
}

// mayReadRecord reports whether a caller may see a certificate of the inventory.
func (d *door) mayReadRecord(ctx context.Context, who usr.Caller, r ca.Record) (bool, error) {
	if who.May(usr.Root()) == nil {
		return true, nil
	}
	r, err := d.rightful(ctx, r)
	if err != nil {
		return false, err
	}
	p, err := object.ParsePath(r.Owner)
	if err != nil || usr.CanRead(who, target(p)) != nil {
		return false, nil //nolint:nilerr // ca.OwnerRoot, which is root's
	}
	return d.belongs(ctx, r)
}

// mayRevokeRecord decides whether a caller may revoke a certificate of the inventory.
func (d *door) mayRevokeRecord(ctx context.Context, who usr.Caller, r ca.Record) error {
	if who.May(usr.Root()) == nil {
		return nil
	}
	r, err := d.rightful(ctx, r)
	if err != nil {
		return err
	}
	p, err := object.ParsePath(r.Owner)
	if err != nil {
		return usr.CanEndForeign(who, r.Owner)
	}
	if err := d.mayRevoke(ctx, who, p); err != nil {
		return err
	}
	if r.Certificate.IsCA { // whatever the object is by now
		return usr.CanChangeCA(who, target(p))
	}
	ours, err := d.belongs(ctx, r)
	if err != nil || ours {
		return err
	}
	return usr.CanEndForeign(who, r.Owner)
}

// mayEnd decides whether a caller may take back the tokens and sessions of the user at
// p. Those of a user that does not exist are root's to take back.
func (d *door) mayEnd(ctx context.Context, who usr.Caller, p object.Path) error {
	if err := d.mayRevoke(ctx, who, p); err != nil {
		return err
	}
	_, err := d.Objects.Get(ctx, p)
	if errors.Is(err, ca.ErrNotFound) {
		return usr.CanEndForeign(who, p.String())
	}
	return err
}

// issuedTo reports whether a token was issued to the present user of the name.
func (d *door) issuedTo(ctx context.Context, r token.Record) (bool, error) {
	u, err := d.Objects.User(ctx, r.Subject)
	if errors.Is(err, ca.ErrNotFound) {
		return false, nil
	}
	// A claim is a whole second, as when a token is presented.
	return err == nil && !r.IssuedAt.Before(u.Created.Truncate(time.Second)), err
}

// owns reports whether the caller is the user of that name, as far as tokens go: also
// by a token, since the record of a token can only be looked at and the token taken
// back. The subject of an identity provider is another caller, and the user with the
// name of the machine's root is another owner.
func owns(who usr.Caller, subject string) bool {
	switch who.Method {
	case usr.MethodSocket, usr.MethodX509, usr.MethodPassword, usr.MethodSession, usr.MethodToken:
		return who.Name != "" && who.By() == subject
	}
	return false
}

// seesToken reports whether a caller may see the record of a token.
func (d *door) seesToken(ctx context.Context, who usr.Caller, r token.Record) (bool, error) {
	if who.May(usr.Root()) == nil || who.IsMachine() && owns(who, r.Subject) {
		return true, nil
	}
	p, err := object.UserPath(r.Subject)
	if err != nil || !owns(who, r.Subject) && usr.CanRead(who, target(p)) != nil {
		return false, nil //nolint:nilerr // of the machine's root
	}
	return d.issuedTo(ctx, r)
}

// mayRevokeTokens decides whether a caller may take back tokens of a subject.
func (d *door) mayRevokeTokens(ctx context.Context, who usr.Caller, subject string) error {
	if owns(who, subject) {
		return nil
	}
	if subject == usr.MachineRoot {
		return usr.CanEndForeign(who, subject)
	}
	p, err := object.UserPath(subject)
	if err != nil {
		return err
	}
	return d.mayEnd(ctx, who, p)
}

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

// What belongs to whom (docs/authorization.md, What belongs to whom). The path of an
// owner is not enough: the object may be gone, or another one may have its place. What
// belonged to an object that is not there needs root, and so does what belongs to the
// machine's root, which has none.

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

// mayReadRecord reports whether who may see a certificate of the inventory.
func (d *door) mayReadRecord(ctx context.Context, who usr.Caller, r ca.Record) (bool, error) {
	if who.May(usr.Root()) == nil {
		return true, nil
	}
	p, err := object.ParsePath(r.Owner)
	if err != nil || usr.CanRead(who, target(p)) != nil {
		return false, nil //nolint:nilerr // ca.OwnerRoot, which is root's
	}
	return d.belongs(ctx, r)
}

// mayRevokeRecord decides whether who may take back a certificate of the inventory.
func (d *door) mayRevokeRecord(ctx context.Context, who usr.Caller, r ca.Record) error {
	if who.May(usr.Root()) == nil {
		return nil
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

// mayEnd decides whether who may take back what the user at p calls with. Of a user
// who does not exist that is left to root.
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

// issuedTo reports whether a token was issued to the user who has the name now.
func (d *door) issuedTo(ctx context.Context, r token.Record) (bool, error) {
	u, err := d.Objects.User(ctx, r.Subject)
	if errors.Is(err, ca.ErrNotFound) {
		return false, nil
	}
	// A claim is a whole second, as when a token is presented.
	return err == nil && !r.IssuedAt.Before(u.Created.Truncate(time.Second)), err
}

// owns reports whether who is the user of that name, as far as their tokens go:
// also by a token, since all that can be done with a token's record is to look
// at it and to take the token away. The subject of an identity provider is
// somebody else, and so is the user who has the name of the machine's root.
func owns(who usr.Caller, subject string) bool {
	switch who.Method {
	case usr.MethodSocket, usr.MethodX509, usr.MethodPassword, usr.MethodSession, usr.MethodToken:
		return who.Name != "" && who.By() == subject
	}
	return false
}

// seesToken reports whether who may see the record of a token.
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

// mayRevokeTokens decides whether who may take back tokens of a subject.
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

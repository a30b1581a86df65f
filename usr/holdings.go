package usr

import (
	"fmt"
	"slices"
)

// Holdings is all that somebody who calls as a user can make use of.
type Holdings struct {
	Grants Grants
	Roles  []string // for other services
	Names  []string // that the user may have certificates signed for: the words of the keyword "names"
}

// RootHoldings is what a user counts as whose keywords cannot be read: only root puts that right.
func RootHoldings() Holdings { return Holdings{Grants: RootGrants()} }

// CanChangeUser decides whether c may change or delete the user o, who holds theirs, in any way: keywords, keys, password, certificate.
// The names are those that c itself may have certificates signed for.
//
// It needs admin on the namespace. And since whoever sets a password or a certificate can then call as that user, it needs all that the
// user holds (docs/authorization.md, Who may change). For a user yet to be made, theirs is zero;
// what is to be set is for [CanGrant], [CanGiveRoles] and [CanSetKeyword].
func CanChangeUser(c Caller, o Object, theirs Holdings, names []string) error {
	need := Need{}
	if o.Kind == kindUsr {
		need = In(RoleAdmin, o.Namespace)
	}
	if err := c.mayTo("changing "+o.String(), need); err != nil {
		return err
	}
	if c.May(Root()) == nil {
		return nil
	}
	// The texts of what these say would tell what the user holds.
	covered := c.Grants.Covers(theirs.Grants) == nil && CanGiveRoles(c, theirs.Roles) == nil &&
		!slices.ContainsFunc(theirs.Names, func(name string) bool { return !slices.Contains(names, name) })
	if !covered {
		return fmt.Errorf("changing %s: %w: needs every grant, role and name that this user holds; %.64q holds %s", o, ErrDenied, c.Name, c.held())
	}
	return nil
}

// CanMakeUser decides whether c, which may change o, may make it where it is not there. The name of the machine's root is reserved: a user of
// that name is made by root alone.
func CanMakeUser(c Caller, o Object) error {
	if o != (Object{Namespace: system, Kind: kindUsr, Name: RootUser}) {
		return nil
	}
	return c.mayTo("making "+o.String()+", whose name is that of the machine's root", Root())
}

// CanRemake decides whether c, who may change o, may make it anew from nothing. Nobody but root does that to the user that they call
// as: the keywords that bound it would be gone.
func CanRemake(c Caller, o Object) error {
	if !c.called(o) {
		return nil
	}
	return c.mayTo("making anew the user that you call as, "+o.String(), Root())
}

// called tells whether o is the user object of the name that c goes by, however it was proved. The machine's root goes by no user's name.
func (c Caller) called(o Object) bool {
	return !c.IsMachine() && o == Object{Namespace: system, Kind: kindUsr, Name: c.Name}
}

// CanSetKeyword decides whether c, who may change o, may also set or unset this keyword of it.
//
// The keywords that say whom a certificate speaks for, who signs it, or whom a CA may sign, need root; and nobody else changes what
// bounds the user that they call as (docs/authorization.md, Who may change).
// Of grant, roles and ca it knows no values: asked about them, it says yes to root alone, and [CanGrant], [CanGiveRoles] and
// [CanUseCA] are who to ask. The cn, alt_names, o and ou of a sec, and every email, are bound by what the caller's own user may ask
// for, which is not looked at here.
func CanSetKeyword(c Caller, o Object, keyword string) error {
	need := Authenticated()
	switch keyword {
	case "names", "profile", "allow_names", "deny_names", "grant", "roles", "ca", "max_validity":
		need = Root()
	case "cn", "alt_names", "o", "ou":
		if o.Kind == kindUsr { // the certificate of a user carries them as they are
			need = Root()
		}
	}
	if err := c.mayTo(fmt.Sprintf("setting keyword %q", keyword), need); err != nil {
		return err
	}
	return CanBound(c, o, keyword)
}

// CanBound decides whether c may set or unset this keyword of o as far as c's own bounds go: what c is, or from where it may call, is
// for others to say. Grants are not among them: who has them may give them up.
func CanBound(c Caller, o Object, keyword string) error {
	if !c.called(o) {
		return nil
	}
	switch keyword {
	case "cn", "names", "profile", "roles", "ca", "disabled", "allowed_ips":
		return c.mayTo(fmt.Sprintf("setting keyword %q of the user that you call as", keyword), Root())
	}
	return nil
}

// CanUseCA decides whether c may have the CA o sign, which is not the cluster's: everybody uses that one. It needs what changing o needs.
func CanUseCA(c Caller, o Object) error {
	if err := CanWrite(c, o); err != nil {
		return fmt.Errorf("setting keyword \"ca\": %w", err)
	}
	return nil
}

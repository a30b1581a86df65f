package usr

import (
	"fmt"
	"slices"
)

// Roles for other services, in the keyword roles of a user and in tokens, open nothing here. They are watched all the same: whoever
// could give them freely would be somebody in those services by a detour.

// roleForeignAdmin is the role whose holders give any role in the services that read them: they could there.
const roleForeignAdmin = "admin"

// roleForeignAPI is the role of those who call services with tokens.
const roleForeignAPI = "api"

// HoldsRoles returns nil when c has every one of these roles for other services, and else an [ErrDenied] that names the first one missing.
// No grant stands in for a role, root neither: the answer is for a service that asks about roles.
func HoldsRoles(c Caller, roles []string) error {
	if err := c.May(Named()); err != nil {
		return err
	}
	for _, role := range roles {
		if !slices.Contains(c.Roles, role) {
			return fmt.Errorf("%w: needs role %.32q; %.64q has %q", ErrDenied, role, c.Name, c.Roles)
		}
	}
	return nil
}

// CanGiveRoles decides whether c may give somebody, c included, these roles: all of the new value of the keyword. Root may, and who has the
// role admin; anybody else only what they have themselves (docs/authorization.md, Who may change).
func CanGiveRoles(c Caller, want []string) error {
	if c.May(Root()) == nil {
		return nil
	}
	if err := c.May(Authenticated()); err != nil {
		return err
	}
	if slices.Contains(c.Roles, roleForeignAdmin) {
		return nil
	}
	if err := HoldsRoles(c, want); err != nil {
		return fmt.Errorf("giving roles: %w", err)
	}
	return nil
}

// CanIssueForeignToken decides whether c may have a token for other services that says who subject is and which roles that user has.
//
// docs/clustercockpit.md, Who may issue: themselves, whoever has the role api; for anybody, who has the role admin, and root. A token
// does not beget tokens, and the subject of an identity provider is no user of the cluster.
func CanIssueForeignToken(c Caller, subject string) error {
	const try = "issuing a token for other services"
	if err := c.May(Authenticated()); err != nil {
		return fmt.Errorf("%s: %w", try, err)
	}
	switch c.Method {
	case MethodSocket, MethodPassword, MethodX509, MethodSession:
	default:
		return fmt.Errorf("%s: %w: who came by %s gets none; call with a password or a client certificate", try, ErrDenied, c.Method)
	}
	if c.May(Root()) == nil || slices.Contains(c.Roles, roleForeignAdmin) {
		return nil
	}
	if subject != c.Name {
		return fmt.Errorf("%s: %w: for another user it needs the role %s, or root; %.64q has %q", try, ErrDenied, roleForeignAdmin, c.Name, c.Roles)
	}
	if err := HoldsRoles(c, []string{roleForeignAPI}); err != nil {
		return fmt.Errorf("%s: %w", try, err)
	}
	return nil
}

package usr

import (
	"fmt"
	"slices"
)

// Roles for other services, in the keyword roles of a user and in tokens, open nothing here. They are watched all the same: whoever
// could give them freely would be somebody in those services by a detour.

// roleForeignAdmin is the role whose holders give any role in the services that read them: they could there.
const roleForeignAdmin = "admin"

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

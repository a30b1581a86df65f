package clustercockpit

import (
	"fmt"
	"slices"
	"strings"
)

// Role is what a user is to ClusterCockpit.
type Role string

// The roles that a user can be given. Each is compared as the exact lower-case word.
const (
	RoleAPI     Role = "api"     // a program that writes: it calls /api/
	RoleUser    Role = "user"    // sees their own jobs
	RoleManager Role = "manager" // sees the jobs of their projects too
	RoleSupport Role = "support" // sees all jobs
	RoleAdmin   Role = "admin"   // sees and configures everything
)

// Roles returns the roles that there are, the least powerful first.
func Roles() []Role { return []Role{RoleAPI, RoleUser, RoleManager, RoleSupport, RoleAdmin} }

// ParseRoles reads the names of roles in any case, and drops those that are there twice: cc-backend counts the entries of a token, and
// refuses "admin, admin, api" where it accepts "admin, api". Unknown names and an empty list are [ErrInvalid].
func ParseRoles(names []string) ([]Role, error) {
	var roles []Role
	for _, name := range names {
		role := Role(strings.ToLower(name))
		if !slices.Contains(Roles(), role) {
			return nil, fmt.Errorf("%w role %.32q: want %s", ErrInvalid, name, listed(Roles()))
		}
		if !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	if len(roles) == 0 {
		return nil, fmt.Errorf("%w roles: there is none, want at least one of %s", ErrInvalid, listed(Roles()))
	}
	return roles, nil
}

func listed(roles []Role) string {
	words := make([]string, len(roles))
	for i, r := range roles {
		words[i] = string(r)
	}
	return strings.Join(words, ", ")
}

// OpensAPI tells whether cc-backend lets a token with these roles into /api/, where jobs are started and stopped: api alone, or api and
// admin with whatever else.
func OpensAPI(roles []Role) bool {
	return slices.Contains(roles, RoleAPI) && (len(roles) == 1 || slices.Contains(roles, RoleAdmin))
}

// OpensUserAPI tells whether cc-backend lets a token with these roles into /userapi/, where jobs are read: api alone, or with any other
// role.
func OpensUserAPI(roles []Role) bool { return slices.Contains(roles, RoleAPI) }

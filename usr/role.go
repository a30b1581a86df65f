package usr

import (
	"fmt"
	"strings"
)

// Role is what somebody is trusted to do, either in the whole cluster or in the namespaces of a grant's scope.
type Role string

// The cluster roles. They take no scope.
const (
	RoleRoot           Role = "root" // holds every other role, everywhere
	RoleSquatter       Role = "squatter"
	RoleBlacklistAdmin Role = "blacklistadmin"
	RoleHeartbeat      Role = "heartbeat"
	RolePrioritizer    Role = "prioritizer"
	RoleJoin           Role = "join"
	RoleLeave          Role = "leave"
)

// The namespace roles: an admin is an operator, and an operator is a guest.
const (
	RoleAdmin    Role = "admin"
	RoleOperator Role = "operator"
	RoleGuest    Role = "guest"
)

// Roles returns every role there is, the cluster roles first.
func Roles() []Role {
	return []Role{
		RoleRoot, RoleSquatter, RoleBlacklistAdmin, RoleHeartbeat, RolePrioritizer, RoleJoin, RoleLeave,
		RoleAdmin, RoleOperator, RoleGuest,
	}
}

// level ranks the namespace roles. It is 0 for every other word.
func (r Role) level() int {
	switch r {
	case RoleAdmin:
		return 3
	case RoleOperator:
		return 2
	case RoleGuest:
		return 1
	}
	return 0
}

// cluster tells whether r is a role of the whole cluster. It is false for words that are no role.
func (r Role) cluster() bool {
	switch r {
	case RoleRoot, RoleSquatter, RoleBlacklistAdmin, RoleHeartbeat, RolePrioritizer, RoleJoin, RoleLeave:
		return true
	}
	return false
}

// parseRole reads one word as a role.
func parseRole(word string) (Role, error) {
	role := Role(word)
	if role.level() > 0 || role.cluster() {
		return role, nil
	}
	if near, ok := nearestRole(word); ok {
		return "", fmt.Errorf("%w role %.32q, did you mean %q", ErrInvalid, word, near)
	}
	return "", fmt.Errorf("%w role %.32q, want one of %q", ErrInvalid, word, Roles())
}

// nearestRole returns the role that word was probably meant to be. No two roles begin with the same letter, so two common letters
// at the front are enough to tell.
func nearestRole(word string) (Role, bool) {
	word = strings.ToLower(word)
	for _, role := range Roles() {
		if len(word) >= 2 && strings.HasPrefix(word, string(role[:2])) {
			return role, true
		}
	}
	return "", false
}

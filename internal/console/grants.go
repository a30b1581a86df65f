package console

import (
	"slices"
	"strings"

	"omca/usr"
)

// meant is a grant and what it means.
type meant struct{ Word, Means string }

// meaning explains the grants of a user, a word at a time. What is no grant is
// shown as it is: the API does not keep any.
func meaning(grants string) []meant {
	var all []meant
	for word := range strings.FieldsSeq(grants) {
		role, scope, _ := strings.Cut(word, ":")
		all = append(all, meant{word, means(usr.Role(role), where(scope))})
	}
	return all
}

// where says which namespaces a scope is.
func where(scope string) string {
	switch {
	case scope == "" || scope == "*":
		return "every namespace except system"
	case strings.ContainsAny(scope, "*?["):
		return "every namespace that fits " + scope + ", except system"
	case strings.Contains(scope, ","):
		return "the namespaces " + strings.ReplaceAll(scope, ",", ", ")
	}
	return "the namespace " + scope
}

func means(role usr.Role, where string) string {
	switch role {
	case usr.RoleRoot:
		return "everything, everywhere: the CA, every user, every secret"
	case usr.RoleAdmin:
		return "makes, changes and deletes objects of " + where + ", reads their secrets, gives them certificates and revokes those"
	case usr.RoleOperator:
		return "sees what a guest sees of " + where + "; for services that ask, may operate there"
	case usr.RoleGuest:
		return "sees the objects and the certificates of " + where + ", and no secret"
	case usr.RoleSquatter:
		return "may make the first object of a namespace that does not exist yet, and is its admin then"
	}
	return "a role for the daemons of the cluster"
}

// givable are the roles that the visitor can give: what it holds, and what that
// includes. Whether a scope is within its own is the API's to say.
func (w *who) givable() []string {
	var all []string
	for _, role := range usr.Roles() {
		_, held := w.Grant[string(role)]
		_, admin := w.Grant[string(usr.RoleAdmin)]
		_, operator := w.Grant[string(usr.RoleOperator)]
		if held || w.Root || role == usr.RoleOperator && admin || role == usr.RoleGuest && (admin || operator) {
			all = append(all, string(role))
		}
	}
	return all
}

// scoped are the roles that take a namespace.
func scoped(role string) bool {
	return slices.Contains([]usr.Role{usr.RoleAdmin, usr.RoleOperator, usr.RoleGuest}, usr.Role(role))
}

// serviceRoles are the roles for other services, and what they are there.
func serviceRoles() []meant {
	return []meant{
		{"user", "sees its own jobs"}, {"api", "calls the APIs with a token, and may have one issued"}, {"manager", "sees the jobs of its projects"},
		{"support", "sees all jobs"}, {"admin", "everything there, and issues tokens for anybody"},
	}
}

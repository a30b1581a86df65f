package usr

import "fmt"

// Need is what a route asks of its caller. It is made by [Anyone], [Named], [Authenticated], [In], [Cluster] or [Root]; needs can be compared
// with ==. The zero value asks for what nobody has, so a route that forgets to say is closed.
type Need struct {
	kind      needKind
	role      Role
	namespace string
}

type needKind uint8

const (
	needImpossible needKind = iota
	needAnyone
	needNamed
	needAuthenticated
	needRole
)

// Anyone is met by every caller, also by one who has not proved a name: the need of what is public.
func Anyone() Need { return Need{kind: needAnyone} }

// Named is met by every caller who proved a name, by a token for other services too: the need of what only tells callers who they are.
func Named() Need { return Need{kind: needNamed} }

// Authenticated is met by every caller who proved a name, whatever they hold, but not by a token for other services: see
// [Caller.Profile].
func Authenticated() Need { return Need{kind: needAuthenticated} }

// In is met by callers who hold role in namespace. Nobody meets it when role is not a namespace role or namespace not a name.
func In(role Role, namespace string) Need {
	if role.level() == 0 || ValidName(namespace) != nil {
		return Need{}
	}
	return Need{kind: needRole, role: role, namespace: namespace}
}

// Cluster is met by callers who hold role in the cluster. Nobody meets it when role is not a cluster role.
func Cluster(role Role) Need {
	if !role.cluster() {
		return Need{}
	}
	return Need{kind: needRole, role: role}
}

// Root is met by root alone.
func Root() Need { return Cluster(RoleRoot) }

// String completes the sentence "this needs …".
func (n Need) String() string {
	switch {
	case n.kind == needAnyone:
		return "nothing"
	case n.kind == needNamed, n.kind == needAuthenticated:
		return "a proven name"
	case n.kind == needRole && n.namespace != "":
		return fmt.Sprintf("%s on namespace %q", n.role, n.namespace)
	case n.kind == needRole:
		return string(n.role)
	}
	return "what nobody holds"
}

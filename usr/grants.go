package usr

import (
	"fmt"
	"slices"
	"strings"
)

const (
	maxGrants = 16 << 10 // bytes of text: grants travel in tokens, and tokens in a header
	maxHeld   = 1024     // single grants, after every list in the text is written out
)

// Grants is what somebody holds: roles, each in the whole cluster or in some namespaces. The zero value holds nothing.
type Grants struct {
	words []string // as written
	held  []grant  // as understood
	root  bool
}

// grant is one role in the namespaces of one glob.
type grant struct {
	role Role
	glob string // "" for a cluster role, and for a namespace role without a scope
}

func (g grant) String() string {
	if g.glob == "" {
		return string(g.role)
	}
	return string(g.role) + ":" + g.glob
}

// scope is the glob of the namespaces in which g holds.
//
// docs/authorization.md, Grants: "Without a namespace they hold in every namespace except `system`", which is just what the glob "*" says.
func (g grant) scope() string {
	if g.glob == "" {
		return "*"
	}
	return g.glob
}

// covers tells whether whoever holds g holds h too.
func (g grant) covers(h grant) bool {
	if h.role.cluster() {
		return g.role == h.role
	}
	return g.role.level() >= h.role.level() && reaches(g.scope(), h.scope())
}

// ParseGrants reads grants as docs/authorization.md writes them: words "role" or "role:glob[,glob]" with white space between them. A word may
// also begin with a list of roles, "role[,role]:glob[,glob]".
//
// Cluster roles take no scope, namespace roles without one hold in every namespace except "system". Text that is longer than 16 KiB
// or that cannot be understood to the last word is [ErrInvalid]: a grant is never ignored.
func ParseGrants(text string) (Grants, error) {
	if len(text) > maxGrants {
		return Grants{}, fmt.Errorf("%w grants: %d bytes, at most %d are allowed", ErrInvalid, len(text), maxGrants)
	}
	g := Grants{words: strings.Fields(text)}
	for _, word := range g.words {
		held, err := parseWord(word)
		if err != nil {
			return Grants{}, fmt.Errorf("grant %.128q: %w", word, err)
		}
		g.held = append(g.held, held...)
		if len(g.held) > maxHeld {
			return Grants{}, fmt.Errorf("%w grants: more than %d of them", ErrInvalid, maxHeld)
		}
	}
	g.root = slices.Contains(g.held, grant{role: RoleRoot})
	return g, nil
}

// RootGrants returns what the unix socket gives and what the daemon itself acts with: the role root.
func RootGrants() Grants {
	return Grants{words: []string{string(RoleRoot)}, held: []grant{{role: RoleRoot}}, root: true}
}

// parseWord reads one word and writes its lists out: each role with each glob.
func parseWord(word string) ([]grant, error) {
	left, scope, scoped := strings.Cut(word, ":")
	globs := []string{""}
	if scoped {
		globs = strings.Split(scope, ",")
		for _, glob := range globs {
			if err := checkGlob(glob); err != nil {
				return nil, err
			}
		}
	}
	var roles []Role
	for name := range strings.SplitSeq(left, ",") {
		role, err := parseRole(name)
		if err != nil {
			return nil, err
		}
		if scoped && role.cluster() {
			return nil, fmt.Errorf("%w scope %.64q: %s is a role of the whole cluster and takes none", ErrInvalid, scope, role)
		}
		if !slices.Contains(roles, role) { // or "guest,guest,…:a,b,…" would grow with the square of its length
			roles = append(roles, role)
		}
	}
	held := make([]grant, 0, len(roles)*len(globs))
	for _, role := range roles {
		for _, glob := range globs {
			held = append(held, grant{role, glob})
		}
	}
	return held, nil
}

// String returns the words of g in the order in which they were written, one space apart. [ParseGrants] reads it back.
func (g Grants) String() string { return strings.Join(g.words, " ") }

// Words returns the words of g in the order in which they were written, each readable by [ParseGrants]: the claim "grant" of a token.
func (g Grants) Words() []string { return slices.Clone(g.words) }

// Map returns the globs of each role, in the shape of whoami: {"admin": ["ns1"]}. The value is nil for a role without a scope, and for
// one that is held both with a scope and without.
func (g Grants) Map() map[string][]string {
	roles := make(map[string][]string)
	for _, h := range g.held {
		globs, seen := roles[string(h.role)]
		switch {
		case h.glob == "", seen && globs == nil:
			roles[string(h.role)] = nil
		case !slices.Contains(globs, h.glob):
			roles[string(h.role)] = append(globs, h.glob)
		}
	}
	return roles
}

// Has tells whether role is held in namespace. Cluster roles are held in no namespace in particular: for them it is not looked at.
// Root has every role everywhere. An unknown role and a namespace that is not a name are never held, by root neither.
func (g Grants) Has(role Role, namespace string) bool {
	want := grant{role: role}
	if role.level() > 0 {
		if ValidName(namespace) != nil {
			return false
		}
		want.glob = namespace
	} else if !role.cluster() {
		return false
	}
	return g.holds(want)
}

func (g Grants) holds(want grant) bool {
	return g.root || slices.ContainsFunc(g.held, func(h grant) bool { return h.covers(want) })
}

// Covers returns nil when whoever holds g holds every grant of other, and else an [ErrDenied] that names the first one missing.
// A glob of other is held when a single glob of g provably matches all that it matches, namespaces that do not exist yet included.
func (g Grants) Covers(other Grants) error {
	for _, want := range other.held {
		if !g.holds(want) {
			return fmt.Errorf("%w: grant %q is not held", ErrDenied, want)
		}
	}
	return nil
}

// With returns g and, unless g has it already, a namespace role in one namespace. It is [ErrInvalid] when either is something else, or
// when g is full. Whether anybody may have it is not asked here.
func (g Grants) With(role Role, namespace string) (Grants, error) {
	if role.level() == 0 {
		return Grants{}, fmt.Errorf("%w role %.32q: want %s, %s or %s", ErrInvalid, role, RoleAdmin, RoleOperator, RoleGuest)
	}
	if err := ValidName(namespace); err != nil { // an empty one would be every namespace
		return Grants{}, err
	}
	if g.Has(role, namespace) {
		return g, nil
	}
	return ParseGrants(g.String() + " " + grant{role, namespace}.String())
}

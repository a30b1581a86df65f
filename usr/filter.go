package usr

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ParseRole reads one word as a role. Anything else is [ErrInvalid], with the nearest role.
func ParseRole(word string) (Role, error) { return parseRole(word) }

// FilterGrants returns the part of held that somebody asks for: by roles, each "as much of it as I have"; by a scope (a namespace or a
// glob); by both; or, with neither, all. The result never holds what held does not.
//
//   - Roles alone: root has every role as it stands. A namespace role comes without a scope when it is held so, or a higher one is; else
//     in every scope in which it, or a higher one, is held. A cluster role comes when it is held.
//   - Roles and a scope: each namespace role in that scope, if it or a higher one is held there. Cluster roles take no scope, so they
//     never come.
//   - A scope alone: the highest namespace role held there.
//
// Nothing left is [ErrDenied]; an unknown role and a scope that is none are [ErrInvalid].
func FilterGrants(held Grants, roles []Role, scope string) (Grants, error) {
	if scope != "" {
		if err := checkGlob(scope); err != nil {
			return Grants{}, fmt.Errorf("scope: %w", err)
		}
	}
	var want []grant
	for i, role := range roles {
		if slices.Contains(roles[:i], role) { // or a long request would make the product of it and the grants
			continue
		}
		if _, err := parseRole(string(role)); err != nil {
			return Grants{}, err
		}
		if scope == "" {
			want = append(want, held.ofRole(role)...)
		} else if g := (grant{role, scope}); role.level() > 0 && held.holds(g) {
			want = append(want, g)
		}
	}
	switch {
	case len(roles) > 0:
	case scope == "":
		if len(held.held) == 0 {
			return Grants{}, fmt.Errorf("%w: needs a grant to be in the token, and none is held", ErrDenied)
		}
		return held, nil
	default:
		want = held.bestIn(scope)
	}
	if len(want) == 0 {
		return Grants{}, fmt.Errorf("%w: no grant that is held gives %s", ErrDenied, asked(roles, scope))
	}
	return fromGrants(want)
}

// asked says what was asked for.
func asked(roles []Role, scope string) string {
	words := make([]string, len(roles))
	for i, role := range roles {
		words[i] = string(role)
	}
	text := cmp.Or(strings.Join(words, " or "), "any role")
	if scope != "" {
		text += fmt.Sprintf(" on %q", scope)
	}
	return text
}

// ofRole returns what g holds of one role, in every scope.
func (g Grants) ofRole(role Role) []grant {
	if g.root {
		return []grant{{role: role}}
	}
	var scoped []grant
	for _, h := range g.held {
		switch {
		case h.role == role && h.glob == "", role.level() > 0 && h.glob == "" && h.role.level() >= role.level():
			return []grant{{role: role}}
		case role.level() > 0 && h.role.level() >= role.level():
			scoped = append(scoped, grant{role, h.glob})
		}
	}
	return scoped
}

// bestIn returns the highest namespace role that g holds in a scope.
func (g Grants) bestIn(scope string) []grant {
	for _, role := range []Role{RoleAdmin, RoleOperator, RoleGuest} {
		if want := (grant{role, scope}); g.holds(want) {
			return []grant{want}
		}
	}
	return nil
}

// fromGrants makes Grants of single ones, each once.
func fromGrants(single []grant) (Grants, error) {
	var words []string
	seen := make(map[grant]bool, len(single))
	for _, g := range single {
		if !seen[g] {
			seen[g] = true
			words = append(words, g.String())
		}
	}
	return ParseGrants(strings.Join(words, " "))
}

// Intersect returns what both hold: what a token was given, as far as its subject still holds it. It is never more than either, and less
// than both where two globs overlap and neither covers the other. When held covers all of g, that is g as it was written.
func Intersect(g, held Grants) Grants {
	if held.Covers(g) == nil {
		return g
	}
	if g.root {
		return held
	}
	var common []grant
	for _, a := range g.held {
		for _, b := range held.held {
			if c, ok := a.meet(b); ok && !slices.Contains(common, c) {
				common = append(common, c)
			}
		}
	}
	both, err := fromGrants(common)
	if err != nil { // more of them than grants can be
		return Grants{}
	}
	return both
}

// meet returns what both grants give, if that is a grant.
func (g grant) meet(h grant) (grant, bool) {
	switch {
	case g.covers(h):
		return h, true
	case h.covers(g):
		return g, true
	case g.role.cluster() || h.role.cluster():
		return grant{}, false
	}
	lower := g.role
	if h.role.level() < g.role.level() {
		lower = h.role
	}
	switch {
	case reaches(g.scope(), h.scope()):
		return grant{lower, h.glob}, true
	case reaches(h.scope(), g.scope()):
		return grant{lower, g.glob}, true
	}
	return grant{}, false
}

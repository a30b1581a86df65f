package usr

import "fmt"

// checkGlob returns nil when glob is the name of a namespace or a pattern of some: a name in which '*' stands for any characters
// and '?' for any single one.
func checkGlob(glob string) error {
	if glob == "" {
		return fmt.Errorf("%w namespace: it is empty", ErrInvalid)
	}
	if len(glob) > maxName {
		return fmt.Errorf("%w namespace %.16q…: it has %d characters, at most %d are allowed", ErrInvalid, glob, len(glob), maxName)
	}
	for i := range len(glob) {
		c := glob[i]
		if !alphanumeric(c) && c != '*' && c != '?' && (i == 0 || c != '.' && c != '-') {
			return fmt.Errorf("%w namespace %q: want a name, in which '*' stands for any characters and '?' for one", ErrInvalid, glob)
		}
	}
	return nil
}

// reaches tells whether every namespace of scope (a name or a glob) is also one of glob.
//
// docs/authorization.md, Grants: "`*`, or any other glob, does not reach `system`: that needs its name, or `root`."
func reaches(glob, scope string) bool {
	if glob == system || scope == system {
		return glob == scope
	}
	return match(glob, scope)
}

// match tells whether glob matches name. The name may itself be a glob, and then true is a proof that glob matches all that name
// matches: a '*' of name is only ever taken by a '*' of glob, and a '?' of name by a '*' or a '?'. The time is at most the product
// of the lengths: only the last '*' is ever tried again.
func match(glob, name string) bool {
	g, n := 0, 0
	star, from := -1, 0 // the last '*' met, and where in name to try it next
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, from = g, n
			g++
		case g < len(glob) && (glob[g] == name[n] || glob[g] == '?' && name[n] != '*'):
			g++
			n++
		case star >= 0:
			from++
			g, n = star+1, from
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}

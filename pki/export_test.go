package pki

import "slices"

// SkippedLints returns the names on the skip list.
func SkippedLints() []string {
	var list []string
	for _, s := range skips() {
		list = append(list, s.lint)
	}
	return list
}

// KnownLint reports whether a lint of this name is among those run.
func KnownLint(name string) bool {
	for _, l := range newLinter().lints {
		if l.Name == name {
			return true
		}
	}
	return slices.ContainsFunc(ownLints(), func(l lint) bool { return l.name == name })
}

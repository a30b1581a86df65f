package object

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"omca/ca"
)

const (
	maxSelector = 4096 // bytes in a selector
	maxTerms    = 64   // patterns in a selector
)

// Selector picks objects by their paths: the union of one or more patterns.
// The zero Selector picks nothing.
type Selector struct{ terms []Path } // each part is a glob

// ParseSelector reads comma-separated patterns. A pattern is a path whose parts
// may be globs ("*" any characters, "?" one, "[a-c]" and "[!a-c]" one of a set),
// none of which reaches over a "/":
//
//	system/usr/*    every user of namespace system
//	sec/foo         root/sec/foo, as in [ParsePath]
//	ns1/**          everything in ns1
//	**/foo          everything called foo
//	usr             every user: */usr/*
//	** or *         everything
//
// Errors are [ca.ErrInvalid].
func ParseSelector(s string) (Selector, error) {
	if len(s) > maxSelector {
		return Selector{}, Invalidf("invalid selector %q: %d characters, at most %d", clip(s), len(s), maxSelector)
	}
	words := strings.Split(s, ",")
	if len(words) > maxTerms {
		return Selector{}, Invalidf("invalid selector %q: %d patterns, at most %d", clip(s), len(words), maxTerms)
	}
	var sel Selector
	for _, w := range words {
		term, err := parseTerm(strings.TrimSpace(w))
		if errors.Is(err, ca.ErrInvalid) {
			return Selector{}, err // a plain path, and the error says so
		}
		if err != nil {
			return Selector{}, Invalidf("invalid selector %q: %w", clip(s), err)
		}
		sel.terms = append(sel.terms, term)
	}
	return sel, nil
}

func parseTerm(s string) (Path, error) {
	if !strings.ContainsAny(s, "*?[") && !slices.Contains(Kinds(), Kind(s)) {
		return ParsePath(s)
	}
	term, err := splitTerm(s)
	if err != nil {
		return Path{}, err
	}
	for _, part := range []string{term.Namespace, string(term.Kind), term.Name} {
		if err := checkGlob(part); err != nil {
			return Path{}, err
		}
	}
	if !slices.ContainsFunc(Kinds(), func(k Kind) bool { return matchPart(string(term.Kind), string(k)) }) {
		return Path{}, fmt.Errorf("kind %q is none of %s", term.Kind, join(Kinds()))
	}
	return term, nil
}

// splitTerm gives a pattern its three parts.
func splitTerm(s string) (Path, error) {
	parts := strings.Split(s, "/")
	switch {
	case len(parts) == 3:
		return Path{parts[0], Kind(parts[1]), parts[2]}, nil
	case len(parts) == 1 && (s == "*" || s == "**"):
		return Path{"*", "*", "*"}, nil
	case len(parts) == 1 && slices.Contains(Kinds(), Kind(s)):
		return Path{"*", Kind(s), "*"}, nil
	case len(parts) == 2 && parts[1] == "**":
		return Path{parts[0], "*", "*"}, nil
	case len(parts) == 2 && parts[0] == "**":
		return Path{"*", "*", parts[1]}, nil
	case len(parts) == 2:
		return Path{nsRoot, Kind(parts[0]), parts[1]}, nil
	}
	return Path{}, fmt.Errorf("pattern %q is none of namespace/kind/name, kind/name, namespace/** or a kind", s)
}

func checkGlob(part string) error {
	if part == "" || len(part) > maxPart {
		return fmt.Errorf("a part of a pattern has %d characters, not 1 to %d", len(part), maxPart)
	}
	for _, r := range part {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', strings.ContainsRune(".-*?[]!", r):
		case r >= 'A' && r <= 'Z':
			return fmt.Errorf("%q: upper case %q, paths are lower case", part, r)
		default:
			return fmt.Errorf(`%q: character %q, only letters, digits, "." and "-" and the globs "*", "?" and "[…]" are allowed`, part, r)
		}
	}
	if strings.Contains(strings.ReplaceAll(part, "[!", "["), "!") {
		return fmt.Errorf(`%q: "!" outside "[!…]": a selector takes nothing away`, part)
	}
	if _, err := path.Match(toMatch(part), ""); err != nil {
		return fmt.Errorf(`%q: a set is written "[abc]" or "[a-c]"`, part)
	}
	return nil
}

// toMatch turns fnmatch's "[!…]" into path.Match's "[^…]".
func toMatch(glob string) string { return strings.ReplaceAll(glob, "[!", "[^") }

func matchPart(glob, s string) bool {
	ok, err := path.Match(toMatch(glob), s)
	return ok && err == nil
}

// Match reports whether the selector picks p.
func (s Selector) Match(p Path) bool {
	return slices.ContainsFunc(s.terms, func(t Path) bool {
		return matchPart(t.Namespace, p.Namespace) && matchPart(string(t.Kind), string(p.Kind)) && matchPart(t.Name, p.Name)
	})
}

// Exact returns the one path that the selector spells out, if it is one path
// and no pattern: its absence is then worth an error.
func (s Selector) Exact() (Path, bool) {
	if len(s.terms) != 1 || strings.ContainsAny(s.terms[0].Key(), "*?[") {
		return Path{}, false
	}
	return s.terms[0], true
}

// Prefix is what the [Path.Key] of everything that the selector picks starts
// with: a scan of that prefix sees every match. It is "" when nothing is common.
func (s Selector) Prefix() string {
	if len(s.terms) == 0 {
		return ""
	}
	common := literal(s.terms[0])
	for _, t := range s.terms[1:] {
		other := literal(t)
		n := 0
		for n < len(common) && n < len(other) && common[n] == other[n] {
			n++
		}
		common = common[:n]
	}
	return common
}

// literal is the part of a pattern before its first glob.
func literal(t Path) string {
	key := t.Key()
	if i := strings.IndexAny(key, "*?["); i >= 0 {
		return key[:i]
	}
	return key
}

// String is the selector in full, each pattern with its three parts.
func (s Selector) String() string {
	words := make([]string, len(s.terms))
	for i, t := range s.terms {
		words[i] = t.String()
	}
	return strings.Join(words, ",")
}

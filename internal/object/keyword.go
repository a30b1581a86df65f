package object

import (
	"slices"
	"strings"

	"omca/internal/hint"
)

// Type says what the value of a keyword is made of and so how it is checked.
type Type string

// The types of keywords. Those marked list hold words separated by white space.
const (
	TypeString   Type = "string"     // printable text, at most Keyword.Max characters
	TypeCountry  Type = "country"    // two letters
	TypeEmail    Type = "e-mail"     // one address
	TypeNames    Type = "names"      // list: DNS names, IP addresses, URIs, e-mail addresses
	TypePatterns Type = "patterns"   // list: DNS patterns, CIDRs, e-mail domains, URI domains
	TypeDuration Type = "duration"   // see ParseDuration, at least 1s
	TypeLives    Type = "validities" // list: a duration, and profile=duration; at least 1s, 0 is no bound
	TypeKeyType  Type = "key type"   // ec-p256, ec-p384, ed25519, rsa-2048, rsa-3072, rsa-4096
	TypeBits     Type = "bits"       // 2048, 3072, 4096, 2k, 3k, 4k
	TypeProfile  Type = "profile"    // the name of a certificate profile
	TypePath     Type = "path"       // the path of a sec
	TypePaths    Type = "paths"      // list: paths of secs
	TypeGrants   Type = "grants"     // list: role or role:glob[,glob]
	TypeWords    Type = "words"      // list: words of Keyword.Choices, none twice
	TypeNetworks Type = "networks"   // list: IP addresses and CIDRs
	TypeBool     Type = "boolean"    // true or false, yes or no, on or off, 1 or 0
	TypeLabel    Type = "label"      // a name as in a path
	TypeUUID     Type = "uuid"       //
	TypeHost     Type = "host"       // a host name or an IP address
	TypeHosts    Type = "hosts"      // list of them
	TypePort     Type = "port"       // 1 to 65535
	TypeAddr     Type = "host:port"  // the host may be missing
	TypeSources  Type = "sources"    // list: http(s) URLs, absolute file names, paths of secs
	TypeIssuer   Type = "issuer URL" // https, or http on this machine
	TypeChoice   Type = "choice"     // one of Keyword.Choices
	TypeCount    Type = "count"      // a whole number from 0 to 1000000
	TypeRate     Type = "rate"       // N, N/s, N/m or N/h; 0 is off
)

// List reports whether values of the type are words separated by white space,
// which is what the operators += -= and |= work on.
func (t Type) List() bool {
	switch t {
	case TypeNames, TypePatterns, TypePaths, TypeGrants, TypeWords, TypeNetworks, TypeHosts, TypeSources, TypeLives:
		return true
	}
	return false
}

// sectionDefault holds the keywords that are written without a section.
const sectionDefault = "DEFAULT"

// Keyword is one row of the table of keywords.
type Keyword struct {
	Name    string   // "cn", "cluster.name": the section comes first unless it is DEFAULT
	Alias   string   // another name for it, or ""
	Kinds   []Kind   // the kinds of objects that carry it
	Type    Type     // what a value is
	Max     int      // characters of a TypeString
	Choices []string // values of a TypeChoice, words of a TypeWords
	Default string   // the value when unset, where it is the same for every object; see Config.Eval
	Example string   // a value that the table accepts
	Doc     string   // one sentence or two for the operator
}

// Section is the section of the keyword, "DEFAULT" when it has none.
func (k Keyword) Section() string { return sectionOf(k.Name) }

func sectionOf(name string) string {
	if section, _, ok := strings.Cut(name, "."); ok {
		return section
	}
	return sectionDefault
}

// Keywords lists the keywords of an object of that kind in the order of the
// table. A cfg takes env.ANYTHING beside them.
func Keywords(kind Kind) []Keyword {
	var all []Keyword
	for k := range table() {
		if slices.Contains(k.Kinds, kind) {
			all = append(all, *k)
		}
	}
	return all
}

// LookupKeyword finds a keyword of a kind by any of its names: "cn" and
// "DEFAULT.cn" are one. An unknown name is [ca.ErrInvalid], with the nearest known
// one as the hint.
func LookupKeyword(kind Kind, name string) (Keyword, error) {
	if err := checkName(name); err != nil {
		return Keyword{}, err
	}
	name = strings.TrimPrefix(name, sectionDefault+".")
	for k := range table() {
		if (name == k.Name || name == k.Alias && name != "") && slices.Contains(k.Kinds, kind) {
			return *k, nil
		}
	}
	if kind == KindCfg && sectionOf(name) == sectionEnv {
		return envKeyword(name), nil
	}
	return Keyword{}, unknownKeyword(kind, name, Keywords(kind))
}

func unknownKeyword(kind Kind, name string, known []Keyword) error {
	err := Invalidf("unknown keyword %q for a %s", name, kind)
	if kind == KindCcfg {
		err = Invalidf("unknown keyword %q for the cluster", name)
	}
	names := make([]string, 0, len(known))
	for _, k := range known {
		names = append(names, k.Name)
	}
	if near, ok := hint.Nearest(name, names); ok {
		return hint.With(err, "did you mean %q?", near)
	}
	// "name" for "cluster.name" is too far for a slip of the finger.
	for _, n := range names {
		if strings.HasSuffix(n, "."+name) {
			return hint.With(err, "did you mean %q?", n)
		}
	}
	for k := range table() {
		if name == k.Name || name == k.Alias && name != "" {
			return hint.With(err, "%q is a keyword of %s", k.Name, join(k.Kinds))
		}
	}
	return hint.With(err, "\"omca PATH config doc\" lists the keywords")
}

const maxName = 128 // bytes in the name of a keyword

// checkName says whether s can be the name of a keyword at all.
func checkName(s string) error {
	switch {
	case s == "":
		return Invalidf("empty keyword")
	case len(s) > maxName:
		return Invalidf("keyword %q: %d characters, at most %d", clip(s), len(s), maxName)
	}
	before, scope, scoped := strings.Cut(s, "@")
	if scoped {
		return hint.With(Invalidf("keyword %q: scope %q: a value is the same on every node", s, "@"+scope), "write %q", before)
	}
	if before, _, indexed := strings.Cut(s, "["); indexed {
		return hint.With(Invalidf("keyword %q: a word cannot be addressed by its place", s),
			"use %[1]s+=WORD, %[1]s-=WORD or %[1]s=ALL THE WORDS", before)
	}
	for _, part := range strings.SplitN(s, ".", 2) {
		if part == "" {
			return Invalidf(`keyword %q: empty before or after "."`, s)
		}
	}
	for _, r := range s {
		if !isNameRune(r) {
			return Invalidf("keyword %q: character %q", s, r)
		}
	}
	return nil
}

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

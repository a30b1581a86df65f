package object

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/hint"
)

const (
	maxConfig   = 256 << 10 // bytes in a config, written as INI
	maxSettings = 1000      // keywords in a config, and changes in an update
)

// Setting is one keyword of a config and its value as it was set.
type Setting struct {
	Keyword string `json:"keyword"`
	Value   string `json:"value"`
}

// Config is the keywords of one object. It is a value: [Config.Apply] and
// [ParseINI] make new ones. Keywords keep the order in which they were set,
// section by section, DEFAULT first.
type Config struct {
	path     Path
	settings []Setting // never written to once it is in a Config
}

// NewConfig returns the config of a new object: no keyword is set.
func NewConfig(p Path) Config { return Config{path: p} }

// Path is the object that the config belongs to.
func (c Config) Path() Path { return c.path }

// Settings lists what is set.
func (c Config) Settings() []Setting { return slices.Clone(c.settings) }

// Equal reports whether both belong to one object and set the same keywords to
// the same values in the same order.
func (c Config) Equal(d Config) bool {
	return c.path == d.path && slices.Equal(c.settings, d.settings)
}

// Update is the changes of one transaction. They happen in the order of the
// fields, and within a field in the order of the slice.
type Update struct {
	Delete []string // sections; DEFAULT cannot be deleted
	Unset  []string // keywords; one that is not set is no error
	Set    []Expr
}

// Apply returns the config after u, and the names of the keywords whose values
// differ: those that are set first, then those that are gone. The caller decides from them whether the
// change is permitted. No name means that nothing changed. Every changed value
// is checked, then the values among themselves; on an error, which is
// [ca.ErrInvalid], the config is as it was.
func (c Config) Apply(u Update) (Config, []string, error) {
	if n := len(u.Delete) + len(u.Unset) + len(u.Set); n > maxSettings {
		return c, nil, Invalidf("%d changes at once, at most %d", n, maxSettings)
	}
	next := Config{c.path, slices.Clone(c.settings)}
	for _, section := range u.Delete {
		if err := next.deleteSection(section); err != nil {
			return c, nil, err
		}
	}
	for _, name := range u.Unset {
		kept, err := c.resolve(name)
		if err != nil {
			return c, nil, err
		}
		next.put(kept, "")
	}
	for _, e := range u.Set {
		k, err := LookupKeyword(c.path.Kind, e.Keyword)
		if err != nil {
			return c, nil, err
		}
		old, _ := next.Get(k.Name)
		value, err := e.apply(k, old)
		if err == nil {
			value, err = k.Clean(value)
		}
		if err != nil {
			return c, nil, err
		}
		next.put(k.Name, value)
	}
	changed := c.Changed(next)
	if err := next.accept(c); err != nil {
		return c, nil, err
	}
	return next, changed, nil
}

// deleteSection takes every keyword of a section away.
func (c *Config) deleteSection(section string) error {
	if section == sectionDefault {
		return hint.With(Invalidf("section %q cannot be deleted", section), "unset its keywords")
	}
	if err := checkSection(c.path.Kind, section); err != nil && !slices.ContainsFunc(c.settings, in(section)) {
		return err
	}
	c.settings = slices.DeleteFunc(c.settings, in(section))
	return nil
}

func in(section string) func(Setting) bool {
	return func(s Setting) bool { return sectionOf(s.Keyword) == section }
}

// checkSection says whether objects of the kind have keywords in that section.
func checkSection(kind Kind, section string) error {
	known := []string{sectionDefault}
	if kind == KindCfg {
		known = append(known, sectionEnv)
	}
	for _, k := range Keywords(kind) {
		known = append(known, k.Section())
	}
	if slices.Contains(known, section) {
		return nil
	}
	err := Invalidf("unknown section %q", clip(section))
	if near, ok := hint.Nearest(section, known); ok {
		return hint.With(err, "did you mean %q?", near)
	}
	return err
}

// resolve finds the name under which a keyword is kept. A keyword that is set
// but that the table does not know (a later version set it) keeps its name.
func (c Config) resolve(name string) (string, error) {
	k, err := LookupKeyword(c.path.Kind, name)
	if err == nil {
		return k.Name, nil
	}
	if c.index(name) >= 0 {
		return name, nil
	}
	return "", err
}

func (c Config) index(name string) int {
	return slices.IndexFunc(c.settings, func(s Setting) bool { return s.Keyword == name })
}

// put sets one keyword, or unsets it when value is empty. A new one goes to the
// end of its section.
func (c *Config) put(name, value string) {
	i := c.index(name)
	switch {
	case i >= 0 && value == "":
		c.settings = slices.Delete(c.settings, i, i+1)
	case i >= 0:
		c.settings[i].Value = value
	case value != "":
		at := len(c.settings)
		if sectionOf(name) == sectionDefault {
			at = 0
		}
		for i, s := range c.settings {
			if sectionOf(s.Keyword) == sectionOf(name) {
				at = i + 1
			}
		}
		c.settings = slices.Insert(c.settings, at, Setting{name, value})
	}
}

// accept says whether c, whose values are each fine, may take the place of old.
func (c Config) accept(old Config) error {
	if problems := c.conflicts(); len(problems) > 0 {
		return problems[0].Err
	}
	if n := len(c.settings); n > maxSettings {
		return Invalidf("the config has %d keywords, at most %d", n, maxSettings)
	}
	if n := len(c.INI()); n > maxConfig {
		return Invalidf("the config has %d bytes, at most %d", n, maxConfig)
	}
	for _, name := range []string{"cluster.name", "cluster.id"} {
		if _, had := old.Get(name); !had {
			continue
		}
		if _, has := c.Get(name); !has {
			return Invalidf("keyword %q: cannot be unset", name)
		}
	}
	before, had := old.Get("cluster.id")
	if after, _ := c.Get("cluster.id"); had && before != after {
		return Invalidf(`keyword "cluster.id": is %q and cannot become %q`, before, after)
	}
	return nil
}

// Replace is Apply for a whole config that [ParseINI] read: next takes the
// place of c. It returns the names of the keywords whose values differ.
func (c Config) Replace(next Config) ([]string, error) {
	if c.path != next.path {
		return nil, Invalidf("the config of %s cannot become that of %s", next.path, c.path)
	}
	if err := next.accept(c); err != nil {
		return nil, err
	}
	return c.Changed(next), nil
}

// Changed lists the keywords that are set in one of the two only, or to
// different values: in the order of next, then those that are gone.
func (c Config) Changed(next Config) []string {
	var names []string
	for _, s := range next.settings {
		if i := c.index(s.Keyword); i < 0 || c.settings[i].Value != s.Value {
			names = append(names, s.Keyword)
		}
	}
	for _, s := range c.settings {
		if next.index(s.Keyword) < 0 {
			names = append(names, s.Keyword)
		}
	}
	return names
}

// Get returns the value of a keyword as it was set, and whether it is set.
func (c Config) Get(name string) (string, bool) {
	name, err := c.resolve(name)
	if err != nil {
		return "", false
	}
	if i := c.index(name); i >= 0 {
		return c.settings[i].Value, true
	}
	return "", false
}

// Eval returns the value of a keyword: the one that was set, or else its
// default for this object, or else "". A keyword that the object cannot have is
// [ca.ErrInvalid]. The default of "ca" is not known here: it is the internal CA.
func (c Config) Eval(name string) (string, error) {
	name, err := c.resolve(name)
	if err != nil {
		return "", err
	}
	if i := c.index(name); i >= 0 {
		return c.settings[i].Value, nil
	}
	return c.fallback(name)
}

// fallback is the default of a keyword, where it depends on the object.
func (c Config) fallback(name string) (string, error) {
	switch name {
	case "cn":
		if c.path.Kind == KindUsr && c.path.Namespace == NamespaceSystem {
			return c.path.Name, nil
		}
	case "validity":
		switch profile, err := c.Eval("profile"); profile {
		case ca.ProfileCA:
			return "10y", err
		case ca.ProfileOCSP:
			return "30d", err
		}
		return "1y", nil
	case "key_type":
		bits, err := c.Int("bits")
		if err != nil || bits == 0 {
			return "ec-p256", err
		}
		return "rsa-" + strconv.Itoa(bits), nil
	case "profile":
		return defaultProfile(c.path), nil
	}
	k, err := LookupKeyword(c.path.Kind, name)
	return k.Default, err
}

// defaultProfile follows docs/issuing.md, What a profile gives: system/sec/ca and system/sec/ca-*
// are CAs unless their profile says otherwise, system/sec/ocsp and
// system/sec/ocsp-* what answers for them.
func defaultProfile(p Path) string {
	switch {
	case p.Kind == KindUsr:
		return ca.ProfileUser
	case p == CAPath(), p.Namespace == NamespaceSystem && p.Kind == KindSec && strings.HasPrefix(p.Name, "ca-"):
		return ca.ProfileCA
	case ca.Answers(p.String()):
		return ca.ProfileOCSP
	}
	return ca.ProfileListener
}

// IsCA reports whether the object is a sec whose certificate is a CA's.
func (c Config) IsCA() bool {
	if c.path.Kind != KindSec {
		return false
	}
	profile, err := c.Eval("profile")
	return err == nil && profile == ca.ProfileCA
}

// parse evaluates a keyword and parses its value, unless there is none.
func parse[T any](c Config, name string, parser func(string) (T, error)) (T, error) {
	var zero T
	s, err := c.Eval(name)
	if err != nil || s == "" {
		return zero, err
	}
	v, err := parser(s)
	if err != nil {
		return zero, Invalidf("keyword %q: %w", name, err)
	}
	return v, nil
}

// Strings evaluates a keyword and splits it into words.
func (c Config) Strings(name string) ([]string, error) {
	s, err := c.Eval(name)
	return strings.Fields(s), err
}

// Lives evaluates a keyword that is durations by profile. That of "" is for the profiles that are
// not named.
func (c Config) Lives(name string) (map[string]time.Duration, error) {
	return parse(c, name, parseLives)
}

// Duration evaluates a duration; 0 is no value.
func (c Config) Duration(name string) (time.Duration, error) { return parse(c, name, ParseDuration) }

// Bool evaluates a boolean; false is no value. On an error, which only a
// damaged config gives, the caller must take the safe side.
func (c Config) Bool(name string) (bool, error) { return parse(c, name, parseBool) }

// Rate evaluates a rate, in events per second; 0 is no limit.
func (c Config) Rate(name string) (float64, error) { return parse(c, name, parseRate) }

// Int evaluates a port, a count or a number of bits; 0 is no value.
func (c Config) Int(name string) (int, error) {
	return parse(c, name, func(s string) (int, error) {
		if name == "bits" {
			return parseBits(s)
		}
		return parseCount(s)
	})
}

// Networks evaluates a list of addresses and CIDRs; an address is a network of
// one.
func (c Config) Networks(name string) ([]netip.Prefix, error) {
	return parse(c, name, func(s string) ([]netip.Prefix, error) {
		var networks []netip.Prefix
		for _, word := range strings.Fields(s) {
			n, err := parseNetwork(word)
			if err != nil {
				return nil, err
			}
			networks = append(networks, n)
		}
		return networks, nil
	})
}

// Problem is one thing wrong with a config.
type Problem struct {
	Keyword string
	Err     error // ca.ErrInvalid, maybe with a hint
}

// Validate lists everything that is wrong with the config: keywords that do not
// exist, values that are not accepted, values that contradict each other. What
// Apply made has nothing wrong until the table changes.
func (c Config) Validate() []Problem {
	var problems []Problem
	for _, s := range c.settings {
		k, err := LookupKeyword(c.path.Kind, s.Keyword)
		if err == nil {
			_, err = k.Clean(s.Value)
		}
		if err != nil {
			problems = append(problems, Problem{s.Keyword, err})
		}
	}
	return append(problems, c.conflicts()...)
}

// conflicts lists the values that are fine alone but not on this object, or not
// beside each other.
func (c Config) conflicts() []Problem {
	var problems []Problem
	report := func(name, format string, args ...any) {
		problems = append(problems, Problem{name, Invalidf("keyword %q: "+format, slices.Insert(args, 0, any(name))...)})
	}
	if cn, set := c.Get("cn"); set && c.path.Kind == KindUsr && c.path.Namespace == NamespaceSystem && cn != c.path.Name {
		report("cn", "%q is not %q: the common name of a user is the user's name", cn, c.path.Name)
	}
	if profile, set := c.Get("profile"); set && (profile == ca.ProfileUser) != (c.path.Kind == KindUsr) {
		report("profile", "%q is not for a %s: users have the profile %q, and nothing else has it", profile, c.path.Kind, ca.ProfileUser)
	}
	if profile, set := c.Get("profile"); set && profile == ca.ProfileOCSP && !ca.Answers(c.path.String()) {
		report("profile", "%q is not for %s, only for %s and %s-NAME", profile, c.path, ca.PathOCSP, ca.PathOCSP)
	}
	for _, name := range []string{"allow_names", "deny_names"} {
		if _, set := c.Get(name); set && !c.IsCA() {
			report(name, "%s is not a CA, which has the profile %q", c.path, ca.ProfileCA)
		}
	}
	if proxies, set := c.Get("listener.trusted_proxies"); set {
		for word := range strings.FieldsSeq(proxies) {
			if n, err := parseNetwork(word); err == nil && n.Bits() == 0 {
				report("listener.trusted_proxies", "%q is everybody: whoever is believed can say to come from anywhere", word)
			}
		}
	}
	bits, sized := c.Get("bits")
	keyType, typed := c.Get("key_type")
	if n, err := parseBits(bits); sized && typed && err == nil && keyType != "rsa-"+strconv.Itoa(n) {
		report("bits", "%q implies rsa-%d, but key_type is %q", bits, n, keyType)
	}
	issuer, _ := c.Get("ca")
	if p, err := ParsePath(issuer); err == nil && p == c.path {
		report("ca", "%q cannot be its own CA: without the keyword a CA signs itself", issuer)
	}
	return problems
}

// configJSON is how a config is kept in the store.
type configJSON struct {
	Path     Path      `json:"path"`
	Keywords []Setting `json:"keywords"`
}

// MarshalJSON writes the config as the store keeps it. Equal configs give equal
// bytes.
func (c Config) MarshalJSON() ([]byte, error) {
	return json.Marshal(configJSON{c.path, append([]Setting{}, c.settings...)})
}

// UnmarshalJSON reads what MarshalJSON wrote. It checks form only: keywords and
// values that this version does not accept are for [Config.Validate] to report.
func (c *Config) UnmarshalJSON(data []byte) error {
	const mostEscaped = 6 // bytes that JSON may spend on one
	if len(data) > mostEscaped*maxConfig {
		return Invalidf("the config has %d bytes, at most %d", len(data), mostEscaped*maxConfig)
	}
	var j configJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return Invalidf("the config is not what was written: %w", err)
	}
	if len(j.Keywords) > maxSettings {
		return Invalidf("the config has %d keywords, at most %d", len(j.Keywords), maxSettings)
	}
	next := NewConfig(j.Path)
	for _, s := range j.Keywords {
		if err := checkName(s.Keyword); err != nil {
			return err
		}
		if next.index(s.Keyword) >= 0 || strings.HasPrefix(s.Keyword, sectionDefault+".") {
			return Invalidf("the config has %q twice or under two names", s.Keyword)
		}
		if err := checkText(s.Value); err != nil || s.Value == "" || s.Value != strings.TrimSpace(s.Value) {
			return Invalidf("the config has no clean value for %q", s.Keyword)
		}
		next.put(s.Keyword, s.Value)
	}
	*c = next
	return nil
}

package object

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"omca/ca"
	"omca/internal/hint"
)

// invalid is an error about the operator's own words: a path, a selector, an
// expression, a keyword, a value or a config file that cannot be accepted as it
// is written. It is [ca.ErrInvalid] without saying so again.
type invalid struct{ error }

func (invalid) Is(target error) bool { return target == ca.ErrInvalid }
func (e invalid) Unwrap() error      { return e.error }

func Invalidf(format string, args ...any) error {
	return invalid{fmt.Errorf(format, args...)}
}

// Kind says what an object is.
type Kind string

// The kinds of objects. There is one object of kind ccfg: the cluster.
const (
	KindSec  Kind = "sec"  // secret keys and values, sealed at rest
	KindUsr  Kind = "usr"  // a user, sealed at rest
	KindCfg  Kind = "cfg"  // plain keys and values
	KindCcfg Kind = "ccfg" // the cluster
)

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{KindSec, KindUsr, KindCfg, KindCcfg} }

// Sealed reports whether the values of the keys of this kind are sealed.
func (k Kind) Sealed() bool { return k == KindSec || k == KindUsr }

const (
	maxPart = 63            // bytes in one part of a path
	maxPath = 3*maxPart + 2 // bytes in a whole path

	nsRoot          = "root"
	NamespaceSystem = "system"
	nameCluster     = "cluster"
)

// Path is the address of an object. The zero Path is no address at all; any
// other was made by [ParsePath] or one of the functions below.
type Path struct {
	Namespace string
	Kind      Kind
	Name      string
}

// ClusterPath is the cluster object, "cluster".
func ClusterPath() Path { return Path{nsRoot, KindCcfg, nameCluster} }

// CAPath is the internal CA, "system/sec/ca".
func CAPath() Path { return Path{NamespaceSystem, KindSec, "ca"} }

// CertPath is the listener's certificate, "system/sec/cert".
func CertPath() Path { return Path{NamespaceSystem, KindSec, "cert"} }

// NodeListenerPath is the listener's certificate of one node of several,
// "system/sec/listener-<node>". What a path cannot hold of a name, or has no room
// for, is told apart by a hash. It begins otherwise than system/sec/cert-<cluster>,
// which has a meaning of its own whatever a cluster is called.
func NodeListenerPath(node string) Path {
	const prefix, mark = "listener-", 12
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, node)
	if most := maxPart - len(prefix); name != node || len(name) > most {
		sum := sha256.Sum256([]byte(node))
		name = fmt.Sprintf("%s-%x", name[:min(len(name), most-mark-1)], sum[:mark/2])
	}
	return Path{NamespaceSystem, KindSec, prefix + name}
}

// JWTPath is the token signing keys, "system/sec/jwt".
func JWTPath() Path { return Path{NamespaceSystem, KindSec, "jwt"} }

// UserPath is the user called name, "system/usr/<name>".
func UserPath(name string) (Path, error) { return ParsePath(NamespaceSystem + "/usr/" + name) }

// ParsePath reads "namespace/kind/name", "kind/name" in namespace root, or
// "cluster". Each part is lower case, 63 characters at most, starts with a
// letter or a digit and goes on with letters, digits, "." and "-". The names of
// kinds and "node" name no object. Errors are [ca.ErrInvalid].
func ParsePath(s string) (Path, error) {
	if len(s) > maxPath {
		return Path{}, Invalidf("invalid path %q: %d characters, at most %d", clip(s), len(s), maxPath)
	}
	p, err := parsePath(s)
	if err == nil {
		return p, nil
	}
	err = Invalidf("invalid path %q: %w", s, err)
	if lower := strings.ToLower(s); lower != s {
		if p, e := parsePath(lower); e == nil {
			return Path{}, hint.With(err, "write %q", p)
		}
	}
	return Path{}, err
}

func parsePath(s string) (Path, error) {
	if s == nameCluster {
		return ClusterPath(), nil
	}
	parts := strings.Split(s, "/")
	if len(parts) == 2 {
		parts = slices.Insert(parts, 0, nsRoot)
	}
	if len(parts) != 3 {
		return Path{}, errors.New("a path is namespace/kind/name, kind/name or cluster")
	}
	for i, what := range []string{"namespace", "kind", "name"} {
		if err := checkPart(parts[i]); err != nil {
			return Path{}, fmt.Errorf("%s %w", what, err)
		}
	}
	p := Path{parts[0], Kind(parts[1]), parts[2]}
	switch {
	case !slices.Contains(Kinds(), p.Kind):
		return Path{}, fmt.Errorf("kind %q is none of %s", p.Kind, join(Kinds()))
	case p.Kind == KindCcfg && p != ClusterPath():
		return Path{}, errors.New(`the only object of kind "ccfg" is "cluster"`)
	case reserved(p.Name):
		return Path{}, fmt.Errorf("name %q is reserved", p.Name)
	}
	return p, nil
}

// checkPart says what is wrong with one part of a path.
func checkPart(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	if len(s) > maxPart {
		return fmt.Errorf("%q has %d characters, at most %d", s, len(s), maxPart)
	}
	for i, r := range s {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
		case r >= 'A' && r <= 'Z':
			return fmt.Errorf("%q: upper case %q, paths are lower case", s, r)
		case r != '.' && r != '-':
			return fmt.Errorf(`%q: character %q, only letters, digits, "." and "-" are allowed`, s, r)
		case i == 0:
			return fmt.Errorf("%q: starts with %q, not with a letter or a digit", s, r)
		}
	}
	return nil
}

// reserved reports whether name is a word of the grammar: "om usr ls" and
// "om node ls" are not about objects called usr and node. The kinds that omca
// does not have are reserved too, so that objects can move to OpenSVC.
func reserved(name string) bool {
	return slices.Contains([]string{"node", "svc", "vol", "cfg", "sec", "usr", "nscfg", "ccfg"}, name)
}

// String is the short form: "cluster" for the cluster, else namespace/kind/name.
func (p Path) String() string {
	if p.IsZero() {
		return ""
	}
	if p == ClusterPath() {
		return nameCluster
	}
	return p.Key()
}

// Key is the form with all three parts, "root/ccfg/cluster" for the cluster:
// what the store's keys are made of and what [Selector.Prefix] is a prefix of.
func (p Path) Key() string { return p.Namespace + "/" + string(p.Kind) + "/" + p.Name }

// IsZero reports whether p is no address at all.
func (p Path) IsZero() bool { return p == Path{} }

// Compare orders paths by namespace, kind, then name; it serves [slices.SortFunc].
func (p Path) Compare(q Path) int {
	return cmp.Or(cmp.Compare(p.Namespace, q.Namespace), cmp.Compare(p.Kind, q.Kind), cmp.Compare(p.Name, q.Name))
}

// MarshalText writes p as [Path.String] does.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote; the empty text is the zero Path.
func (p *Path) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = Path{}
		return nil
	}
	q, err := ParsePath(string(text))
	if err != nil {
		return err
	}
	*p = q
	return nil
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// join lists words for a sentence: "sec, usr, cfg".
func join[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

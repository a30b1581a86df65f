package house

import (
	"slices"
	"strings"
)

// module is the import path of the root package; every other package of ours is below it.
const module = "omca"

// room is what one package may and may not import.
type room struct {
	own   []string // our packages that it may import, relative to the module; "*" for all but commands
	never []string // anybody's packages that it must not import, each with all below it
	outer bool     // it may read the clock and the environment, and end the process
	probe bool     // it exists to test or to measure: only the rules of form apply
}

// plan is the whole house: every package, by its path in the module.
func plan() map[string]room {
	const (
		etcd = "go.etcd.io/etcd"
		bolt = "go.etcd.io/bbolt"
		cli  = "github.com/urfave/cli"
	)
	doors := room{
		own:   []string{"ca", "usr", "usr/session", "usr/token", "crl", "pki", "internal/object", "internal/registry", "internal/join", "internal/hint", "internal/text", "internal/wire"},
		never: []string{bolt, etcd, cli},
	}
	driver := room{own: []string{"internal/home", "internal/store", "internal/store/internal/ring"}, never: []string{"net/http", cli}}
	return map[string]room{
		"":            {own: []string{"*"}, never: []string{"flag", cli}, outer: true},
		"pki":         {never: []string{"os", "net/http", "log", cli, bolt, etcd}},
		"pki/flocker": {own: []string{"pki"}, never: []string{"net/http", "log", cli, bolt, etcd}},
		"pki/lint":    {own: []string{"pki"}, never: []string{"os", "net/http", "log", cli, bolt, etcd}},
		"crl":         {own: []string{"pki"}, never: []string{"os", "log", cli, bolt, etcd}},
		"usr":         {never: []string{"crypto/x509", "net/http", "os", cli, bolt, etcd}},
		"ca":          {own: []string{"pki", "pki/flocker", "crl", "usr", "internal/hint"}, never: []string{"net/http", "os", "flag", cli, bolt, etcd}},
		"listener":    {never: []string{cli, bolt, etcd}},

		"pki/flocker/flockertest": {own: []string{"pki"}, probe: true},

		"usr/clustercockpit": {never: []string{"net/http", "os", cli, bolt, etcd}},

		"usr/token":   {own: []string{"usr"}, never: []string{"crypto/x509", "net/http", "os", cli, bolt, etcd}},
		"usr/session": {own: []string{"usr"}, never: []string{"crypto/x509", "net/http", "os", cli, bolt, etcd}},

		"internal/background":          {never: []string{"os", "net"}},
		"internal/trail":               {never: []string{"os", "net"}},
		"internal/hint":                {never: []string{"os", "net"}},
		"internal/home":                {own: []string{"internal/hint"}, never: []string{"net", "log", "flag", cli, bolt, etcd}},
		"internal/wire":                {never: []string{"os", "net/http", "log", "fmt", cli, bolt, etcd}},
		"internal/text":                {never: []string{"os", "net", "log", cli}},
		"internal/store":               {never: []string{"net/http", cli}},
		"internal/store/internal/ring": {own: []string{"internal/store"}, never: []string{"os", "net", cli}},
		"internal/store/storetest":     {own: []string{"internal/store"}, never: []string{"net/http", cli}, probe: true},
		"internal/store/mem":           {own: []string{"internal/store", "internal/store/internal/ring"}, never: driver.never},
		"internal/store/bolt":          driver,
		"internal/store/etcd":          driver,
		"internal/store/etcd/etcdtest": {probe: true},
		"internal/store/replica":       {own: []string{"internal/background", "internal/home", "internal/store", "internal/store/bolt"}, never: []string{"net/http", cli, bolt, etcd}},
		"internal/join":                {never: []string{"os", "net/http", "log", "flag", cli, bolt, etcd}},
		"internal/member":              {own: []string{"internal/background", "internal/hint"}, never: []string{"flag", cli}},
		"internal/clustercockpit": {
			own:   []string{"ca", "usr", "usr/clustercockpit", "usr/token", "internal/hint", "internal/object", "internal/registry"},
			never: []string{"os", "net", "net/http", cli, bolt, etcd},
		},
		"internal/enforce": {own: []string{"ca", "crl", "pki"}, never: []string{"os", "net", "net/http", cli, bolt, etcd}},
		"internal/object":  {own: []string{"ca", "pki", "usr", "internal/hint"}, never: []string{"os", "net/http", "log", cli, bolt, etcd}},
		"internal/seal":    {own: []string{"internal/hint", "internal/home"}, never: []string{"net", "net/http", "log", cli, bolt, etcd}},
		"internal/registry": {
			own:   []string{"internal/background", "internal/store", "internal/seal", "internal/object", "internal/join", "ca", "usr", "usr/session", "usr/token", "crl", "pki", "internal/hint"},
			never: []string{"os", "net/http", cli, bolt, etcd},
		},
		"internal/feed":     {own: []string{"internal/background", "crl", "pki", "internal/hint", "internal/outbound"}, never: []string{"flag", cli, bolt, etcd}},
		"internal/openid":   {own: []string{"internal/background", "usr", "internal/hint", "internal/outbound"}, never: []string{"os", "flag", cli, bolt, etcd}},
		"internal/outbound": {own: []string{"internal/hint"}, never: []string{"os", "log", "flag", cli, bolt, etcd}},
		"internal/offline":  {own: []string{"internal/home", "pki", "pki/flocker"}, never: []string{"net/http", "log", cli, bolt, etcd}},
		"internal/api":      doors,
		"internal/console":  {own: []string{"internal/api", "internal/text", "internal/wire", "crl", "pki", "usr"}, never: []string{bolt, etcd, cli, "os"}},
		"internal/client":   {own: []string{"internal/hint", "internal/wire"}, never: []string{cli, bolt, etcd}},
		"internal/remote":   {own: []string{"internal/client", "internal/hint", "internal/home"}, never: []string{"net/http", cli, bolt, etcd}},
		"cmd/omca":          {own: []string{"", "internal/client", "internal/openid/login", "internal/hint", "internal/home", "internal/offline", "internal/outbound", "internal/remote", "internal/text", "internal/wire", "pki/flocker", "pki/lint", "usr/clustercockpit"}, never: []string{bolt, etcd}, outer: true},

		"internal/openid/login":      {own: []string{"internal/openid", "internal/hint", "internal/outbound"}, never: []string{"os", "flag", cli, bolt, etcd}},
		"internal/openid/openidtest": {probe: true},

		"internal/house":       {},
		"internal/interop":     {own: []string{"*"}, probe: true},
		"internal/interop/lab": {own: []string{"*"}, probe: true},
		"internal/faults":      {own: []string{"*"}, probe: true},
		"internal/bench":       {own: []string{"*"}, probe: true},
		"internal/controls":    {probe: true},
	}
}

// allows tells whether the plan lets a package of this room import another one of ours, given relative to the module.
func (r room) allows(other string) bool {
	if strings.HasPrefix(other, "cmd/") {
		return false
	}
	return slices.Contains(r.own, other) || slices.Contains(r.own, "*")
}

// refuses returns the entry of never that path falls under, or "".
func (r room) refuses(path string) string {
	for _, never := range r.never {
		if path == never || strings.HasPrefix(path, never+"/") {
			return never
		}
	}
	return ""
}

// ours returns path relative to the module, and whether it is one of our packages.
func ours(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

// imports checks the plan. Tests may import what they need to try their package against, but nobody imports a command.
func imports(p *pkg, report reporter) {
	room, known := plan()[p.path]
	if !known {
		report(p.files[0].ast.Package, "package %q is not in the plan: give it a line in internal/house/plan_test.go", p.path)
		return
	}
	for _, f := range p.files {
		for _, spec := range f.ast.Imports {
			path := unquote(spec.Path)
			other, own := ours(path)
			switch {
			case own && strings.HasPrefix(other, "cmd/"):
				report(spec.Pos(), "imports %q: a command is imported by nobody", path)
			case f.test:
			case own && !room.allows(other):
				report(spec.Pos(), "imports %q, of ours it may import %q", path, room.own)
			case !own && room.refuses(path) != "":
				report(spec.Pos(), "imports %q: %q is not for this room", path, room.refuses(path))
			}
		}
	}
}

package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// file is one file of Go.
type file struct {
	name string // from the root of the module
	src  []byte
	ast  *ast.File
	test bool
}

// pkg is the Go files of one directory, in the order of their names, those of its external test among them.
type pkg struct {
	path  string // from the root of the module; "" for the root package
	files []*file
}

// code returns the files of p that are no tests.
func (p *pkg) code() []*file {
	return slices.DeleteFunc(slices.Clone(p.files), func(f *file) bool { return f.test })
}

// reporter takes one breach of a rule.
type reporter func(at token.Pos, format string, args ...any)

// rule is one rule of the house.
type rule struct {
	name  string
	check func(*pkg, reporter)
}

// breaches returns each breach of the rule in a tree of files, as "file:line: what".
func (r rule) breaches(tree []*pkg, fset *token.FileSet) []string {
	var found []string
	for _, p := range tree {
		r.check(p, func(at token.Pos, format string, args ...any) {
			pos := fset.Position(at)
			found = append(found, fmt.Sprintf("%s:%d: %s", pos.Filename, pos.Line, fmt.Sprintf(format, args...)))
		})
	}
	return found
}

// load reads every Go file of a tree, but for testdata and for directories that the go command passes over too.
func load(root fs.FS, fset *token.FileSet) ([]*pkg, error) {
	var tree []*pkg
	byPath := map[string]*pkg{}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && passedOver(name):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(path.Dir(name), ".")
		p := byPath[dir]
		if p == nil {
			p = &pkg{path: dir}
			byPath[dir] = p
			tree = append(tree, p)
		}
		p.files = append(p.files, &file{name: name, src: src, ast: parsed, test: strings.HasSuffix(name, "_test.go")})
		return nil
	})
	return tree, err
}

func passedOver(dir string) bool {
	base := path.Base(dir)
	return base == "testdata" || base == "vendor" || base == "node_modules" || base[0] == '.' || base[0] == '_' || dir == "deps"
}

func unquote(lit *ast.BasicLit) string {
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return "" // the parser has let no such literal through
	}
	return text
}

func TestHouse(t *testing.T) {
	fset := token.NewFileSet()
	tree, err := load(os.DirFS("../.."), fset)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(tree, func(p *pkg) bool { return p.path == "internal/house" }) {
		t.Fatal("this package was not found: the tests look at the wrong tree")
	}
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			for _, breach := range r.breaches(tree, fset) {
				t.Error(breach)
			}
		})
	}
}

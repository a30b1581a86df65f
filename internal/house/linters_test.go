package house

import (
	"go/ast"
	"strings"
)

// linters: pki/lint alone has the method that satisfies pki.Linter, so that no issuer is given one that passes everything, and it alone
// imports zlint, so that a program that only calls a daemon does not carry it.
func linters(p *pkg, report reporter) {
	if p.path == "pki/lint" {
		return
	}
	for _, f := range p.code() {
		for _, spec := range f.ast.Imports {
			if path := unquote(spec.Path); strings.HasPrefix(path, "github.com/zmap/") {
				report(spec.Pos(), "imports %q: zlint is for pki/lint", path)
			}
		}
		for _, decl := range f.ast.Decls {
			if decl, ok := decl.(*ast.FuncDecl); ok && decl.Recv != nil && decl.Name.Name == "Lint" {
				report(decl.Pos(), "a method Lint satisfies pki.Linter: pki/lint alone has one")
			}
		}
	}
}

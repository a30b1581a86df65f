package house

import (
	"go/ast"
	"slices"
)

// clients: an address that others name is asked through internal/outbound alone, which filters it. The client of our own API, and joiners,
// who ask the members that their token names, and members, who ask each other, have clients of their own.
func clients(p *pkg, report reporter) {
	if plan()[p.path].probe || p.path == "internal/outbound" || p.path == "internal/client" || p.path == "internal/member" {
		return
	}
	ready := []string{"Get", "Head", "Post", "PostForm", "DefaultClient", "DefaultTransport"}
	for _, f := range p.code() {
		if f.name == "joining.go" {
			continue
		}
		imported := importNames(f)
		named := func(n ast.Expr) (name string) {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return ""
			}
			if x, ok := sel.X.(*ast.Ident); ok && imported[x.Name] == "net/http" {
				return sel.Sel.Name
			}
			return ""
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			var made ast.Expr
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if name := named(n); slices.Contains(ready, name) {
					report(n.Pos(), "http.%s asks whatever address it is given: use internal/outbound", name)
				}
			case *ast.CompositeLit:
				made = n.Type
			case *ast.CallExpr:
				if fun, ok := n.Fun.(*ast.Ident); ok && fun.Name == "new" && len(n.Args) == 1 {
					made = n.Args[0]
				}
			case *ast.ValueSpec:
				made = n.Type
			}
			if name := named(made); name == "Client" || name == "Transport" {
				report(n.Pos(), "an http.%s asks whatever address it is given: use internal/outbound", name)
			}
			return true
		})
	}
}

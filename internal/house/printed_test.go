package house

import (
	"go/ast"
	"slices"
)

// printed: the command writes to its streams where internal/text has made safe what it writes. What it starts gets the streams as they are.
func printed(p *pkg, report reporter) {
	if p.path != "cmd/omca" {
		return
	}
	// The progress of flocker-ca is a number; the printer holds back what it prints.
	allowed := []string{"say", "tell", "maker", "newPrinter", "isTerminal"}
	for _, f := range p.code() {
		for _, decl := range f.ast.Decls {
			fun, ok := decl.(*ast.FuncDecl)
			if !ok || fun.Body == nil || slices.Contains(allowed, fun.Name.Name) {
				continue
			}
			ast.Inspect(fun.Body, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || callee(call) == "isTerminal" || callee(call) == "JSONTo" {
					return true
				}
				for _, arg := range call.Args {
					if name := stream(arg); name != "" && callee(call) != "NewTextHandler" { // which quotes
						report(arg.Pos(), "%s is written to directly: use say, tell or the printer", name)
					}
				}
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
					if name := stream(sel.X); name != "" {
						report(call.Pos(), "%s is written to directly: use say, tell or the printer", name)
					}
				}
				return true
			})
		}
	}
}

// callee returns the last name of what is called.
func callee(call *ast.CallExpr) string {
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		return fun.Name
	case *ast.SelectorExpr:
		return fun.Sel.Name
	}
	return ""
}

// stream returns the name of a stream of the program, "" for anything else.
func stream(x ast.Expr) string {
	sel, ok := x.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "stdout" && sel.Sel.Name != "stderr" && sel.Sel.Name != "Stdout" && sel.Sel.Name != "Stderr" {
		return ""
	}
	if on, ok := sel.X.(*ast.Ident); ok {
		return on.Name + "." + sel.Sel.Name
	}
	return sel.Sel.Name
}

package house

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// variables: what a package declares at its top is a constant, whatever the keyword. So a variable there is given its value on the spot,
// by an expression that calls nothing but a few pure functions, and no file of the package, tests included, assigns to it or takes
// its address. Nor does anybody assign to the variable of another package.
//
// Names are compared, not what they stand for: a local variable named like one of the package counts as that one. Rename it.
func variables(p *pkg, report reporter) {
	if plan()[p.path].probe {
		return
	}
	declared := map[string]bool{}
	for _, f := range p.code() {
		for _, decl := range f.ast.Decls {
			decl, ok := decl.(*ast.GenDecl)
			if !ok || decl.Tok != token.VAR {
				continue
			}
			for _, spec := range decl.Specs {
				spec := spec.(*ast.ValueSpec) // as the token says
				for _, name := range spec.Names {
					declared[name.Name] = name.Name != "_"
				}
				if why := unsettled(decl, spec, importNames(f)); why != "" {
					report(spec.Pos(), "package variable %s %s", spec.Names[0].Name, why)
				}
			}
		}
	}
	for _, f := range p.files {
		imported := importNames(f)
		for _, name := range locals(f) {
			delete(imported, name) // there it hides the import
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			for _, target := range written(n) {
				name := base(target)
				switch {
				case name == nil:
				case declared[name.Name]:
					report(n.Pos(), "package variable %s is assigned, changed, or hidden by a local one", name.Name)
				case !f.test && imported[name.Name] != "":
					report(n.Pos(), "assigns to, or points at, a variable of package %s", imported[name.Name])
				}
			}
			return true
		})
	}
}

// unsettled says why a declaration does not settle the value of its variables once and for all. It returns "" when it does.
func unsettled(decl *ast.GenDecl, spec *ast.ValueSpec, imported map[string]string) string {
	if spec.Names[0].Name == "_" || embedded(decl, spec) {
		return ""
	}
	if len(spec.Values) == 0 {
		return "has no value"
	}
	why := ""
	for _, value := range spec.Values {
		ast.Inspect(value, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false // it runs when it is called
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					why = "is a pointer to what can change"
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && (imported[x.Name] == "sync" || imported[x.Name] == "sync/atomic") {
					why = "is made to be changed"
				}
			case *ast.CallExpr:
				if !pure(n, imported) {
					why = "calls a function that the house does not know to be pure"
				}
			}
			return true
		})
	}
	return why
}

// embedded tells whether the compiler fills the variable from a file.
func embedded(decl *ast.GenDecl, spec *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{decl.Doc, spec.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

// pure tells whether a call gives the same value every time and nothing that can be changed.
func pure(call *ast.CallExpr, imported map[string]string) bool {
	switch fun := call.Fun.(type) {
	case *ast.ArrayType, *ast.ParenExpr:
		return true // a conversion
	case *ast.Ident:
		return slices.Contains([]string{"string", "int", "int64", "uint64", "byte", "rune", "len", "min", "max"}, fun.Name)
	}
	return calling(call, imported,
		"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "time.Duration",
		"hash/crc32.MakeTable",
		"net/netip.MustParseAddr", "net/netip.MustParsePrefix",
		"html/template.Must", "html/template.New", "text/template.Must", "text/template.New",
		module+"/usr.RootGrants")
}

// written returns the expressions that n gives a new value, or lets others do so.
func written(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		fun, ok := n.Fun.(*ast.Ident)
		if ok && len(n.Args) > 0 && (fun.Name == "delete" || fun.Name == "clear" || fun.Name == "copy") {
			return n.Args[:1]
		}
	}
	return nil
}

// base returns the variable at the root of an expression like x.f[i]. It returns nil when there is none.
func base(expr ast.Expr) *ast.Ident {
	for {
		switch e := expr.(type) {
		case *ast.Ident:
			return e
		case *ast.SelectorExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.SliceExpr:
			expr = e.X
		case *ast.StarExpr:
			expr = e.X
		case *ast.ParenExpr:
			expr = e.X
		default:
			return nil
		}
	}
}

// locals returns the names of the variables and parameters that a file declares anywhere.
func locals(f *file) []string {
	var names []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		var declared []ast.Expr
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				declared = append(declared, name)
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				declared = append(declared, name)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				declared = n.Lhs
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				declared = []ast.Expr{n.Key, n.Value}
			}
		}
		for _, expr := range declared {
			if name, ok := expr.(*ast.Ident); ok {
				names = append(names, name.Name)
			}
		}
		return true
	})
	return names
}

package house

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"path"
	"slices"
	"strings"
	"unicode"
)

func rules() []rule {
	return []rule{
		{"imports", imports},
		{"names", names},
		{"package comment", packageComment},
		{"documented", documented},
		{"calls", calls},
		{"clients", clients},
		{"linters", linters},
		{"printed", printed},
		{"init", inits},
		{"variables", variables},
		{"goroutines", goroutines},
		{"locks", locks},
		{"errors", errorTexts},
		{"formatted", formatted},
		{"finished", finished},
	}
}

// names: a package is named after what it is about, and these words are about nothing.
func names(p *pkg, report reporter) {
	banned := []string{"util", "utils", "helper", "helpers", "common", "core", "misc", "types", "model", "models", "manager"}
	for _, f := range p.files {
		for _, name := range []string{f.ast.Name.Name, path.Base(p.path)} {
			if slices.Contains(banned, strings.TrimSuffix(name, "_test")) {
				report(f.ast.Name.Pos(), "%q says nothing: name the package after what it is about", name)
				return
			}
		}
	}
}

// packageComment: every package has a doc.go, and only it says what the package is for.
func packageComment(p *pkg, report reporter) {
	found := false
	for _, f := range p.code() {
		switch doc := f.ast.Doc.Text(); {
		case path.Base(f.name) != "doc.go":
			if doc != "" {
				report(f.ast.Package, "package comment outside of doc.go")
			}
		case strings.HasPrefix(doc, "Package "+f.ast.Name.Name+" "), f.ast.Name.Name == "main" && strings.HasPrefix(doc, "Command "):
			found = true
		}
	}
	if !found {
		report(p.files[0].ast.Package, "no package comment: doc.go begins with \"Package name …\", that of a command with \"Command name …\"")
	}
}

// documented: every exported name of a package that others can import has a comment.
func documented(p *pkg, report reporter) {
	if strings.HasPrefix(p.path, "internal/") || strings.HasPrefix(p.path, "cmd/") {
		return
	}
	for _, f := range p.code() {
		for _, decl := range f.ast.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Doc == nil && decl.Name.IsExported() && ast.IsExported(receiver(decl)) {
					report(decl.Pos(), "%s has no comment", decl.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					documentedSpec(decl, spec, report)
				}
			}
		}
	}
}

// documentedSpec checks one line of a declaration. The comment of a group is enough for its constants and variables, not for its types.
func documentedSpec(decl *ast.GenDecl, spec ast.Spec, report reporter) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() && spec.Doc == nil && (decl.Doc == nil || decl.Lparen.IsValid()) {
			report(spec.Pos(), "%s has no comment", spec.Name.Name)
		}
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() && spec.Doc == nil && spec.Comment == nil && decl.Doc == nil {
				report(name.Pos(), "%s has no comment", name.Name)
			}
		}
	}
}

// receiver returns the name of the type that a method is of. It is "F", an exported name, for a function.
func receiver(decl *ast.FuncDecl) string {
	if decl.Recv == nil {
		return "F"
	}
	typ := decl.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}

// calls: the clock and the environment are read, and the process is ended, by the outer packages only. Others are given the clock
// and return errors. Mentioning one of these functions is as bad as calling it.
func calls(p *pkg, report reporter) {
	if room := plan()[p.path]; room.outer || room.probe {
		return
	}
	forbidden := map[string][]string{
		"time": {"Now", "Since", "Until"},
		"os":   {"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Exit"},
		"log":  {"Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
	}
	for _, f := range p.code() {
		imported := importNames(f)
		if _, dot := imported["."]; dot {
			report(f.ast.Package, "dot import: it hides whose function is called")
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(forbidden[imported[x.Name]], n.Sel.Name) {
					report(n.Pos(), "%s.%s is for cmd/omca and the root package", imported[x.Name], n.Sel.Name)
				}
			case *ast.CallExpr:
				if fun, ok := n.Fun.(*ast.Ident); ok && fun.Name == "panic" && len(n.Args) == 1 && !aborts(n, imported) {
					report(n.Pos(), "panic: return an error")
				}
			}
			return true
		})
	}
}

// aborts tells whether a panic is panic(http.ErrAbortHandler), which is how net/http is told to drop a request unanswered.
func aborts(call *ast.CallExpr, imported map[string]string) bool {
	sel, ok := call.Args[0].(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "ErrAbortHandler" {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && imported[x.Name] == "net/http"
}

// importNames returns the import path behind each name that a file imports.
func importNames(f *file) map[string]string {
	byName := map[string]string{}
	for _, spec := range f.ast.Imports {
		imported := unquote(spec.Path)
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		byName[name] = imported
	}
	return byName
}

// inits: nothing happens because a package was imported.
func inits(p *pkg, report reporter) {
	for _, f := range p.code() {
		for _, decl := range f.ast.Decls {
			if decl, ok := decl.(*ast.FuncDecl); ok && decl.Recv == nil && decl.Name.Name == "init" {
				report(decl.Pos(), "func init: build it where it is used")
			}
		}
	}
}

// errorTexts: an error is a part of a sentence, so it has no capital at the front and no full stop at the end.
func errorTexts(p *pkg, report reporter) {
	for _, f := range p.code() {
		imported := importNames(f)
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 || !calling(call, imported, "fmt.Errorf", "errors.New") {
				return true
			}
			lit, ok := call.Args[0].(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text := unquote(lit)
			if capitalised(text) {
				report(lit.Pos(), "error %q begins with a capital", text)
			}
			if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "\n") {
				report(lit.Pos(), "error %q ends with a full stop or a new line", text)
			}
			return true
		})
	}
}

// capitalised tells whether text begins as a sentence does. Words like RSA, X.509 and Ed25519 keep their capital.
func capitalised(text string) bool {
	word := strings.TrimRight(strings.SplitN(text, " ", 2)[0], ":,;")
	for i, r := range word {
		if i == 0 && !unicode.IsUpper(r) || i > 0 && !unicode.IsLower(r) {
			return false
		}
	}
	return word != ""
}

// calling tells whether call is to one of these functions, each given as "import/path.Name".
func calling(call *ast.CallExpr, imported map[string]string, functions ...string) bool {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := fun.X.(*ast.Ident)
	return ok && slices.Contains(functions, imported[x.Name]+"."+fun.Sel.Name)
}

// formatted: as gofmt leaves it.
func formatted(p *pkg, report reporter) {
	for _, f := range p.files {
		if out, err := format.Source(f.src); err != nil || !bytes.Equal(out, f.src) {
			report(f.ast.Package, "not formatted: run gofmt -w on it")
		}
	}
}

// finished: work that is left is not left in comments.
func finished(p *pkg, report reporter) {
	for _, f := range p.files {
		for _, group := range f.ast.Comments {
			for _, comment := range group.List {
				for _, word := range []string{"TODO", "FIXME"} {
					if strings.Contains(comment.Text, word) {
						report(comment.Pos(), "%s: do it, or say it where work is planned", word)
					}
				}
			}
		}
	}
}

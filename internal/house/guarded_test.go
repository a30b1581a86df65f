package house

import (
	"go/ast"
	"slices"
	"strings"
)

// goroutines: a panic in a goroutine ends the process, so every goroutine begins with a guard. Packages that only commands run are left
// out, because a command ends with its caller; so is internal/store/etcd, whose goroutines run the client of etcd.
func goroutines(p *pkg, report reporter) {
	switch p.path {
	case "internal/client", "internal/offline", "internal/openid/login": // of commands
		return
	case "internal/store/etcd": // the client of etcd, or, while a store moves into a cluster, before anything is served
		return
	}
	if room := plan()[p.path]; room.probe || strings.HasPrefix(p.path, "cmd/") {
		return
	}
	for _, f := range p.code() {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if begun := started(n); begun != nil && !guarded(p, begun) {
				report(n.Pos(), "a goroutine that nothing guards: begin it with Guard or Keep of internal/background")
			}
			return true
		})
	}
}

// started returns the function that n starts beside its caller, nil if it starts none.
func started(n ast.Node) ast.Expr {
	switch n := n.(type) {
	case *ast.GoStmt:
		return n.Call.Fun
	case *ast.CallExpr:
		method, ok := n.Fun.(*ast.SelectorExpr)
		if ok && len(n.Args) > 0 && (method.Sel.Name == "Go" || method.Sel.Name == "AfterFunc") {
			return n.Args[len(n.Args)-1]
		}
	}
	return nil
}

// guarded tells whether a function, written in place or found in p by its name, calls a guard against panics.
func guarded(p *pkg, function ast.Expr) bool {
	name := ""
	switch function := function.(type) {
	case *ast.FuncLit:
		return guards(function.Body)
	case *ast.Ident:
		name = function.Name
	case *ast.SelectorExpr:
		name = function.Sel.Name
	}
	for _, f := range p.code() {
		for _, decl := range f.ast.Decls {
			if decl, ok := decl.(*ast.FuncDecl); ok && decl.Name.Name == name && decl.Body != nil && guards(decl.Body) {
				return true
			}
		}
	}
	return false
}

func guards(body *ast.BlockStmt) bool {
	found := false
	ast.Inspect(body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			found = found || slices.Contains([]string{"Guard", "guard", "Keep", "whole", "recover"}, lastName(call.Fun))
		}
		return !found
	})
	return found
}

// lastName is the name of a function without its package or receiver.
func lastName(function ast.Expr) string {
	switch function := function.(type) {
	case *ast.Ident:
		return function.Name
	case *ast.SelectorExpr:
		return function.Sel.Name
	}
	return ""
}

// locks: a lock around code that may panic is given back by defer, or a panic that is caught further up leaves it taken for ever. So
// between a Lock and an Unlock without defer there are no calls but of the language, of packages of others, and of small methods.
func locks(p *pkg, report reporter) {
	if room := plan()[p.path]; room.probe || strings.HasPrefix(p.path, "cmd/") {
		return
	}
	for _, f := range p.code() {
		if f.name == "revoked.go" { // it builds its sets from lists that were verified
			continue
		}
		imported := importNames(f)
		ast.Inspect(f.ast, func(n ast.Node) bool {
			block, ok := n.(*ast.BlockStmt)
			if !ok {
				return true
			}
			for i, statement := range block.List {
				if lock := receiverOf(statement, "Lock", "RLock"); lock != "" {
					for _, call := range callsUntil(block.List[i+1:], lock) {
						if !little(call, imported) {
							report(call.Pos(), "calls %s while %s is locked, and is not unlocked by defer", lastName(call.Fun), lock)
						}
					}
				}
			}
			return true
		})
	}
}

// receiverOf returns x of the statement x.Name(), with one of these names; "" for any other.
func receiverOf(statement ast.Node, names ...string) string {
	if expression, ok := statement.(*ast.ExprStmt); ok {
		statement = expression.X
	}
	call, ok := statement.(*ast.CallExpr)
	if !ok {
		return ""
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains(names, method.Sel.Name) {
		return ""
	}
	return dotted(method.X)
}

// dotted is an expression like s.mu as a text; "?" for any other.
func dotted(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return dotted(x.X) + "." + x.Sel.Name
	}
	return "?"
}

// callsUntil returns the calls in statements up to the one that unlocks; none when a defer among them does, or none at all.
func callsUntil(statements []ast.Stmt, lock string) []*ast.CallExpr {
	var calls []*ast.CallExpr
	for _, statement := range statements {
		if receiverOf(statement, "Unlock", "RUnlock") == lock {
			return calls
		}
		deferred := false
		ast.Inspect(statement, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.DeferStmt:
				deferred = deferred || receiverOf(n.Call, "Unlock", "RUnlock") == lock
			case *ast.CallExpr:
				if receiverOf(n, "Unlock", "RUnlock") != lock {
					calls = append(calls, n)
				}
			}
			return true
		})
		if deferred {
			return nil
		}
	}
	return nil
}

// little tells whether a call does so little that it does not panic.
func little(call *ast.CallExpr, imported map[string]string) bool {
	switch function := call.Fun.(type) {
	case *ast.Ident:
		return slices.Contains([]string{"append", "cap", "clear", "close", "copy", "delete", "len", "make", "max", "min", "new", "int", "int64", "string", "LastingName"}, function.Name)
	case *ast.ArrayType: // a conversion
		return true
	case *ast.SelectorExpr:
		if x, ok := function.X.(*ast.Ident); ok && imported[x.Name] != "" {
			_, own := ours(imported[x.Name])
			return !own
		}
		// Of times, atomic values, contexts, channels to wake by, and certificates that were parsed.
		return slices.Contains([]string{
			"Add", "After", "Before", "Deadline", "Equal", "Err", "IsZero", "Load", "SetUnlinkOnClose", "Store", "Sub", "Swap", "UnixNano", "cancel", "lastingName", "move", "wake",
		}, function.Sel.Name)
	}
	return false
}

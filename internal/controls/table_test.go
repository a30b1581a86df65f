package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTable: each text stands once in its file, what is left is Go, and each test
// is there, so that the table does not rot between two runs of it.
func TestTable(t *testing.T) {
	root := filepath.Join("..", "..")
	names := make(map[string]bool)
	for _, c := range table() {
		t.Run(c.name, func(t *testing.T) {
			if names[c.name] || c.what == "" || c.says == "" || len(c.cuts) == 0 {
				t.Errorf("a second one of the name, or incomplete: %+v", c)
			}
			names[c.name] = true
			altered, err := c.altered(root)
			if err != nil {
				t.Fatal(err)
			}
			for file, text := range altered {
				if _, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution); err != nil {
					t.Errorf("without the check: %v", err)
				}
			}
			if top, _, _ := strings.Cut(c.test, "/"); !tests(t, filepath.Join(root, c.room))[top] {
				t.Errorf("there is no %s in %s", top, c.room)
			}
		})
	}
}

// tests returns the names of the functions in the test files of a directory.
func tests(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				found[f.Name.Name] = true
			}
		}
	}
	return found
}

// TestJudge: only the test that is meant counts, and only for the reason that is meant.
func TestJudge(t *testing.T) {
	c := control{test: "TestA/b_c", says: "let in"}
	failed := os.ErrProcessDone // any error
	for out, want := range map[string]string{
		"--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/b_c (0.1s)\n        a_test.go:7: let in\n": "",
		"--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/b_c (0.1s)\n        a_test.go:7: other\n":  "does not say",
		"--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/b_cd (0.1s)\n        a_test.go:7: let in":  "not that test",
		"FAIL omca/ca [build failed]": "does not build",
	} {
		switch err := c.judge(out, failed); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, expected %q", out, err, want)
		}
	}
	if c.judge("ok omca/ca 0.1s", nil) == nil {
		t.Error("a test that passes has noticed")
	}
}

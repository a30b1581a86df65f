package house

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Ceilings hold what is not good yet, and must not become worse: testdata/ceilings.txt has one line
// for each, "what where count". OMCA_TEST_UPDATE=1 lowers them to what is there now.

const (
	mostMethods, mostFields = 30, 20 // of a type without a ceiling of its own
	longestLine             = 120    // characters of a line of code
)

// TestCeilings counts what the rules of style do not want, in each package that is no test.
func TestCeilings(t *testing.T) {
	fset := token.NewFileSet()
	tree, err := load(os.DirFS("../.."), fset)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, p := range tree {
		where := p.path
		if where == "" {
			where = "."
		}
		maps.Copy(counts, hubs(p, where))
		for _, f := range p.code() {
			counts["words "+where] += words(f)
			if where != "internal/controls" { // its table has lines of the others, as they stand
				counts["long "+where] += longLines(f)
			}
		}
	}
	ceilings := readCeilings(t)
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		if counts[what] > ceilings[what] {
			t.Errorf("%s: %d, at most %d: see the style of docs/architecture.md", what, counts[what], ceilings[what])
		}
	}
	if os.Getenv("OMCA_TEST_UPDATE") != "" {
		lowerCeilings(t, counts, ceilings)
	}
}

// hubs are the types with more methods or fields than one can keep in mind.
func hubs(p *pkg, where string) map[string]int {
	methods, found := map[string]int{}, map[string]int{}
	for _, f := range p.code() {
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil {
					methods[receiver(d)]++
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					t, ok := s.(*ast.TypeSpec)
					if !ok {
						continue
					}
					if st, ok := t.Type.(*ast.StructType); ok && st.Fields.NumFields() > mostFields {
						found["fields "+where+":"+t.Name.Name] = st.Fields.NumFields()
					}
				}
			}
		}
	}
	for name, n := range methods {
		if n > mostMethods {
			found["methods "+where+":"+name] = n
		}
	}
	return found
}

// words counts the lines of comments on which a sentence hangs on a free pronoun.
func words(f *file) int {
	free := regexp.MustCompile(`(?i)\b(who|whom|whoever|whose|nobody|neither|whatever)\b`)
	n := 0
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:") {
				continue
			}
			for line := range strings.Lines(c.Text) {
				if free.MatchString(line) {
					n++
				}
			}
		}
	}
	return n
}

func longLines(f *file) int {
	n := 0
	for line := range strings.Lines(string(f.src)) {
		if utf8.RuneCountInString(strings.ReplaceAll(strings.TrimRight(line, "\n"), "\t", "    ")) > longestLine {
			n++
		}
	}
	return n
}

const ceilingsFile = "testdata/ceilings.txt"

func readCeilings(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(ceilingsFile)
	if err != nil {
		t.Fatal(err)
	}
	ceilings := map[string]int{}
	scanner := bufio.NewScanner(strings.NewReader(string(text)))
	for scanner.Scan() {
		var what, where string
		var n int
		if _, err := fmt.Sscan(scanner.Text(), &what, &where, &n); err != nil {
			t.Fatalf("%s: %q: %v", ceilingsFile, scanner.Text(), err)
		}
		ceilings[what+" "+where] = n
	}
	return ceilings
}

// lowerCeilings writes what is there now, where that is less.
func lowerCeilings(t *testing.T, counts, ceilings map[string]int) {
	t.Helper()
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(ceilings)) {
		if n := min(counts[what], ceilings[what]); n > 0 {
			fmt.Fprintf(&b, "%s %d\n", what, n)
		}
	}
	if err := os.WriteFile(ceilingsFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestRoomsAreNamed: docs/architecture.md says what each package is for.
func TestRoomsAreNamed(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range slices.Sorted(maps.Keys(plan())) {
		if room != "" && !regexp.MustCompile(`[\s`+"`"+`(]`+regexp.QuoteMeta(room)+`[\s`+"`"+`,;:)]`).Match(text) {
			t.Errorf("docs/architecture.md does not name %s", room)
		}
	}
}

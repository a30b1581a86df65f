package interop_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/interop/lab"
)

// The documentation is run as it stands. In a page,
//
//	```sh    is a script: the blocks of a page are one session, under "sh -eu"
//	```text  right behind it is what the script must print: these lines, in this
//	         order, among others; … stands for anything, and spaces count as one
//	```go    is a whole program that must end well
//
// A page is run in an empty directory beside a daemon of its own, reached through
// OMCA_HOME; README.md is run in the root of the repository and starts its daemon
// itself. The port 1215 of the text becomes a free one, and "daemon run" is told
// to listen on it; the etcd of a page becomes one of the test. Nothing else is
// altered.

// block is one fenced part of a page.
type block struct {
	line int    // of the opening fence
	kind string // what stands behind it: "sh", "text", "go", …
	text string
}

// blocks returns the fenced parts of a page.
func blocks(page string) []block {
	var all []block
	open := false
	for i, line := range strings.SplitAfter(page, "\n") {
		kind, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && !open:
			all = append(all, block{line: i + 1, kind: kind})
			open = true
		case fence:
			open = false
		case open:
			all[len(all)-1].text += line
		}
	}
	return all
}

// pages are the documents that are run.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join(root(t), pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d pages, %v", pattern, len(found), err)
		}
		for _, name := range found {
			relative, err := filepath.Rel(root(t), name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, relative)
		}
	}
	return all
}

// root is the root of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSetUp holds the README to its promise: two commands are all there is to set up.
func TestSetUp(t *testing.T) {
	first := blocks(read(t, "README.md"))[0]
	want := block{line: first.line, kind: "text", text: "go run ./cmd/omca daemon run\ngo test ./...\n"}
	if diff := cmp.Diff(want, first, cmp.AllowUnexported(block{})); diff != "" {
		t.Errorf("the first block of README.md (-want +got):\n%s", diff)
	}
}

// TestDocumentation runs every page.
func TestDocumentation(t *testing.T) {
	lookAtSources(t)
	for _, page := range pages(t) {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			all := blocks(read(t, page))
			runPrograms(t, all)
			runScripts(t, page, all)
		})
	}
}

// TestLinks looks whether the pages lead somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
			target := filepath.Join(root(t), filepath.Dir(page), match[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link %s leads nowhere: %v", page, match[1], err)
			}
		}
	}
}

// TestCitations looks whether the pages that the code cites are there.
func TestCitations(t *testing.T) {
	cited := regexp.MustCompile(`docs/[a-z0-9/-]+\.[a-z]+`)
	found := 0
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, page := range cited.FindAllString(string(text), -1) {
			found++
			if _, err := os.Stat(filepath.Join(root(t), page)); err != nil {
				t.Errorf("%s cites %s: %v", path, page, err)
			}
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Fatalf("%d citations, %v", found, err)
	}
}

// TestUnit asks systemd what it thinks of the unit.
func TestUnit(t *testing.T) {
	lab.Require(t, "systemd-analyze")
	text := strings.ReplaceAll(read(t, "docs/omca.service"), "/usr/local/bin/omca", lab.Binary(t))
	unit := filepath.Join(t.TempDir(), "omca.service")
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := lab.TryTool(t, "systemd-analyze", "verify", unit); r.Status != 0 || r.Stderr != "" {
		t.Errorf("exit status %d\n%s", r.Status, r.Stderr)
	}
}

// runPrograms builds and runs the Go programs of a page, as if they were a
// command of this module.
func runPrograms(t *testing.T, all []block) {
	for _, b := range all {
		if b.kind != "go" {
			continue
		}
		dir := t.TempDir()
		source := filepath.Join(dir, "main.go")
		place := filepath.Join(root(t), "internal/interop/program/main.go") // is there for the compiler only
		overlay := fmt.Sprintf(`{"Replace": {%q: %q}}`, place, source)
		for name, text := range map[string]string{source: b.text, filepath.Join(dir, "overlay.json"): overlay} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		program := filepath.Join(dir, "program")
		lab.Tool(t, "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, "omca/internal/interop/program")
		c := exec.CommandContext(t.Context(), program)
		c.Dir = dir
		if r := lab.Finish(t, c); r.Status != 0 {
			t.Errorf("the program of line %d: exit status %d\n%s%s", b.line, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// runScripts runs the scripts of a page as one session, and compares what they
// print with what the page says.
func runScripts(t *testing.T, page string, all []block) {
	var script strings.Builder
	for i, b := range all {
		if b.kind == "sh" {
			fmt.Fprintf(&script, "echo; echo '%s'\n%s", marker(i), b.text)
		}
	}
	if script.Len() == 0 {
		return
	}
	s := newSession(t, page, script.String())
	output, err := s.run(t, script.String())
	if err != nil {
		t.Fatalf("%s: %v\nafter %s\n%s\n%s", page, err, where(output, page, all), output, s.logs(t))
	}
	printed := make(map[int]string)
	for i, b := range all {
		if b.kind == "sh" {
			_, after, _ := strings.Cut(output, marker(i)+"\n")
			printed[i], _, _ = strings.Cut(after, "\n-- block ")
		}
	}
	for i, b := range all {
		before, follows := printed[i-1]
		if b.kind != "text" || !follows {
			continue
		}
		if missing := unmatched(s.adapt(b.text), before); missing != "" {
			t.Errorf("%s:%d: the line %q is not what is printed (or not there):\n%s", page, b.line, missing, before)
		}
	}
}

// marker is what a session prints before block i.
func marker(i int) string { return fmt.Sprintf("-- block %d --", i) }

// where names the last block that a session has begun.
func where(output, page string, all []block) string {
	place := page
	for i, b := range all {
		if strings.Contains(output, marker(i)) {
			place = fmt.Sprintf("%s:%d", page, b.line)
		}
	}
	return place
}

// unmatched returns the first line of want that got does not have in its place, or "".
func unmatched(want, got string) string {
	lines := strings.Split(got, "\n")
	for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(oneSpaced(line)), "…", ".*") + "$")
		i := 0
		for i < len(lines) && !pattern.MatchString(oneSpaced(lines[i])) {
			i++
		}
		if i == len(lines) {
			return line
		}
		lines = lines[i+1:]
	}
	return ""
}

func oneSpaced(line string) string { return strings.Join(strings.Fields(line), " ") }

// TestUnmatched keeps the comparison from going blind.
func TestUnmatched(t *testing.T) {
	for _, tt := range []struct{ want, got, missing string }{
		{"a\nb", "a\nx\nb\n", ""},
		{"a  b", "a b", ""},
		{"a … b", "a 1 2 b", ""},
		{"b\na", "a\nb", "a"},
		{"a", "a b", "a"},
		{"a.c", "abc", "a.c"},
		{"a", "", "a"},
	} {
		if got := unmatched(tt.want, tt.got); got != tt.missing {
			t.Errorf("unmatched(%q, %q) = %q, want %q", tt.want, tt.got, got, tt.missing)
		}
	}
}

// TestBlocks keeps the reading of pages from going blind.
func TestBlocks(t *testing.T) {
	page := "a\n```sh\none\ntwo\n```\nb\n```text\nthree\n```\n"
	want := []block{{2, "sh", "one\ntwo\n"}, {7, "text", "three\n"}}
	if diff := cmp.Diff(want, blocks(page), cmp.AllowUnexported(block{})); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
}

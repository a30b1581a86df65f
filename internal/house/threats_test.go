package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThreats: each row of the tables of docs/threat-model.md names a test that shows it, and
// each test that is named there exists.
func TestThreats(t *testing.T) {
	text, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, rows := testNames(t), 0
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+|[a-z_]+\\.txtar)`")
	last := 0
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "|") {
			last = 0
			continue
		}
		if last++; last <= 2 { // the head of a table
			continue
		}
		rows++
		all := named.FindAllStringSubmatch(line, -1)
		if len(all) == 0 {
			t.Errorf("docs/threat-model.md:%d: no test is named: %.60s…", i+1, line)
		}
		for _, m := range all {
			if !tests[m[1]] {
				t.Errorf("docs/threat-model.md:%d: there is no %s", i+1, m[1])
			}
		}
	}
	if rows < 50 {
		t.Errorf("%d rows, expected 50 at least", rows)
	}
}

// testNames are the tests and the scripts of the module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && !strings.HasPrefix(d.Name(), ".."):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".txtar"):
			tests[d.Name()] = true
		case strings.HasSuffix(path, "_test.go"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range declared.FindAllSubmatch(text, -1) {
				tests[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

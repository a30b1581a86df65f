package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func TestParse(t *testing.T) {
	p, _, _ := testProgram("", nil)
	for _, tt := range []struct {
		typed  string // words, separated by spaces
		target string
		words  string
		global []string
		flags  []string
		args   []string
	}{
		{typed: "ls", words: "ls"},
		{typed: "system/usr/a key decode --name k", target: "system/usr/a", words: "key decode", flags: []string{"--name", "k"}},
		{typed: "system/usr/a --name k key decode", target: "system/usr/a", words: "key decode", flags: []string{"--name", "k"}},
		{typed: "--cert c --key k system/usr/a decode --key n", target: "system/usr/a", words: "decode", global: []string{"--cert", "c", "--key", "k"}, flags: []string{"--key", "n"}},
		{typed: "ls --key k --cert c -o json", words: "ls", global: []string{"--key", "k", "--cert", "c", "-o", "json"}},
		{typed: "certificate sign a.csr --profile node", words: "certificate sign", flags: []string{"--profile", "node"}, args: []string{"a.csr"}},
		{typed: "certificate sign --profile=node -- -x.csr", words: "certificate sign", flags: []string{"--profile=node"}, args: []string{"-x.csr"}},
		{typed: "cert sign -", words: "certificate sign", args: []string{"-"}},
		{typed: "sec/a key add --from - --value -5", target: "sec/a", words: "key add", flags: []string{"--from", "-", "--value", "-5"}},
		{typed: "-q cluster config get --kw a=b", words: "cluster config get", global: []string{"-q"}, flags: []string{"--kw", "a=b"}},
		{typed: "ns/sec/ls ls", target: "ns/sec/ls", words: "ls"},
	} {
		l, err := p.parse(strings.Fields(tt.typed))
		if err != nil {
			t.Errorf("%s: %v", tt.typed, err)
			continue
		}
		for _, c := range []struct {
			what      string
			got, want []string
		}{
			{"target", []string{l.target}, []string{tt.target}},
			{"words", []string{strings.Join(l.words(), " ")}, []string{tt.words}},
			{"global flags", l.global, tt.global},
			{"flags", l.flags, tt.flags},
			{"arguments", l.args, tt.args},
		} {
			if diff := cmp.Diff(c.want, c.got); diff != "" {
				t.Errorf("%s: %s: -want +got\n%s", tt.typed, c.what, diff)
			}
		}
	}
}

// every calls do with every command there is.
func every(commands []*cli.Command, words string, do func(words string, c *cli.Command)) {
	for _, c := range commands {
		name := strings.TrimSpace(words + " " + c.Name)
		do(name, c)
		every(c.Subcommands, name, do)
	}
}

// TestFlagsAgree: a flag is read before it is known which command it belongs to, so that one name takes a value everywhere or nowhere.
func TestFlagsAgree(t *testing.T) {
	p, _, _ := testProgram("", nil)
	kinds := map[string]bool{}
	check := func(where string, flags []cli.Flag) {
		for _, f := range flags {
			_, isBool := f.(*cli.BoolFlag)
			for _, name := range f.Names() {
				if was, known := kinds[name]; known && was != isBool {
					t.Errorf("%s: --%s takes a value here and not elsewhere", where, name)
				}
				kinds[name] = isBool
			}
		}
	}
	check("global", globalFlags())
	every(slices.Concat(p.top(), p.onObject("PATH")), "", func(words string, c *cli.Command) { check(words, c.Flags) })
}

// TestExamples: the help of every verb has examples, and every one of them is a command line that is understood.
func TestExamples(t *testing.T) {
	p, _, _ := testProgram("", nil)
	every(slices.Concat(p.top(), p.onObject("PATH")), "", func(words string, c *cli.Command) {
		if len(c.Subcommands) > 0 {
			return
		}
		if c.Description == "" || c.Usage == "" {
			t.Errorf("%s: no example or no usage", words)
		}
		found := false
		for _, example := range strings.Split(c.Description, "\n") {
			_, line, ok := strings.Cut(example, "omca ")
			if !ok {
				t.Errorf("%s: example %q does not run omca", words, example)
				continue
			}
			line, _, _ = strings.Cut(line, " >")
			l, err := p.parse(strings.Fields(strings.NewReplacer("'", "", ")", "").Replace(line)))
			if err != nil && !strings.Contains(line, `"`) {
				t.Errorf("%s: example %q: %v", words, example, err)
				continue
			}
			found = found || strings.HasSuffix(words, strings.Join(l.words(), " ")) || l.leaf().Name == c.Name
		}
		if !found {
			t.Errorf("%s: no example of it among %q", words, c.Description)
		}
	})
}

func TestParseSerial(t *testing.T) {
	for text, want := range map[string]string{
		"0a": "a", "0A:0b": "a0b", "0xFF": "ff", "00": "0", "deadbeef": "deadbeef",
		"": "", "0x": "", "g": "", "../x": "", strings.Repeat("a", 41): "",
	} {
		got, ok := parseSerial(text)
		if got != want || ok != (want != "") {
			t.Errorf("parseSerial(%q) = %q, %v, want %q", text, got, ok, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"ls", "a/b/c key decode --name x", "--home x ls -- -y", "help key", "-", "--", "--=", "-o"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		p, _, _ := testProgram("", nil)
		l, err := p.parse(strings.Split(typed, " "))
		if err == nil && l.leaf() == nil && len(l.args) > 0 && !slices.Contains(strings.Split(typed, " "), "--") {
			t.Errorf("arguments %q of no command", l.args)
		}
	})
}

func TestTable(t *testing.T) {
	p, stdout, _ := testProgram("", nil)
	pr, err := p.newPrinter("table", "yes")
	if err != nil {
		t.Fatal(err)
	}
	type record struct{ a, b string }
	columns := []column[record]{{name: "A", text: func(r record) string { return r.a }}, {name: "B", text: func(r record) string { return r.b }}}
	if err := emit(pr, []record{{"é\x1b[2J", "valid"}, {"x\ny", ""}}, columns); err != nil {
		t.Fatal(err)
	}
	if stdout.Len() > 0 {
		t.Error("printed before the command had succeeded")
	}
	if err := pr.flush(); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[1mA\x1b[0m      \x1b[1mB\x1b[0m\né\uFFFD[2J  \x1b[32mvalid\x1b[0m\nx y    -\n"
	if diff := cmp.Diff(want, stdout.String()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestWrap(t *testing.T) {
	text := strings.Repeat("word ", 40)
	for _, line := range wrap(text, 30) {
		if len(line) > 30 {
			t.Errorf("line of %d: %q", len(line), line)
		}
	}
	if got := fmt.Sprint(wrap("", 10)); got != "[]" {
		t.Errorf("wrap of nothing is %s", got)
	}
}

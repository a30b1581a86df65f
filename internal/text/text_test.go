package text_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"omca/internal/text"
)

// hostile are texts that something obeys which shows them.
var hostile = []string{
	"\x1b[2J\x1b]0;title\a", // escape sequences in seven bits
	"\u009b2J\u0090q\u009c", // and in eight (ECMA-48, 5.4)
	"a\rb\bc\x7fd\x00e",
	"\u202egnp.exe\u2066x\u2069\u200f", // another order (UAX #9)
	"zero\u200bwidth\ufeff\u00ad",
	"line\u2028end\u2029\u0085x",
	"\U000e0041tag", // beyond 16 bits
	"not \xff\xc3( UTF-8",
	"plain Ünïcode 漢字 🔑",
}

// unseen returns the first character that is not seen as one, but for line feeds and tabs.
func unseen(s string) (rune, bool) {
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) || r == utf8.RuneError && size == 1 {
			return r, true
		}
	}
	return 0, false
}

func TestNothingUnseen(t *testing.T) {
	for _, s := range hostile {
		quoted, err := json.Marshal(map[string]string{"k": s, s: "v"})
		if err != nil {
			t.Fatal(err)
		}
		for name, out := range map[string]string{"Block": text.Block(s), "Line": text.Line(s), "Cell": text.Cell(s), "JSON": string(text.JSON(quoted))} {
			if r, is := unseen(out); is {
				t.Errorf("%s(%q) has %U", name, s, r)
			}
		}
		if got := text.Line("a\n" + s + "\tb"); strings.ContainsAny(got, "\n\t") {
			t.Errorf("Line: %q", got)
		}
	}
	for _, s := range []string{"", "a\n\tb", "plain Ünïcode 漢字 🔑", "\ufffd"} {
		if got := text.Block(s); got != s {
			t.Errorf("Block(%q) is %q", s, got)
		}
	}
	if got := text.Block("a\u00a0b\u2003c"); got != "a b c" {
		t.Errorf("spaces: %q", got)
	}
}

// What is escaped is read back as it was.
func TestEscapedIsTheSame(t *testing.T) {
	for _, s := range hostile {
		want := strings.ToValidUTF8(s, "\ufffd")
		if s == hostile[len(hostile)-2] {
			want = "not \ufffd\ufffd( UTF-8" // encoding/json writes one for each octet
		}
		quoted, err := json.Marshal([]string{s})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := json.Unmarshal(text.JSON(quoted), &got); err != nil || got[0] != want {
			t.Errorf("JSON of %q: %q, %v", s, got, err)
		}
		node := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: want}
		out, err := yaml.Marshal(&node)
		if err != nil {
			t.Fatal(err)
		}
		var read string
		out = text.YAML(out)
		if err := yaml.Unmarshal(out, &read); err != nil || read != want {
			t.Errorf("YAML of %q: %q, %v", s, read, err)
		}
		if r, is := unseen(string(out)); is {
			t.Errorf("YAML of %q has %U", s, r)
		}
	}
	if got := text.JSON([]byte("{\"a\":\"\xff\"}")); !json.Valid(got) || !utf8.Valid(got) {
		t.Errorf("octets that are no UTF-8: %q", got)
	}
}

func TestCell(t *testing.T) {
	for s, want := range map[string]string{
		"=1+1": "'=1+1", "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0", "-2+3": "'-2+3", "@SUM(A1)": "'@SUM(A1)",
		" =1": "' =1", "\t=1": "'\t=1", "＝1+1": "'＝1+1", "\x1b=1": "\ufffd=1",
		"-": "-", "-5": "-5", "+1.5": "+1.5", "": "", "a=b": "a=b", "2026-01-01T00:00:00Z": "2026-01-01T00:00:00Z", "0a0b": "0a0b",
	} {
		if got := text.Cell(s); got != want {
			t.Errorf("Cell(%q) is %q, want %q", s, got, want)
		}
	}
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	if err := w.Write([]string{text.Cell("a\r\nb\"c,d")}); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	if got := out.String(); got != "\"a\ufffd\nb\"\"c,d\"\n" {
		t.Errorf("%q", got)
	}
}

// What has nothing to escape is not copied.
func TestJSONOfASCII(t *testing.T) {
	in := []byte(`{"a":"b"}`)
	if n := testing.AllocsPerRun(100, func() { text.JSON(in) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestJSONTo(t *testing.T) {
	var out bytes.Buffer
	line := "{\"a\":\"\u009b\"}\n"
	if n, err := text.JSONTo(&out).Write([]byte(line)); n != len(line) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got := out.String(); got != "{\"a\":\"\\u009b\"}\n" {
		t.Errorf("%q", got)
	}
}

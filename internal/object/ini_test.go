package object

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/hint"
)

func TestINI(t *testing.T) {
	c := makeConfig(t, "cluster", "listener.port=1300", "cluster.name=clu", "listener.crl=http://crl.mycorp /a")
	want := "[DEFAULT]\n\n[listener]\nport = 1300\n\n[cluster]\nname = clu\ncrl = http://crl.mycorp /a\n"
	if diff := cmp.Diff(want, string(c.INI())); diff != "" {
		t.Error(diff)
	}
	for _, c := range []Config{
		c,
		makeConfig(t, "sec/x"),
		makeConfig(t, "sec/x", "comment=# a = b ; [c]", "cn=x", "ou=[y]"),
		makeConfig(t, "cfg/x", "env.B=1", "comment=c", "env.a.b==", "env.x=\u00e9"),
	} {
		back, err := ParseINI(c.Path(), c.INI())
		if err != nil {
			t.Errorf("%s: %v", c.INI(), err)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Error(diff)
		}
	}
}

func TestParseINI(t *testing.T) {
	text := "\ufeff# a comment\r\n[DEFAULT]\r\n cn_is_not = here\r\n"
	_, err := ParseINI(CAPath(), []byte(text))
	wantInvalid(t, err, `line 3: an indented line that goes on with nothing`)

	text = "; users\n[DEFAULT]\ncn=alice\n\n# who\ngrant =\n  admin:ns1\n  # not this one\n\tguest:ns2\n\no = My = Corp # not a comment\nou =\n"
	c, err := ParseINI(must[Path](t)(UserPath("alice")), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := makeConfig(t, "system/usr/alice", "cn=alice", "grant=admin:ns1 guest:ns2", "o=My = Corp # not a comment")
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if _, err := ParseINI(CAPath(), nil); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func TestParseINIRefuses(t *testing.T) {
	long := strings.Repeat("x", maxValue)
	for _, tt := range []struct{ path, in, want, hint string }{
		{"sec/x", "cn = x\n", `line 1: a keyword before any section`, "start with [DEFAULT]"},
		{"sec/x", "[DEFAULT]\ncn x\n", `line 2: no "="`, "write keyword = value, and indent a line that goes on with the one before"},
		{"sec/x", "[DEFAULT]\ncn = a\no = b\ncn = c\n", `line 4: keyword "cn" is on line 2 already`, ""},
		{"sec/x", "[DEFAULT]\n[DEFAULT]\n", `line 2: section "DEFAULT" is on line 1 already`, ""},
		{"sec/x", "[DEFAULT\n", `line 1: "[" without "]"`, ""},
		{"sec/x", "[data]\npassword = crypt:x\n", `line 1: unknown section "data"`, ""},
		{"cluster", "[listner]\n", `line 1: unknown section "listner"`, `did you mean "listener"?`},
		{"cluster", "[cluster]\nname = a\n[listener]\nprot = 1\n", `line 4: unknown keyword "listener.prot"`, `did you mean "listener.port"?`},
		{"cluster", "[cluster]\ncrl = http://a\n[listener]\ncrl = http://b\n", `line 4: keyword "cluster.crl" is on line 2 already`, ""},
		{"sec/x", "[DEFAULT]\n\nvalidity = bogus\n", `line 3: keyword "validity": invalid duration "bogus"`, ""},
		{"sec/x", "[DEFAULT]\ncn+= x\n", "line 2: keyword \"cn+\": character '+'", ""},
		{"sec/x", "[DEFAULT]\ncn@n1 = x\n", `line 2: keyword "cn@n1": scope`, `write "cn"`},
		{"sec/x", "[DEFAULT]\n= x\n", "line 2: empty keyword", ""},
		{"sec/x", "[DEFAULT]\ncn = a\x00b\n", "line 2: keyword \"cn\": \"a\\x00b\": character U+0000", ""},
		{"sec/x", "[DEFAULT]\ncn = a\xff\n", "line 2: keyword \"cn\": \"a\\xff\" is not UTF-8", ""},
		{"system/usr/alice", "[DEFAULT]\ncn = bob\n", `line 2: keyword "cn": "bob" is not "alice"`, ""},
		{"sec/x", strings.Repeat("#", maxConfig+1), "262145 bytes, at most 262144", ""},
		{"cfg/x", "[env]\nx = " + long + "\n y\n z\n", "line 4: keyword \"env.x\": the value has more than", ""},
		{"cfg/x", "[env]\n" + strings.Repeat("x=1\n", maxSettings+1), "line 1002: more than 1000 keywords", ""},
	} {
		_, err := ParseINI(must[Path](t)(ParsePath(tt.path)), []byte(tt.in))
		wantInvalid(t, err, tt.want)
		if got := hint.Of(err); got != tt.hint {
			t.Errorf("%.40q: hint %q, want %q", tt.in, got, tt.hint)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%.40q: the error has %d bytes", tt.in, len(err.Error()))
		}
	}
}

func FuzzParseINI(f *testing.F) {
	for _, s := range []string{
		"[DEFAULT]\ncn = a\n", "[cluster]\nname=x\n[listener]\ncrl=http://a\n", "[env]\na = b\n c\n#d\n e\n", "[DEFAULT]\ngrant=root\n", "x", "[", "\ufeff", "[env]\n=\n",
	} {
		for _, p := range []string{"sec/x", "system/usr/alice", "cluster", "cfg/x"} {
			f.Add(p, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, path string, data []byte) {
		p, err := ParsePath(path)
		if err != nil {
			return
		}
		c, err := ParseINI(p, data)
		if err != nil {
			wantInvalid(t, err, "")
			return
		}
		if problems := c.Validate(); len(problems) > 0 {
			t.Errorf("accepted with %v", problems)
		}
		back, err := ParseINI(p, c.INI())
		if err != nil {
			t.Fatalf("%q is refused: %v", c.INI(), err)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Error(diff)
		}
		text, err := c.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := back.UnmarshalJSON(text); err != nil || !back.Equal(c) {
			t.Errorf("%s became %v, %v", text, back, err)
		}
	})
}

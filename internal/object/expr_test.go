package object

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/hint"
)

func TestParseExpr(t *testing.T) {
	for in, want := range map[string]Expr{
		"cn=vip.mycorp":         {"cn", OpSet, "vip.mycorp"},
		"grant+=admin:ns1":      {"grant", OpAppend, "admin:ns1"},
		"grant-=guest:*":        {"grant", OpRemove, "guest:*"},
		"grant|=root":           {"grant", OpUnion, "root"},
		"DEFAULT.cn=x":          {"DEFAULT.cn", OpSet, "x"},
		" cn = a=b+=c ":         {"cn", OpSet, "a=b+=c"},
		"cn=":                   {"cn", OpSet, ""},
		"env.a-b=1":             {"env.a-b", OpSet, "1"},
		"cluster.crl+=http://a": {"cluster.crl", OpAppend, "http://a"},
	} {
		got, err := ParseExpr(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

func TestParseExprRefuses(t *testing.T) {
	for _, tt := range []struct{ in, want, hint string }{
		{"cn", "no operator", "write KEYWORD=VALUE, or += -= |= for the words of a list"},
		{"", "no operator", "write KEYWORD=VALUE, or += -= |= for the words of a list"},
		{"=x", "empty keyword", ""},
		{"+=x", "empty keyword", ""},
		{"grant^=root", "depends on what is there", `use "grant+=" to add or "grant-=" to remove`},
		{"grant[0]=root", "by its place", "use grant+=WORD, grant-=WORD or grant=ALL THE WORDS"},
		{"cn@node1=x", `scope "@node1"`, `write "cn"`},
		{"c n=x", "character ' '", ""},
		{strings.Repeat("x", maxExpr+1), "bytes, at most", ""},
		{strings.Repeat("x", maxExpr), "no operator", "write KEYWORD=VALUE, or += -= |= for the words of a list"},
	} {
		_, err := ParseExpr(tt.in)
		wantInvalid(t, err, tt.want)
		if got := hint.Of(err); got != tt.hint {
			t.Errorf("%.20q: hint %q, want %q", tt.in, got, tt.hint)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("%.20q: the error has %d bytes", tt.in, len(err.Error()))
		}
	}
	_, err := ParseExprs([]string{"cn=x", "cn"})
	wantInvalid(t, err, "no operator")
}

func FuzzParseExpr(f *testing.F) {
	for _, s := range []string{"cn=x", "grant+=admin:ns1", "a^=b", "a[1]=b", "a@b=c", "a-=b=c", "env.x|= y "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseExpr(s)
		if err != nil {
			wantInvalid(t, err, "")
			return
		}
		if back, err := ParseExpr(e.String()); err != nil || back != e {
			t.Errorf("%q is %v, written %q, read %v, %v", s, e, e.String(), back, err)
		}
	})
}

package object

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSelector(t *testing.T) {
	var all []Path
	for _, s := range []string{"cluster", "system/sec/ca", "system/sec/cert", "system/usr/alice", "system/usr/bob", "ns1/sec/ca", "ns1/cfg/x", "root/sec/foo"} {
		all = append(all, must[Path](t)(ParsePath(s)))
	}
	for _, tt := range []struct {
		sel, prefix, want string
	}{
		{"system/usr/*", "system/usr/", "system/usr/alice system/usr/bob"},
		{"system/usr/alice", "system/usr/alice", "system/usr/alice"},
		{"system/usr/[!a]*", "system/usr/", "system/usr/bob"},
		{"system/usr/[a-b]??", "system/usr/", "system/usr/bob"},
		{"*/sec/*,ns1/**", "", "system/sec/ca system/sec/cert ns1/sec/ca ns1/cfg/x root/sec/foo"},
		{"ns1/sec/*, ns1/cfg/*", "ns1/", "ns1/sec/ca ns1/cfg/x"},
		{"ns?/**", "ns", "ns1/sec/ca ns1/cfg/x"},
		{"usr", "", "system/usr/alice system/usr/bob"},
		{"ccfg", "", "cluster"},
		{"cluster", "root/ccfg/cluster", "cluster"},
		{"sec/foo", "root/sec/foo", "root/sec/foo"},
		{"sec/*", "root/sec/", "root/sec/foo"},
		{"**/ca", "", "system/sec/ca ns1/sec/ca"},
		{"*/[su]*/*", "", "system/sec/ca system/sec/cert system/usr/alice system/usr/bob ns1/sec/ca root/sec/foo"},
		{"**", "", "cluster system/sec/ca system/sec/cert system/usr/alice system/usr/bob ns1/sec/ca ns1/cfg/x root/sec/foo"},
		{"*", "", "cluster system/sec/ca system/sec/cert system/usr/alice system/usr/bob ns1/sec/ca ns1/cfg/x root/sec/foo"},
		{"nowhere/**", "nowhere/", ""},
	} {
		s, err := ParseSelector(tt.sel)
		if err != nil {
			t.Errorf("%q: %v", tt.sel, err)
			continue
		}
		var got []string
		for _, p := range all {
			if s.Match(p) {
				got = append(got, p.String())
			}
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%q: %s", tt.sel, diff)
		}
		if got := s.Prefix(); got != tt.prefix {
			t.Errorf("%q: prefix %q, want %q", tt.sel, got, tt.prefix)
		}
	}
	if (Selector{}).Match(CAPath()) || (Selector{}).Prefix() != "" {
		t.Error("the zero selector selects something")
	}
}

func TestSelectorExact(t *testing.T) {
	for in, want := range map[string]Path{
		"sec/foo":                     {"root", KindSec, "foo"},
		"cluster":                     ClusterPath(),
		"system/usr/*":                {},
		"usr":                         {},
		"system/usr/a,system/usr/b":   {},
		"system/usr/[a]":              {},
		"system/sec/ca,system/sec/ca": {},
	} {
		got, ok := must[Selector](t)(ParseSelector(in)).Exact()
		if got != want || ok != !want.IsZero() {
			t.Errorf("%q: exact %v, %v, want %v", in, got, ok, want)
		}
	}
}

func TestParseSelectorRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "invalid path",
		"foo":                              "invalid path",
		"system/usr/a,":                    "invalid path",
		"foo*":                             "is none of namespace/kind/name",
		"a/b/c/*":                          "is none of namespace/kind/name",
		"system/usr/A*":                    "upper case",
		"system/vol/*":                     `kind "vol" is none of`,
		"system/v*/x":                      `kind "v*" is none of`,
		"!system/usr/*":                    "takes nothing away",
		"system/usr/*+x":                   "character '+'",
		"system/usr/[a*":                   "a set is written",
		"system/usr/[]*":                   "a set is written",
		"system//*":                        "0 characters",
		"grant=root*":                      "is none of",
		strings.Repeat("a", 5000):          "5000 characters, at most 4096",
		strings.Repeat("*,", 64) + "*":     "65 patterns, at most 64",
		"*/sec/" + strings.Repeat("*", 64): "64 characters",
	} {
		_, err := ParseSelector(in)
		wantInvalid(t, err, want)
	}
}

func FuzzParseSelector(f *testing.F) {
	for _, s := range []string{"*/sec/*,ns1/**", "usr", "system/usr/[!a-c]?", "**", "cluster", "[[!a/sec/*", "a/[^s]ec/*"} {
		f.Add(s, "system/sec/ca")
	}
	f.Fuzz(func(t *testing.T, s, path string) {
		sel, err := ParseSelector(s)
		if err != nil {
			wantInvalid(t, err, "invalid")
			return
		}
		back, err := ParseSelector(sel.String())
		if err != nil {
			t.Fatalf("%q is %q, which is refused: %v", s, sel, err)
		}
		p, err := ParsePath(path)
		if err != nil {
			return
		}
		if sel.Match(p) && !strings.HasPrefix(p.Key(), sel.Prefix()) {
			t.Errorf("%q picks %q, which does not start with %q", s, p.Key(), sel.Prefix())
		}
		if sel.Match(p) != back.Match(p) {
			t.Errorf("%q and %q disagree about %q", s, sel, p)
		}
	})
}

package object

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/ca"
	"omca/internal/hint"
)

// wantInvalid fails unless err is ca.ErrInvalid and its text has want.
func wantInvalid(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("accepted, want an error with %q", want)
	case !errors.Is(err, ca.ErrInvalid):
		t.Errorf("error %q is not ErrInvalid", err)
	case !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want one with %q", err, want)
	}
}

func TestParsePath(t *testing.T) {
	long := strings.Repeat("a", maxPart)
	for in, want := range map[string]Path{
		"system/usr/alice":                 {"system", KindUsr, "alice"},
		"system/sec/ca":                    CAPath(),
		"system/sec/cert":                  CertPath(),
		"system/sec/jwt":                   JWTPath(),
		"sec/foo":                          {"root", KindSec, "foo"},
		"ns1/cfg/a.b-c.":                   {"ns1", KindCfg, "a.b-c."},
		"0/sec/9":                          {"0", KindSec, "9"},
		"cluster":                          ClusterPath(),
		"root/ccfg/cluster":                ClusterPath(),
		"ccfg/cluster":                     ClusterPath(),
		"sec/cluster":                      {"root", KindSec, "cluster"},
		long + "/sec/" + long:              {long, KindSec, long},
		"sec/sec/foo":                      {"sec", KindSec, "foo"},
		must[Path](t)(UserPath("x")).Key(): {"system", KindUsr, "x"},
	} {
		got, err := ParsePath(in)
		if err != nil || got != want {
			t.Errorf("ParsePath(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "a path is",
		"foo":                                 "a path is",
		"a/b/c/d":                             "a path is",
		"system/sec/ca/":                      "a path is",
		"/sec/ca":                             "namespace is empty",
		"system/sec/":                         "name is empty",
		"system//ca":                          "kind is empty",
		"system/vol/x":                        `kind "vol" is none of sec, usr, cfg, ccfg`,
		"system/usr/Bob":                      `name "Bob": upper case 'B', paths are lower case`,
		"system/usr/.bob":                     `starts with '.'`,
		"system/usr/-bob":                     `starts with '-'`,
		"system/usr/..":                       `starts with '.'`,
		"system/usr/bo_b":                     `character '_'`,
		"system/usr/bö":                       `character 'ö'`,
		"system/usr/b\xff":                    `character`,
		"system/usr/a*":                       `character '*'`,
		"system/usr/node":                     "reserved",
		"system/sec/usr":                      "reserved",
		"system/cfg/vol":                      "reserved",
		"ns1/ccfg/cluster":                    `the only object of kind "ccfg" is "cluster"`,
		"root/ccfg/other":                     `the only object of kind "ccfg" is "cluster"`,
		"a/sec/" + strings.Repeat("a", 64):    "64 characters, at most 63",
		"a/sec/" + strings.Repeat("a", 1<<20): "1048582 characters, at most 191",
	} {
		_, err := ParsePath(in)
		wantInvalid(t, err, want)
		if err != nil && !strings.HasPrefix(err.Error(), "invalid path ") {
			t.Errorf("error %q does not start with %q", err, "invalid path")
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	}
}

func TestParsePathHint(t *testing.T) {
	_, err := ParsePath("System/usr/Bob")
	if got, want := hint.Of(err), `write "system/usr/bob"`; got != want {
		t.Errorf("hint %q, want %q", got, want)
	}
}

func TestPathText(t *testing.T) {
	for _, p := range []Path{CAPath(), ClusterPath(), {}, {"root", KindCfg, "x"}} {
		text := must[[]byte](t)(json.Marshal(p))
		var back Path
		if err := json.Unmarshal(text, &back); err != nil || back != p {
			t.Errorf("%s became %v, %v", text, back, err)
		}
	}
	if ClusterPath().String() != "cluster" || (Path{}).String() != "" {
		t.Errorf("the short forms are %q and %q", ClusterPath(), Path{})
	}
	wantInvalid(t, json.Unmarshal([]byte(`"Nope"`), new(Path)), "invalid path")
}

func TestPathCompare(t *testing.T) {
	want := []Path{ClusterPath(), {"root", KindSec, "a"}, CAPath(), CertPath(), {"system", KindUsr, "a"}}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Path.Compare)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSealed(t *testing.T) {
	for _, k := range Kinds() {
		if want := k == "sec" || k == "usr"; k.Sealed() != want {
			t.Errorf("%s: sealed %v, want %v", k, k.Sealed(), want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"cluster", "system/sec/ca", "sec/a", "A/b/c", "//", "a/usr/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s)
		if err != nil {
			wantInvalid(t, err, "invalid path")
			return
		}
		for _, form := range []string{p.String(), p.Key()} {
			if back, err := ParsePath(form); err != nil || back != p {
				t.Errorf("%q is %v, whose form %q is %v, %v", s, p, form, back, err)
			}
		}
		if sel, err := ParseSelector(p.String()); err != nil || !sel.Match(p) {
			t.Errorf("%q does not select itself: %v", p, err)
		}
	})
}

// Nodes of different names have different paths, all of them valid, and none is
// one that a cluster's name gives a meaning to.
func TestNodeListenerPath(t *testing.T) {
	seen := make(map[Path]string)
	long := strings.Repeat("n", 80)
	for _, node := range []string{"n1", "N1", "n1.clu", "n-1", "n_1", "n 1", "", "é", long, long + "x", strings.Repeat("n", 54), strings.Repeat("n", 55), "../ca"} {
		p := NodeListenerPath(node)
		if parsed, err := ParsePath(p.String()); err != nil || parsed != p {
			t.Errorf("%q: %s, %v", node, p, err)
		}
		if other, clash := seen[p]; clash {
			t.Errorf("%q and %q are both %s", node, other, p)
		}
		seen[p] = node
		if strings.HasPrefix(p.Name, "cert-") || strings.HasPrefix(p.Name, "ca-") || strings.HasPrefix(p.Name, "ocsp-") {
			t.Errorf("%q: %s has a meaning already", node, p)
		}
	}
	if p := NodeListenerPath("n1"); p.String() != "system/sec/listener-n1" {
		t.Errorf("%s", p)
	}
}

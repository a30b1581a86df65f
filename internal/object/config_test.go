package object

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/internal/hint"
)

// makeConfig sets keywords on the object at path.
func makeConfig(t testing.TB, path string, exprs ...string) Config {
	t.Helper()
	p := must[Path](t)(ParsePath(path))
	c, _, err := NewConfig(p).Apply(Update{Set: must[[]Expr](t)(ParseExprs(exprs))})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestApply(t *testing.T) {
	old := makeConfig(t, "system/usr/alice", "o=MyCorp", "grant=admin:ns1 guest:ns2", "disabled=true")
	for _, tt := range []struct {
		name    string
		update  Update
		want    string // the settings after
		changed string
	}{
		{"nothing", Update{}, "o=MyCorp grant=admin:ns1 guest:ns2 disabled=true", ""},
		{"set", Update{Set: []Expr{{"ou", OpSet, "Ops"}}}, "o=MyCorp grant=admin:ns1 guest:ns2 disabled=true ou=Ops", "ou"},
		{"same value", Update{Set: []Expr{{"o", OpSet, " MyCorp "}}}, "o=MyCorp grant=admin:ns1 guest:ns2 disabled=true", ""},
		{"append", Update{Set: []Expr{{"grant", OpAppend, "guest:ns2 guest:ns3"}}}, "o=MyCorp grant=admin:ns1 guest:ns2 guest:ns3 disabled=true", "grant"},
		{"append what is there", Update{Set: []Expr{{"grant", OpAppend, "admin:ns1"}}}, "o=MyCorp grant=admin:ns1 guest:ns2 disabled=true", ""},
		{"union what is there", Update{Set: []Expr{{"grant", OpUnion, "admin:ns1"}}}, "o=MyCorp grant=admin:ns1 guest:ns2 disabled=true", ""},
		{"append to nothing", Update{Set: []Expr{{"roles", OpAppend, "api"}}}, "o=MyCorp grant=admin:ns1 guest:ns2 disabled=true roles=api", "roles"},
		{"remove", Update{Set: []Expr{{"grant", OpRemove, "admin:ns1 guest:ns9"}}}, "o=MyCorp grant=guest:ns2 disabled=true", "grant"},
		{"remove the last", Update{Set: []Expr{{"grant", OpRemove, "guest:ns2 admin:ns1"}}}, "o=MyCorp disabled=true", "grant"},
		{"set to nothing", Update{Set: []Expr{{"disabled", OpSet, ""}}}, "o=MyCorp grant=admin:ns1 guest:ns2", "disabled"},
		{"unset", Update{Unset: []string{"DEFAULT.o", "ou"}}, "grant=admin:ns1 guest:ns2 disabled=true", "o"},
		{"unset, then set", Update{Unset: []string{"grant"}, Set: []Expr{{"grant", OpAppend, "root"}}}, "o=MyCorp disabled=true grant=root", "grant"},
		{"there and back", Update{Unset: []string{"disabled"}, Set: []Expr{{"disabled", OpSet, "true"}}}, "o=MyCorp grant=admin:ns1 guest:ns2 disabled=true", ""},
	} {
		got, changed, err := old.Apply(tt.update)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var words []string
		for _, s := range got.Settings() {
			words = append(words, s.Keyword+"="+s.Value)
		}
		if diff := cmp.Diff(tt.want, strings.Join(words, " ")); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.changed, strings.Join(changed, " ")); diff != "" {
			t.Errorf("%s: changed: %s", tt.name, diff)
		}
		if problems := got.Validate(); len(problems) > 0 {
			t.Errorf("%s: %v", tt.name, problems)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	for _, tt := range []struct {
		path   string
		update Update
		want   string
	}{
		{"system/usr/alice", Update{Set: []Expr{{"o", OpSet, "x"}, {"validity", OpSet, "bogus"}}}, `keyword "validity": invalid duration "bogus"`},
		{"system/usr/alice", Update{Set: []Expr{{"o", OpSet, "x"}, {"nope", OpSet, "x"}}}, `unknown keyword "nope"`},
		{"system/usr/alice", Update{Unset: []string{"nope"}}, `unknown keyword "nope"`},
		{"system/usr/alice", Update{Delete: []string{"nope"}}, `unknown section "nope"`},
		{"system/usr/alice", Update{Delete: []string{"DEFAULT"}}, `section "DEFAULT" cannot be deleted`},
		{"system/usr/alice", Update{Set: []Expr{{"cn", OpAppend, "x"}}}, "works on lists"},
		{"system/usr/alice", Update{Set: []Expr{{"grant", "^=", "x"}}}, "unknown operator"},
		{"system/usr/alice", Update{Set: []Expr{{"cn", OpSet, "bob"}}}, `"bob" is not "alice"`},
		{"system/usr/alice", Update{Set: []Expr{{"profile", OpSet, "ca"}}}, `"ca" is not for a usr`},
		{"ns1/usr/alice", Update{Set: []Expr{{"profile", OpSet, "node"}}}, `"node" is not for a usr`},
		{"system/sec/x", Update{Set: []Expr{{"profile", OpSet, "usr"}}}, `"usr" is not for a sec`},
		{"system/sec/cert", Update{Set: []Expr{{"profile", OpSet, "ocsp"}}}, `"ocsp" is not for system/sec/cert`},
		{"ns1/sec/ocsp", Update{Set: []Expr{{"profile", OpSet, "ocsp"}}}, `"ocsp" is not for ns1/sec/ocsp`},
		{"system/usr/ocsp", Update{Set: []Expr{{"profile", OpSet, "ocsp"}}}, `"ocsp" is not for a usr`},
		{"system/sec/cert", Update{Set: []Expr{{"allow_names", OpSet, "*.a.b"}}}, "system/sec/cert is not a CA"},
		{"system/sec/ca", Update{Set: []Expr{{"profile", OpSet, "listener"}, {"deny_names", OpSet, "*.a.b"}}}, "system/sec/ca is not a CA"},
		{"sec/x", Update{Set: []Expr{{"bits", OpSet, "4k"}, {"key_type", OpSet, "ec-p256"}}}, `"4k" implies rsa-4096, but key_type is "ec-p256"`},
		{"sec/x", Update{Set: []Expr{{"ca", OpSet, "root/sec/x"}}}, "cannot be its own CA"},
		{"sec/x", Update{Set: []Expr{{"ca", OpSet, "sec/x"}}}, "cannot be its own CA"},
		{"sec/x", Update{Unset: make([]string, maxSettings+1)}, "1001 changes at once"},
	} {
		p := must[Path](t)(ParsePath(tt.path))
		old := NewConfig(p)
		got, changed, err := old.Apply(tt.update)
		wantInvalid(t, err, tt.want)
		if !got.Equal(old) || changed != nil {
			t.Errorf("%s: changed %v on an error", tt.want, changed)
		}
	}
}

func TestApplyBounds(t *testing.T) {
	c := NewConfig(must[Path](t)(ParsePath("cfg/x")))
	var err error
	for i := range 5 {
		c, _, err = c.Apply(Update{Set: []Expr{{fmt.Sprintf("env.v%d", i), OpSet, strings.Repeat("v", maxValue)}}})
	}
	wantInvalid(t, err, "bytes, at most 262144")
	c = NewConfig(c.Path())
	var all Update
	for i := range maxSettings {
		all.Set = append(all.Set, Expr{fmt.Sprintf("env.v%d", i), OpSet, "v"})
	}
	if c, _, err = c.Apply(all); err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Apply(Update{Set: []Expr{{"comment", OpSet, "one more"}}})
	wantInvalid(t, err, "1001 keywords, at most 1000")
	_, _, err = makeConfig(t, "usr/a").Apply(Update{Set: []Expr{{"grant", OpAppend, strings.Repeat("root ", maxWords+1)}}})
	wantInvalid(t, err, "1001 words")
}

// TestApplySharesNothing fails when a config writes into the one it came from.
func TestApplySharesNothing(t *testing.T) {
	old := makeConfig(t, "sec/x", "cn=a", "o=b", "ou=c")
	want := string(old.INI())
	for _, u := range []Update{
		{Set: []Expr{{"cn", OpSet, "z"}, {"l", OpSet, "z"}}},
		{Unset: []string{"cn"}},
		{Set: []Expr{{"cn", OpSet, ""}}},
	} {
		if _, _, err := old.Apply(u); err != nil {
			t.Fatal(err)
		}
	}
	old.Settings()[0].Value = "z"
	if got := string(old.INI()); got != want {
		t.Errorf("the old config became %q, was %q", got, want)
	}
}

func TestClusterConfig(t *testing.T) {
	const id, other = "0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a", "1b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a"
	c := makeConfig(t, "cluster", "listener.port=1300", "cluster.name=clu", "cluster.id="+id, "listener.crl=http://crl.mycorp")
	if got, ok := c.Get("listener.crl"); !ok || got != "http://crl.mycorp" {
		t.Errorf("listener.crl is %q, %v", got, ok)
	}
	if got, _ := c.Get("cluster.crl"); got != "http://crl.mycorp" {
		t.Errorf("cluster.crl is %q", got)
	}
	for want, u := range map[string]Update{
		`keyword "cluster.id": is`:                        {Set: []Expr{{"cluster.id", OpSet, other}}},
		`keyword "cluster.id": cannot be unset`:           {Unset: []string{"cluster.id"}},
		`keyword "cluster.name": cannot be unset`:         {Delete: []string{"cluster"}},
		`unknown section "listner"`:                       {Delete: []string{"listner"}},
		`unknown keyword "listener.prot" for the cluster`: {Set: []Expr{{"listener.prot", OpSet, "1"}}},
	} {
		_, _, err := c.Apply(u)
		wantInvalid(t, err, want)
		_, err = c.Replace(NewConfig(ClusterPath()))
		wantInvalid(t, err, "cannot be unset")
	}
	next, changed, err := c.Apply(Update{Delete: []string{"listener", "token"}, Set: []Expr{{"cluster.name", OpSet, "clu2"}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cluster.name", "listener.port"}, changed); diff != "" {
		t.Error(diff)
	}
	changed, err = c.Replace(next)
	if diff := cmp.Diff([]string{"cluster.name", "listener.port"}, changed); diff != "" || err != nil {
		t.Error(diff, err)
	}
	_, err = c.Replace(NewConfig(CAPath()))
	wantInvalid(t, err, "cannot become that of cluster")
}

func TestEval(t *testing.T) {
	for _, tt := range []struct {
		path  string
		set   string
		name  string
		want  string
		found bool
	}{
		{"system/usr/alice", "", "cn", "alice", false},
		{"ns1/usr/alice", "", "cn", "", false},
		{"system/sec/cert", "", "cn", "", false},
		{"system/sec/cert", "cn=vip", "cn", "vip", true},
		{"system/sec/cert", "cn=vip", "DEFAULT.cn", "vip", true},
		{"system/sec/cert", "", "validity", "1y", false},
		{"system/sec/ca", "", "validity", "10y", false},
		{"system/sec/ca-external", "", "validity", "10y", false},
		{"sec/mine", "profile=ca", "validity", "10y", false},
		{"system/sec/ca", "profile=listener", "validity", "1y", false},
		{"system/sec/cert", "", "profile", "listener", false},
		{"system/sec/ca-x", "", "profile", "ca", false},
		{"ns1/sec/ca", "", "profile", "listener", false},
		{"system/sec/ocsp", "", "profile", "ocsp", false},
		{"system/sec/ocsp-ca-x", "", "profile", "ocsp", false},
		{"system/sec/ocspd", "", "profile", "listener", false},
		{"ns1/sec/ocsp", "", "profile", "listener", false},
		{"system/sec/ocsp", "", "validity", "30d", false},
		{"system/sec/ocsp-x", "profile=listener", "validity", "1y", false},
		{"system/usr/ca", "", "profile", "usr", false},
		{"system/sec/cert", "", "key_type", "ec-p256", false},
		{"system/sec/cert", "bits=3k", "key_type", "rsa-3072", false},
		{"system/sec/cert", "key_type=ed25519", "key_type", "ed25519", true},
		{"system/sec/cert", "", "ca", "", false},
		{"cluster", "", "listener.port", "1215", false},
		{"cluster", "", "listener.crl_policy", "hard", false},
		{"cluster", "", "listener.tls_min_version", "1.3", false},
		{"cfg/x", "env.FOO=bar", "env.FOO", "bar", true},
		{"cfg/x", "", "env.FOO", "", false},
	} {
		var exprs []string
		if tt.set != "" {
			exprs = append(exprs, tt.set)
		}
		c := makeConfig(t, tt.path, exprs...)
		if got, err := c.Eval(tt.name); err != nil || got != tt.want {
			t.Errorf("%s %s: %s is %q, %v, want %q", tt.path, tt.set, tt.name, got, err, tt.want)
		}
		if _, found := c.Get(tt.name); found != tt.found {
			t.Errorf("%s %s: %s set %v, want %v", tt.path, tt.set, tt.name, found, tt.found)
		}
	}
	c := makeConfig(t, "system/usr/alice")
	_, err := c.Eval("grants")
	wantInvalid(t, err, "unknown keyword")
	if _, ok := c.Get("grants"); ok {
		t.Error("an unknown keyword is set")
	}
}

func TestTypedGetters(t *testing.T) {
	c := makeConfig(t, "cluster", "listener.rate_limiter_rate=30/m", "cluster.nodes=n1 n2", "token.max_age=36h")
	if got, err := c.Rate("listener.rate_limiter_rate"); err != nil || got != 0.5 {
		t.Errorf("rate %v, %v", got, err)
	}
	if got, err := c.Int("listener.port"); err != nil || got != 1215 {
		t.Errorf("port %v, %v", got, err)
	}
	if got, err := c.Duration("token.max_age"); err != nil || got != 36*time.Hour {
		t.Errorf("max_age %v, %v", got, err)
	}
	if got, err := c.Strings("cluster.nodes"); err != nil || !cmp.Equal(got, []string{"n1", "n2"}) {
		t.Errorf("nodes %v, %v", got, err)
	}
	if got, err := c.Strings("cluster.ca"); err != nil || len(got) != 0 {
		t.Errorf("ca %v, %v", got, err)
	}
	u := makeConfig(t, "system/usr/a", "disabled=yes", "allowed_ips=192.0.2.1 2001:db8::/32", "bits=4k")
	if got, err := u.Bool("disabled"); err != nil || !got {
		t.Errorf("disabled %v, %v", got, err)
	}
	if got, err := u.Int("bits"); err != nil || got != 4096 {
		t.Errorf("bits %v, %v", got, err)
	}
	networks, err := u.Networks("allowed_ips")
	if got := fmt.Sprint(networks); err != nil || got != "[192.0.2.1/32 2001:db8::/32]" {
		t.Errorf("allowed_ips %v, %v", got, err)
	}
}

// TestDamagedConfig reads what no version would write: getters must not take
// garbage for "no".
func TestDamagedConfig(t *testing.T) {
	var c Config
	text := `{"path":"system/usr/a","keywords":[{"keyword":"disabled","value":"maybe"},{"keyword":"allowed_ips","value":"nowhere"},
		{"keyword":"bits","value":"1"},{"keyword":"later","value":"x"},{"keyword":"cn","value":"b"},{"keyword":"new.one","value":"x"}]}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	_, err := c.Bool("disabled")
	wantInvalid(t, err, `keyword "disabled": "maybe" is neither`)
	_, err = c.Networks("allowed_ips")
	wantInvalid(t, err, `keyword "allowed_ips"`)
	_, err = c.Eval("key_type")
	wantInvalid(t, err, `keyword "bits"`)
	if got, err := c.Eval("later"); err != nil || got != "x" {
		t.Errorf("later is %q, %v", got, err)
	}
	var names []string
	for _, p := range c.Validate() {
		names = append(names, p.Keyword)
		wantInvalid(t, p.Err, "")
	}
	if diff := cmp.Diff([]string{"disabled", "allowed_ips", "bits", "later", "new.one", "cn"}, names); diff != "" {
		t.Error(diff)
	}
	c, _, err = c.Apply(Update{Delete: []string{"new"}, Unset: []string{"later", "cn"}, Set: []Expr{{"disabled", OpSet, "no"}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Validate()) != 2 {
		t.Errorf("still wrong: %v", c.Validate())
	}
}

func TestConfigJSON(t *testing.T) {
	c := makeConfig(t, "cluster", "listener.port=1300", "cluster.name=clu", "listener.addr=::1")
	text := must[[]byte](t)(json.Marshal(c))
	want := `{"path":"cluster","keywords":[{"keyword":"listener.port","value":"1300"},{"keyword":"listener.addr","value":"::1"},{"keyword":"cluster.name","value":"clu"}]}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	var back Config
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, back); diff != "" {
		t.Error(diff)
	}
	if got := string(must[[]byte](t)(json.Marshal(NewConfig(CAPath())))); got != `{"path":"system/sec/ca","keywords":[]}` {
		t.Errorf("an empty config is %s", got)
	}
	for in, want := range map[string]string{
		`[]`:              "not what was written",
		`{"path":"Nope"}`: "not what was written",
		`{"path":"sec/x","keywords":[{"keyword":"cn","value":"a"},{"keyword":"cn","value":"b"}]}`: "twice",
		`{"path":"sec/x","keywords":[{"keyword":"DEFAULT.cn","value":"a"}]}`:                      "two names",
		`{"path":"sec/x","keywords":[{"keyword":"c n","value":"a"}]}`:                             "character",
		`{"path":"sec/x","keywords":[{"keyword":"cn","value":"a\nb"}]}`:                           "no clean value",
		`{"path":"sec/x","keywords":[{"keyword":"cn","value":" a"}]}`:                             "no clean value",
		`{"path":"sec/x","keywords":[{"keyword":"cn","value":""}]}`:                               "no clean value",
		`{"path":"sec/x","keywords":[` + strings.Repeat(`{},`, maxSettings) + `{}]}`:              "1001 keywords",
		`"` + strings.Repeat("x", 6*maxConfig) + `"`:                                              "bytes, at most",
	} {
		kept := back
		err := json.Unmarshal([]byte(in), &back)
		wantInvalid(t, err, want)
		if !back.Equal(kept) {
			t.Errorf("%.60s: changed on an error", in)
		}
	}
}

func TestSectionHint(t *testing.T) {
	_, _, err := makeConfig(t, "cluster").Apply(Update{Delete: []string{"listner"}})
	if got, want := hint.Of(err), `did you mean "listener"?`; got != want {
		t.Errorf("hint %q, want %q", got, want)
	}
}

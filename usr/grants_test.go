package usr_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/usr"
)

// grants parses text that the test knows to be good.
func grants(t testing.TB, text string) usr.Grants {
	t.Helper()
	g, err := usr.ParseGrants(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestParseGrants(t *testing.T) {
	for _, tt := range []struct {
		text, str string
		whoami    string // the JSON of Map
	}{
		{"", "", `{}`},
		{" \t\n", "", `{}`},
		{"root", "root", `{"root":null}`},
		{"admin:ns1 guest:ns2", "admin:ns1 guest:ns2", `{"admin":["ns1"],"guest":["ns2"]}`},
		{"  guest:ns2\n admin:ns1\t", "guest:ns2 admin:ns1", `{"admin":["ns1"],"guest":["ns2"]}`},
		{"admin:ns1,ns2", "admin:ns1,ns2", `{"admin":["ns1","ns2"]}`},
		{"admin:ns1 admin:ns2 admin:ns1", "admin:ns1 admin:ns2 admin:ns1", `{"admin":["ns1","ns2"]}`},
		{"admin,guest:ns1,test*", "admin,guest:ns1,test*", `{"admin":["ns1","test*"],"guest":["ns1","test*"]}`},
		{"guest,guest:ns1", "guest,guest:ns1", `{"guest":["ns1"]}`},
		{"admin", "admin", `{"admin":null}`},
		{"admin admin:ns1", "admin admin:ns1", `{"admin":null}`},
		{"admin:ns1 admin", "admin:ns1 admin", `{"admin":null}`},
		{"squatter guest:*", "squatter guest:*", `{"guest":["*"],"squatter":null}`},
		{"join,leave", "join,leave", `{"join":null,"leave":null}`},
		{"guest:a?c.d-e", "guest:a?c.d-e", `{"guest":["a?c.d-e"]}`},
		{"guest:" + strings.Repeat("n", 63), "guest:" + strings.Repeat("n", 63), `{"guest":["` + strings.Repeat("n", 63) + `"]}`},
	} {
		g := grants(t, tt.text)
		if got := g.String(); got != tt.str {
			t.Errorf("ParseGrants(%q).String() = %q, want %q", tt.text, got, tt.str)
		}
		if got := strings.Join(g.Words(), " "); got != tt.str {
			t.Errorf("ParseGrants(%q).Words() = %q, want the words of %q", tt.text, g.Words(), tt.str)
		}
		got, err := json.Marshal(g.Map())
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != tt.whoami {
			t.Errorf("ParseGrants(%q).Map() = %s, want %s", tt.text, got, tt.whoami)
		}
	}
}

func TestParseGrantsRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string // want is part of the error
	}{
		{"typing error", "admin:ns1 gest:ns2", `grant "gest:ns2": invalid role "gest", want one of`},
		{"nearest", "squater", `invalid role "squater", did you mean "squatter"`},
		{"nearest, long", "administrator:ns1", `did you mean "admin"`},
		{"upper case", "Guest:ns1", `did you mean "guest"`},
		{"nothing near", "x:ns1", `want one of ["root" "squatter" "blacklistadmin" "heartbeat" "prioritizer" "join" "leave" "admin" "operator" "guest"]`},
		{"no role", ":ns1", `invalid role ""`},
		{"no role in a list", "admin,:ns1", `invalid role ""`},
		{"no scope", "admin:", `invalid namespace: it is empty`},
		{"no scope in a list", "admin:ns1,", `invalid namespace: it is empty`},
		{"two scopes", "admin:ns1:ns2", `invalid namespace "ns1:ns2"`},
		{"class", "admin:ns[12]", `invalid namespace "ns[12]"`},
		{"negation", "admin:!ns1", `invalid namespace "!ns1"`},
		{"upper-case scope", "admin:NS1", `invalid namespace "NS1"`},
		{"path", "admin:../system", `invalid namespace "../system"`},
		{"first character", "admin:-ns", `invalid namespace "-ns"`},
		{"long scope", "admin:" + strings.Repeat("n", 64), `it has 64 characters, at most 63 are allowed`},
		{"scope of root", "root:ns1", `invalid scope "ns1": root is a role of the whole cluster`},
		{"scope of squatter", "squatter:*", `invalid scope "*": squatter is a role of the whole cluster`},
		{"scope of a cluster role in a list", "guest,join:ns1", `invalid scope "ns1": join is a role of the whole cluster`},
		{"control character", "admin:ns\x001", `invalid namespace "ns\x001"`},
		{"too long", strings.Repeat(" ", 16<<10+1), `invalid grants: 16385 bytes, at most 16384 are allowed`},
		{"too many", strings.Repeat("guest,admin:a,b,c,d ", 129), `invalid grants: more than 1024 of them`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := usr.ParseGrants(tt.text)
			if !errors.Is(err, usr.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want ErrInvalid with %q", err, tt.want)
			}
			if g.String() != "" || len(g.Map()) != 0 {
				t.Errorf("grants are %q next to an error, want none", g)
			}
		})
	}
}

func TestRootGrants(t *testing.T) {
	parsed := grants(t, "root")
	root := usr.RootGrants()
	if root.String() != "root" || root.Covers(parsed) != nil || parsed.Covers(root) != nil || !root.Has(usr.RoleAdmin, "system") {
		t.Errorf("RootGrants is %q %v, want what \"root\" is", root, root.Map())
	}
}

// A role that is repeated in a list counts once, or a short text could stand for the square of its length.
func TestParseGrantsRepeatedRole(t *testing.T) {
	g := grants(t, strings.Repeat("guest,", 600)+"guest:"+strings.Repeat("a,", 600)+"b")
	if diff := cmp.Diff(map[string][]string{"guest": {"a", "b"}}, g.Map()); diff != "" {
		t.Error(diff)
	}
}

func TestGrantsNeverChange(t *testing.T) {
	g := grants(t, "admin:ns1,ns2 guest:ns3")
	g.Words()[0] = "root"
	g.Map()["admin"][0] = "system"
	with, err := g.With(usr.RoleAdmin, "ns9")
	if err != nil {
		t.Fatal(err)
	}
	if g.String() != "admin:ns1,ns2 guest:ns3" || g.Has(usr.RoleAdmin, "system") || g.Has(usr.RoleAdmin, "ns9") {
		t.Errorf("grants changed: %q", g)
	}
	if with.String() != "admin:ns1,ns2 guest:ns3 admin:ns9" || !with.Has(usr.RoleAdmin, "ns9") {
		t.Errorf("With: %q", with)
	}
}

func TestWith(t *testing.T) {
	for _, tt := range []struct {
		have      string
		role      usr.Role
		namespace string
		want      string
		err       error
	}{
		{"squatter", usr.RoleAdmin, "ns1", "squatter admin:ns1", nil},
		{"", usr.RoleGuest, "ns1", "guest:ns1", nil},
		{"admin:ns*", usr.RoleAdmin, "ns1", "admin:ns*", nil}, // held already
		{"admin:ns1", usr.RoleGuest, "ns1", "admin:ns1", nil},
		{"root", usr.RoleAdmin, "ns1", "root", nil},
		{"guest:ns1", usr.RoleAdmin, "ns1", "guest:ns1 admin:ns1", nil},
		{"squatter", usr.RoleAdmin, "", "", usr.ErrInvalid}, // not every namespace
		{"squatter", usr.RoleAdmin, "*", "", usr.ErrInvalid},
		{"squatter", usr.RoleAdmin, "ns1 root", "", usr.ErrInvalid},
		{"squatter", usr.RoleRoot, "", "", usr.ErrInvalid},
		{"squatter", usr.RoleRoot, "ns1", "", usr.ErrInvalid},
		{"squatter", "", "ns1", "", usr.ErrInvalid},
		{strings.Repeat("guest:a ", 1024), usr.RoleAdmin, "ns1", "", usr.ErrInvalid}, // full
	} {
		got, err := grants(t, tt.have).With(tt.role, tt.namespace)
		if got.String() != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%.20q.With(%q, %q) = %q, %v, want %q, %v", tt.have, tt.role, tt.namespace, got, err, tt.want, tt.err)
		}
	}
}

func TestHasIsClosed(t *testing.T) {
	root := grants(t, "root admin:* guest")
	for _, tt := range []struct {
		role      usr.Role
		namespace string
	}{
		{"", ""}, {"", "ns1"}, {"nosuch", "ns1"}, {"Root", ""},
		{usr.RoleAdmin, ""}, {usr.RoleAdmin, "*"}, {usr.RoleAdmin, "NS1"}, {usr.RoleGuest, "ns1/sec"}, {usr.RoleGuest, strings.Repeat("n", 64)},
	} {
		if root.Has(tt.role, tt.namespace) {
			t.Errorf("root has %q in %q", tt.role, tt.namespace)
		}
	}
	for _, role := range usr.Roles() {
		if (usr.Grants{}).Has(role, "ns1") {
			t.Errorf("the zero value has %s", role)
		}
		if !root.Has(role, "system") {
			t.Errorf("root has no %s", role)
		}
	}
}

func TestHasGlobs(t *testing.T) {
	for _, tt := range []struct {
		glob     string
		yes, not string // namespaces
	}{
		{"*", "ns1 root a systemd", "system"},
		{"test*", "test test1 test-a.b", "tes atest system"},
		{"s*", "s sys systems", "system"},
		{"system", "system", "systems sys"},
		{"syste?", "systex", "system syste systems"},
		{"*system", "xsystem", "system"},
		{"ns?", "ns1 nsx", "ns ns12"},
		{"?*", "a ab", "system"},
		{"a*b*c", "abc axbxc abbc abcbc", "ab ac abcd"},
		{"a.c", "a.c", "abc"}, // not a regular expression
		{"ns1", "ns1", "ns11 ns"},
		{strings.Repeat("*a", 30), strings.Repeat("a", 30), strings.Repeat("a", 29) + strings.Repeat("b", 34)},
	} {
		g := grants(t, "guest:"+tt.glob)
		for ns := range strings.FieldsSeq(tt.yes) {
			if !g.Has(usr.RoleGuest, ns) {
				t.Errorf("%q does not reach %q", tt.glob, ns)
			}
		}
		for ns := range strings.FieldsSeq(tt.not) {
			if g.Has(usr.RoleGuest, ns) {
				t.Errorf("%q reaches %q", tt.glob, ns)
			}
		}
	}
}

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		have, give string
		missing    string // the grant named by the error; "" when covered
	}{
		{"", "", ""},
		{"guest:ns1", "", ""},
		{"", "guest:ns1", "guest:ns1"},
		{"root", "root squatter admin admin:system guest:*", ""},
		{"admin:ns1", "admin:ns1 operator:ns1 guest:ns1", ""},
		{"guest:ns1", "operator:ns1", "operator:ns1"},
		{"operator:ns1", "guest:ns1 admin:ns1", "admin:ns1"},
		{"admin:ns1", "admin:ns1,ns2", "admin:ns2"},
		{"admin:ns1 admin:ns2", "admin:ns1,ns2", ""},
		{"admin:ns1", "root", "root"},
		{"admin", "squatter", "squatter"},
		{"admin:system", "root", "root"},
		{"squatter", "squatter", ""},
		{"squatter", "guest:ns1", "guest:ns1"},
		{"squatter", "join", "join"},
		// Without a scope and with "*" is the same.
		{"admin", "admin:*", ""},
		{"admin:*", "admin", ""},
		{"admin:**", "admin", ""},
		{"admin:ns*", "admin", "admin"},
		// Globs.
		{"admin:*", "admin:test*", ""},
		{"admin:test*", "admin:test1", ""},
		{"admin:test*", "admin:test1*", ""},
		{"admin:test*", "admin:test?", ""},
		{"admin:test?", "admin:test?", ""},
		{"admin:test?", "admin:test*", "admin:test*"},
		{"admin:test1*", "admin:test*", "admin:test*"},
		{"admin:test1", "admin:test?", "admin:test?"},
		{"admin:*a*", "admin:?a?", ""},
		{"admin:?a?", "admin:*a*", "admin:*a*"},
		{"admin:*1", "admin:ns*1", ""},
		{"admin:ns1,ns2", "admin:ns?", "admin:ns?"}, // though they may be all there are today
		// system is never reached by a pattern, neither when held nor when given.
		{"admin", "admin:system", "admin:system"},
		{"admin:*", "guest:system", "guest:system"},
		{"admin:system", "admin:system", ""},
		{"admin:system", "admin:s*", "admin:s*"},
		{"admin:*", "admin:syste?", ""},
	} {
		err := grants(t, tt.have).Covers(grants(t, tt.give))
		if tt.missing == "" {
			if err != nil {
				t.Errorf("%q covers %q: %v, want nil", tt.have, tt.give, err)
			}
			continue
		}
		if want := `permission denied: grant "` + tt.missing + `" is not held`; !errors.Is(err, usr.ErrDenied) || err.Error() != want {
			t.Errorf("%q covers %q: %v, want %s", tt.have, tt.give, err, want)
		}
	}
}

// samples are grants of every shape, and namespaces that tell them apart.
func samples(t testing.TB) (all []usr.Grants, namespaces []string) {
	words := []string{"", "root", "squatter", "blacklistadmin", "heartbeat", "prioritizer", "join", "leave"}
	for _, role := range []string{"admin", "operator", "guest"} {
		words = append(words, role)
		for _, scope := range []string{
			"*", "?*", "?", "ns?", "ns*", "n*1", "*1", "ns1", "ns2", "ns1,system", "system", "s*", "sys*m", "syste?", "*m", "root", "test*", "test1*", "t?s*",
		} {
			words = append(words, role+":"+scope)
		}
	}
	words = append(words, "guest operator:n* admin:ns1", "admin,guest:test*,ns1 squatter")
	for _, word := range words {
		all = append(all, grants(t, word))
	}
	return all, []string{"a", "m", "n1", "ns", "ns1", "ns2", "ns12", "root", "s", "sysm", "system", "systems", "tasx", "test", "test1", "test12", "x.1"}
}

// Whoever gives what they hold gives nothing that they lack.
func TestCoversNeverGivesMore(t *testing.T) {
	all, namespaces := samples(t)
	covered := 0
	for _, have := range all {
		if err := have.Covers(have); err != nil {
			t.Errorf("%q does not cover itself: %v", have, err)
		}
		for _, give := range all {
			if have.Covers(give) != nil {
				continue
			}
			covered++
			for _, role := range usr.Roles() {
				for _, ns := range namespaces {
					if give.Has(role, ns) && !have.Has(role, ns) {
						t.Fatalf("%q covers %q, which has %s in %s", have, give, role, ns)
					}
				}
			}
		}
	}
	if covered < 2*len(all) {
		t.Errorf("only %d of %d pairs are covered: nothing was tested", covered, len(all)*len(all))
	}
}

// What covers what is transitive: giving a part of a part is giving a part.
func TestCoversIsTransitive(t *testing.T) {
	all, _ := samples(t)
	for _, a := range all {
		for _, b := range all {
			if a.Covers(b) != nil {
				continue
			}
			for _, c := range all {
				if b.Covers(c) == nil && a.Covers(c) != nil {
					t.Fatalf("%q covers %q covers %q, but not the first the last", a, b, c)
				}
			}
		}
	}
}

func FuzzParseGrants(f *testing.F) {
	for _, seed := range []string{"", "root", "admin:ns1 guest:ns2", "admin,guest:a,b* squatter", "guest:*", "admin:", "x", "admin:?", " \t\u00a0join"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := usr.ParseGrants(text)
		if err != nil {
			if !errors.Is(err, usr.ErrInvalid) {
				t.Fatalf("the error is not ErrInvalid: %v", err)
			}
			if len(err.Error()) > 2048 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := usr.ParseGrants(g.String())
		if err != nil {
			t.Fatalf("String is not readable: %v", err)
		}
		if again.String() != g.String() {
			t.Fatalf("read back as %q, was %q", again, g)
		}
		if diff := cmp.Diff(g.Map(), again.Map()); diff != "" {
			t.Fatalf("read back differently:\n%s", diff)
		}
		if err := g.Covers(again); err != nil {
			t.Fatalf("%q does not cover itself: %v", g, err)
		}
		if _, root := g.Map()["root"]; root != g.Has(usr.RoleRoot, "") {
			t.Fatalf("%q: root is %v in the map", g, root)
		}
	})
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"a", "0", "alice", "node1.example.com", "a-b.c", strings.Repeat("n", 63)} {
		if err := usr.ValidName(name); err != nil {
			t.Errorf("ValidName(%q) = %v", name, err)
		}
	}
	for _, name := range []string{
		"", "Alice", "-a", ".a", "..", "a_b", "a b", "a/b", "a\n", "é", "a@b", "a*", strings.Repeat("n", 64),
	} {
		if err := usr.ValidName(name); !errors.Is(err, usr.ErrInvalid) {
			t.Errorf("ValidName(%q) = %v, want ErrInvalid", name, err)
		}
	}
}

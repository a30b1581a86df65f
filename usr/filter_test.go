package usr_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"omca/usr"
)

// TestFilterGrants is the table of OpenSVC, with its examples. Where its comment and its code differ the code is followed: guest of
// {admin:ns1,admin:ns2,guest:ns3} is guest on all three. Its root gives any role on any scope; here only what is a grant.
func TestFilterGrants(t *testing.T) {
	for _, tt := range []struct{ held, roles, scope, want string }{
		// Nothing asked for: all, as it was written.
		{"admin:ns1 guest:ns2", "", "", "admin:ns1 guest:ns2"},
		{"root", "", "", "root"},
		{"admin,guest:a,b", "", "", "admin,guest:a,b"},
		{"", "", "", ""},

		// A role alone.
		{"root", "root", "", "root"},
		{"root", "admin", "", "admin"},
		{"root", "squatter", "", "squatter"},
		{"admin", "guest", "", "guest"},
		{"operator", "guest", "", "guest"},
		{"guest", "guest", "", "guest"},
		{"guest", "operator", "", ""},
		{"admin:ns1 admin:ns2 guest:ns3", "guest", "", "guest:ns1 guest:ns2 guest:ns3"},
		{"admin:ns1 admin:ns2 guest:ns3", "admin", "", "admin:ns1 admin:ns2"},
		{"admin:ns1 operator:ns2 guest:ns3", "operator", "", "operator:ns1 operator:ns2"},
		{"admin:ns1 guest", "guest", "", "guest"}, // the one without a scope has the others
		{"guest admin:ns1", "admin", "", "admin:ns1"},
		{"admin:ns1 guest:ns1", "guest", "", "guest:ns1"}, // once
		{"squatter admin:ns1", "squatter", "", "squatter"},
		{"admin", "squatter", "", ""},
		{"squatter", "join", "", ""},
		{"admin:ns1", "root", "", ""},
		{"admin:ns1,ns2 squatter", "guest squatter", "", "guest:ns1 guest:ns2 squatter"},
		{"admin:test*", "guest", "", "guest:test*"},
		{"guest:ns1", "admin guest", "", "guest:ns1"}, // what there is of it

		// A role and a scope.
		{"root", "admin", "ns1", "admin:ns1"},
		{"root", "guest", "system", "guest:system"},
		{"root", "squatter", "ns1", ""}, // takes no scope, so it is no grant
		{"squatter", "squatter", "ns1", ""},
		{"admin:ns1 admin:ns2 guest:ns3", "admin", "ns3", ""},
		{"admin:ns1 admin:ns2 guest:ns3", "guest", "ns3", "guest:ns3"},
		{"admin:ns1 admin:ns2 guest:ns3", "guest", "ns1", "guest:ns1"},
		{"admin:ns1 admin:ns2 guest:ns3", "admin", "ns1", "admin:ns1"},
		{"operator:ns1", "guest", "ns1", "guest:ns1"},
		{"admin:ns1", "operator", "ns1", "operator:ns1"},
		{"operator", "guest", "ns1", "guest:ns1"},
		{"admin", "operator", "ns1", "operator:ns1"},
		{"admin", "admin", "ns1", "admin:ns1"},
		{"operator", "admin", "ns1", ""},
		{"admin", "admin", "system", ""}, // never reached without its name
		{"admin:*", "guest", "system", ""},
		{"admin:test*", "guest", "test7", "guest:test7"},
		{"admin:test*", "guest", "test*", "guest:test*"},
		{"admin:test*", "guest", "t*", ""},
		{"admin:ns1 guest:ns1", "admin guest", "ns1", "admin:ns1 guest:ns1"},

		// A scope alone.
		{"root", "", "ns1", "admin:ns1"},
		{"admin:ns1 guest:ns2", "", "ns1", "admin:ns1"},
		{"admin:ns1 guest:ns2", "", "ns2", "guest:ns2"},
		{"admin:ns1 guest:ns2", "", "ns3", ""},
		{"guest operator:ns1", "", "ns1", "operator:ns1"},
		{"guest", "", "ns1", "guest:ns1"},
		{"guest", "", "system", ""},
		{"squatter", "", "ns1", ""},
	} {
		var roles []usr.Role
		for word := range strings.FieldsSeq(tt.roles) {
			roles = append(roles, usr.Role(word))
		}
		got, err := usr.FilterGrants(grants(t, tt.held), roles, tt.scope)
		what := fmt.Sprintf("{%s} asked for role %q, scope %q", tt.held, tt.roles, tt.scope)
		switch {
		case tt.want == "" && !errors.Is(err, usr.ErrDenied):
			t.Errorf("%s: %q, %v, want ErrDenied", what, got, err)
		case tt.want != "" && (err != nil || got.String() != tt.want):
			t.Errorf("%s: %q, %v, want %q", what, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		role  usr.Role
		scope string
	}{{"boss", ""}, {"", ""}, {"admin:ns1", ""}, {"Admin", "ns1"}, {"admin", "../x"}, {"admin", "NS1"}, {"admin", "a b"}, {"admin", "a,b"}} {
		if got, err := usr.FilterGrants(usr.RootGrants(), []usr.Role{tt.role}, tt.scope); !errors.Is(err, usr.ErrInvalid) {
			t.Errorf("role %q, scope %q: %q, %v, want ErrInvalid", tt.role, tt.scope, got, err)
		}
	}
	_, err := usr.FilterGrants(grants(t, "guest:ns1"), []usr.Role{usr.RoleAdmin, usr.RoleOperator}, "ns1")
	if want := `permission denied: no grant that is held gives admin or operator on "ns1"`; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %q", err, want)
	}
}

func TestIntersect(t *testing.T) {
	for _, tt := range []struct{ given, held, want string }{
		{"admin:ns1 guest:ns2", "guest:ns2 admin:ns1 squatter", "admin:ns1 guest:ns2"}, // as it was written
		{"admin:ns1 guest:ns2", "admin:ns1", "admin:ns1"},
		{"admin:ns1", "guest:ns1", "guest:ns1"},
		{"guest:ns1", "admin:ns1", "guest:ns1"},
		{"admin:ns1", "admin:ns2", ""},
		{"admin", "guest:ns1", "guest:ns1"},
		{"guest:*", "admin:ns1", "guest:ns1"},
		{"guest:ns1", "operator", "guest:ns1"},
		{"admin:test*", "operator:test1 guest:t*", "operator:test1 guest:test*"},
		{"admin:a*", "admin:*b", ""}, // "ab" is in both, and no glob of the two is
		{"root", "admin:ns1", "admin:ns1"},
		{"root", "root", "root"},
		{"root", "", ""},
		{"admin:ns1", "root", "admin:ns1"},
		{"admin:ns1", "", ""},
		{"", "root", ""},
		{"squatter join", "join", "join"},
		{"admin", "admin:system", ""},
		{"admin:system", "admin", ""},
	} {
		if got := usr.Intersect(grants(t, tt.given), grants(t, tt.held)); got.String() != tt.want {
			t.Errorf("{%s} of whoever holds {%s}: %q, want %q", tt.given, tt.held, got, tt.want)
		}
	}
}

// arbitrary makes grants out of few words, so that they overlap in every way.
func arbitrary(r *rand.Rand) string {
	globs := []string{"", ":ns1", ":ns2", ":*", ":ns*", ":n?1", ":system", ":ns1,system", ":*1,s*"}
	var words []string
	for range r.IntN(4) {
		if r.IntN(4) == 0 {
			words = append(words, string(usr.Roles()[r.IntN(7)]))
		} else {
			words = append(words, string(usr.Roles()[7+r.IntN(3)])+globs[r.IntN(len(globs))])
		}
	}
	return strings.Join(words, " ")
}

// Whatever is asked for, what comes is held: by the one who asks, and with an intersection by both. And what is held in a namespace
// is never lost by asking for nothing.
func TestNeverMoreThanHeld(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	came := 0
	for range 20_000 {
		held, other := grants(t, arbitrary(r)), grants(t, arbitrary(r))
		both := usr.Intersect(held, other)
		if held.Covers(both) != nil || other.Covers(both) != nil {
			t.Fatalf("{%s} and {%s} have {%s} in common", held, other, both)
		}
		for _, role := range usr.Roles() {
			for _, namespace := range []string{"ns1", "ns2", "nx1", "system", "other"} {
				if both.Has(role, namespace) && !(held.Has(role, namespace) && other.Has(role, namespace)) {
					t.Fatalf("{%s} and {%s}: {%s} has %s on %s", held, other, both, role, namespace)
				}
			}
		}
		var roles []usr.Role
		for range r.IntN(3) {
			roles = append(roles, usr.Roles()[r.IntN(len(usr.Roles()))])
		}
		scope := []string{"", "ns1", "ns*", "*", "system", "n?1"}[r.IntN(6)]
		got, err := usr.FilterGrants(held, roles, scope)
		if err != nil {
			continue
		}
		came++
		if denied := held.Covers(got); denied != nil {
			t.Fatalf("{%s} asked for %q on %q gives {%s}: %v", held, roles, scope, got, denied)
		}
		if len(roles) == 0 && scope == "" && got.String() != held.String() {
			t.Fatalf("{%s} asked for nothing gives {%s}", held, got)
		}
	}
	if came < 1000 {
		t.Errorf("only %d of 20,000 were answered", came)
	}
}

func FuzzFilterGrants(f *testing.F) {
	f.Add("admin:ns1 admin:ns2 guest:ns3", "guest", "")
	f.Add("root", "admin,guest", "ns1")
	f.Add("admin:a,b,c,d,e,f,g,h", strings.Repeat("guest,", 300), "")
	f.Add("admin:test*,a? squatter", "squatter", "test1")
	f.Fuzz(func(t *testing.T, text, roles, scope string) {
		// What is longer takes as long as its square: a worker that is at it when the time is over counts as a failure, without an input.
		const most = 4 << 10
		held, err := usr.ParseGrants(text)
		if err != nil || len(text)+len(roles) > most {
			return
		}
		var ask []usr.Role
		for word := range strings.SplitSeq(roles, ",") {
			if word != "" {
				ask = append(ask, usr.Role(word))
			}
		}
		got, err := usr.FilterGrants(held, ask, scope)
		if err != nil {
			if !errors.Is(err, usr.ErrDenied) && !errors.Is(err, usr.ErrInvalid) {
				t.Errorf("error is %v", err)
			}
			return
		}
		if err := held.Covers(got); err != nil {
			t.Errorf("{%s} asked for %q on %q gives {%s}: %v", held, ask, scope, got, err)
		}
		if again, err := usr.ParseGrants(got.String()); err != nil || again.Covers(got) != nil {
			t.Errorf("{%s} is not read back: %v", got, err)
		}
	})
}

func TestCanIssueToken(t *testing.T) {
	for method, want := range map[usr.Method]struct{ access, refresh bool }{
		usr.MethodSocket:   {yes, yes},
		usr.MethodPassword: {yes, yes},
		usr.MethodX509:     {yes, no}, // either may be taken back, and would live on in it
		usr.MethodSession:  {yes, no},
		usr.MethodToken:    {no, no}, // or it would live for as long as anybody copies it
		usr.MethodOpenID:   {no, no}, // no user of the cluster
		usr.MethodDaemon:   {no, no},
	} {
		own := usr.Caller{Name: "alice", Method: method, Grants: grants(t, "guest:ns1")}
		root := usr.Caller{Name: "root", Method: method, Grants: grants(t, "root")}
		for _, refresh := range []bool{false, true} {
			may := want.access
			if refresh {
				may = want.refresh
			}
			decide(t, fmt.Sprintf("%s, for oneself, refresh %v", method, refresh), usr.CanIssueToken(own, "alice", refresh), may)
			decide(t, fmt.Sprintf("%s, for another, refresh %v", method, refresh), usr.CanIssueToken(own, "bob", refresh), no)
			decide(t, fmt.Sprintf("%s, root for another, refresh %v", method, refresh), usr.CanIssueToken(root, "bob", refresh), may)
		}
	}
	for _, c := range []usr.Caller{{}, {Name: "root", Grants: usr.RootGrants()}, {Method: usr.MethodSocket, Grants: usr.RootGrants()}} {
		if err := usr.CanIssueToken(c, "", false); !errors.Is(err, usr.ErrUnauthenticated) {
			t.Errorf("%+v: %v, want ErrUnauthenticated", c, err)
		}
	}
}

// A role that is asked for a thousand times is one role.
func TestFilterGrantsTwice(t *testing.T) {
	globs := make([]string, 1000)
	for i := range globs {
		globs[i] = fmt.Sprint("n", i)
	}
	held := grants(t, "admin:"+strings.Join(globs, ","))
	const times = 4000
	many := slices.Repeat([]usr.Role{usr.RoleGuest}, times)
	once, err := usr.FilterGrants(held, many[:1], "")
	if err != nil {
		t.Fatal(err)
	}
	allocated := testing.AllocsPerRun(1, func() {
		got, err := usr.FilterGrants(held, many, "")
		if err != nil || got.String() != once.String() {
			t.Errorf("%d words, %v", len(got.Words()), err)
		}
	})
	if most := 20_000.0; allocated > most {
		t.Errorf("%.0f allocations, want at most %.0f", allocated, most)
	}
}

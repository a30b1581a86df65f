package usr_test

import (
	"errors"
	"strings"
	"testing"

	"omca/usr"
)

// TestMay is the whole matrix, written by hand: a row for each kind of grants, a letter for each need. Capital letters are yes.
// The letters are guest, operator, admin for each namespace, and the initials of the cluster roles.
func TestMay(t *testing.T) {
	columns := []struct {
		letter byte
		need   usr.Need
	}{
		{'g', usr.In(usr.RoleGuest, "ns1")}, {'o', usr.In(usr.RoleOperator, "ns1")}, {'a', usr.In(usr.RoleAdmin, "ns1")}, {' ', usr.Need{}},
		{'g', usr.In(usr.RoleGuest, "ns2")}, {'o', usr.In(usr.RoleOperator, "ns2")}, {'a', usr.In(usr.RoleAdmin, "ns2")}, {' ', usr.Need{}},
		{'g', usr.In(usr.RoleGuest, "root")}, {'o', usr.In(usr.RoleOperator, "root")}, {'a', usr.In(usr.RoleAdmin, "root")}, {' ', usr.Need{}},
		{'g', usr.In(usr.RoleGuest, "system")}, {'o', usr.In(usr.RoleOperator, "system")}, {'a', usr.In(usr.RoleAdmin, "system")}, {' ', usr.Need{}},
		{'s', usr.Cluster(usr.RoleSquatter)}, {'b', usr.Cluster(usr.RoleBlacklistAdmin)}, {'h', usr.Cluster(usr.RoleHeartbeat)},
		{'p', usr.Cluster(usr.RolePrioritizer)}, {'j', usr.Cluster(usr.RoleJoin)}, {'l', usr.Cluster(usr.RoleLeave)}, {' ', usr.Need{}},
		{'r', usr.Root()},
	}
	for _, row := range []struct{ grants, want string }{
		// ns1 ns2 root system cluster root
		{"", "goa goa goa goa sbhpjl r"},
		{"guest:ns1", "Goa goa goa goa sbhpjl r"},
		{"operator:ns1", "GOa goa goa goa sbhpjl r"},
		{"admin:ns1", "GOA goa goa goa sbhpjl r"},
		{"guest:ns2", "goa Goa goa goa sbhpjl r"},
		{"operator:ns2", "goa GOa goa goa sbhpjl r"},
		{"admin:ns2", "goa GOA goa goa sbhpjl r"},
		{"guest:root", "goa goa Goa goa sbhpjl r"},
		{"operator:root", "goa goa GOa goa sbhpjl r"},
		{"admin:root", "goa goa GOA goa sbhpjl r"},
		{"guest:system", "goa goa goa Goa sbhpjl r"},
		{"operator:system", "goa goa goa GOa sbhpjl r"},
		{"admin:system", "goa goa goa GOA sbhpjl r"},
		{"guest", "Goa Goa Goa goa sbhpjl r"},
		{"operator", "GOa GOa GOa goa sbhpjl r"},
		{"admin", "GOA GOA GOA goa sbhpjl r"},
		{"guest:*", "Goa Goa Goa goa sbhpjl r"},
		{"operator:*", "GOa GOa GOa goa sbhpjl r"},
		{"admin:*", "GOA GOA GOA goa sbhpjl r"},
		{"admin:ns*", "GOA GOA goa goa sbhpjl r"},
		{"admin:*1", "GOA goa goa goa sbhpjl r"},
		{"admin:s*,*m,syste?,sys*m", "goa goa goa goa sbhpjl r"},
		{"admin:ns1 guest:ns2", "GOA Goa goa goa sbhpjl r"},
		{"guest admin:ns2", "Goa GOA Goa goa sbhpjl r"},
		{"operator:*,system", "GOa GOa GOa GOa sbhpjl r"},
		{"squatter", "goa goa goa goa Sbhpjl r"},
		{"blacklistadmin", "goa goa goa goa sBhpjl r"},
		{"heartbeat", "goa goa goa goa sbHpjl r"},
		{"prioritizer", "goa goa goa goa sbhPjl r"},
		{"join", "goa goa goa goa sbhpJl r"},
		{"leave", "goa goa goa goa sbhpjL r"},
		{"squatter guest:*", "Goa Goa Goa goa Sbhpjl r"},
		{"admin admin:system squatter blacklistadmin heartbeat prioritizer join leave", "GOA GOA GOA GOA SBHPJL r"},
		{"root", "GOA GOA GOA GOA SBHPJL R"},
		{"guest:ns1 root", "GOA GOA GOA GOA SBHPJL R"},
	} {
		caller := usr.Caller{Name: "alice", Method: usr.MethodX509, Grants: grants(t, row.grants)}
		got := make([]byte, len(columns))
		for i, column := range columns {
			got[i] = column.letter
			switch err := caller.May(column.need); {
			case err == nil:
				got[i] -= 'a' - 'A'
			case !errors.Is(err, usr.ErrDenied):
				t.Errorf("%q: %s: %v, want ErrDenied", row.grants, column.need, err)
			}
		}
		if string(got) != row.want {
			t.Errorf("%q:\n got %s\nwant %s", row.grants, got, row.want)
		}
		if err := caller.May(usr.Anyone()); err != nil {
			t.Errorf("%q: anyone: %v", row.grants, err)
		}
		if err := caller.May(usr.Authenticated()); err != nil {
			t.Errorf("%q: authenticated: %v", row.grants, err)
		}
	}
}

func TestMayByMethod(t *testing.T) {
	root := grants(t, "root")
	for _, method := range []usr.Method{"ux", "x509", "jwt", "jwt-openid", "basic", "session", "daemon"} {
		if err := (usr.Caller{Name: "root", Method: method, Grants: root}).May(usr.Root()); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	// Holding grants is not enough.
	for _, caller := range []usr.Caller{
		{},
		{Grants: root},
		{Name: "root", Grants: root},
		{Method: usr.MethodX509, Grants: root},
		{Name: "root", Method: "X509", Grants: root},
	} {
		for _, need := range []usr.Need{{}, usr.Authenticated(), usr.Root(), usr.In(usr.RoleGuest, "ns1")} {
			if err := caller.May(need); !errors.Is(err, usr.ErrUnauthenticated) {
				t.Errorf("%+v: %s: %v, want ErrUnauthenticated", caller, need, err)
			}
		}
		if err := caller.May(usr.Anyone()); err != nil {
			t.Errorf("%+v: %v", caller, err)
		}
	}
}

// What cannot be asked for is the zero need, and nobody meets it.
func TestImpossibleNeeds(t *testing.T) {
	root := usr.Caller{Name: "root", Method: usr.MethodSocket, Grants: grants(t, "root")}
	for name, need := range map[string]usr.Need{
		"zero":              {},
		"unknown role":      usr.In("nosuch", "ns1"),
		"no role":           usr.In("", "ns1"),
		"cluster role":      usr.In(usr.RoleRoot, "ns1"),
		"no namespace":      usr.In(usr.RoleGuest, ""),
		"glob":              usr.In(usr.RoleGuest, "*"),
		"not a name":        usr.In(usr.RoleGuest, "NS1"),
		"namespace role":    usr.Cluster(usr.RoleAdmin),
		"no cluster role":   usr.Cluster(""),
		"unknown, in whole": usr.Cluster("nosuch"),
	} {
		if need != (usr.Need{}) {
			t.Errorf("%s: is %q, want the zero need", name, need)
		}
		if err := root.May(need); !errors.Is(err, usr.ErrDenied) {
			t.Errorf("%s: %v, want ErrDenied", name, err)
		}
	}
}

func TestMaySays(t *testing.T) {
	long := strings.Repeat("guest:ns1 ", 100)
	for _, tt := range []struct {
		caller usr.Caller
		need   usr.Need
		want   string
	}{
		{
			usr.Caller{Name: "alice", Method: usr.MethodX509, Grants: grants(t, "admin:ns2")}, usr.In(usr.RoleGuest, "ns1"),
			`permission denied: needs guest on namespace "ns1"; "alice" holds admin:ns2`,
		},
		{
			usr.Caller{Name: "alice", Method: usr.MethodX509}, usr.Root(),
			`permission denied: needs root; "alice" holds no grant`,
		},
		{
			usr.Caller{Name: "a\nlevel=ERROR", Method: usr.MethodOpenID}, usr.Cluster(usr.RoleJoin),
			`permission denied: needs join; "a\nlevel=ERROR" holds no grant`,
		},
		{
			usr.Caller{Name: "alice", Method: usr.MethodX509, Grants: grants(t, long)}, usr.Need{},
			`permission denied: needs what nobody holds; "alice" holds 100 grants`,
		},
		{usr.Caller{}, usr.Root(), `not authenticated`},
	} {
		if err := tt.caller.May(tt.need); err == nil || err.Error() != tt.want {
			t.Errorf("error is %q, want %q", err, tt.want)
		}
	}
	for need, want := range map[usr.Need]string{
		usr.Anyone(): "nothing", usr.Authenticated(): "a proven name", usr.Root(): "root",
		usr.In(usr.RoleAdmin, "ns1"): `admin on namespace "ns1"`,
	} {
		if need.String() != want {
			t.Errorf("need says %q, want %q", need, want)
		}
	}
}

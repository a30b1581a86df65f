package usr_test

import (
	"errors"
	"strings"
	"testing"

	"omca/usr"
)

func withRoles(method usr.Method, roles string) usr.Caller {
	return usr.Caller{Name: "alice", Method: method, Roles: strings.Fields(roles)}
}

func TestHoldsRoles(t *testing.T) {
	foreign := withRoles(usr.MethodToken, "api")
	foreign.Profile = "clustercockpit"
	boss := withRoles(usr.MethodPassword, "")
	boss.Grants = usr.RootGrants()
	for _, row := range []struct {
		who  usr.Caller
		want string
		err  error
	}{
		{withRoles(usr.MethodPassword, "api user"), "api", nil},
		{withRoles(usr.MethodPassword, "api user"), "user api", nil},
		{withRoles(usr.MethodPassword, "api user"), "", nil},
		{foreign, "api", nil},
		{withRoles(usr.MethodPassword, "api user"), "api admin", usr.ErrDenied},
		{withRoles(usr.MethodPassword, "admin"), "user", usr.ErrDenied},
		{boss, "api", usr.ErrDenied},
		{withRoles("", "api"), "api", usr.ErrUnauthenticated},
		{usr.Caller{}, "", usr.ErrUnauthenticated},
	} {
		if err := usr.HoldsRoles(row.who, strings.Fields(row.want)); !errors.Is(err, row.err) || (err == nil) != (row.err == nil) {
			t.Errorf("%v %v asked for %q: %v, want %v", row.who.Method, row.who.Roles, row.want, err, row.err)
		}
	}
}

func TestCanGiveRoles(t *testing.T) {
	foreign := withRoles(usr.MethodToken, "admin")
	foreign.Profile = "clustercockpit"
	boss := withRoles(usr.MethodPassword, "")
	boss.Grants = usr.RootGrants()
	for _, row := range []struct {
		who  usr.Caller
		want string
		err  error
	}{
		{boss, "admin api", nil},
		{withRoles(usr.MethodPassword, "admin"), "user api support", nil},
		{withRoles(usr.MethodPassword, "user api"), "api", nil},
		{withRoles(usr.MethodPassword, ""), "", nil},
		{withRoles(usr.MethodPassword, "user"), "user api", usr.ErrDenied},
		{withRoles(usr.MethodPassword, "manager support"), "admin", usr.ErrDenied},
		{foreign, "api", usr.ErrDenied},
		{usr.Caller{}, "api", usr.ErrUnauthenticated},
	} {
		if err := usr.CanGiveRoles(row.who, strings.Fields(row.want)); !errors.Is(err, row.err) || (err == nil) != (row.err == nil) {
			t.Errorf("%v %v giving %q: %v, want %v", row.who.Method, row.who.Roles, row.want, err, row.err)
		}
	}
}

func TestCanIssueForeignToken(t *testing.T) {
	foreign := withRoles(usr.MethodToken, "admin api")
	foreign.Profile = "clustercockpit"
	boss := withRoles(usr.MethodX509, "")
	boss.Grants = usr.RootGrants()
	bossToken := boss
	bossToken.Method = usr.MethodToken
	for _, row := range []struct {
		who     usr.Caller
		subject string
		err     error
	}{
		{withRoles(usr.MethodPassword, "api"), "alice", nil},
		{withRoles(usr.MethodX509, "user api"), "alice", nil},
		{withRoles(usr.MethodSession, "api"), "alice", nil},
		{withRoles(usr.MethodPassword, "admin"), "bob", nil},
		{withRoles(usr.MethodPassword, "admin"), "alice", nil},
		{boss, "bob", nil},
		{usr.Caller{Name: "root", Method: usr.MethodSocket, Grants: usr.RootGrants()}, "bob", nil},
		{withRoles(usr.MethodPassword, "user"), "alice", usr.ErrDenied},
		{withRoles(usr.MethodPassword, ""), "alice", usr.ErrDenied},
		{withRoles(usr.MethodPassword, "api support"), "bob", usr.ErrDenied},
		{withRoles(usr.MethodToken, "api"), "alice", usr.ErrDenied},
		{withRoles(usr.MethodOpenID, "admin"), "alice", usr.ErrDenied},
		{bossToken, "bob", usr.ErrDenied},
		{foreign, "alice", usr.ErrDenied},
		{usr.Caller{}, "alice", usr.ErrUnauthenticated},
	} {
		if err := usr.CanIssueForeignToken(row.who, row.subject); !errors.Is(err, row.err) || (err == nil) != (row.err == nil) {
			t.Errorf("%v %v for %s: %v, want %v", row.who.Method, row.who.Roles, row.subject, err, row.err)
		}
	}
}

// TestForeignProfile: who proved a name with a token for other services is named, and no more, whatever they hold.
func TestForeignProfile(t *testing.T) {
	c := usr.Caller{Name: "alice", Method: usr.MethodToken, Profile: "clustercockpit", Grants: usr.RootGrants()}
	if err := c.May(usr.Named()); err != nil {
		t.Errorf("named: %v", err)
	}
	for _, need := range []usr.Need{usr.Authenticated(), usr.Root(), usr.In(usr.RoleGuest, "ns1"), usr.Cluster(usr.RoleSquatter), {}} {
		if err := c.May(need); !errors.Is(err, usr.ErrDenied) {
			t.Errorf("%v: %v", need, err)
		}
	}
	if err := usr.CanSignNames(c, []string{"a.clu"}, func(string) error { return nil }); !errors.Is(err, usr.ErrDenied) {
		t.Errorf("signing: %v", err)
	}
	if err := usr.CanGrant(c, usr.Grants{}); !errors.Is(err, usr.ErrDenied) {
		t.Errorf("granting: %v", err)
	}
	if err := (usr.Caller{}).May(usr.Named()); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("nobody is named: %v", err)
	}
}

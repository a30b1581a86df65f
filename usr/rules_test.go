package usr_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"omca/usr"
)

func caller(t testing.TB, name, held string) usr.Caller {
	t.Helper()
	return usr.Caller{Name: name, Method: usr.MethodX509, Grants: grants(t, held)}
}

func object(path string) usr.Object {
	parts := strings.Split(path, "/")
	return usr.Object{Namespace: parts[0], Kind: parts[1], Name: parts[2]}
}

// decide compares a decision with what the table says.
func decide(t *testing.T, what string, err error, want bool) {
	t.Helper()
	if want && err != nil {
		t.Errorf("%s: %v, want yes", what, err)
	}
	if !want && !errors.Is(err, usr.ErrDenied) {
		t.Errorf("%s: %v, want ErrDenied", what, err)
	}
}

const yes, no = true, false

func TestCanReadKey(t *testing.T) {
	for _, tt := range []struct {
		held, path, key string
		want            bool
	}{
		// A sec or usr value needs admin on its namespace.
		{"guest:ns1", "ns1/sec/db", "dsn", no},
		{"operator:ns1", "ns1/sec/db", "dsn", no},
		{"admin:ns1", "ns1/sec/db", "dsn", yes},
		{"admin:ns1", "ns1/sec/db", "password", yes}, // a sec may call a key so
		{"admin:ns2", "ns1/sec/db", "dsn", no},
		{"admin", "ns1/sec/db", "dsn", yes},
		{"admin:ns1", "ns1/usr/bob", "certificate", yes},
		{"operator:ns1", "ns1/usr/bob", "certificate", no},
		{"guest", "system/usr/bob", "certificate", no},
		{"guest:system", "system/usr/bob", "certificate", no},
		{"admin", "system/usr/bob", "certificate", no},
		{"admin:*", "system/usr/bob", "certificate", no},
		{"admin:system", "system/usr/bob", "certificate", yes},
		{"join", "system/usr/bob", "certificate", no},
		// A cfg value needs guest.
		{"", "ns1/cfg/app", "motd", no},
		{"guest:ns1", "ns1/cfg/app", "motd", yes},
		{"guest", "system/cfg/app", "motd", no},
		// Private and signing keys need root.
		{"admin:system", "system/usr/bob", "private_key", no},
		{"admin:system", "system/usr/bob", "fullpem", no}, // the private key is in it
		{"admin:ns1", "ns1/sec/web", "private_key", no},
		{"admin:ns1", "ns1/sec/web", "fullpem", no},
		{"root", "system/usr/bob", "private_key", yes},
		{"root", "system/usr/bob", "fullpem", yes},
		{"root", "ns1/sec/web", "private_key", yes},
		{"guest:ns1", "ns1/cfg/app", "private_key", yes}, // a cfg keeps no secret
		// All of system/sec needs root.
		{"admin:system", "system/sec/ca", "private_key", no},
		{"admin:system", "system/sec/ca", "certificate", no},
		{"admin:system", "system/sec/jwt", "2026-11", no},
		{"admin:system", "system/sec/other", "x", no},
		{"root", "system/sec/ca", "private_key", yes},
		{"root", "system/sec/jwt", "2026-11", yes},
		// Passwords are not read.
		{"root", "system/usr/bob", "password", no},
		{"root", "ns1/usr/bob", "password", no},
		{"root", "system/usr/alice", "password", no},
		{"admin:system", "system/usr/bob", "password", no},
		// Alice herself.
		{"", "system/usr/alice", "private_key", yes},
		{"", "system/usr/alice", "fullpem", yes},
		{"", "system/usr/alice", "certificate", yes},
		{"", "system/usr/alice", "certificate_chain", yes},
		{"", "system/usr/alice", "password", no},
		{"", "system/usr/alice", "other", no},
		{"", "system/usr/alice2", "private_key", no},
		{"", "ns1/usr/alice", "private_key", no},
		{"admin:ns1", "ns1/usr/alice", "private_key", no},
		{"", "system/sec/alice", "private_key", no},
		// Unknown kinds have no values.
		{"root", "ns1/svc/web", "x", no},
		{"root", "root/ccfg/cluster", "x", no},
		{"admin", "ns1//web", "x", no},
		{"admin", "/sec/web", "x", no},
	} {
		err := usr.CanReadKey(caller(t, "alice", tt.held), object(tt.path), tt.key)
		decide(t, fmt.Sprintf("%q reads %s of %s", tt.held, tt.key, tt.path), err, tt.want)
	}
}

// Only who proved to be the user in person is the user.
func TestOwnKeyByMethod(t *testing.T) {
	own := object("system/usr/alice")
	for method, want := range map[usr.Method]bool{
		usr.MethodX509: yes, usr.MethodPassword: yes, usr.MethodSession: yes,
		usr.MethodOpenID: no, // somebody else of that name
		usr.MethodToken:  no, // may hold less than alice does
		usr.MethodSocket: no,
		usr.MethodDaemon: no,
	} {
		c := usr.Caller{Name: "alice", Method: method, Grants: grants(t, "guest:ns1")}
		if c.Is(own) != want {
			t.Errorf("%s: Is = %v, want %v", method, !want, want)
		}
		decide(t, string(method), usr.CanReadKey(c, own, "private_key"), want)
		decide(t, string(method), usr.CanRead(c, own), want)
	}
	nobody := usr.Caller{Method: usr.MethodX509}
	if err := usr.CanReadKey(nobody, object("system/usr/"), "private_key"); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("nobody reads the key of nobody: %v", err)
	}
}

func TestCanRead(t *testing.T) {
	for _, tt := range []struct {
		held, path string
		want       bool
	}{
		{"", "ns1/sec/db", no},
		{"guest:ns1", "ns1/sec/db", yes},
		{"guest:ns1", "ns1/usr/bob", yes},
		{"guest:ns1", "ns1/cfg/app", yes},
		{"guest:ns1", "ns2/cfg/app", no},
		{"guest", "system/usr/bob", no},
		{"guest:system", "system/usr/bob", yes},
		{"guest:system", "system/sec/ca", yes},
		{"guest", "root/ccfg/cluster", yes},
		{"guest:ns1", "root/ccfg/cluster", no},
		{"", "system/usr/alice", yes},
		{"root", "ns1/svc/web", no},
	} {
		decide(t, fmt.Sprintf("%q reads %s", tt.held, tt.path), usr.CanRead(caller(t, "alice", tt.held), object(tt.path)), tt.want)
	}
}

func TestCanWrite(t *testing.T) {
	for _, tt := range []struct {
		held, path string
		want       bool
	}{
		{"guest:ns1", "ns1/cfg/app", no},
		{"operator:ns1", "ns1/cfg/app", no},
		{"admin:ns1", "ns1/cfg/app", yes},
		{"admin:ns1", "ns1/sec/db", yes},
		{"admin:ns1", "ns2/sec/db", no},
		{"squatter", "ns1/sec/db", no},
		{"admin", "system/cfg/app", no},
		{"admin:*", "system/cfg/app", no},
		{"admin:system", "system/cfg/app", yes},
		{"admin:system", "system/sec/ca", no},
		{"admin:system", "system/sec/ca-external", no},
		{"root", "system/sec/ca", yes},
		{"admin:system", "system/usr/bob", no}, // CanChangeUser knows more
		{"admin:ns1", "ns1/usr/bob", no},
		{"", "system/usr/alice", no},
		{"root", "system/usr/bob", yes},
		{"admin", "root/ccfg/cluster", no},
		{"admin:root", "root/ccfg/cluster", no},
		{"root", "root/ccfg/cluster", yes},
		{"root", "ns1/svc/web", no},
		{"root", "ns1/node/n1", no},
	} {
		decide(t, fmt.Sprintf("%q writes %s", tt.held, tt.path), usr.CanWrite(caller(t, "alice", tt.held), object(tt.path)), tt.want)
	}
}

func TestCanChangeUser(t *testing.T) {
	for _, tt := range []struct {
		held, path, theirs string
		want               bool
	}{
		{"admin:system", "system/usr/bob", "", yes},
		{"admin:system", "system/usr/bob", "root", no}, // set root's password, and be root
		{"admin:system", "system/usr/bob", "guest:ns1", no},
		{"admin:system admin:ns1", "system/usr/bob", "guest:ns1", yes},
		{"admin:system admin", "system/usr/bob", "admin:ns1 guest:*", yes},
		{"admin:system", "system/usr/bob", "admin:system", yes},
		{"guest:system", "system/usr/bob", "", no},
		{"admin", "system/usr/bob", "", no},
		{"guest:ns1", "system/usr/alice", "guest:ns1", no}, // no exception for oneself
		{"root", "system/usr/bob", "root", yes},
		{"admin:ns1", "ns1/usr/bob", "", yes},
		{"admin:system", "system/sec/ca", "", no}, // not a user
		{"root", "system/sec/ca", "", no},
	} {
		err := usr.CanChangeUser(caller(t, "alice", tt.held), object(tt.path), usr.Holdings{Grants: grants(t, tt.theirs)}, nil)
		decide(t, fmt.Sprintf("%q changes %s, who holds %q", tt.held, tt.path, tt.theirs), err, tt.want)
	}

	err := usr.CanChangeUser(caller(t, "alice", "admin:system"), object("system/usr/bob"), usr.Holdings{Grants: grants(t, "admin:hidden")}, nil)
	want := `changing system/usr/bob: permission denied: needs every grant, role and name that this user holds; "alice" holds admin:system`
	if err == nil || err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
}

func TestCanGrant(t *testing.T) {
	for _, tt := range []struct {
		held, give string
		want       bool
	}{
		{"admin:system", "root", no},
		{"admin:system", "", yes},
		{"admin:ns1", "guest:ns1 admin:ns1", yes},
		{"admin:ns1", "guest:ns1 guest:ns2", no},
		{"admin:ns1", "squatter", no},
		{"root", "root squatter admin:system", yes},
	} {
		decide(t, fmt.Sprintf("%q gives %q", tt.held, tt.give), usr.CanGrant(caller(t, "alice", tt.held), grants(t, tt.give)), tt.want)
	}
	err := usr.CanGrant(caller(t, "alice", "admin:ns1"), grants(t, "guest:ns1 guest:ns2"))
	if want := `giving grants: permission denied: grant "guest:ns2" is not held; "alice" holds admin:ns1`; err == nil || err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
}

func TestCanSetKeyword(t *testing.T) {
	for keyword, want := range map[string]bool{ // for who is not root
		"cn": no, "names": no, "profile": no, "allow_names": no, "deny_names": no, "grant": no, "roles": no, "ca": no,
		"o": no, "ou": no, "c": yes, "comment": yes, "alt_names": no, "validity": yes, "disabled": yes, "allowed_ips": yes,
	} {
		decide(t, keyword, usr.CanSetKeyword(caller(t, "alice", "admin admin:system squatter"), object("system/usr/bob"), keyword), want)
		decide(t, keyword+" by root", usr.CanSetKeyword(caller(t, "alice", "root"), object("system/usr/bob"), keyword), yes)
	}
	decide(t, "alt_names of a sec", usr.CanSetKeyword(caller(t, "alice", "admin"), object("ns1/sec/web"), "alt_names"), yes)
	decide(t, "cn of a sec", usr.CanSetKeyword(caller(t, "alice", "admin"), object("ns1/sec/web"), "cn"), yes)
	decide(t, "names of a sec", usr.CanSetKeyword(caller(t, "alice", "admin"), object("ns1/sec/web"), "names"), no)
	decide(t, "o of a sec", usr.CanSetKeyword(caller(t, "alice", "admin"), object("ns1/sec/web"), "o"), yes)
	decide(t, "alt_names of a user elsewhere", usr.CanSetKeyword(caller(t, "alice", "admin"), object("ns1/usr/bob"), "alt_names"), no)
}

// A CA is root's, and so is what belongs to no object that exists. No other grant stands in for root.
func TestRootsAlone(t *testing.T) {
	everything := "admin admin:system,ns1 operator squatter blacklistadmin heartbeat prioritizer join leave"
	for held, want := range map[string]bool{"": no, "guest:ns1": no, "admin:ns1": no, everything: no, "root": yes} {
		c := caller(t, "alice", held)
		decide(t, held+" changes a CA", usr.CanChangeCA(c, object("ns1/sec/sub")), want)
		decide(t, held+" reads the key of a CA", usr.CanReadCAKey(c, object("ns1/sec/sub"), "certificate"), want)
		decide(t, held+" ends what belonged to another", usr.CanEndForeign(c, "system/usr/root"), want)
		decide(t, held+" makes the user root", usr.CanMakeUser(c, object("system/usr/root")), want)
		for _, path := range []string{"system/usr/alice", "system/usr/root2", "ns1/usr/root"} {
			decide(t, held+" makes "+path, usr.CanMakeUser(c, object(path)), yes)
		}
	}
}

// The machine's root has the name of a user, and is none.
func TestMachineRoot(t *testing.T) {
	own := object("system/usr/root")
	for _, tt := range []struct {
		who     usr.Caller
		machine bool
		by      string
	}{
		{usr.Caller{Name: "root", Method: usr.MethodSocket, Grants: usr.RootGrants()}, yes, "ux:root"},
		{usr.Caller{Name: "root", Method: usr.MethodToken, Machine: true, Grants: grants(t, "admin:system")}, yes, "ux:root"},
		{usr.Caller{Name: "root", Method: usr.MethodToken, Grants: grants(t, "admin:system")}, no, "root"},
		{usr.Caller{Name: "root", Method: usr.MethodX509, Grants: grants(t, "admin:system")}, no, "root"},
		{usr.Caller{Name: "omca", Method: usr.MethodDaemon, Grants: usr.RootGrants()}, no, "omca"},
	} {
		if got := tt.who.IsMachine(); got != tt.machine {
			t.Errorf("%+v is the machine's root: %v", tt.who, got)
		}
		if got := tt.who.By(); got != tt.by {
			t.Errorf("%+v is called %q, want %q", tt.who, got, tt.by)
		}
		if tt.machine && tt.who.Is(own) {
			t.Errorf("%+v is the user root", tt.who)
		}
	}
	byToken := usr.Caller{Name: "root", Method: usr.MethodToken, Grants: grants(t, "admin:system")}
	decide(t, "the user root bounds itself", usr.CanBound(byToken, own, "allowed_ips"), no)
	byToken.Machine = true
	decide(t, "a token of the machine's root bounds the user root", usr.CanBound(byToken, own, "allowed_ips"), yes)
	if usr.ValidName(usr.MachineRoot) == nil {
		t.Error("a user can have the name of the machine's root")
	}
}

// What bounds a user is for others to say, however the user proved the name.
func TestOwnBounds(t *testing.T) {
	own := object("system/usr/alice")
	for _, method := range []usr.Method{usr.MethodX509, usr.MethodPassword, usr.MethodSession, usr.MethodToken, usr.MethodOpenID} {
		alice := usr.Caller{Name: "alice", Method: method, Grants: grants(t, "admin admin:system")}
		for _, keyword := range []string{"cn", "names", "profile", "roles", "ca", "disabled", "allowed_ips"} {
			decide(t, keyword, usr.CanSetKeyword(alice, own, keyword), no)
			decide(t, keyword, usr.CanBound(alice, own, keyword), no)
			decide(t, keyword+" of another", usr.CanBound(alice, object("system/usr/bob"), keyword), yes)
			decide(t, keyword+" of a namesake", usr.CanBound(alice, object("ns1/usr/alice"), keyword), yes)
		}
		for _, keyword := range []string{"grant", "o", "comment", "validity"} {
			decide(t, keyword, usr.CanBound(alice, own, keyword), yes)
		}
		decide(t, "making itself anew", usr.CanRemake(alice, own), no)
		decide(t, "making another anew", usr.CanRemake(alice, object("system/usr/bob")), yes)
	}
	root := caller(t, "alice", "root")
	decide(t, "disabled, by root", usr.CanSetKeyword(root, own, "disabled"), yes)
	decide(t, "made anew, by root", usr.CanRemake(root, own), yes)
}

// Whoever can set a user's password can be that user: what the user has beside
// grants counts too.
func TestCanChangeUserWithMore(t *testing.T) {
	bob := object("system/usr/bob")
	for _, tt := range []struct {
		held, roles, names     string // of the caller
		theirRoles, theirNames string
		want                   bool
	}{
		{"admin:system", "", "", "", "", yes},
		{"admin:system", "", "", "api", "", no},
		{"admin:system", "api user", "", "api", "", yes},
		{"admin:system", "admin", "", "api", "", yes}, // gives any role
		{"admin:system", "", "", "", "*.mycorp", no},
		{"admin:system", "", "*.mycorp", "", "*.mycorp", yes},
		{"admin:system", "", "*.mycorp", "", "www.mycorp", no}, // covered, and not word for word: root settles it
		{"admin:system", "api", "a.mycorp", "api", "a.mycorp b.mycorp", no},
		{"admin:ns1", "api", "a.mycorp", "", "", no},
		{"root", "", "", "api", "*.mycorp", yes},
	} {
		c := caller(t, "alice", tt.held)
		c.Roles = strings.Fields(tt.roles)
		theirs := usr.Holdings{Roles: strings.Fields(tt.theirRoles), Names: strings.Fields(tt.theirNames)}
		err := usr.CanChangeUser(c, bob, theirs, strings.Fields(tt.names))
		decide(t, fmt.Sprintf("%+v", tt), err, tt.want)
		if err != nil && (strings.Contains(err.Error(), "api") || strings.Contains(err.Error(), "mycorp")) {
			t.Errorf("the error tells what the user holds: %v", err)
		}
	}
}

func TestCanUseCA(t *testing.T) {
	for _, tt := range []struct {
		held, path string
		want       bool
	}{
		{"admin:ns1", "ns1/sec/ca", yes}, {"admin:ns1", "ns2/sec/ca", no}, {"admin", "system/sec/ca-other", no},
		{"admin:system", "system/sec/ca-other", no}, {"root", "system/sec/ca-other", yes}, {"operator:ns1", "ns1/sec/ca", no}, {"admin:ns1", "ns1/usr/x", no},
	} {
		decide(t, fmt.Sprintf("%q has %s sign", tt.held, tt.path), usr.CanUseCA(caller(t, "alice", tt.held), object(tt.path)), tt.want)
	}
}

func TestCanCreateNamespace(t *testing.T) {
	for _, tt := range []struct {
		held, namespace string
		want            bool
	}{
		{"", "ns1", no},
		{"admin", "ns1", no},
		{"admin:ns1", "ns1", no},
		{"squatter", "ns1", yes},
		{"root", "ns1", yes},
		{"squatter", "system", no},
		{"squatter admin:system", "system", no},
		{"root", "system", yes},
	} {
		decide(t, fmt.Sprintf("%q creates %s", tt.held, tt.namespace), usr.CanCreateNamespace(caller(t, "alice", tt.held), tt.namespace), tt.want)
	}
	if err := usr.CanCreateNamespace(caller(t, "alice", "root"), "../x"); !errors.Is(err, usr.ErrInvalid) {
		t.Errorf("error is %v, want ErrInvalid", err)
	}
}

func TestCanSignNames(t *testing.T) {
	refused := errors.New("not of example.com")
	permitted := func(name string) error {
		if !strings.HasSuffix(name, ".example.com") {
			return refused
		}
		return nil
	}
	for _, tt := range []struct {
		held  string
		names []string
		want  bool
	}{
		{"admin", []string{"www.example.com"}, yes},
		{"", []string{"www.example.com", "ftp.example.com"}, yes},
		{"admin", []string{"www.example.com", "www.example.org"}, no},
		{"admin", nil, no},
		{"root", []string{"www.example.org"}, yes},
		{"root", nil, yes},
	} {
		err := usr.CanSignNames(caller(t, "alice", tt.held), tt.names, permitted)
		decide(t, fmt.Sprintf("%q signs %q", tt.held, tt.names), err, tt.want)
	}
	alice := caller(t, "alice", "admin")
	decide(t, "no keyword", usr.CanSignNames(alice, []string{"www.example.com"}, nil), no)
	err := usr.CanSignNames(alice, []string{"www.example.org"}, permitted)
	if want := `signing for name "www.example.org": permission denied to "alice": not of example.com`; err == nil || err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	if !errors.Is(err, refused) {
		t.Error("the reason is lost")
	}
}

// Every rule refuses whoever has not proved a name, whatever they claim to hold.
func TestRulesWithoutName(t *testing.T) {
	none := grants(t, "")
	for _, c := range []usr.Caller{{}, {Grants: grants(t, "root")}, {Name: "root", Method: "none", Grants: grants(t, "root")}} {
		for rule, err := range map[string]error{
			"CanRead":                usr.CanRead(c, object("ns1/cfg/app")),
			"CanReadKey":             usr.CanReadKey(c, object("ns1/cfg/app"), "motd"),
			"CanReadKey, a password": usr.CanReadKey(c, object("system/usr/root"), "password"),
			"CanReadKey, their own":  usr.CanReadKey(c, object("system/usr/root"), "private_key"),
			"CanWrite":               usr.CanWrite(c, object("ns1/cfg/app")),
			"CanChangeUser":          usr.CanChangeUser(c, object("system/usr/root"), usr.Holdings{}, nil),
			"CanUseCA":               usr.CanUseCA(c, object("ns1/sec/ca")),
			"CanGrant":               usr.CanGrant(c, none),
			"CanSetKeyword":          usr.CanSetKeyword(c, object("ns1/sec/web"), "comment"),
			"CanCreateNamespace":     usr.CanCreateNamespace(c, "ns1"),
			"CanSignNames":           usr.CanSignNames(c, []string{"a"}, func(string) error { return nil }),
		} {
			if !errors.Is(err, usr.ErrUnauthenticated) {
				t.Errorf("%s by %q: %v, want ErrUnauthenticated", rule, c.Name, err)
			}
		}
	}
}

func ExampleCaller_May() {
	held, err := usr.ParseGrants("admin:ns1 guest:test*")
	if err != nil {
		fmt.Println(err)
		return
	}
	alice := usr.Caller{Name: "alice", Method: usr.MethodX509, Grants: held}
	fmt.Println(alice.May(usr.In(usr.RoleOperator, "ns1")))
	fmt.Println(alice.May(usr.In(usr.RoleOperator, "test7")))
	// Output:
	// <nil>
	// permission denied: needs operator on namespace "test7"; "alice" holds admin:ns1 guest:test*
}

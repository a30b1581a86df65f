package api

import (
	"net/http"
	"testing"

	"omca/usr"
)

// foreign is a caller who has roles for other services, known by how the name was proved.
func foreign(how string) (usr.Caller, error) {
	who := usr.Caller{Name: "alice", Method: usr.MethodPassword, Roles: []string{"api", "user"}}
	var err error
	who.Grants, err = usr.ParseGrants("admin:ns1 guest:ns2")
	switch how {
	case "jwt":
		who.Method, who.Roles = usr.MethodToken, nil
	case "session":
		who.Method, who.Roles = usr.MethodSession, []string{"admin"}
	case "clustercockpit":
		who.Method, who.Profile, who.Roles, who.Grants = usr.MethodToken, "clustercockpit", []string{"api"}, usr.Grants{}
	case "crooked":
		who.Method, who.Name = usr.MethodOpenID, "alice\r\nX-Auth-Roles: admin"
	}
	return who, err
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		by, query string
		want      int
		roles     string
	}{
		{"basic", "", http.StatusNoContent, "api,user"},
		{"basic", "?role=api", http.StatusNoContent, "api,user"},
		{"basic", "?role=api&role=user", http.StatusNoContent, "api,user"},
		{"basic", "?role=admin,user", http.StatusNoContent, "api,user"},
		{"basic", "?role=api&role=admin,support", http.StatusForbidden, ""},
		{"basic", "?role=admin", http.StatusForbidden, ""},
		{"basic", "?grant=guest:ns1", http.StatusNoContent, "api,user"},
		{"basic", "?grant=guest:ns1&grant=guest:ns2&role=api", http.StatusNoContent, "api,user"},
		{"basic", "?grant=admin:ns1+guest:ns3", http.StatusForbidden, ""},
		{"basic", "?grant=guest:ns1&grant=root", http.StatusForbidden, ""},
		{"jwt", "", http.StatusNoContent, ""},
		{"jwt", "?role=api", http.StatusForbidden, ""},
		{"session", "?role=admin", http.StatusNoContent, "admin"},
		{"session", "?role=api", http.StatusForbidden, ""}, // no role stands in for another
		{"clustercockpit", "?role=api", http.StatusNoContent, "api"},
		{"clustercockpit", "?grant=guest:ns1", http.StatusForbidden, ""},
		{"openid", "", http.StatusNoContent, ""},
		{"openid", "?role=api", http.StatusForbidden, ""},
		{"crooked", "", http.StatusForbidden, ""},
		{"", "", http.StatusUnauthorized, ""},
		{"", "?role=nonsense", http.StatusUnauthorized, ""},
		// What belongs to the connection is the proxy's.
		{"root", "", http.StatusForbidden, ""},
		{"boss", "", http.StatusForbidden, ""},
		// A question with a hole in it.
		{"basic", "?role=", http.StatusBadRequest, ""},
		{"basic", "?role=api&role=", http.StatusBadRequest, ""},
		{"basic", "?role=api,", http.StatusBadRequest, ""},
		{"basic", "?role=api,rot", http.StatusBadRequest, ""},
		{"basic", "?role=API", http.StatusBadRequest, ""},
		{"basic", "?roles=admin", http.StatusBadRequest, ""},
		{"basic", "?role=$role", http.StatusBadRequest, ""},
		{"basic", "?grant=", http.StatusBadRequest, ""},
		{"basic", "?grant=king", http.StatusBadRequest, ""},
		{"basic", "?role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api&role=api", http.StatusBadRequest, ""},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			// What the client claims about itself is not what the answer says.
			res := w.do(request{method: method, target: "/api/auth/verify" + tt.query, by: tt.by, header: map[string]string{
				"X-Auth-User": "root", "X-Auth-Roles": "admin", "X-Forwarded-For": "127.0.0.1",
			}}).want(tt.want)
			if got := res.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s: Cache-Control is %q", res.what, got)
			}
			user, present := res.header["X-Auth-User"]
			if tt.want != http.StatusNoContent {
				if present || res.header["X-Auth-Roles"] != nil {
					t.Errorf("%s: a refusal names %q", res.what, user)
				}
				continue
			}
			if roles := res.header["X-Auth-Roles"]; len(user) != 1 || len(roles) != 1 || roles[0] != tt.roles || len(res.header["X-Auth-Method"]) != 1 {
				t.Errorf("%s: user %q, roles %q, want %q; all: %v", res.what, user, roles, tt.roles, res.header)
			}
		}
	}
}

// TestForeignProfile: a token for other services opens nothing but what tells who it is of.
func TestForeignProfile(t *testing.T) {
	w := newWorld(t)
	open := map[string]bool{"whoami": true, "authWhoami": true, "verifyRequest": true}
	for _, r := range w.door.routes() {
		if r.rule.public {
			continue
		}
		req := probe(r)
		req.by = "clustercockpit"
		res := w.do(req)
		if got := res.status != http.StatusForbidden; got != open[r.id] {
			t.Errorf("%s: status %d", res.what, res.status)
		}
	}
}

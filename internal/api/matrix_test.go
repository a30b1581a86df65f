package api

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
)

// The matrix is every route that there is, by every kind of grants, on objects
// of the caller's namespace, of another one, of one that does not exist, of
// system, on the caller's own user and on users who hold this and that. What is
// right is decided by a second reading of docs/authorization.md, below, that
// shares no code with the first: words are cut at colons, globs matched by
// path.Match.

// mayRole reads grants the simple way: whether they hold the role, or a
// stronger one, in the namespace ("" for a role of the cluster).
func mayRole(grants, role, namespace string) bool {
	rank := map[string]int{"guest": 1, "operator": 2, "admin": 3}
	for word := range strings.FieldsSeq(grants) {
		held, scope, scoped := strings.Cut(word, ":")
		switch {
		case held == "root", namespace == "" && held == role:
			return true
		case namespace == "" || rank[held] < rank[role]:
			continue
		case !scoped:
			scope = "*"
		}
		for glob := range strings.SplitSeq(scope, ",") {
			if ok, _ := path.Match(glob, namespace); ok && (namespace != "system" || glob == "system") {
				return true
			}
		}
	}
	return false
}

// cell is one question of the matrix.
type cell struct {
	caller, grants string
	object         string // path; "" for a route that has none
	key            string // in the query, for the routes that read one
}

// The world of the matrix: namespaces that exist, and who holds what.
var (
	matrixGrants = []string{
		"", "guest", "guest:ns1", "guest:system", "guest:*", "operator:ns1", "operator", "admin:ns1", "admin:ns2", "admin", "admin:*", "admin:n*", "admin:s*",
		"admin:system", "admin:system,ns1", "admin:root", "squatter", "squatter admin", "blacklistadmin", "heartbeat", "prioritizer", "join", "leave",
		"admin admin:system squatter blacklistadmin heartbeat prioritizer join leave", "root",
	}
	matrixHolders = map[string]string{"boss": "root", "none": "", "guest1": "guest:ns1", "adminsys": "admin:system"}
)

// rules of docs/authorization.md, once more.
func (c cell) root() bool { return mayRole(c.grants, "root", "") }

func (c cell) parts() (namespace, kind, name string) {
	words := append(strings.Split(c.object, "/"), "", "", "")
	return words[0], words[1], words[2]
}

func (c cell) own() bool { return c.object == "system/usr/"+c.caller }

func (c cell) reads() bool {
	namespace, _, _ := c.parts()
	return c.own() || mayRole(c.grants, "guest", namespace)
}

func (c cell) readsKey() bool {
	namespace, kind, _ := c.parts()
	secret := c.key == "private_key" || c.key == "fullpem"
	switch {
	case kind == "ccfg":
		return false // the cluster has no keys
	case kind == "usr" && c.key == "password":
		return false
	case c.key == "certificate_signing_request" && c.keyless() && !c.changes():
		return false // reading it would make the private key that it is for
	case c.own() && (secret || c.key == "certificate" || c.key == "certificate_chain"):
		return true
	case kind == "cfg":
		return mayRole(c.grants, "guest", namespace)
	case secret, kind == "sec" && namespace == "system", c.authority():
		return c.root()
	}
	return mayRole(c.grants, "admin", namespace)
}

// keyless tells whether the object is there and has no private key.
func (c cell) keyless() bool {
	return slices.Contains([]string{"ns1/sec/web", "ns1/sec/trusted", "system/usr/boss", "system/usr/none", "system/usr/adminsys", "system/usr/signer", "system/usr/worker"}, c.object) || c.own()
}

// authority tells whether the object is a CA.
func (c cell) authority() bool { return c.object == "ns1/sec/sub" }

func (c cell) changes() bool {
	namespace, kind, name := c.parts()
	switch {
	case c.root():
		return true
	case kind == "ccfg", kind == "sec" && namespace == "system":
		return false
	case c.object == "ns1/sec/trusted", c.authority(): // in cluster.ca, and a CA
		return false
	case !mayRole(c.grants, "admin", namespace):
		return false
	case kind != "usr" || c.own():
		return true
	case namespace != "system":
		return true
	case name == "signer", name == "worker": // who have names and roles that nobody here has
		return false
	}
	for word := range strings.FieldsSeq(matrixHolders[name]) {
		role, scope, _ := strings.Cut(word, ":")
		if !mayRole(c.grants, role, scope) {
			return false
		}
	}
	return true
}

func (c cell) creates() bool {
	namespace, kind, _ := c.parts()
	switch {
	case c.root(), namespace != "fresh":
		return c.changes()
	case !mayRole(c.grants, "squatter", ""):
		return false
	}
	return kind != "usr" || c.changes()
}

func (c cell) somewhere() bool {
	for word := range strings.FieldsSeq(c.grants) {
		role, _, _ := strings.Cut(word, ":")
		if slices.Contains([]string{"root", "admin", "operator", "guest"}, role) {
			return true
		}
	}
	return false
}

func yes(cell) bool { return true }

// matrixModel says of each rule, by the words that the documentation has for
// it, who may. A route with a rule that is not here fails the test.
func matrixModel() map[string]func(cell) bool {
	return map[string]func(cell) bool{
		"anyone": yes,
		"whoever proves a name by password or by client certificate": yes,
		"anyone, where an OpenID issuer is configured":               yes,
		"whoever comes back from the OpenID issuer":                  yes,
		"any user": yes,
		"any user, with a token for other services too": yes,
		"root": cell.root,
		"join": func(c cell) bool { return mayRole(c.grants, "join", "") },
		"guest on the namespace, or the user itself":                                                       cell.reads,
		"admin on the namespace (guest for a cfg); root for private keys, for system/sec and for every CA": cell.readsKey,
		"root, or the user itself": func(c cell) bool { c.key = "private_key"; return c.readsKey() },
		"admin on the namespace; root for system/sec, the cluster and every CA; for a usr also every grant that it holds": cell.changes,
		"as for a change; squatter where the namespace does not exist yet":                                                cell.creates,
		"as for a change, or the user itself":                                                                             func(c cell) bool { return c.own() || c.changes() },
		"guest on any namespace":                                                                                          cell.somewhere,
		"guest on any namespace, or a caller on this machine":                                                             cell.somewhere,
		"the user itself; admin on system who holds every grant that the user holds":                                      yes, // of whom no user is named: the caller
		"the user in person: by password, client certificate or session":                                                  yes, // of whom every caller of the matrix is one
		"whoever holds any role":                                                                                          func(c cell) bool { return c.grants != "" },

		// What these name is not there: the answer is "not found", to all alike.
		"whoever may change the object that it was issued for, or the user itself": yes,
		"the user itself, or whoever may change that user":                         yes,

		// By another proof than the certificate that the matrix has.
		"any user, with a token for other services too; not by the unix socket nor by a client certificate": func(cell) bool { return false },
	}
}

// decidedInside are the rules whose handlers know more, and whose tests are
// elsewhere: here, that nobody gets in without a name.
func decidedInside() map[string]string {
	return map[string]string{
		"who has a user object, by password, client certificate or session (with refresh: by password), for itself; root, for any user": "TestIssueToken",
		"who sends a refresh token": "TestRefresh",
		"who has the role api, for itself; who has the role admin, and root, for any user": "TestForeign",
	}
}

// matrixObjects are the objects that a route with a path is asked about.
func matrixObjects(caller string) []string {
	objects := []string{
		"ns1/sec/web", "ns1/cfg/plain", "ns1/sec/trusted", "ns1/sec/sub", "system/sec/ca", "system/sec/cert", "system/usr/" + caller, "root/ccfg/cluster",
		"system/usr/boss", "system/usr/none", "system/usr/guest1", "system/usr/adminsys", "system/usr/signer", "system/usr/worker",
	}
	for _, namespace := range []string{"ns1", "ns2", "fresh", "system"} {
		for _, kind := range []string{"sec", "usr", "cfg"} {
			objects = append(objects, namespace+"/"+kind+"/absent")
		}
	}
	return objects
}

// ask makes one request. Nothing comes of it: the store takes no commit, and
// what has a body gets one that is none.
func (w *world) ask(r route, c cell, method string) int {
	target := strings.NewReplacer("{namespace}/{kind}/{name}", c.object, "{serial}", "abc", "{profile}", "goroutine", "/crl/{name}", "/crl/ca",
		"{request}", "AAAA", "{id}", strings.Repeat("a", 64), "{node}", "node1").Replace(r.path)
	if c.key != "" {
		target += "?name=" + c.key
	}
	req := httptest.NewRequest(method, target, strings.NewReader("{"))
	req.Header.Set("Content-Type", "text/wrong")
	if c.caller != "" {
		req.Header.Set(callerHeader, c.caller)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, req)
	return rec.Code
}

// cells are the questions about one route by one caller.
func cells(r route, caller, grants string) []cell {
	if strings.HasPrefix(r.path, pathCluster) {
		return []cell{{caller, grants, "root/ccfg/cluster", ""}}
	}
	if !strings.Contains(r.path, "{kind}") {
		return []cell{{caller, grants, "", ""}}
	}
	keys := []string{""}
	if r.id == "getData" || r.id == "getKey" {
		keys = []string{"color", "certificate", "certificate_chain", "private_key", "fullpem", "password", "certificate_signing_request"}
	}
	var all []cell
	for _, object := range matrixObjects(caller) {
		for _, key := range keys {
			all = append(all, cell{caller, grants, object, key})
		}
	}
	return all
}

// matrixWorld is a world with one user for each kind of grants.
func matrixWorld(t *testing.T) (w *world, callers map[string]string) {
	t.Helper()
	w = newWorld(t)
	w.put("ns2/cfg/there")
	w.put("ns1/sec/trusted")
	w.put("ns1/sec/sub", "profile=ca", "ca=system/sec/ca", "cn=Sub CA")
	w.issue("ns1/sec/sub")
	w.put("system/usr/worker", "roles=api")
	w.do(request{method: http.MethodPatch, target: "/api/cluster/config?set=cluster.ca%3Dns1/sec/trusted", by: "root"}).want(http.StatusOK)
	callers = map[string]string{}
	for i, grants := range matrixGrants {
		name := "m" + string(rune('a'+i))
		callers[name] = grants
		if grants == "" {
			w.put("system/usr/" + name)
			continue
		}
		w.put("system/usr/"+name, "grant="+grants)
	}
	w.db.fault = errFault
	return w, callers
}

func TestMatrix(t *testing.T) {
	w, callers := matrixWorld(t)
	model, inside := matrixModel(), decidedInside()
	asked := 0
	for _, r := range w.door.routes() {
		may, known := model[r.rule.says]
		_, decided := inside[r.rule.says]
		if !known && !decided {
			t.Errorf("%s: the matrix has no line for its rule %q: add one to matrixModel, or to decidedInside with the test that has it", r.id, r.rule.says)
			continue
		}
		for _, caller := range slices.Sorted(maps.Keys(callers)) {
			for _, c := range cells(r, caller, callers[caller]) {
				if !known {
					continue
				}
				asked++
				if may(c) && r.rule.says != "anyone" && strings.Contains(r.path, "{kind}") && c.grants == "" && !c.own() {
					t.Fatalf("the model lets in %+v, who holds nothing", c)
				}
				got := w.ask(r, c, r.method)
				if admitted := got != http.StatusForbidden && got != http.StatusUnauthorized; admitted != may(c) {
					t.Errorf("%s %s by %q on %q, key %q: status %d, may: %v", r.id, r.method, c.grants, c.object, c.key, got, may(c))
				}
				if r.method != http.MethodGet {
					continue
				}
				if head := w.ask(r, c, http.MethodHead); head != got {
					t.Errorf("%s by %q on %q: HEAD %d, GET %d", r.id, c.grants, c.object, head, got)
				}
			}
		}
	}
	if w.db.fault = nil; asked < 10_000 {
		t.Errorf("%d questions: is the table of routes there?", asked)
	}
}

// TestNobodyMay: who proved no name gets the same answer from every route that
// is not public, whatever is in the way.
func TestNobodyMay(t *testing.T) {
	w, _ := matrixWorld(t)
	for _, r := range w.door.routes() {
		open := r.rule.public && r.rule.check == nil
		for _, c := range cells(r, "nono", "") {
			c.caller = ""
			got := w.ask(r, c, r.method)
			if open == (got == http.StatusUnauthorized) && r.id != "login" { // which has nothing to go by here
				t.Errorf("%s on %q: status %d, public: %v", r.id, c.object, got, open)
			}
		}
	}
}

// TestModelReadsGrants keeps the second reading honest where it is subtle.
func TestModelReadsGrants(t *testing.T) {
	for _, tt := range []struct {
		grants, role, namespace string
		want                    bool
	}{
		{"", "guest", "ns1", false}, {"guest", "guest", "ns1", true}, {"guest", "operator", "ns1", false}, {"admin", "guest", "system", false},
		{"admin:*", "guest", "system", false}, {"admin:s*", "guest", "system", false}, {"admin:system", "guest", "system", true},
		{"admin:system,ns1", "admin", "ns1", true}, {"admin:n*", "admin", "ns2", true}, {"root", "admin", "system", true},
		{"squatter", "squatter", "", true}, {"squatter", "guest", "ns1", false}, {"admin", "squatter", "", false}, {"root", "squatter", "", true},
	} {
		if got := mayRole(tt.grants, tt.role, tt.namespace); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

package api

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/usr"
)

func TestNewRefuses(t *testing.T) {
	w := emptyWorld(t)
	whole := w.door.Config
	for name, without := range map[string]func(*Config){
		"authority": func(c *Config) { c.Authority = nil },
		"publisher": func(c *Config) { c.Publisher = nil },
		"objects":   func(c *Config) { c.Objects = nil },
		"identify":  func(c *Config) { c.Identify = nil },
		"log":       func(c *Config) { c.Log = nil },
		"now":       func(c *Config) { c.Now = nil },
		"status":    func(c *Config) { c.Status = nil },
		"ready":     func(c *Config) { c.Ready = nil },
	} {
		c := whole
		without(&c)
		if _, err := New(c); err == nil {
			t.Errorf("New without %s", name)
		}
		if _, err := Public(c); err == nil {
			t.Errorf("Public without %s", name)
		}
	}
}

func TestRouterRefuses(t *testing.T) {
	d := &door{}
	good := route{
		method: http.MethodGet, path: "/x", rule: authenticated(), id: "x", about: "X.", answer: answer{status: http.StatusOK},
		handle: func(context.Context, *call) (response, error) { return response{}, nil },
	}
	if _, err := d.router([]route{good}); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*route){
		"rule":    func(r *route) { r.rule = rule{says: "nobody said"} },
		"handler": func(r *route) { r.handle = nil },
		"id":      func(r *route) { r.id = "" },
		"about":   func(r *route) { r.about = "" },
		"answer":  func(r *route) { r.answer = answer{} },
		"limit":   func(r *route) { r.body = body{media: mediaJSON} },
	} {
		bad := good
		spoil(&bad)
		if _, err := d.router([]route{bad}); err == nil {
			t.Errorf("a route without %s got into the router", name)
		}
	}
	if _, err := d.router([]route{good, good}); err == nil {
		t.Error("a route is there twice")
	}
}

// probe is a request to a route that goes no further than the rule: the object
// to be changed does not exist, or the body is not what it should be.
func probe(r route) request {
	object := "ns1/sec/web"
	if r.method != http.MethodGet {
		object = "ns1/sec/absent"
	}
	target := strings.NewReplacer("{namespace}/{kind}/{name}", object, "{serial}", "abc", "{profile}", "goroutine", "/crl/{name}", "/crl/ca", "{request}", "AAAA", "{node}", "_").Replace(r.path)
	if r.id == "getData" || r.id == "getKey" {
		target += "?name=color"
	}
	return request{method: r.method, target: target, body: "{", media: "text/wrong"}
}

// TestWhoMay is every route by every kind of caller, with the answer written
// out: an object of namespace ns1 where the route has one.
func TestWhoMay(t *testing.T) {
	const everyone = "nobody none guest guest1 operator1 admin1 adminall adminsys squatter root"
	const users = "none guest guest1 operator1 admin1 adminall adminsys squatter root"
	const readers = "guest guest1 operator1 admin1 adminall root"
	const changers = "admin1 adminall root"
	may := map[string]string{
		"whoami": users, "authWhoami": users,
		"previewSigning": users, "previewCertificate": changers,
		"signCertificate": users, "listCertificates": users, "getCertificateRecord": users, "getCA": users, "revokeSerial": users, // and of those whoever may change the owner
		"healthz": everyone, "readyz": everyone, "caPEM": everyone, "getCRL": everyone, "getCRLPEM": everyone, "postOCSP": everyone, "getOCSP": everyone, "authInfo": everyone, "openapi": everyone, "docs": everyone,
		"metrics":   "guest guest1 operator1 admin1 adminall adminsys root",
		"listPaths": users, "listObjects": users, "listBreaks": users, "getObject": readers,
		"createObject": changers, "deleteObject": changers, "purgeObject": changers,
		"listNodes": "root", "nodeInfo": "guest guest1 operator1 admin1 adminall adminsys squatter root", "pingNode": "root", "restartNode": "root", "askNode": "root", "nodeTask": "root",
		"clusterToken": "root", "clusterJoin": everyone, "removeMember": "root", // a token: also who holds join, see TestClusterToken
		"listMembers": "guest guest1 operator1 admin1 adminall adminsys root", "clusterStatus": "guest guest1 operator1 admin1 adminall adminsys root",
		"getConfigFile": readers, "postConfigFile": changers, "putConfigFile": changers,
		"getConfig": readers, "patchConfig": changers, "validateConfig": readers,
		"getClusterConfig": "guest adminall root", "patchClusterConfig": "root",
		"getClusterConfigFile": "root", "putClusterConfigFile": "root",
		"listKeywords": users,
		"unlockUser":   changers,
		"getData":      changers, "patchData": changers, "getKey": changers, "addKey": changers, "changeKey": changers, "removeKey": changers, "listKeys": readers,
		"getCertificate": readers, "createCertificate": changers, "renewCertificate": changers, "signingRequest": changers, "pkcs12": "root", "adoptCluster": "root", "getHistory": "root", "rollback": "root",
		"revokeCertificate": changers,
		"listCRLs":          "guest guest1 operator1 admin1 adminall adminsys root", "refreshCRL": "root",
		"login": everyone, "logout": everyone, "askOpenID": everyone, "loginOpenID": everyone, "listSessions": users, "revokeSessions": users, "revokeSession": users, "canI": users, // each their own
		"verifyRequest":     "",                            // to none of these, who come by certificate or socket: see TestVerify
		"issueForeignToken": users, "getForeignKey": users, // see TestWhoMayIssueForeign
		"issueToken":   "guest guest1 operator1 admin1 adminall adminsys squatter root", // who holds no grant has none to put in one
		"refreshToken": "",                                                              // to none of these, who have no refresh token: see TestRefreshToken
		"listTokens":   users, "revokeTokens": users, "revokeToken": users,              // each their own
		"rotateTokenKey": "root", "verifyToken": "root", "jwks": everyone, "tokenDiscovery": everyone,
		"changeOwnPassword": "none guest guest1 operator1 admin1 adminall adminsys squatter", // each their own: see TestOwnPassword
		"doctor":            "guest guest1 operator1 admin1 adminall adminsys root",          // each what they may read
		"listAudit":         "root",
		"daemonStatus":      "guest guest1 operator1 admin1 adminall adminsys root", "stopDaemon": "root", "acceptRollback": "root", "restartDaemon": "root", "backup": "root", "getProfile": "root",
	}
	w := newWorld(t)
	for _, r := range w.door.routes() {
		if _, said := may[r.id]; !said {
			t.Errorf("%s: nobody said who may", r.id)
			continue
		}
		got := []string{}
		for caller := range strings.FieldsSeq(everyone) {
			req := probe(r)
			if caller != "nobody" {
				req.by = caller
			}
			switch res := w.do(req); {
			case res.status == http.StatusForbidden && caller != "nobody", res.status == http.StatusUnauthorized && (caller == "nobody" || r.id == "refreshToken"):
			case res.status == http.StatusForbidden || res.status == http.StatusUnauthorized || res.status == http.StatusInternalServerError:
				t.Errorf("%s: status %d", res.what, res.status)
			default:
				got = append(got, caller)
			}
		}
		if diff := cmp.Diff(strings.Fields(may[r.id]), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.id, diff)
		}
		delete(may, r.id)
	}
	for id := range may {
		t.Errorf("%s: there is no such route", id)
	}
}

// TestWhoMayElsewhere is what the namespace system, users and the user itself change.
func TestWhoMayElsewhere(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		method, target string
		may            string // of guest adminall adminsys guest1 boss
	}{
		{"GET", "/api/object/path/system/sec/ca", "adminsys boss"},
		{"GET", "/api/object/path/system/sec/ca/data/key?name=certificate", "boss"},
		{"GET", "/api/object/path/system/sec/ca/data/key?name=private_key", "boss"},
		{"POST", "/api/object/path/system/sec/ca/certificate/pkcs12", "boss"},
		{"PATCH", "/api/object/path/system/sec/ca/config?set=cn=x%20y%20%3D&unset=a", "boss"},
		{"GET", "/api/object/path/system/usr/guest1", "adminsys guest1 boss"},
		{"GET", "/api/object/path/system/usr/guest1/certificate", "adminsys guest1 boss"},
		{"GET", "/api/object/path/system/usr/guest1/data/key?name=private_key", "guest1 boss"},
		{"GET", "/api/object/path/system/usr/guest1/data/key?name=fullpem", "guest1 boss"},
		{"GET", "/api/object/path/system/usr/guest1/data/key?name=certificate_chain", "adminsys guest1 boss"},
		{"GET", "/api/object/path/system/usr/guest1/data/key?name=password", ""},
		{"GET", "/api/object/path/system/usr/guest1/data?name=certificate&name=private_key", "guest1 boss"},
		{"POST", "/api/object/path/system/usr/guest1/certificate/pkcs12", "guest1 boss"},
		{"POST", "/api/object/path/system/usr/guest1/certificate/revoke", "guest1 boss"}, // adminsys lacks guest:ns1
		{"POST", "/api/object/path/system/usr/none/certificate/revoke", "adminsys boss"},
		{"POST", "/api/object/path/system/sec/cert/certificate/revoke", "boss"},
		{"PATCH", "/api/object/path/system/usr/guest1/config", "boss"},              // adminsys lacks guest:ns1
		{"PUT", "/api/object/path/system/usr/guest1/data/key", "boss"},              //
		{"PUT", "/api/object/path/system/usr/none/data/key", "adminsys boss"},       // who holds nothing
		{"PUT", "/api/object/path/system/usr/boss/data/key", "boss"},                //
		{"POST", "/api/object/path/system/usr/absent/certificate", "adminsys boss"}, //
		{"POST", "/api/object/path/system/sec/absent/certificate", "boss"},          //
		{"POST", "/api/object/path/new/sec/x", "boss"},                              // a namespace that does not exist
		{"GET", "/api/object/path/ns1/cfg/plain/data/key?name=motd", "guest adminall guest1 boss"},
		{"GET", "/api/object/path/ns1/sec/web/data/key?name=private_key", "boss"},
	} {
		var got []string
		for _, caller := range []string{"guest", "adminall", "adminsys", "guest1", "boss"} {
			res := w.do(request{method: tt.method, target: tt.target, by: caller, body: "{", media: "text/wrong"})
			if tt.method == http.MethodGet || !slices.Contains([]int{http.StatusOK, http.StatusNoContent}, res.status) {
				if res.status == http.StatusInternalServerError {
					t.Errorf("%s: %s", res.what, res.body)
				}
			} else {
				t.Errorf("%s: status %d: the probe changed something", res.what, res.status)
			}
			if res.status != http.StatusForbidden {
				got = append(got, caller)
			}
		}
		if diff := cmp.Diff(strings.Fields(tt.may), got, cmp.Transformer("set", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.method, tt.target, diff)
		}
	}
}

func TestUnauthenticatedSaysNothing(t *testing.T) {
	w := newWorld(t)
	var first []byte
	for _, target := range []string{"/whoami", "/api/object/path/ns1/sec/web", "/api/object/path/ns1/sec/absent", "/api/object/path/UPPER/x/y", "/api/daemon/status"} {
		res := w.do(request{target: target, header: map[string]string{"X-Request-Id": "same"}})
		res.refused(http.StatusUnauthorized)
		if res.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", target)
		}
		if first == nil {
			first = res.body
		}
		if !bytes.Equal(first, res.body) || bytes.Contains(res.body, []byte("secret reason")) {
			t.Errorf("%s: %s, elsewhere %s", target, res.body, first)
		}
	}
	if log := w.log.take(); !strings.Contains(log, "the secret reason") {
		t.Errorf("the log does not say why: %s", log)
	}
	w.do(request{target: "/whoami", by: "broken"}).refused(http.StatusInternalServerError, "went wrong inside")
}

func TestNoSuchRoute(t *testing.T) {
	w := newWorld(t)
	for _, target := range []string{"/", "/nothing", "/whoami/", "//whoami", "/api/object/path/ns1/sec", "/api/../whoami", "/debug/pprof/", "/api/object/path/ns1/sec/web/"} {
		w.do(request{target: target, by: "root"}).refused(http.StatusNotFound)
	}
	for _, tt := range []struct{ method, target, allow string }{
		{"POST", "/whoami", "GET, HEAD"},
		{"OPTIONS", "/whoami", "GET, HEAD"},
		{"DELETE", "/api/object/path/ns1/sec/web", "GET, HEAD, POST"},
		{"GET", "/api/object/path/ns1/sec/web/action/delete", "POST"},
		{"PATCH", "/api/object/path/ns1/sec/web/data/key", "GET, HEAD, POST, PUT, DELETE"},
		{"TRACE", "/healthz", "GET, HEAD"},
	} {
		res := w.do(request{method: tt.method, target: tt.target, by: "root"})
		res.refused(http.StatusMethodNotAllowed, tt.method)
		if got := res.header.Get("Allow"); got != tt.allow {
			t.Errorf("%s %s: Allow is %q, want %q", tt.method, tt.target, got, tt.allow)
		}
	}
}

func TestHead(t *testing.T) {
	w := newWorld(t)
	get := w.do(request{target: "/ca.pem"}).want(http.StatusOK)
	head := w.do(request{method: http.MethodHead, target: "/ca.pem"}).want(http.StatusOK)
	if len(head.body) != 0 || head.header.Get("Content-Length") != get.header.Get("Content-Length") {
		t.Errorf("HEAD has %d bytes and Content-Length %q, GET %q", len(head.body), head.header.Get("Content-Length"), get.header.Get("Content-Length"))
	}
}

func TestAddress(t *testing.T) {
	w := newWorld(t)
	for target, word := range map[string]string{
		"/api/object/path/NS1/sec/web":                        "upper case",
		"/api/object/path/ns1/foo/web":                        "kind",
		"/api/object/path/ns1/sec/a_b":                        "only letters",
		"/api/object/path/ns1/sec/a%2Fb":                      "invalid path",
		"/api/object/path/ns1/sec/..":                         "invalid path",
		"/api/object/path/ns1/sec/%00":                        "invalid path",
		"/api/object/path/root/ccfg/other":                    "ccfg",
		"/api/object/path/ns1/sec/node":                       "reserved",
		"/api/object/path/ns1/sec/" + strings.Repeat("a", 64): "63",
		"/api/object/path/ns1/sec/web?x=1":                    `unknown parameter "x"`,
		"/api/object/path?path=a/b/c/d":                       "path",
		"/api/object/path?path=a&path=b":                      "2 times",
		"/api/object/path?path=%zz":                           "query",
		"/api/certificate/xyz":                                "serial",
		"/api/keyword?kind=foo":                               "kind",
		"/api/keyword?kind=sec&kw=gramt":                      "unknown keyword",
	} {
		w.do(request{target: target, by: "root"}).refused(http.StatusBadRequest, word)
	}
}

func TestWhoami(t *testing.T) {
	w := newWorld(t)
	for by, want := range map[string]string{
		"root":   `{"auth":"ux","grant":{"root":null},"name":"root","namespace":"system","raw_grant":"root"}`,
		"admin1": `{"auth":"x509","grant":{"admin":["ns1"]},"name":"admin1","namespace":"system","raw_grant":"admin:ns1"}`,
		"none":   `{"auth":"x509","grant":{},"name":"none","namespace":"system","raw_grant":""}`,
	} {
		for _, target := range []string{"/whoami", "/api/auth/whoami"} {
			if got := strings.TrimSpace(string(w.do(request{target: target, by: by}).want(http.StatusOK).body)); got != want {
				t.Errorf("%s: %s, want %s", target, got, want)
			}
		}
	}
}

func TestGuestSomewhere(t *testing.T) {
	if err := guestSomewhere(usr.Caller{}); err == nil {
		t.Error("nobody is somebody")
	}
}

package api

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"omca/internal/wire"
	"omca/usr/token"
)

// TestEveryRoute takes each route of the table once to its end. The world
// checks each answer against the document.
func TestEveryRoute(t *testing.T) {
	w := newWorld(t)
	w.external = []wire.ExternalList{{Source: "http://crl.mycorp", State: "fresh"}}
	serial := into[wire.CertificateList](w.do(request{target: "/api/certificate", by: "root"})).Items[0].Serial
	const web = at + "ns1/sec/web"
	const file = "[DEFAULT]\no = MyCorp\n"
	w.put("system/usr/script", "roles=api")
	w.do(request{method: http.MethodPost, target: at + "system/usr/none/data/key?name=password", by: "root", body: thePassword, media: mediaAny}).want(http.StatusNoContent)
	once := []struct {
		id string
		request
	}{
		{"whoami", request{target: "/whoami"}},
		{"authWhoami", request{target: "/api/auth/whoami"}},
		{"verifyRequest", request{target: "/api/auth/verify", by: "basic"}},
		{"signCertificate", request{method: "POST", target: "/api/certificate", body: asJSON(t, wire.SignRequest{CSR: csr(t, "a.clu.mycorp", "a.clu.mycorp")})}},
		{"previewSigning", request{method: "POST", target: "/api/certificate/preview", body: asJSON(t, wire.SignRequest{CSR: csr(t, "a.clu.mycorp", "a.clu.mycorp")})}},
		{"previewCertificate", request{method: "POST", target: web + "/certificate/preview", body: `{}`}},
		{"listCertificates", request{target: "/api/certificate?expiring=1y"}},
		{"getCertificateRecord", request{target: "/api/certificate/" + serial}},
		{"getCA", request{target: "/api/ca"}},
		{"revokeSerial", request{method: "POST", target: "/api/certificate/" + serial + "/revoke", body: `{"reason":"keyCompromise"}`}},
		{"getCRL", request{target: "/crl/ca.crl"}},
		{"getCRLPEM", request{target: "/crl/ca.pem"}},
		{"postOCSP", request{method: "POST", target: "/ocsp", body: "request", media: "application/ocsp-request"}},
		{"getOCSP", request{target: "/ocsp/AAAA"}},
		{"listCRLs", request{target: "/api/crl"}},
		{"refreshCRL", request{method: "POST", target: "/api/crl/refresh", body: `{"source":"http://crl.mycorp"}`}},
		{"healthz", request{target: "/healthz"}},
		{"readyz", request{target: "/readyz"}},
		{"caPEM", request{target: "/ca.pem"}},
		{"authInfo", request{target: "/api/auth/info"}},
		{"openapi", request{target: "/api/openapi"}},
		{"docs", request{target: "/api/docs"}},
		{"metrics", request{target: "/metrics"}},
		{"listPaths", request{target: "/api/object/path?path=**"}},
		{"listBreaks", request{target: "/api/object/breaks?path=ns1/sec/*"}},
		{"listObjects", request{target: "/api/object?path=**"}},
		{"getObject", request{target: web}},
		{"createObject", request{method: "POST", target: at + "ns1/sec/new", body: `{"keywords":["o=x"]}`}},
		{"getConfigFile", request{target: web + "/config/file"}},
		{"postConfigFile", request{method: "POST", target: at + "ns1/sec/newer/config/file", body: file, media: "text/plain"}},
		{"putConfigFile", request{method: "PUT", target: at + "ns1/sec/newer/config/file", body: file, media: "text/plain"}},
		{"getConfig", request{target: web + "/config?kw=cn"}},
		{"patchConfig", request{method: "PATCH", target: web + "/config?set=o%3Dx"}},
		{"validateConfig", request{target: web + "/config/validate"}},
		{"getClusterConfig", request{target: "/api/cluster/config"}},
		{"patchClusterConfig", request{method: "PATCH", target: "/api/cluster/config?set=cluster.vip%3D192.0.2.1"}},
		{"getClusterConfigFile", request{target: "/api/cluster/config/file"}},
		{"putClusterConfigFile", request{method: "PUT", target: "/api/cluster/config/file", body: "[cluster]\nname = clu\nid = 0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a\n", media: "text/plain"}},
		{"unlockUser", request{method: "POST", target: at + "system/usr/guest/action/unlock"}},
		{"listKeywords", request{target: "/api/keyword?kind=usr"}},
		{"getData", request{target: web + "/data?name=color"}},
		{"patchData", request{method: "PATCH", target: web + "/data", body: `[{"action":"add","name":"k","string":"v"}]`}},
		{"getKey", request{target: web + "/data/key?name=color"}},
		{"addKey", request{method: "POST", target: web + "/data/key?name=x", body: "x", media: "application/octet-stream"}},
		{"changeKey", request{method: "PUT", target: web + "/data/key?name=x", body: "y", media: "application/octet-stream"}},
		{"removeKey", request{method: "DELETE", target: web + "/data/key?name=x"}},
		{"listKeys", request{target: web + "/data/keys"}},
		{"getCertificate", request{target: at + "system/sec/cert/certificate"}},
		{"createCertificate", request{method: "POST", target: web + "/certificate", body: `{}`}},
		{"renewCertificate", request{method: "POST", target: web + "/certificate/renew", body: `{"rekey":true}`}},
		{"revokeCertificate", request{method: "POST", target: web + "/certificate/revoke"}},
		{"signingRequest", request{method: "POST", target: web + "/certificate/signing-request"}},
		{"pkcs12", request{method: "POST", target: web + "/certificate/pkcs12", body: `{"password":"x"}`}},
		{"deleteObject", request{method: "POST", target: web + "/action/delete"}},
		{"purgeObject", request{method: "POST", target: at + "ns1/cfg/plain/action/purge"}},
		{"listNodes", request{target: "/api/node"}},
		{"nodeInfo", request{target: "/api/node/info"}},
		{"pingNode", request{target: "/api/node/name/node1/ping"}},
		{"restartNode", request{method: "POST", target: "/api/node/name/node1/daemon/action/restart"}},
		{"askNode", request{method: "POST", target: "/api/node/name/node1/daemon/action/drain"}},
		{"nodeTask", request{target: "/api/node/name/node1/daemon/action"}},
		{"clusterToken", request{method: "POST", target: "/api/cluster/token", body: `{"duration":"10m"}`}},
		{"clusterJoin", request{method: "POST", target: "/api/cluster/join", body: joinBody}},
		{"listMembers", request{target: "/api/cluster/member"}},
		{"clusterStatus", request{target: "/api/cluster/status"}},
		{"removeMember", request{method: "DELETE", target: "/api/cluster/member/node2"}},
		{"login", request{method: "POST", target: "/api/auth/login", body: `{"name":"guest","password":"correct horse"}`}},
		{"askOpenID", request{method: "POST", target: "/api/auth/openid", body: `{"redirect_uri":"https://clu/login/openid/callback"}`}},
		{"loginOpenID", request{method: "POST", target: "/api/auth/openid/login", body: `{"redirect_uri":"https://clu/login/openid/callback","state":"s","nonce":"n","verifier":"v","query":"state=s&code=c"}`}},
		{"logout", request{method: "POST", target: "/api/auth/logout"}},
		{"changeOwnPassword", request{method: "POST", target: "/api/auth/password", by: "none", body: `{"current":"` + thePassword + `","password":"another horse"}`}},
		{"listSessions", request{target: "/api/session?user=guest"}},
		{"revokeSession", request{method: "POST", target: "/api/session/" + w.aSession("guest") + "/revoke"}},
		{"revokeSessions", request{method: "POST", target: "/api/session/revoke?user=guest"}},
		{"canI", request{target: "/api/auth/can-i?verb=read&path=ns1/sec/web"}},
		{"issueToken", request{method: "POST", target: "/api/auth/token?subject=guest&refresh=true"}},
		{"refreshToken", request{method: "POST", target: "/api/auth/refresh", header: map[string]string{"Authorization": "Bearer " + w.aToken("guest", token.Refresh).Token}}},
		{"listTokens", request{target: "/api/token"}},
		{"issueForeignToken", request{method: "POST", target: "/api/token/profile/clustercockpit", body: `{"subject":"script","duration":"2000h"}`}},
		{"getForeignKey", request{target: "/api/token/profile/clustercockpit/key"}},
		{"revokeToken", request{method: "POST", target: "/api/token/" + w.aToken("guest", token.Access).ID + "/revoke"}},
		{"revokeTokens", request{method: "POST", target: "/api/token/revoke?subject=guest"}},
		{"verifyToken", request{method: "POST", target: "/api/token/verify", body: `{"token":"` + w.aToken("guest", token.Access).Token + `"}`}},
		{"rotateTokenKey", request{method: "POST", target: "/api/token/rotate-key"}},
		{"jwks", request{target: "/.well-known/jwks.json"}},
		{"tokenDiscovery", request{target: "/.well-known/openid-configuration"}},
		{"daemonStatus", request{target: "/api/daemon/status"}},
		{"adoptCluster", request{method: "POST", target: at + "system/sec/ca/import", body: asJSON(t, adoption(t, w.now.Add(-time.Hour), "adopted"))}},
		{"backup", request{method: "POST", target: "/api/backup", body: `{"recipient":"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}`}},
		{"getHistory", request{target: at + "system/sec/ca/certificate/history"}},
		{"rollback", request{method: "POST", target: at + "system/sec/ca/certificate/rollback"}},
		{"doctor", request{target: "/api/doctor"}},
		{"listAudit", request{target: "/api/audit?limit=7"}},
		{"stopDaemon", request{method: "POST", target: "/api/daemon/action/stop"}},
		{"acceptRollback", request{method: "POST", target: "/api/daemon/action/accept-rollback"}},
		{"restartDaemon", request{method: "POST", target: "/api/daemon/action/restart"}},
		{"getProfile", request{target: "/debug/pprof/goroutine"}},
	}
	left := map[string]route{}
	for _, r := range w.door.routes() {
		left[r.id] = r
	}
	for _, o := range once {
		if o.by == "" {
			o.by = "root"
		}
		if r, ok := left[o.id]; ok {
			w.do(o.request).want(r.answer.status)
		} else {
			t.Errorf("%s is no route", o.id)
		}
		delete(left, o.id)
	}
	for id := range left {
		t.Errorf("%s: nothing takes this route to its end", id)
	}
	if w.stopped != 1 {
		t.Errorf("the daemon was asked %d times to stop", w.stopped)
	}
}

// TestDocumentNames: what a client generator makes of the document must not
// change by accident.
func TestDocumentNames(t *testing.T) {
	w := emptyWorld(t)
	doc := into[document](w.do(request{target: "/api/openapi"}).want(http.StatusOK))
	if doc.OpenAPI != "3.1.0" || doc.Info.Version != "1.2.3" {
		t.Errorf("document %s of version %s", doc.OpenAPI, doc.Info.Version)
	}
	open := []string{}
	for path, operations := range doc.Paths {
		for method, op := range operations {
			if len(op.Security) == 0 {
				open = append(open, method+" "+path)
			}
			if n := len(op.Security); n != 0 && n != len(doc.Components.SecuritySchemes) {
				t.Errorf("%s %s: %d ways to prove a name, of %d", method, path, n, len(doc.Components.SecuritySchemes))
			}
			if !strings.Contains(op.Description, "Who may: ") || op.Responses["default"].Content[mediaProblem].Schema.Ref == "" {
				t.Errorf("%s %s does not say who may, or what a problem is", method, path)
			}
		}
	}
	if len(open) != 19 {
		t.Errorf("open to everyone: %q", open)
	}
}

func TestSchemaRefuses(t *testing.T) {
	type nameless struct{ X int }
	type strange struct {
		X chan int `json:"x"`
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[nameless](), reflect.TypeFor[strange]()} {
		if _, err := make(schemas).of(typ); err == nil {
			t.Errorf("%s has a schema", typ)
		}
	}
}

func TestDocsPage(t *testing.T) {
	w := emptyWorld(t)
	res := w.do(request{target: "/api/docs"}).want(http.StatusOK)
	page := string(res.body)
	for _, r := range w.door.routes() {
		if !strings.Contains(page, r.method+" "+r.path) {
			t.Errorf("the page lacks %s %s", r.method, r.path)
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "http://") || strings.Contains(page, "https://") {
		t.Error("the page has a script, or needs another host")
	}
	policy := res.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || !strings.Contains(page, "<style>"+docsStyle+"</style>") {
		t.Errorf("policy %q does not go with the style of the page", policy)
	}
}

package api

import (
	"net/http"
	"strings"
	"testing"
)

// TestPolicyOutlivesItsObject: the names that a CA denies do not end with its object while a
// CA below it signs: neither by deletion, nor made anew, nor by taking its chain away.
func TestPolicyOutlivesItsObject(t *testing.T) {
	w := newWorld(t)
	const parent, below = "/api/object/path/system/sec/ca-p", "/api/object/path/system/sec/ca-s"
	w.put("system/sec/ca-p", "profile=ca", "cn=P")
	w.issue("system/sec/ca-p")
	w.put("system/sec/ca-s", "profile=ca", "cn=S", "ca=system/sec/ca-p")
	w.issue("system/sec/ca-s")
	w.do(request{method: http.MethodPatch, target: parent + "/config?set=deny_names%3D*.bank.lan", by: "root"}).want(http.StatusOK)
	ways := map[string]request{
		"deleted":   {method: http.MethodPost, target: parent + "/action/delete", by: "root"},
		"made anew": {method: http.MethodPost, target: parent, by: "root", body: `{"force":true,"keywords":["profile=ca"]}`},
		"its chain": {method: http.MethodDelete, target: parent + "/data/key?name=certificate_chain", by: "root"},
		"its keys":  {method: http.MethodPost, target: parent + "/action/delete?destroy_key=true", by: "root"},
	}
	for name, r := range ways {
		if got := w.do(r); got.status != http.StatusConflict || !strings.Contains(string(got.body), "system/sec/ca-s") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	w.put("ns1/sec/b", "cn=b.bank.lan", "ca=system/sec/ca-s")
	w.do(request{method: http.MethodPost, target: "/api/object/path/ns1/sec/b/certificate", by: "root"}).want(http.StatusForbidden)
	w.do(request{method: http.MethodPost, target: below + "/action/delete", by: "root"}).want(http.StatusOK)
	w.do(ways["deleted"]).want(http.StatusOK)
}

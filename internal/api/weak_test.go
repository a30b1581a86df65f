package api

import (
	"net/http"
	"strings"
	"testing"
)

// TestWeakPassword: a password that is guessed first is refused, by each way that sets one. Root may have it taken, and is told.
func TestWeakPassword(t *testing.T) {
	w := newWorld(t)
	path := at + "system/usr/none"
	set := func(by, query, password string) result {
		return w.do(request{method: http.MethodPost, target: path + "/data/key?name=password" + query, by: by, body: password, media: mediaAny})
	}
	patch := func(by, more, password string) result {
		return w.do(request{method: http.MethodPatch, target: path + "/data", by: by, body: `[{"action":"add","name":"password","string":"` + password + `"` + more + `}]`})
	}
	set("root", "", "short").refused(http.StatusBadRequest, "at least 8 characters are wanted, it has 5")
	set("adminsys", "", "password1").refused(http.StatusBadRequest, "guessed first")
	set("adminsys", "", "none1234").refused(http.StatusBadRequest, "the name of the user")
	set("adminsys", "", "clu-2026").refused(http.StatusBadRequest, "the name of the user, of the cluster")
	patch("adminsys", "", "12345678").refused(http.StatusBadRequest, "a run of neighbours")
	set("adminsys", "&weak=true", "short").refused(http.StatusForbidden, "a weak password")
	patch("adminsys", `,"weak":true`, "short").refused(http.StatusForbidden, "a weak password")
	w.alter("cluster", "cluster.min_password=14")
	set("adminsys", "", "correct horse").refused(http.StatusBadRequest, "at least 14 characters are wanted, it has 13")
	w.alter("cluster", "cluster.min_password=3") // 8 at least
	set("adminsys", "", "1234567").refused(http.StatusBadRequest, "at least 8")
	if res := set("root", "&weak=true", "short").want(http.StatusNoContent); !strings.Contains(res.header.Get("Omca-Notice"), "this password is weak") {
		t.Errorf("notice %q", res.header.Get("Omca-Notice"))
	}
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/data/key?name=k&weak=true", by: "root", body: "v", media: mediaAny}).refused(http.StatusBadRequest, "hashed and weak go with")
}

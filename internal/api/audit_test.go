package api

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"omca/internal/wire"
)

func TestAuditTrail(t *testing.T) {
	w := newWorld(t)
	w.trail = []wire.AuditLine{{Time: w.now, Level: "INFO", Event: "issued", Fields: map[string]string{"by": "root"}}, {Time: w.now.Add(time.Second), Level: "INFO", Event: "denied", Fields: map[string]string{}}}
	for query, want := range map[string]string{"": "[issued denied]", "?limit=1": "[denied]", "?limit=1000": "[issued denied]"} {
		var got []string
		for _, l := range into[wire.AuditLines](w.do(request{target: "/api/audit" + query, by: "root"}).want(http.StatusOK)).Items {
			got = append(got, l.Event)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%q: %v, want %s", query, got, want)
		}
	}
	for _, limit := range []string{"0", "-1", "1001", "x"} {
		w.do(request{target: "/api/audit?limit=" + limit, by: "root"}).refused(http.StatusBadRequest, "limit")
	}
	// Who did what to which objects is nobody's business but root's.
	for _, by := range []string{"adminall", "adminsys", "guest", "none"} {
		w.do(request{target: "/api/audit", by: by}).refused(http.StatusForbidden)
	}
}

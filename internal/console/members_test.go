package console_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"omca/internal/console"
	"omca/internal/wire"
)

// TestMembers shows a cluster of three, of which one is not there: the API is a
// real one but for what it says of the members.
func TestMembers(t *testing.T) {
	w := newWorld(t)
	boss := w.as(t, "boss")
	boss.get("/").want(200).without("Members of the cluster")
	members := wire.MemberList{Kind: "MemberList", Items: []wire.ClusterMember{
		{Node: "n1", URL: "https://n1:1216", State: "leader", Serial: strings.Repeat("ab", 16)}, {Node: "n2", URL: "https://n2:1216", State: "member"}, {Node: "n3", State: "awaited"},
	}}
	status := wire.ClusterStatus{Node: "n2", Leader: "n1", Members: 3, State: "member", InUseBytes: 3 << 20, QuotaBytes: 2 << 30, Behind: 7, Warnings: []string{"n3 does not answer"}}
	next := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: w.address})
	next.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // of this test
	handler := must(console.New(console.Config{Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), API: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/cluster/member":
			_ = json.NewEncoder(rw).Encode(members)
		case "/api/cluster/status":
			_ = json.NewEncoder(rw).Encode(status)
		default:
			next.ServeHTTP(rw, r)
		}
	})}))(t)
	for _, page := range []string{"/", "/cluster"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.address+page, nil)
		r.Header.Set("Cookie", boss.cookie)
		got := httptest.NewRecorder()
		handler.ServeHTTP(got, r)
		for _, want := range []string{"Members of the cluster", "n1 leads", "3.0 MB of 2048.0 MB", "7 changes behind", "n3 does not answer", `class="state awaited"`} {
			if got.Code != http.StatusOK || !strings.Contains(got.Body.String(), want) {
				t.Errorf("%s: %d, no %q in %s", page, got.Code, want, got.Body)
			}
		}
	}
}

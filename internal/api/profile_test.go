package api

import (
	"bytes"
	"net/http"
	"testing"
)

func TestProfiles(t *testing.T) {
	w := newWorld(t)
	for target, want := range map[string]int{
		"/debug/pprof/heap": http.StatusOK, "/debug/pprof/allocs": http.StatusOK, "/debug/pprof/cpu?seconds=1": http.StatusOK,
		"/debug/pprof/none": http.StatusNotFound, "/debug/pprof/cpu?seconds=0": http.StatusBadRequest,
		"/debug/pprof/cpu?seconds=61": http.StatusBadRequest, "/debug/pprof/cpu?seconds=x": http.StatusBadRequest,
	} {
		body := w.do(request{target: target, by: "root"}).want(want).body
		if gzip := []byte{0x1f, 0x8b}; want == http.StatusOK && !bytes.HasPrefix(body, gzip) {
			t.Errorf("%s is no profile: %.20q", target, body)
		}
	}
	w.do(request{target: "/debug/pprof/heap", by: "adminall"}).want(http.StatusForbidden)
	w.do(request{target: "/debug/pprof/heap"}).want(http.StatusUnauthorized)
}

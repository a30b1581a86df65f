package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// slowReader has something happen while the body is on its way.
type slowReader struct {
	meanwhile func()
	body      string
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.body == "" {
		return 0, io.EOF
	}
	r.meanwhile()
	n := copy(p, r.body)
	r.body = r.body[n:]
	return n, nil
}

// TestSlowBody: a request that was begun while one might does not go on when one
// may no longer.
func TestSlowBody(t *testing.T) {
	for name, tt := range map[string]struct {
		took time.Duration
		want int
	}{"at once": {0, http.StatusNoContent}, "slowly": {2 * time.Second, http.StatusForbidden}} {
		w := newWorld(t)
		body := &slowReader{body: "red", meanwhile: func() {
			w.do(request{method: http.MethodPatch, target: "/api/object/path/system/usr/admin1/config?set=grant%3Dguest:ns1", by: "root"}).want(http.StatusOK)
			w.now = w.now.Add(tt.took)
		}}
		req := httptest.NewRequest(http.MethodPut, "/api/object/path/ns1/sec/web/data/key?name=color", body)
		req.Header.Set("Content-Type", mediaAny)
		req.Header.Set(callerHeader, "admin1")
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, req)
		if rec.Code != tt.want {
			t.Errorf("%s: %d %s, want %d", name, rec.Code, rec.Body, tt.want)
		}
	}
}

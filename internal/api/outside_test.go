package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

func TestRequestID(t *testing.T) {
	w := newWorld(t)
	for given, kept := range map[string]bool{
		"abc-DEF_1.2": true, "": false, "a b": false, "a\"b": false, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "é": false,
	} {
		got := w.do(request{target: "/healthz", header: map[string]string{"X-Request-Id": given}}).header.Get("X-Request-Id")
		if (got == given) != kept || len(got) < 10 && !kept {
			t.Errorf("of %q became %q", given, got)
		}
	}
}

func TestRecovery(t *testing.T) {
	w := newWorld(t)
	w.door.metrics = must(newMetrics(w.door.Config))(t)
	h := w.door.outside(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			rw.WriteHeader(http.StatusOK)
		}
		panic("the secret panic")
	}))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	result{t: t, what: "panic", status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}.refused(http.StatusInternalServerError)
	if strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("the panic left: %s", rec.Body)
	}
	if log := w.log.take(); !strings.Contains(log, `"msg":"panic"`) || !strings.Contains(log, rec.Header().Get("X-Request-Id")) {
		t.Errorf("log %s", log)
	}
	rec = httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/late", nil))
	if rec.Code != http.StatusOK || rec.Body.Len() != 0 {
		t.Errorf("a late panic answered %d %q", rec.Code, rec.Body)
	}
}

// TestBodyOfUnknownLength: a limit holds without a Content-Length too, and a
// body that breaks off is no body.
func TestBodyOfUnknownLength(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		body   io.Reader
		status int
	}{
		{io.MultiReader(strings.NewReader(strings.Repeat("x", limitCSR+1))), http.StatusRequestEntityTooLarge},
		{io.MultiReader(strings.NewReader(`{"csr":`), failing{}), http.StatusBadRequest},
	} {
		req := httptest.NewRequest(http.MethodPost, "/api/certificate", tt.body)
		req.ContentLength = -1
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(callerHeader, "root")
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, req)
		if rec.Code != tt.status {
			t.Errorf("status %d, want %d: %s", rec.Code, tt.status, rec.Body)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cut") }

// TestUnreadBody: who may not, does not get a body read.
func TestUnreadBody(t *testing.T) {
	w := newWorld(t)
	body := &counting{}
	req := httptest.NewRequest(http.MethodPut, at+"ns1/sec/web/data/key?name=x", body)
	req.Header.Set(callerHeader, "guest1")
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, req)
	if rec.Code != http.StatusForbidden || body.reads != 0 {
		t.Errorf("status %d after %d reads", rec.Code, body.reads)
	}
}

type counting struct{ reads int }

func (c *counting) Read(p []byte) (int, error) {
	c.reads++
	return len(p), nil
}

func TestStatusOf(t *testing.T) {
	d := &door{Config: Config{Full: never, Down: never}}
	for _, tt := range []struct {
		err  error
		want int
	}{
		{usr.ErrUnauthenticated, 401}, {usr.ErrDenied, 403}, {pki.ErrNotAllowed, 403}, {fmt.Errorf("%w: %w", usr.ErrDenied, ca.ErrInvalid), 403},
		{ca.ErrNotFound, 404}, {errNoRoute, 404}, {errMethod, 405}, {ca.ErrConflict, 409}, {registry.ErrExists, 409},
		{errTooLarge, 413}, {registry.ErrKeyTooLarge, 413}, {errMediaType, 415}, {errBadRequest, 400}, {ca.ErrInvalid, 400}, {pki.ErrInvalid, 400}, {usr.ErrInvalid, 400},
		{context.Canceled, 503}, {context.DeadlineExceeded, 503}, {errNotReady, 503}, {errors.New("x"), 500},
	} {
		if got := d.statusOf(fmt.Errorf("trying: %w", tt.err)); got != tt.want {
			t.Errorf("%v: status %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestProblem(t *testing.T) {
	d := &door{Config: Config{Full: never, Down: never}}
	err := hint.With(fmt.Errorf("ns1/sec/web: %w", ca.ErrConflict), "try this")
	want := wire.Problem{Type: "about:blank", Title: "Conflict", Status: 409, Detail: "ns1/sec/web: conflict", Hint: "try this", RequestID: "id"}
	if diff := cmp.Diff(want, d.problemOf(err, "id")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, secret := range []error{errors.New("secret"), fmt.Errorf("%w: secret", usr.ErrUnauthenticated), fmt.Errorf("%w: secret", errNotReady)} {
		if p := d.problemOf(hint.With(secret, "secret"), "id"); strings.Contains(p.Detail+p.Hint, "secret") {
			t.Errorf("%v left: %+v", secret, p)
		}
	}
}

func TestReady(t *testing.T) {
	w := newWorld(t)
	w.ready = errFault
	res := w.do(request{target: "/readyz"})
	res.refused(http.StatusServiceUnavailable)
	if strings.Contains(string(res.body), errFault.Error()) || res.header.Get("Retry-After") == "" {
		t.Errorf("%s, headers %v", res.body, res.header)
	}
	w.do(request{target: "/healthz"}).want(http.StatusOK)
}

func TestStopWithoutDaemon(t *testing.T) {
	w := emptyWorld(t)
	w.door.Stop = nil
	if _, err := w.door.stop(t.Context(), &call{}); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("stopping what does not run: %v", err)
	}
}

// TestAudit: one line for what was denied, changed or given away, none for plain reads, and no value in any.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	w.alter("system/usr/admin1", "o=x", "ou=y")
	for _, tt := range []struct {
		request
		lines []string // words of the one line; none means no line
	}{
		{request{target: "/whoami", by: "root"}, nil},
		{request{target: at + "ns1/sec/web", by: "guest1"}, nil},
		{request{target: "/api/object/path", by: "guest1"}, nil},
		{request{target: at + "ns1/cfg/plain/data/key?name=motd", by: "guest1"}, nil},
		{request{target: at + "ns1/sec/absent", by: "guest1"}, nil},
		{request{target: at + "ns1/sec/web/data/key?name=color", by: "admin1"},
			[]string{`"msg":"allowed"`, `"action":"getKey"`, `"path":"ns1/sec/web"`, `"status":200`, `"by":"admin1"`, `"auth":"x509"`, `"address":"192.0.2.1:1234"`, `"request_id":"`, `"key":"color"`}},
		{request{target: at + "ns1/sec/web/data/key?name=color", by: "guest1"}, []string{`"msg":"denied"`, `"by":"guest1"`, `"reason":"reading key`}},
		{request{target: "/whoami"}, []string{`"msg":"denied"`, `"status":401`, `"by":""`, `"address":"192.0.2.1:1234"`}},
		{request{method: "PATCH", target: patch("ns1/sec/web", "o=x", "ou=y"), by: "admin1"}, []string{`"msg":"allowed"`, `"action":"patchConfig"`, `"keywords":"o ou"`}},
		{request{method: "PATCH", target: patch("ns1/sec/web", "cn=x"), by: "admin1"}, []string{`"msg":"denied"`, `"reason":"setting keyword`}},
		{request{method: "POST", target: at + "ns1/sec/web/data/key?name=k", by: "admin1", body: "topsecret", media: "text/plain"}, []string{`"msg":"allowed"`, `"action":"addKey"`, `"key":"k"`}},
		{request{method: "PATCH", target: at + "ns1/sec/web/data", by: "admin1", body: `[{"action":"add","name":"l","string":"topsecret"}]`}, []string{`"msg":"allowed"`, `"keys":"l"`}},
		{request{method: "POST", target: "/api/certificate", by: "root", body: asJSON(t, wire.SignRequest{CSR: csr(t, "a.clu.mycorp", "a.clu.mycorp")})}, []string{`"msg":"issued"`, `"by":"ux:root"`, `"owner":"ux:root"`}},
		{request{method: "POST", target: "/api/certificate", by: "none", body: asJSON(t, wire.SignRequest{CSR: csr(t, "a.clu.mycorp", "a.clu.mycorp")})}, []string{`"msg":"denied"`, `"action":"signCertificate"`}},
		{request{method: "POST", target: at + "ns1/sec/web/action/delete", by: "admin1"}, []string{`"msg":"allowed"`, `"action":"deleteObject"`}},
	} {
		res := w.do(tt.request)
		log := strings.TrimSpace(w.log.take())
		lines := strings.Split(log, "\n")
		if log == "" {
			lines = nil
		}
		if want := min(1, len(tt.lines)); len(lines) != want {
			t.Errorf("%s: %d lines, want %d: %s", res.what, len(lines), want, log)
		}
		for _, word := range tt.lines {
			if !strings.Contains(log, word) {
				t.Errorf("%s: want %s in %s", res.what, word, log)
			}
		}
		if strings.Contains(log, "topsecret") || strings.Contains(log, "blue") {
			t.Errorf("%s: a value in %s", res.what, log)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.sign("root", asJSON(t, wire.SignRequest{CSR: csr(t, "a.clu.mycorp", "a.clu.mycorp")})).want(http.StatusCreated)
	w.do(request{target: "/nothing"}).want(http.StatusNotFound)
	page := string(w.do(request{target: "/metrics", by: "guest1"}).want(http.StatusOK).body)
	for _, line := range []string{
		`omca_certificates_issued_total{profile="listener"} 1`,
		`omca_http_requests_total{code="201",operation="signCertificate"} 1`,
		`omca_http_requests_total{code="404",operation="none"} 1`,
		`omca_http_request_duration_seconds_count{operation="signCertificate"} 1`,
		`omca_certificate_not_after_seconds{certificate="listener"} 1.795`,
		"omca_certificates 0", "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(page, line) {
			t.Errorf("no %s", line)
		}
	}
	for from, status := range map[string]int{"127.0.0.1:1": 200, "[::1]:1": 200, "[::ffff:127.0.0.1]:1": 200, "192.0.2.1:1": 401, "@": 401, "127.0.0.1": 401} {
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.RemoteAddr = from
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, req)
		if rec.Code != status {
			t.Errorf("from %s: status %d, want %d", from, rec.Code, status)
		}
	}
}

func TestNoticeIsOneLine(t *testing.T) {
	rec := httptest.NewRecorder()
	response{status: http.StatusNoContent}.write(rec, httptest.NewRequest(http.MethodGet, "/", nil), []string{"a\r\nSet-Cookie: x\x00", "b"})
	if got := rec.Header().Values("Omca-Notice"); len(got) != 2 || got[0] != "a\ufffd Set-Cookie: x\ufffd" {
		t.Errorf("%q", got)
	}
}

// FuzzBody sends anything to the routes that read JSON: never a 500, and never
// a change by what is not the one value expected.
func FuzzBody(f *testing.F) {
	w := newWorld(f)
	targets := []request{
		{method: http.MethodPost, target: "/api/certificate"},
		{method: http.MethodPost, target: at + "ns1/sec/fuzz"},
		{method: http.MethodPatch, target: at + "ns1/sec/web/data"},
		{method: http.MethodPost, target: at + "ns1/sec/absent/certificate/renew"},
		{method: http.MethodPost, target: at + "system/usr/guest1/certificate/pkcs12"},
		{method: http.MethodPost, target: at + "system/sec/cert/certificate/revoke"},
		{method: http.MethodPost, target: "/api/certificate/abc/revoke"},
		{method: http.MethodPost, target: "/api/crl/refresh"},
	}
	for _, seed := range []string{
		"", "{}", "[]", "null", "{", `{"csr":"-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----"}`,
		`{"keywords":["cn=x"],"config":"[DEFAULT]\ncn = y","force":true}`, `[{"action":"add","name":"a","bytes":"MQ=="}]`,
		`{"password":"x","format":"legacy"}`, `{"rekey":1e999}`, `{"reason":"keyCompromise"}`, `{"source":"http://crl.mycorp"}`, strings.Repeat("[", 1000), "{}{}", "\xff\xfe", `{"csr":"\ud800"}`,
	} {
		for i := range targets {
			f.Add(i, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, i int, body []byte) {
		r := targets[uint(i)%uint(len(targets))]
		req := httptest.NewRequest(r.method, r.target, strings.NewReader(string(body)))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(callerHeader, "root")
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, req)
		if rec.Code >= 500 || rec.Code == 401 || rec.Code == 403 {
			t.Errorf("%s %s %q: %d %s", r.method, r.target, body, rec.Code, rec.Body)
		}
	})
}

func BenchmarkWhoami(b *testing.B) {
	w := newWorld(b)
	req := httptest.NewRequest(http.MethodGet, "/whoami", nil)
	req.Header.Set(callerHeader, "admin1")
	b.ReportAllocs()
	for b.Loop() {
		w.handler.ServeHTTP(httptest.NewRecorder(), req)
	}
}

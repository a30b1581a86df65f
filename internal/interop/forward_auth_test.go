package interop_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"omca/internal/interop/lab"
)

// service is what stands behind nginx: it answers with the headers that it got.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	asked int
}

func newService(t *testing.T) *service {
	s := new(service)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "user=%q roles=%q method=%q authorization=%q token=%q body=%q",
			r.Header["X-Auth-User"], r.Header["X-Auth-Roles"], r.Header["X-Auth-Method"], r.Header["Authorization"], r.Header["X-Auth-Token"], body)
	}))
	t.Cleanup(s.Close)
	return s
}

// taken is how many requests have come through since the last time.
func (s *service) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.asked = 0 }()
	return s.asked
}

// documented is the configuration of nginx that docs/forward-auth.md shows.
func documented(t *testing.T) string {
	t.Helper()
	for _, b := range blocks(read(t, "docs/forward-auth.md")) {
		if b.kind == "nginx" {
			return b.text
		}
	}
	t.Fatal("docs/forward-auth.md shows no configuration of nginx")
	return ""
}

// startForward starts an nginx that asks the daemon about each request for the
// service, and returns its URL.
func startForward(t *testing.T, d *lab.Daemon, behind string) string {
	t.Helper()
	dir, address := filepath.Dir(d.Dir), "127.0.0.1:"+lab.FreePort(t)
	shown := documented(t)
	for from, to := range map[string]string{
		"127.0.0.1:1215": d.Address, "/etc/nginx/omca-ca.pem": d.File(t, "omca-ca.pem", d.CA(t)), "http://127.0.0.1:8080": behind,
	} {
		if !strings.Contains(shown, from) {
			t.Fatalf("the configuration of docs/forward-auth.md has no %s", from)
		}
		shown = strings.ReplaceAll(shown, from, to)
	}
	config := d.File(t, "forward.conf", fmt.Sprintf(`
daemon off; master_process on; worker_processes 1; user root; pid %[1]s/forward.pid; error_log stderr warn;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/f1; proxy_temp_path %[1]s/f2; fastcgi_temp_path %[1]s/f3; uwsgi_temp_path %[1]s/f4; scgi_temp_path %[1]s/f5;
	server {
		listen %[2]s;
%[3]s
	}
}
`, dir, address, shown))
	command := exec.Command("nginx", "-c", config, "-p", dir)
	var log strings.Builder
	command.Stderr = &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := command.Process.Signal(syscall.SIGTERM)
		if err = errors.Join(err, command.Wait()); err != nil {
			t.Errorf("nginx: %v", err)
		}
		if t.Failed() {
			t.Logf("log of nginx:\n%s", log.String())
		}
	})
	lab.Until(t, "nginx listens", func() bool {
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	})
	return "http://" + address
}

// TestForwardAuth has nginx ask the daemon about every request, as
// docs/forward-auth.md tells it to.
func TestForwardAuth(t *testing.T) {
	lab.Require(t, "nginx")
	d := lab.NewHome(t).Start(t)
	d.Run(t, "system/usr/demo", "create", "--kw", "roles=api user")
	d.Run(t, "system/usr/people", "create", "--kw", "roles=user")
	d.Run(t, "system/usr/demo", "key", "add", "--name", "password", "--from", d.File(t, "password", "correct horse battery"))
	d.Run(t, "system/usr/far", "create", "--kw", "roles=api", "--kw", "allowed_ips=192.0.2.1")
	d.Run(t, "cluster", "config", "update", "--set", "listener.trusted_proxies=127.0.0.1")
	token := func(name string) string {
		return strings.TrimSpace(d.Run(t, "token", "issue", "--profile", "clustercockpit", "--subject", name, "--quiet"))
	}
	demo, people, far := token("demo"), token("people"), token("far")
	behind := newService(t)
	front := startForward(t, d, behind.URL)

	const asDemo = `user=["demo"] roles=["api,user"] method=["jwt"] authorization=[] token=[] body=""`
	for _, tt := range []struct {
		what   string
		header []string
		want   int
		body   string
	}{
		{"nobody", nil, http.StatusUnauthorized, ""},
		{"a bearer token", []string{"Authorization", "Bearer " + demo}, http.StatusOK, asDemo},
		{"X-Auth-Token", []string{"X-Auth-Token", demo}, http.StatusOK, asDemo},
		{"a password", []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("demo:correct horse battery"))}, http.StatusOK, strings.Replace(asDemo, "jwt", "basic", 1)},
		{"somebody from elsewhere", []string{"X-Auth-Token", far}, http.StatusUnauthorized, ""},
		{"somebody who says to be elsewhere", []string{"X-Auth-Token", far, "X-Forwarded-For", "192.0.2.1", "X-Real-Ip", "192.0.2.1"}, http.StatusUnauthorized, ""},
		{"somebody without the role", []string{"X-Auth-Token", people}, http.StatusForbidden, ""},
		{"headers of one's own", []string{"X-Auth-User", "root", "X-Auth-Roles", "admin,api", "X-Auth-Method", "ux"}, http.StatusUnauthorized, ""},
		{"headers of one's own, with a token", []string{"X-Auth-Token", demo, "X-Auth-User", "root", "X-Auth-Roles", "admin", "X-Auth-Method", "ux"}, http.StatusOK, asDemo},
		{"headers twice", []string{"X-Auth-Token", demo, "X-Auth-User", "root", "X-Auth-User", "admin", "x-auth-roles", "admin"}, http.StatusOK, asDemo},
		{"headers with underscores", []string{"X-Auth-Token", demo, "X_Auth_User", "root", "X_AUTH_ROLES", "admin"}, http.StatusOK, asDemo},
		{"headers of one's own, with too little", []string{"X-Auth-Token", people, "X-Auth-Roles", "api"}, http.StatusForbidden, ""},
		{"two tokens", []string{"X-Auth-Token", people, "X-Auth-Token", demo}, http.StatusUnauthorized, ""},
		{"the first one counts", []string{"X-Auth-Token", people, "Authorization", "Bearer " + demo}, http.StatusForbidden, ""},
		{"nonsense", []string{"Authorization", "Bearer nonsense"}, http.StatusUnauthorized, ""},
		{"another host, from this machine", []string{"Host", "localhost", "X-Forwarded-For", "127.0.0.1", "X-Real-Ip", "127.0.0.1", "Forwarded", "for=127.0.0.1"}, http.StatusUnauthorized, ""},
	} {
		for _, path := range []string{"/", "/jobs?role=user", "/_omca/../", "/x/%2e%2e/y"} {
			answer := ask(t, http.MethodGet, front+path, "", tt.header)
			if answer.StatusCode != tt.want || tt.want == http.StatusOK && answer.body != tt.body {
				t.Errorf("%s, %s: status %d, %s, want %d %s", tt.what, path, answer.StatusCode, answer.body, tt.want, tt.body)
			}
			if tt.want == http.StatusUnauthorized && answer.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s, %s: 401 and no challenge", tt.what, path)
			}
			if got := behind.taken(); got > 0 != (tt.want == http.StatusOK) {
				t.Errorf("%s, %s: %d requests reached the service", tt.what, path, got)
			}
		}
	}
	if answer := ask(t, http.MethodPost, front+"/jobs", "hello", []string{"X-Auth-Token", demo}); answer.StatusCode != http.StatusOK || !strings.HasSuffix(answer.body, `body="hello"`) {
		t.Errorf("a body: status %d, %s", answer.StatusCode, answer.body)
	}
	if answer := ask(t, http.MethodGet, front+"/_omca", "", []string{"X-Auth-Token", demo}); answer.StatusCode != http.StatusNotFound {
		t.Errorf("the question itself: status %d", answer.StatusCode)
	}

	// What is taken back counts at the next request, on connections that are open too.
	d.Run(t, "token", "revoke", "--subject", "demo")
	if answer := ask(t, http.MethodGet, front+"/", "", []string{"X-Auth-Token", demo}); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a revoked token: status %d", answer.StatusCode)
	}
	again := token("demo")
	if answer := ask(t, http.MethodGet, front+"/", "", []string{"X-Auth-Token", again}); answer.StatusCode != http.StatusOK {
		t.Errorf("a new token: status %d", answer.StatusCode)
	}
	d.Run(t, "system/usr/demo", "config", "update", "--set", "roles=user")
	if answer := ask(t, http.MethodGet, front+"/", "", []string{"X-Auth-Token", again}); answer.StatusCode != http.StatusForbidden {
		t.Errorf("a role taken away: status %d", answer.StatusCode)
	}
	d.Stop(t)
	if answer := ask(t, http.MethodGet, front+"/", "", []string{"X-Auth-Token", again}); answer.StatusCode != http.StatusInternalServerError {
		t.Errorf("nobody to ask: status %d", answer.StatusCode)
	}
}

// answered is an answer, read.
type answered struct {
	*http.Response
	body string
}

// ask sends a request with these headers, spelt as they are given.
func ask(t *testing.T, method, target, body string, header []string) answered {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	r := &http.Request{Method: method, URL: u, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{answer, string(text)}
}

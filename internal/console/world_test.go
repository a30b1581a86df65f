package console_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"omca"
	"omca/internal/wire"
)

const password = "correct horse battery"

// world is a daemon with users of several rights.
type world struct {
	*omca.Server
	address string // host and port
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := omca.Open(t.Context(), omca.Config{Home: t.TempDir() + "/home", Listen: "127.0.0.1:0", NodeName: "localhost", ClusterName: "clu", Version: "1.2.3", Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan omca.Ready, 1), make(chan error, 1)
	go func() { done <- s.Run(ctx, func(r omca.Ready) { up <- r }) }()
	w := &world{Server: s}
	select {
	case r := <-up:
		w.address = r.Addresses[0]
	case err := <-done:
		t.Fatalf("run ended: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	for name, grant := range map[string]string{"none": "", "guest": "guest:ns2", "admin": "admin:ns2 guest:system", "plain": "admin:ns2", "boss": "root"} {
		w.api(t, "POST", "/api/object/path/system/usr/"+name, wire.CreateRequest{Keywords: []string{"grant=" + grant, "names=" + map[string]string{"admin": "*.clu"}[name]}})
		w.api(t, "PATCH", "/api/object/path/system/usr/"+name+"/data", []map[string]string{{"action": "add", "name": "password", "string": password}})
	}
	for _, path := range []string{"ns1/sec/web1", "ns2/sec/web2"} {
		w.api(t, "POST", "/api/object/path/"+path, wire.CreateRequest{Keywords: []string{"cn=" + path[4+len("sec/"):] + ".clu", "validity=20d"}})
		w.api(t, "POST", "/api/object/path/"+path+"/certificate", nil)
	}
	return w
}

// api calls the API as root.
func (w *world) api(t testing.TB, method, path string, body any) []byte {
	t.Helper()
	var text []byte
	if body != nil {
		text = must(json.Marshal(body))(t)
	}
	r := must(http.NewRequestWithContext(t.Context(), method, "http://omca"+path, bytes.NewReader(text)))(t)
	r.Header.Set("Content-Type", "application/json")
	answer := must(w.Transport().RoundTrip(r))(t)
	defer answer.Body.Close()
	got := must(io.ReadAll(answer.Body))(t)
	if answer.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, answer.StatusCode, got)
	}
	return got
}

// serial is that of the certificate that an object holds.
func (w *world) serial(t testing.TB, path string) string {
	t.Helper()
	var state wire.CertificateState
	if err := json.Unmarshal(w.api(t, "GET", "/api/object/path/"+path+"/certificate", nil), &state); err != nil {
		t.Fatal(err)
	}
	return state.Serial
}

// certificate is what the object holds, with its key.
func (w *world) certificate(t testing.TB, path string) tls.Certificate {
	t.Helper()
	at := "/api/object/path/" + path + "/data/key?name="
	return must(tls.X509KeyPair(w.api(t, "GET", at+"certificate_chain", nil), w.api(t, "GET", at+"private_key", nil)))(t)
}

// visitor is a browser without script: it keeps cookies and follows nothing.
type visitor struct {
	t      testing.TB
	w      *world
	client *http.Client
	cookie string
}

func (w *world) visitor(t testing.TB) *visitor {
	c := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // of this test
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 30 * time.Second,
	}
	t.Cleanup(c.CloseIdleConnections)
	return &visitor{t: t, w: w, client: c}
}

// as signs in; nobody is "".
func (w *world) as(t testing.TB, name string) *visitor {
	t.Helper()
	v := w.visitor(t)
	if name != "" {
		v.submit("/login", url.Values{"name": {name}, "password": {password}}).want(http.StatusSeeOther)
	}
	return v
}

type answer struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   string
}

func (a answer) want(status int, words ...string) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Errorf("%s: status %d, want %d: %.2000s", a.what, a.status, status, a.body)
	}
	for _, word := range words {
		if !strings.Contains(a.body, word) {
			a.t.Errorf("%s: no %q in %s", a.what, word, a.body)
		}
	}
	return a
}

func (a answer) without(words ...string) answer {
	a.t.Helper()
	for _, word := range words {
		if strings.Contains(a.body, word) {
			a.t.Errorf("%s: %q is in %s", a.what, word, a.body)
		}
	}
	return a
}

func (v *visitor) get(path string, header ...string) answer {
	v.t.Helper()
	return v.do(http.MethodGet, path, nil, append([]string{"Accept", "text/html,*/*"}, header...)...)
}

func (v *visitor) submit(path string, form url.Values, header ...string) answer {
	v.t.Helper()
	if form == nil {
		form = url.Values{}
	}
	return v.do(http.MethodPost, path, form, append([]string{"Sec-Fetch-Site", "same-origin", "Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

func (v *visitor) do(method, path string, form url.Values, header ...string) answer {
	v.t.Helper()
	r := must(http.NewRequestWithContext(v.t.Context(), method, "https://"+v.w.address+path, strings.NewReader(form.Encode())))(v.t)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if v.cookie != "" {
		r.Header.Set("Cookie", v.cookie)
	}
	got := must(v.client.Do(r))(v.t)
	defer got.Body.Close()
	body := must(io.ReadAll(got.Body))(v.t)
	for _, c := range got.Cookies() {
		v.keep(c)
	}
	return answer{v.t, method + " " + path, got.StatusCode, got.Header, string(body)}
}

// keep puts a cookie in the place of the one of its name, or takes that away.
func (v *visitor) keep(c *http.Cookie) {
	all := slices.DeleteFunc(strings.Split(v.cookie, "; "), func(one string) bool { return one == "" || strings.HasPrefix(one, c.Name+"=") })
	if c.MaxAge >= 0 {
		all = append(all, c.Name+"="+c.Value)
	}
	v.cookie = strings.Join(all, "; ")
}

// must fails the test when err is set.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

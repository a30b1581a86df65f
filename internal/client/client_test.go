package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/internal/client"
)

// transport answers a request without a network.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// handled is a client of a handler.
func handled(t *testing.T, notice func(string), handler http.HandlerFunc) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Notice: notice, Transport: transport(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		handler(w, r)
		resp := w.Result()
		resp.Request = r
		return resp, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		name, mediaType, body string
		status                int
		want                  client.Error
	}{
		{
			"a problem", "application/problem+json; charset=utf-8",
			`{"title":"Conflict","status":200,"detail":"key exists","hint":"use change","request_id":"r1"}`, 409,
			client.Error{Status: 409, Title: "Conflict", Detail: "key exists", Hint: "use change", RequestID: "r1"},
		},
		{"a title alone", "application/problem+json", `{"title":"Conflict"}`, 409, client.Error{Status: 409, Title: "Conflict"}},
		{
			"another's page", "text/html", "<h1>Bad gateway</h1>", 502,
			client.Error{Status: 502, Title: "Bad Gateway", Detail: `GET /healthz: unexpected answer "502 Bad Gateway"`},
		},
		{"of OpenSVC's server", "application/json", `{"title":"Not Found","status":404,"detail":"no such node"}`, 404, client.Error{Status: 404, Title: "Not Found", Detail: "no such node"}},
		{
			"of its router", "application/json", `{"message":"Not Found"}`, 404,
			client.Error{Status: 404, Title: "Not Found", Detail: `GET /healthz: unexpected answer "404 Not Found"`},
		},
		{
			"an empty problem", "application/problem+json", "{}", 500,
			client.Error{Status: 500, Title: "Internal Server Error", Detail: `GET /healthz: unexpected answer "500 Internal Server Error"`},
		},
		{
			"a redirect is not followed", "text/html", "", 302,
			client.Error{Status: 302, Title: "Found", Detail: `GET /healthz: unexpected answer "302 Found"`},
		},
	} {
		c := handled(t, nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", tt.mediaType)
			w.Header().Set("Location", "http://elsewhere/")
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
		})
		var got *client.Error
		if err := c.Health(t.Context()); !errors.As(err, &got) {
			t.Errorf("%s: error is %v, want a *client.Error", tt.name, err)
		} else if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, diff)
		}
	}
}

func TestNotices(t *testing.T) {
	var got []string
	c := handled(t, func(text string) { got = append(got, text) }, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Omca-Notice", "one")
		w.Header().Add("Omca-Notice", "two")
		if r.URL.Path != "/healthz" {
			w.WriteHeader(500)
		}
	})
	if err := c.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context()); err == nil {
		t.Fatal("a 500 is no error")
	}
	if diff := cmp.Diff([]string{"one", "two"}, got); diff != "" {
		t.Errorf("notices: -want +got\n%s", diff)
	}
}

// endless is a body that never ends.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) { e.read += len(p); return len(p), nil }
func (e *endless) Close() error               { return nil }

func TestAnswersAreBounded(t *testing.T) {
	body := &endless{}
	c, err := client.New(client.Config{Transport: transport(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: body, Request: r, Header: http.Header{}}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("error is %v, want one about the length", err)
	}
	if body.read > 80<<20 {
		t.Errorf("read %d bytes of an endless answer", body.read)
	}
}

func TestUnanswered(t *testing.T) {
	refused := errors.New("refused")
	c, err := client.New(client.Config{Server: "https://n1:1215", Transport: transport(func(r *http.Request) (*http.Response, error) {
		return nil, firstOf(r.Context().Err(), refused)
	})})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Health(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, refused) || !strings.HasPrefix(err.Error(), "n1:1215: ") {
		t.Errorf("error is %v, want ErrUnreachable and the cause, after the server", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Health(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("error of a cancelled call is %v, want that alone", err)
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestCertificatesPages(t *testing.T) {
	pages := map[string]string{
		"":  `{"items":[{"serial":"1"},{"serial":"2"}],"next":"a"}`,
		"a": `{"items":[],"next":"b"}`,
		"b": `{"items":[{"serial":"3"}],"next":"b"}`, // a server that gives the same page again does not hang us
	}
	c := handled(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("owner"); got != "system/usr/a" {
			t.Errorf("owner is %q", got)
		}
		fmt.Fprint(w, pages[r.URL.Query().Get("after")])
	})
	var got []string
	for record, err := range c.Certificates(t.Context(), client.Filter{Owner: "system/usr/a"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, record.Serial)
	}
	if diff := cmp.Diff([]string{"1", "2", "3"}, got); diff != "" {
		t.Errorf("serials: -want +got\n%s", diff)
	}
}

func TestKeyIsBytes(t *testing.T) {
	value := "\x00\xff\n\r\n"
	c := handled(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.URL.String(), "http://omca/api/object/path/ns1/sec/a/data/key?name=d%2F+%26x"; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		fmt.Fprint(w, value)
	})
	got, err := c.Key(t.Context(), client.Path{Namespace: "ns1", Kind: "sec", Name: "a"}, "d/ &x")
	if err != nil || string(got) != value {
		t.Errorf("value is %q, %v, want %q", got, err, value)
	}
}

func TestParsePath(t *testing.T) {
	for text, want := range map[string]string{
		"system/usr/a": "system/usr/a", "sec/a": "root/sec/a", "cluster": "root/ccfg/cluster", "ns/cfg/a.b-c": "ns/cfg/a.b-c",
		"": "", "a": "", "a/b/c/d": "", "ns/sec/": "", "ns/sec/..": "", "ns//a": "", "ns/sec/A": "", "ns/sec/a%2f": "", "ns/sec/a?b": "",
		"ns/sec/-a": "", "ns/sec/" + strings.Repeat("a", 64): "",
	} {
		got, err := client.ParsePath(text)
		switch {
		case want == "" && err == nil:
			t.Errorf("ParsePath(%q) = %v, want an error", text, got)
		case want != "" && (err != nil || got.String() != want):
			t.Errorf("ParsePath(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"system/usr/a", "sec/a", "cluster", "../..", "a/b/c?d", "é/b/c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := client.ParsePath(text)
		if err != nil {
			return
		}
		again, err := client.ParsePath(p.String())
		if err != nil || again != p {
			t.Errorf("ParsePath(%q) = %v, which reads as %v, %v", text, p, again, err)
		}
		if strings.ContainsAny(p.String(), "?#% \\") || strings.Contains(p.String(), "/.") {
			t.Errorf("ParsePath(%q) = %v, which a URL takes for something else", text, p)
		}
	})
}

func TestNew(t *testing.T) {
	if _, err := client.New(client.Config{}); err == nil {
		t.Error("no transport is no error")
	}
	for _, server := range []string{"n1:1215", "ftp://n1", "https://", "https://n1/api", "https://n1?x", "https://u@n1", "%"} {
		if _, err := client.New(client.Config{Transport: http.DefaultTransport, Server: server}); err == nil {
			t.Errorf("server %q is no error", server)
		}
	}
}

func TestUnixRefuses(t *testing.T) {
	c, err := client.New(client.Config{Transport: client.Unix(t.TempDir() + "/none.sock")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Health(ctx); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("error is %v, want ErrUnreachable", err)
	}
}

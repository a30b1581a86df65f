package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"omca/internal/hint"
	"omca/internal/outbound"
)

// What --from names is fetched from this machine too; where it redirects to is not.
func TestFromURL(t *testing.T) {
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	named := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/beside":
			http.Redirect(w, r, other.URL+"/", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/value", http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
		default:
			_, _ = w.Write([]byte("value")) // a client that is cut off notices
		}
	}))
	defer named.Close()
	for _, path := range []string{"/value", "/here"} {
		if got, err := readURL(t.Context(), named.URL+path, 5); err != nil || string(got) != "value" {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for path, reason := range map[string]string{
		"/beside": "did not name this host and port", "/round": "more than 5 redirects", "/gzip": `encoded as "gzip"`,
	} {
		_, err := readURL(t.Context(), named.URL+path, 5)
		if !errors.Is(err, outbound.ErrRefused) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, want %q", path, err, reason)
		}
		if path == "/beside" && hint.Of(err) == "" {
			t.Errorf("%s: no way out", path)
		}
	}
	if _, err := readURL(t.Context(), named.URL+"/value", 4); !errors.Is(err, outbound.ErrRefused) {
		t.Errorf("longer than may be: %v", err)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the server beside it was asked %d times", n)
	}
}

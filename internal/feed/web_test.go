package feed

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"omca/internal/outbound"
)

// over makes the bench use real sockets, trusting server's certificate.
func (b *bench) over(server *httptest.Server) *bench {
	c := b.cfg
	c.Network = new(outbound.Network)
	if server.TLS != nil {
		c.Network.Roots = x509.NewCertPool()
		c.Network.Roots.AddCert(server.Certificate())
	}
	b.build(c)
	return b
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

func serveTLS(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// What servers do wrong, over real sockets.
func TestServers(t *testing.T) {
	corp := newCA(t, "Corp")
	good := corp.sign(t, list(time.Now(), 1))
	limits := Limits{Bytes: 100_000, Header: 200 * time.Millisecond, Whole: 400 * time.Millisecond, Start: 400 * time.Millisecond}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // "" for accepted
	}{
		{"good", func(w http.ResponseWriter, _ *http.Request) { w.Write(good) }, ""},
		{"giant, announced", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99999999999")
			w.WriteHeader(200)
		}, "99999999999 bytes, at most 100000 are read"},
		{"giant, endless", endless, "more than 100000 bytes came"},
		{"drop by drop", dripping(good), "did not come whole within 400ms"},
		{"no header", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timeout awaiting response headers"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(good)))
			w.Write(good[:100])
		}, "unexpected EOF"},
		{"large header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 100_000)) }, "header"},
		{"not found", http.NotFound, "answered 404 Not Found"},
		{"broken", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hush", 500) }, "answered 500 Internal Server Error"},
		{"compressed, unasked", func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("Accept-Encoding is %q", got)
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(good)
		}, `encoded as "gzip"`},
		{"partial", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); w.Write(good) }, "answered 206"},
		{"not modified, out of the blue", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "answered 304"},
		{"redirect to itself", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, "more than 3 redirects"},
		{"redirect to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, "redirect to scheme \"file\""},
		{"three redirects", after(3, good), ""},
		{"four redirects", after(4, good), "more than 3 redirects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, c.answer)
			b := newBench(t, limits, corp).over(server)
			b.load(server.URL + "/")
			if c.want == "" {
				b.is(Fresh, "")
			} else {
				b.is(Error, c.want)
			}
			if got := b.Status()[0].LastError; strings.Contains(got, "hush") || strings.Contains(got, server.URL) {
				t.Errorf("error %q shows more than it should", got)
			}
		})
	}
}

// endless never stops writing.
func endless(w http.ResponseWriter, _ *http.Request) {
	for block := make([]byte, 10_000); ; {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// dripping writes twenty octets a second.
func dripping(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, octet := range body {
			w.Write([]byte{octet})
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// after answers with body after some redirects.
func after(redirects int, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.Path) > redirects {
			w.Write(body)
			return
		}
		http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
	}
}

// https is verified, never left for http, and joined from http.
func TestTLS(t *testing.T) {
	corp := newCA(t, "Corp")
	good := corp.sign(t, list(time.Now(), 1))
	plain := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(good) })
	secure := serveTLS(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
			return
		}
		w.Write(good)
	})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, secure.URL, http.StatusFound) })
	for _, c := range []struct{ url, want string }{
		{secure.URL, ""},
		{up.URL, ""},
		{secure.URL + "/down", "redirect from https to http"},
	} {
		b := newBench(t, Limits{}, corp).over(secure)
		b.load(c.url, secure.URL+"/named") // a redirect may lead there
		if got := b.Status()[0].LastError; (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: error %q, want %q", c.url, got, c.want)
		}
	}
	stranger := newBench(t, Limits{}, corp).over(plain)
	stranger.load(secure.URL)
	stranger.is(Error, "certificate")
}

// A redirect carries neither a password of its own nor where it came from.
func TestRedirectCarriesNothing(t *testing.T) {
	corp := newCA(t, "Corp")
	good := corp.sign(t, list(time.Now(), 1))
	var mu sync.Mutex
	var seen http.Header
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/" {
			seen = r.Header.Clone()
		}
		w.Write(good)
	})
	from := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "hush"})
		http.Redirect(w, r, strings.Replace(target.URL, "http://", "http://me:hush@", 1)+"/", http.StatusFound)
	})
	b := newBench(t, Limits{}, corp).over(target)
	b.load(from.URL+"/?token=hush", target.URL+"/named") // a redirect may lead there
	if st := b.Status()[0]; st.State != Fresh || st.LastError != "" {
		t.Errorf("state %q, error %q, want %q", st.State, st.LastError, Fresh)
	}
	mu.Lock()
	defer mu.Unlock()
	if seen == nil {
		t.Fatal("the redirect was not followed")
	}
	for _, name := range []string{"Authorization", "Referer", "Cookie"} {
		if got := seen.Get(name); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Requests are conditional once there is something to compare with, and 304 confirms it.
func TestConditional(t *testing.T) {
	corp := newCA(t, "Corp")
	now := time.Now()
	var mu sync.Mutex
	body, etag := corp.sign(t, list(now, 1)), `"1"`
	var served, confirmed int
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag && r.Header.Get("If-Modified-Since") == now.UTC().Format(http.TimeFormat) {
			confirmed++
		} else {
			served++
		}
		http.ServeContent(w, r, "ca.crl", now, bytes.NewReader(body))
	})
	b := newBench(t, Limits{}, corp).over(server)
	b.load(server.URL)
	step := func(m mode, wantServed, wantConfirmed int, want string) {
		t.Helper()
		if err := b.attempt(t.Context(), b.all()[0], m, time.Minute); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if served != wantServed || confirmed != wantConfirmed {
			t.Errorf("served %d, confirmed %d, want %d, %d", served, confirmed, wantServed, wantConfirmed)
		}
		b.holds(want)
	}
	fetched := b.Status()[0].FetchedAt
	step(ifChanged, 1, 1, "Corp 1")
	if got := b.Status()[0].FetchedAt; !got.After(fetched) {
		t.Error("a confirmation does not count as a fetch")
	}
	step(anew, 2, 1, "Corp 1")
	mu.Lock()
	body, etag = corp.sign(t, list(now, 2)), `"2"`
	mu.Unlock()
	step(ifChanged, 3, 1, "Corp 2")
	step(ifChanged, 3, 2, "Corp 2")

	// What was refused is asked for again, not confirmed.
	mu.Lock()
	body, etag = []byte("nonsense"), `"3"`
	mu.Unlock()
	for range 2 {
		if err := b.attempt(t.Context(), b.all()[0], ifChanged, time.Minute); err == nil {
			t.Error("nonsense is accepted")
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if served != 5 {
		t.Errorf("served %d, want 5", served)
	}
}

// An ETag that is too long is not sent back.
func TestValidator(t *testing.T) {
	r := reply(200, nil, "ETag", strings.Repeat("x", maxValidator+1), "Last-Modified", "now")
	if validator(r, "ETag") != "" || validator(r, "Last-Modified") != "now" {
		t.Error("validators are not bounded")
	}
}

package api

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/ca"
	"omca/crl"
	"omca/internal/store"
	"omca/internal/wire"
	"omca/pki"
)

func TestPublishedList(t *testing.T) {
	w := newWorld(t)
	get := request{target: "/crl/ca.crl"}
	first := w.do(get).want(http.StatusOK)
	list := must(crl.Parse(first.body, crl.DefaultLimits()))(t)
	if list.Len() != 0 || first.header.Get("Content-Type") != "application/pkix-crl" {
		t.Errorf("%d entries, %v", list.Len(), first.header)
	}
	if got, want := first.header.Get("Cache-Control"), "public, max-age=300, must-revalidate"; got != want {
		t.Errorf("Cache-Control %q, want %q", got, want)
	}
	if got, want := first.header.Get("Last-Modified"), w.now.Format(http.TimeFormat); got != want {
		t.Errorf("Last-Modified %q, want %q", got, want)
	}
	tag := first.header.Get("ETag")
	for given, status := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200, strings.Trim(tag, `"`): 200} {
		res := w.do(request{target: "/crl/ca.crl", header: map[string]string{"If-None-Match": given}}).want(status)
		if res.header.Get("ETag") != tag || res.header.Get("Cache-Control") == "no-store" || status == 304 && len(res.body) > 0 {
			t.Errorf("If-None-Match %s: %v, %d bytes", given, res.header, len(res.body))
		}
	}

	// Another one of the same second is another one, whatever the dates say.
	w.do(request{method: http.MethodPost, target: at + "system/usr/guest1/certificate/revoke", by: "root"}).want(http.StatusOK)
	w.publish()
	get.header = map[string]string{"If-None-Match": tag, "If-Modified-Since": first.header.Get("Last-Modified")}
	second := w.do(get).want(http.StatusOK)
	if list := must(crl.Parse(second.body, crl.DefaultLimits()))(t); list.Len() != 1 {
		t.Errorf("%d entries after a revocation", list.Len())
	}
	block, _ := pem.Decode(w.do(request{target: "/crl/ca.pem"}).want(http.StatusOK).body)
	if block == nil || block.Type != "X509 CRL" || !bytes.Equal(block.Bytes, second.body) {
		t.Error("the PEM form is another list")
	}
	text := w.do(request{target: "/crl/ca.pem"})
	if text.header.Get("ETag") == second.header.Get("ETag") {
		t.Error("both forms have one tag")
	}
	w.do(request{target: "/crl/ca.pem", header: map[string]string{"If-None-Match": text.header.Get("ETag")}}).want(http.StatusNotModified)

	head := w.do(request{method: http.MethodHead, target: "/crl/ca.crl"}).want(http.StatusOK)
	if len(head.body) > 0 || head.header.Get("Content-Length") != fmt.Sprint(len(second.body)) {
		t.Errorf("HEAD: %d bytes, %v", len(head.body), head.header)
	}
	for _, target := range []string{"/crl/cert.crl", "/crl/absent.crl", "/crl/absent.pem", "/crl/", "/crl/.crl", "/crl/ca", "/crl/..%2Fca.crl"} {
		w.do(request{target: target}).refused(http.StatusNotFound)
	}
	w.now = w.now.Add(30 * 24 * time.Hour)
	if got := w.do(request{target: "/crl/ca.crl"}).want(http.StatusOK).header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("a list that has lapsed: Cache-Control %q", got)
	}
}

// TestListIsMadeOnce: what is shown of a list is made once for all requests.
func TestListIsMadeOnce(t *testing.T) {
	var shown shownLists
	list := &crl.Published{DER: []byte("list"), Signer: new(x509.Certificate)}
	first := shown.of(list)
	if again := shown.of(list); again != first || &again.pem()[0] != &first.pem()[0] {
		t.Error("made twice")
	}
	if shown.of(&crl.Published{DER: []byte("next"), Signer: list.Signer}).tag == first.tag {
		t.Error("the next list has the tag of the former")
	}
}

func TestOCSP(t *testing.T) {
	w := newWorld(t)
	var asked []byte
	var next time.Time
	var fail error
	w.ocsp = func(request []byte) ([]byte, time.Time, error) {
		asked = request
		return []byte("answer"), next, fail
	}
	request1 := []byte{0xfb, 0xef, 0xff, '>', '?'} // "++//Pj8=" in base64
	text := base64.StdEncoding.EncodeToString(request1)
	post := request{method: http.MethodPost, target: "/ocsp", body: string(request1), media: "application/ocsp-request"}
	for _, tt := range []struct{ what, target string }{{"escaped", url.PathEscape(text)}, {"all escaped", strings.NewReplacer("+", "%2B", "/", "%2f", "=", "%3D").Replace(text)}} {
		asked = nil
		res := w.do(request{target: "/ocsp/" + tt.target}).want(http.StatusOK)
		if !bytes.Equal(asked, request1) || string(res.body) != "answer" || res.header.Get("Content-Type") != "application/ocsp-response" || res.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: asked %x, %v", tt.what, asked, res.header)
		}
	}
	asked = nil
	if res := w.raw(http.MethodGet, "/ocsp/"+text).want(http.StatusOK); !bytes.Equal(asked, request1) || string(res.body) != "answer" {
		t.Errorf("with its slashes as they are: asked %x", asked)
	}
	next = w.now.Add(time.Minute)
	if got := w.do(post).want(http.StatusOK).header; got.Get("Cache-Control") != "public, max-age=60, must-revalidate" || got.Get("Expires") != next.Format(http.TimeFormat) {
		t.Errorf("until %s: %v", next, got)
	}
	for _, tt := range []struct {
		err  error
		want crl.OCSPFailure
	}{
		{fmt.Errorf("%w: x", pki.ErrInvalid), crl.MalformedRequest}, {crl.ErrNotOurs, crl.Unauthorized}, {ca.ErrNotFound, crl.Unauthorized},
		{errFault, crl.InternalError}, {store.ErrBroken, crl.TryLater},
	} {
		fail = tt.err
		if got := w.do(post).want(http.StatusOK); !bytes.Equal(got.body, tt.want.Response()) || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: %x, %v", tt.err, got.body, got.header)
		}
	}
	fail = nil
	if got := w.do(request{target: "/ocsp/%25"}).want(http.StatusOK); !bytes.Equal(got.body, crl.MalformedRequest.Response()) {
		t.Errorf("no base64: %x", got.body)
	}
	post.media = "application/json"
	w.do(post).refused(http.StatusUnsupportedMediaType)
	post.body, post.media = strings.Repeat("x", crl.MaxOCSPRequest+1), "application/ocsp-request"
	w.do(post).refused(http.StatusRequestEntityTooLarge)
}

func TestNoOCSP(t *testing.T) {
	w := newWorld(t)
	c := w.door.Config
	c.OCSP, c.External, c.Refresh = nil, nil, nil
	w.handler = must(New(c))(t)
	w.do(request{target: "/ocsp/AAAA"}).refused(http.StatusNotFound, "OCSP")
	if got := into[wire.CRLList](w.do(request{target: "/api/crl", by: "root"}).want(http.StatusOK)).Items; len(got) != 1 {
		t.Errorf("%+v", got)
	}
	w.do(request{method: http.MethodPost, target: "/api/crl/refresh", by: "root"}).refused(http.StatusNotFound, "cluster.crl")
}

func TestListCRLs(t *testing.T) {
	w := newWorld(t)
	w.external = []wire.ExternalList{
		{Source: "http://crl.mycorp", Issuer: "CN=MyCorp CA", Number: "7", ThisUpdate: w.now, NextUpdate: w.now.Add(time.Hour), FetchedAt: w.now, Entries: 3, State: "fresh"},
		{Source: "/no/file", State: "error", LastError: "no such file", Undetermined: []string{"CN=Other CA"}},
	}
	chain := must(w.door.Authority.Held(t.Context(), "system/sec/ca"))(t).Chain
	lasting := "/crl/" + ca.LastingName("system/sec/ca", chain[0]) + ".crl"
	id := pki.AuthorityOf(chain[0]).String()
	now, week, hour := w.now, w.now.Add(7*24*time.Hour), w.now.Add(time.Hour)
	want := []wire.CRL{
		{CA: "system/sec/ca", Authority: id, Issuer: "CN=clu CA", Number: "1", ThisUpdate: &now, NextUpdate: &week, State: "fresh", URL: "/crl/ca.crl", LastingURL: lasting},
		{Source: "http://crl.mycorp", Issuer: "CN=MyCorp CA", Number: "7", ThisUpdate: &now, NextUpdate: &hour, FetchedAt: &now, Entries: 3, State: "fresh"},
		{Source: "/no/file", State: "error", LastError: "no such file", Undetermined: []string{"CN=Other CA"}},
	}
	for by, told := range map[string]string{"root": "no such file", "guest1": rootIsTold, "adminall": rootIsTold} {
		want[2].LastError = told
		got := into[wire.CRLList](w.do(request{target: "/api/crl", by: by}).want(http.StatusOK)).Items
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("to %s (-want +got):\n%s", by, diff)
		}
	}
	page := string(w.do(request{target: "/metrics", by: "guest1"}).want(http.StatusOK).body)
	for _, line := range []string{
		`omca_crl_entries{authority="` + id + `",ca="system/sec/ca",source=""} 0`, `omca_crl_age_seconds{authority="` + id + `",ca="system/sec/ca",source=""} 0`, `omca_crl_error{authority="` + id + `",ca="system/sec/ca",source=""} 0`,
		`omca_crl_entries{authority="",ca="",source="http://crl.mycorp"} 3`, `omca_crl_next_update_seconds{authority="",ca="",source="http://crl.mycorp"} 1.795`, `omca_crl_error{authority="",ca="",source="/no/file"} 1`,
	} {
		if !strings.Contains(page, line) {
			t.Errorf("no %s", line)
		}
	}
	w.now = week.Add(time.Second)
	if got := into[wire.CRLList](w.do(request{target: "/api/crl", by: "guest1"})).Items[0].State; got != "stale" {
		t.Errorf("past its next update the list is %s", got)
	}
}

// TestListLine: of several lists of one source the worst counts.
func TestListLine(t *testing.T) {
	early, late := time.Unix(1000, 0), time.Unix(2000, 0)
	got := listLine{}.with(wire.CRL{ThisUpdate: &late, NextUpdate: &late, Entries: 1, State: "fresh"}).with(wire.CRL{ThisUpdate: &early, NextUpdate: &early, Entries: 2, State: "stale"})
	if want := (listLine{early, early, 3, true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestRefreshCRL(t *testing.T) {
	w := newWorld(t)
	refresh := request{method: http.MethodPost, target: "/api/crl/refresh", by: "root"}
	w.do(refresh).refused(http.StatusNotFound, "cluster.crl")
	w.external = []wire.ExternalList{{Source: "http://a"}, {Source: "http://a"}, {Source: "http://b"}}
	w.do(refresh).want(http.StatusNoContent)
	refresh.body = `{"source":"http://b"}`
	w.do(refresh).want(http.StatusNoContent)
	if want := []string{"http://a", "http://b", "http://b"}; !slices.Equal(w.refreshed, want) {
		t.Errorf("fetched %q, want %q", w.refreshed, want)
	}
	w.refresh = fmt.Errorf("http://b: %w: bad signature", pki.ErrInvalid)
	w.do(refresh).refused(http.StatusBadGateway, "http://b", "bad signature")
	w.refresh = store.ErrFull
	w.do(refresh).refused(http.StatusInsufficientStorage)
	refresh.body = `{"source":"http://c"}`
	w.do(refresh).refused(http.StatusNotFound, "http://c", "one of http://a, http://b")
	w.refresh, refresh.body = errors.New("connection refused"), ""
	w.refreshed = nil
	w.do(refresh).refused(http.StatusBadGateway, "connection refused")
	if len(w.refreshed) != 2 {
		t.Errorf("after a failure of one source the next is left: %q", w.refreshed)
	}
}

// TestPublic: plain HTTP gives what is signed, with the same headers, and nothing else.
func TestPublic(t *testing.T) {
	w := newWorld(t)
	w.ocsp = func([]byte) ([]byte, time.Time, error) { return []byte("answer"), time.Time{}, nil }
	w.handler = must(Public(w.door.Config))(t)
	for _, target := range []string{"/crl/ca.crl", "/crl/ca.pem", "/ca.pem", "/ocsp/AAAA"} {
		w.do(request{target: target}).want(http.StatusOK)
	}
	w.do(request{method: http.MethodPost, target: "/ocsp", body: "x", media: "application/ocsp-request"}).want(http.StatusOK)
	for _, target := range []string{"/", "/whoami", "/healthz", "/metrics", "/api/crl", "/api/ca", "/api/docs", "/debug/pprof/heap", "/api/object/path"} {
		w.do(request{target: target, by: "root"}).refused(http.StatusNotFound)
	}
	w.do(request{method: http.MethodPost, target: "/crl/ca.crl"}).refused(http.StatusMethodNotAllowed)
}

// FuzzOCSPPath: whatever is behind /ocsp/ is answered as RFC 6960 has it, or is no such route.
func FuzzOCSPPath(f *testing.F) {
	w := newWorld(f)
	w.ocsp = func(request []byte) ([]byte, time.Time, error) {
		_, err := crl.ParseOCSPRequest(request)
		return []byte("answer"), time.Time{}, err
	}
	for _, seed := range []string{"AAAA", "%2F", "MEIwQDA%2BMDwwOjAJBgUrDgMCGgUABBQ", "//", "a/../b", "%", "%zz", "=", strings.Repeat("A", 50_000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse("/ocsp/" + text)
		if err != nil || u.RawQuery != "" || u.Host != "" {
			t.Skip()
		}
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.URL = u
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, req)
		if rec.Code != http.StatusOK && rec.Code != http.StatusNotFound && rec.Code != http.StatusBadRequest {
			t.Errorf("%q: %d %s", text, rec.Code, rec.Body)
		}
	})
}

// TestPublicIsCounted: what is asked for over plain HTTP is in the metrics.
func TestPublicIsCounted(t *testing.T) {
	w := newWorld(t)
	all, public, err := Handlers(w.door.Config)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(h http.Handler, target string) string {
		r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
		r.Header.Set(callerHeader, "root")
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer.Body.String()
	}
	ask(public, "/ca.pem")
	ask(public, "/ocsp/AAAA")
	page := ask(all, "/metrics")
	for _, line := range []string{`omca_http_requests_total{code="200",operation="caPEM"} 1`, `operation="getOCSP"} 1`} {
		if !strings.Contains(page, line) {
			t.Errorf("the metrics have no line with %s", line)
		}
	}
}

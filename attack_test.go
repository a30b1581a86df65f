package omca_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"omca"
)

// held is the certificate and key of an object.
func (r *running) held(t testing.TB, path string) *tls.Certificate {
	t.Helper()
	at := "/api/object/path/" + path + "/data/key?name="
	pair, err := tls.X509KeyPair(local(t, r.Server, "GET", at+"certificate_chain", nil), local(t, r.Server, "GET", at+"private_key", nil))
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// make makes an object with a certificate.
func (r *running) make(t testing.TB, path string, keywords ...string) *tls.Certificate {
	t.Helper()
	local(t, r.Server, "POST", "/api/object/path/"+path, map[string]any{"keywords": keywords})
	local(t, r.Server, "POST", "/api/object/path/"+path+"/certificate", map[string]any{"revoke": false})
	return r.held(t, path)
}

// A certificate for something else begins no session and makes no call,
// whatever name it bears.
func TestCertificatesOfOthers(t *testing.T) {
	r := runServer(t, omca.Config{})
	alice := r.pair(t, "alice", "root")
	revoked := r.pair(t, "carol", "root")
	local(t, r.Server, "POST", usersAt+"carol/certificate/revoke", nil)
	disabled := r.pair(t, "dave", "root")
	local(t, r.Server, "PATCH", usersAt+"dave/config?set=disabled%3Dtrue", nil)
	for name, pair := range map[string]*tls.Certificate{
		"the listener's":         r.held(t, "system/sec/cert"),
		"a server's":             r.make(t, "ns1/sec/web", "cn=alice"),
		"a node's":               r.make(t, "ns1/sec/node1", "profile=node", "cn=alice"),
		"the OCSP responder's":   r.held(t, "system/sec/ocsp"),
		"the CA's":               r.held(t, "system/sec/ca"),
		"a revoked user's":       revoked,
		"a disabled user's":      disabled,
		"alice's, without a key": {Certificate: alice.Certificate, PrivateKey: revoked.PrivateKey},
	} {
		b := r.browser(t, pair)
		for _, try := range []struct{ method, path string }{{"GET", "/whoami"}, {"POST", "/api/auth/login"}, {"GET", "/api/object"}} {
			if status, text := b.do(try.method, try.path, "", ""); status != http.StatusUnauthorized && status != 0 || b.cookie != "" {
				t.Errorf("%s: %s %s: %d %s, cookie %q", name, try.method, try.path, status, text, b.cookie)
			}
		}
	}
	if status, _ := r.browser(t, alice).do("GET", "/whoami", "", ""); status != http.StatusOK {
		t.Errorf("alice herself: %d", status)
	}
}

// What a client says of itself in headers changes nothing: not who it is, not
// where it is, not how it came.
func TestHeadersProveNothing(t *testing.T) {
	r := runServer(t, omca.Config{})
	r.pair(t, "alice", "root")
	pem := strings.ReplaceAll(string(local(t, r.Server, "GET", usersAt+"alice/data/key?name=certificate", nil)), "\n", " ")
	subject := "CN=alice"
	nobody, bob := r.browser(t, nil), r.browser(t, r.pair(t, "bob", "guest:ns1"))
	ask := func(b *browser, header ...string) string {
		status, text := b.do("GET", "/whoami", "", "", append(header, "X-Request-Id", "same")...)
		return fmt.Sprint(status, text)
	}
	none, his := ask(nobody), ask(bob)
	if !strings.HasPrefix(none, "401") || !strings.Contains(his, `"name":"bob"`) {
		t.Fatalf("%s; %s", none, his)
	}
	for _, header := range [][]string{
		{"X-SSL-Client-Cert", pem}, {"X-Client-Cert", pem}, {"Ssl-Client-Cert", pem}, {"X-Forwarded-Client-Cert", "By=x;Subject=\"" + subject + "\";Cert=\"" + pem + "\""},
		{"Client-Cert", ":MIIB:"}, {"X-SSL-Client-Verify", "SUCCESS", "X-SSL-Client-S-DN", subject}, {"X-SSL-Client-CN", "alice"}, {"X-Ssl-Client-Subject-Dn", subject},
		{"X-Auth-User", "alice"}, {"X-Auth-User", "alice", "X-Auth-Roles", "admin", "X-Auth-Method", "x509"}, {"X-Auth-Roles", "admin"},
		{"X-Remote-User", "alice"}, {"Remote-User", "alice"}, {"X-Forwarded-User", "alice"}, {"X-Forwarded-Email", "alice@localhost"},
		{"X-Forwarded-For", "127.0.0.1"}, {"Forwarded", "for=127.0.0.1;by=unix"}, {"X-Real-Ip", "127.0.0.1"}, {"X-Forwarded-Proto", "unix"},
		{"X-Original-Url", "/healthz"}, {"X-Rewrite-Url", "/healthz"}, {"X-Http-Method-Override", "DELETE"}, {"X-Original-Method", "OPTIONS"},
		{"Connection", "X-Request-Id"}, {"Cookie", "__Host-omca-session=; __Host-omca-session=x"}, {"Cookie", "__Host-omca-session=alice"},
	} {
		if got := ask(nobody, header...); got != none {
			t.Errorf("nobody with %q: %s, without: %s", header, got, none)
		}
		if got := ask(bob, header...); got != his {
			t.Errorf("bob with %q: %s, without: %s", header, got, his)
		}
	}
}

// raw sends bytes on a connection of its own and returns what comes back, to
// the end of the connection.
func (r *running) raw(t testing.TB, pair *tls.Certificate, text string) string {
	t.Helper()
	config := &tls.Config{RootCAs: r.pool, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", r.address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return ""
	}
	if err := conn.CloseWrite(); err != nil {
		return ""
	}
	all, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil && len(all) == 0 {
		return ""
	}
	return string(all)
}

// A request that two servers in a row could cut in two ways is refused, and
// nothing behind it is served: what is smuggled in a body is no request.
func TestSmuggling(t *testing.T) {
	r := runServer(t, omca.Config{})
	alice := r.pair(t, "alice", "root")
	const inner = "POST /api/object/path/ns1/cfg/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
	const end = "\r\nConnection: close\r\n\r\n"
	for name, text := range map[string]string{
		"two hosts":                  "GET /whoami HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.org" + end,
		"no host":                    "GET /whoami HTTP/1.1" + end,
		"a host that is none":        "GET /whoami HTTP/1.1\r\nHost: local host" + end,
		"two lengths":                "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 100\r\n\r\n" + inner,
		"a list of lengths":          "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0, 100\r\n\r\n" + inner,
		"a signed length":            "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: +0\r\n\r\n" + inner,
		"a negative length":          "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n" + inner,
		"another coding":             "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n" + inner,
		"two codings":                "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
		"a list of codings":          "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + inner,
		"a space before the colon":   "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\n" + inner,
		"a header without a colon":   "GET /whoami HTTP/1.1\r\nHost: localhost\r\nX-A" + end,
		"a NUL in a header":          "GET /whoami HTTP/1.1\r\nHost: localhost\r\nX-A: \x00b" + end,
		"a bare CR in a header":      "GET /whoami HTTP/1.1\r\nHost: localhost\r\nX-A: b\rX-B: c" + end,
		"a space in the path":        "GET /whoami x HTTP/1.1\r\nHost: localhost" + end,
		"a chunk of no size":         "POST /api/certificate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n" + inner,
		"a chunk with a signed size": "POST /api/certificate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n" + inner,
	} {
		got := r.raw(t, alice, text)
		if n := strings.Count(got, "HTTP/1.1 "); n > 1 || strings.Contains(got, "HTTP/1.1 2") {
			t.Errorf("%s: %d answers: %.300q", name, n, got)
		}
	}
	if status, _ := try(t, r.Server, "GET", "/api/object/path/ns1/cfg/smuggled", nil); status != http.StatusNotFound {
		t.Errorf("what was smuggled is there: %d", status)
	}

	// RFC 9112, 6.3: with both a length and a coding, the coding counts. What
	// follows is a request of its own, with the credentials of its own.
	got := r.raw(t, nil, "POST /api/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer x\r\n\r\n0\r\n\r\n"+inner)
	if strings.Contains(got, "HTTP/1.1 201") {
		t.Errorf("a length and a coding: %.300q", got)
	}
	// An absolute form with another host is for that host, who is us as well: the
	// path is what counts, and it is held against the same table.
	if got := r.raw(t, nil, "GET https://evil.example.org/whoami HTTP/1.1\r\nHost: localhost"+end); !strings.HasPrefix(got, "HTTP/1.1 401") {
		t.Errorf("absolute form: %.200q", got)
	}
}

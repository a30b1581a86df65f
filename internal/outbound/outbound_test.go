package outbound

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"omca/internal/hint"
)

// web is a Network in which every server with an address of the outside is one on the loopback. It takes note of what is looked up and of
// where connections go.
type web struct {
	*Network
	server *httptest.Server

	mu       sync.Mutex
	hosts    map[string][][]string // the answers of lookups, in turn; the last one stays
	lookedUp []string
	dialled  []string
}

func newWeb(t *testing.T, handler http.HandlerFunc) *web {
	t.Helper()
	w := &web{server: httptest.NewServer(handler), hosts: map[string][][]string{}}
	t.Cleanup(w.server.Close)
	w.Network = &Network{Lookup: w.lookup, Connect: w.connect}
	return w
}

func (w *web) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	w.lookedUp = append(w.lookedUp, host)
	answers := w.hosts[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		w.hosts[host] = answers[1:]
	}
	var all []netip.Addr
	for _, a := range answers[0] {
		all = append(all, netip.MustParseAddr(a))
	}
	return all, nil
}

func (w *web) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	w.dialled = append(w.dialled, to.String())
	w.mu.Unlock()
	if to.Addr() == netip.MustParseAddr("192.0.2.99") {
		return nil, errors.New("connection refused")
	}
	return new(net.Dialer).DialContext(ctx, "tcp", w.server.Listener.Addr().String())
}

// is sets what a host resolves to, now and later.
func (w *web) is(host string, answers ...string) {
	w.hosts[host] = nil
	for _, answer := range answers {
		w.hosts[host] = append(w.hosts[host], strings.Fields(answer))
	}
}

// get asks for a URL and returns the whole answer.
func get(t *testing.T, c *http.Client, address string) (string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(request)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(answer.Body)
	return string(body), errors.Join(err, answer.Body.Close())
}

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

// refused checks that an error is of this package, and says a reason.
func refused(t *testing.T, what string, err error, reason string) {
	t.Helper()
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), reason) {
		t.Errorf("%s: %v, want a refusal that says %q", what, err, reason)
	}
}

func TestForbidden(t *testing.T) {
	for address, why := range map[string]string{
		"127.0.0.1": "loopback", "127.8.9.10": "loopback", "::1": "loopback",
		"0.0.0.0": "this machine", "0.1.2.3": "this machine", "::": "this machine",
		"169.254.169.254": "credentials", "169.254.170.2": "credentials", "100.100.100.200": "credentials", "168.63.129.16": "credentials",
		"fd00:ec2::254": "credentials", "fd20:ce::254": "credentials", "fd00:c1::a9fe:a9fe": "credentials", "fd00:42::42": "credentials",
		"192.0.0.192": "credentials",
		"169.254.1.1": "link-local", "fe80::1": "link-local", "febf::1": "link-local", "fe80::1%eth0": "one link", "2001:db8::1%eth0": "one link",
		"224.0.0.1": "multicast", "239.255.255.250": "multicast", "ff02::1": "multicast", "ff0e::1": "multicast",
		"255.255.255.255": "broadcast", "240.0.0.1": "reserved",

		"::ffff:127.0.0.1": "loopback", "::ffff:169.254.169.254": "credentials", "::ffff:0.0.0.0": "this machine", "::ffff:10.0.0.1": "",
		"64:ff9b::127.0.0.1": "loopback", "64:ff9b::a9fe:a9fe": "credentials", "64:ff9b::0.0.0.0": "this machine", "64:ff9b::203.0.113.1": "",
		"::127.0.0.1": "IPv4", "::203.0.113.1": "IPv4", "::ffff:0:127.0.0.1": "IPv4", "64:ff9b:1::7f00:1": "IPv4",
		"2002:7f00:1::1": "IPv4", "2002:cb00:7101::1": "IPv4", "2001:0:4136:e378:8000:63bf:80ff:fffe": "IPv4",

		"10.0.0.1": "", "172.16.0.1": "", "192.168.1.1": "", "100.64.0.1": "", "fd12:3456:789a::1": "", "203.0.113.1": "", "2001:db8::1": "",
		"2003::1": "", "126.255.255.255": "", "128.0.0.1": "", "223.255.255.255": "", "169.253.255.255": "", "fec0::1": "",
	} {
		got := forbidden(netip.MustParseAddr(address))
		if (why == "") != (got == "") || !strings.Contains(got, why) {
			t.Errorf("%s: %q, want %q", address, got, why)
		}
	}
}

// A literal address and a name that leads to one are refused alike, and nothing is connected to.
func TestRefusedAddresses(t *testing.T) {
	w := newWeb(t, hello)
	w.is("evil.test", "127.0.0.1")
	w.is("many.test", "169.254.169.254 ::1 0.0.0.0")
	w.is("mapped.test", "::ffff:127.0.0.1")
	w.is("2130706433", "127.0.0.1") // as some resolvers read numbers
	w.is("127.1", "127.0.0.1")
	const way = "name it in the test"
	c := w.Client(Rules{Hint: way})
	for address, reason := range map[string]string{
		"http://127.0.0.1/":                         "127.0.0.1, port 80, is on the loopback",
		"http://0.0.0.0:1215/":                      "means this machine",
		"http://[::]/":                              "means this machine",
		"http://[::1]:8080/":                        "::1, port 8080, is on the loopback",
		"https://169.254.169.254/latest/meta-data/": "hands out credentials",
		"http://[fd00:ec2::254]/":                   "hands out credentials",
		"http://[fe80::1%25eth0]/":                  "is of one link alone",
		"http://224.0.0.1/":                         "multicast",
		"http://[::ffff:127.0.0.1]/":                "loopback",
		"http://[::127.0.0.1]/":                     "IPv4",
		"http://[64:ff9b::127.0.0.1]/":              "loopback",
		"http://[2002:7f00:1::]/":                   "IPv4",
		"http://[2001::1]/":                         "IPv4",
		"http://evil.test/":                         "127.0.0.1, port 80, is on the loopback",
		"http://EVIL.test./":                        "127.0.0.1, port 80, is on the loopback",
		"http://many.test/":                         "169.254.169.254",
		"http://mapped.test/":                       "address 127.0.0.1,",
		"http://2130706433/":                        "loopback",
		"http://127.1/":                             "loopback",
	} {
		_, err := get(t, c, address)
		refused(t, address, err, reason)
		if hint.Of(err) != way {
			t.Errorf("%s: hint %q", address, hint.Of(err))
		}
	}
	if len(w.dialled) > 0 {
		t.Errorf("connections to %q", w.dialled)
	}
	_, err := get(t, c, "http://me:hush@evil.test/a/list?token=hush#hush")
	if text := Reason(err).Error(); !strings.HasPrefix(text, `"http://evil.test/a/list": address 127.0.0.1, `) || strings.Contains(text, "hush") {
		t.Errorf("error %q", text)
	}
	for _, scheme := range []string{"ldap://evil.test/", "file:///etc/passwd", "ftp://evil.test/", "gopher://evil.test/"} {
		if _, err := get(t, c, scheme); err == nil {
			t.Errorf("%s is asked", scheme)
		}
	}
}

// The address that is dialled is the one that was filtered, of one lookup.
func TestRebinding(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/again" {
			http.Redirect(rw, r, "/", http.StatusFound)
			return
		}
		hello(rw, r)
	})
	c := w.Client(Rules{Redirects: 3})
	w.is("evil.test", "203.0.113.1", "127.0.0.1")
	if got, err := get(t, c, "http://evil.test/"); err != nil || got != "hello" {
		t.Errorf("first: %q, %v", got, err)
	}
	_, err := get(t, c, "http://evil.test/")
	refused(t, "the second answer", err, "loopback")
	w.is("evil.test", "203.0.113.1", "127.0.0.1")
	_, err = get(t, c, "http://evil.test/again")
	refused(t, "the second answer, to a redirect", err, "loopback")
	w.is("evil.test", "127.0.0.1 203.0.113.2", "127.0.0.1")
	if got, err := get(t, c, "http://evil.test/"); err != nil || got != "hello" {
		t.Errorf("one of two answers: %q, %v", got, err)
	}
	w.is("evil.test", "192.0.2.99 127.0.0.1 ::1", "127.0.0.1")
	if _, err = get(t, c, "http://evil.test/"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("the answer that may be asked is away: %v", err)
	}
	want := []string{"203.0.113.1:80", "203.0.113.1:80", "203.0.113.2:80", "192.0.2.99:80"}
	if !slices.Equal(w.dialled, want) || len(w.lookedUp) != 6 {
		t.Errorf("%d lookups, connections to %q, want 6 and %q", len(w.lookedUp), w.dialled, want)
	}
}

// A name has several addresses: the next is tried, a few of them.
func TestSeveralAddresses(t *testing.T) {
	w := newWeb(t, hello)
	w.is("two.test", "192.0.2.99 203.0.113.1")
	if got, err := get(t, w.Client(Rules{}), "http://two.test/"); err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	w.dialled = nil
	w.is("long.test", strings.Repeat("192.0.2.99 ", 100))
	if _, err := get(t, w.Client(Rules{}), "http://long.test/"); err == nil || len(w.dialled) != mostAddresses {
		t.Errorf("%v after %d connections, want %d", err, len(w.dialled), mostAddresses)
	}
	w.is("none.test", "")
	if _, err := get(t, w.Client(Rules{}), "http://none.test/"); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("a name without addresses: %v", err)
	}
}

// The operator names a host and a port, however they are written.
func TestNamed(t *testing.T) {
	w := newWeb(t, hello)
	w.is("crl.corp", "127.0.0.1")
	w.is("other.corp", "127.0.0.1")
	c := w.Client(Rules{Named: []string{"http://CRL.corp/ca.crl", "https://secure.corp/", "http://127.0.0.2:81/", "nonsense%", "ca.crl"}})
	for address, named := range map[string]bool{
		"http://crl.corp/ca.crl": true, "http://crl.corp:80/delta.crl?x=1": true, "http://CRL.CORP./x": true,
		"http://crl.corp:8080/ca.crl": false, "http://other.corp/ca.crl": false, "http://127.0.0.1/": false, "http://127.0.0.2/": false,
		"http://127.0.0.2:81/x": true, "http://[::ffff:127.0.0.2]:81/x": true,
	} {
		_, err := get(t, c, address)
		if named && err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if !named {
			refused(t, address, err, "did not name this host and port")
		}
	}
	for address, want := range map[string]string{
		"https://secure.corp/": "secure.corp:443", "http://secure.corp": "secure.corp:80", "http://[::1]:8/": "[::1]:8", "http://A.b./": "a.b:80",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := serverOf(u); got != want {
			t.Errorf("%s is server %q, want %q", address, got, want)
		}
	}
}

// A listener of the daemon is not asked, by whatever address and name.
func TestOwnListeners(t *testing.T) {
	w := newWeb(t, hello)
	w.Listeners = func(context.Context) ([]netip.AddrPort, error) {
		return []netip.AddrPort{netip.MustParseAddrPort("[::]:1215"), netip.MustParseAddrPort("192.0.2.8:1217")}, nil
	}
	w.Addresses = func() ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}, nil
	}
	w.is("node1", "192.0.2.7")
	c := w.Client(Rules{Named: []string{"http://192.0.2.7:1219/"}})
	for address, own := range map[string]bool{
		"http://node1:1215/crl/ca.crl": true, "http://192.0.2.7:1215/": true, "http://[2001:db8::7]:1215/": true, "http://[::ffff:192.0.2.7]:1215/": true,
		"http://[64:ff9b::192.0.2.7]:1215/": true, "http://192.0.2.8:1217/": true,
		"http://node1:1216/": false, "http://192.0.2.9:1215/": false, "http://192.0.2.7:1217/": false, "http://192.0.2.8:1215/": false,
	} {
		_, err := get(t, c, address)
		if own {
			refused(t, address, err, "is a listener of this daemon")
		} else if err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	named := w.Client(Rules{Named: []string{"http://node1:1215/x"}})
	if _, err := get(t, named, "http://node1:1215/crl/ca.crl"); err != nil {
		t.Errorf("named by the operator: %v", err)
	}
	away := errors.New("the store is away")
	w.Listeners = func(context.Context) ([]netip.AddrPort, error) { return nil, away }
	if _, err := get(t, c, "http://192.0.2.9/"); !errors.Is(err, away) {
		t.Errorf("listeners that are not known: %v", err)
	}
}

// The addresses of this machine are those of its interfaces.
func TestAddresses(t *testing.T) {
	all, err := new(Network).addresses()
	if err != nil || !slices.Contains(all, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("%v, %v", all, err)
	}
}

// Redirects are filtered as what was asked first, unless they lead to what the operator named.
func TestRedirects(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(rw, r, to, http.StatusFound)
			return
		}
		hello(rw, r)
	})
	for _, host := range []string{"named.test", "inner.test"} {
		w.is(host, "127.0.0.1")
	}
	w.is("outer.test", "203.0.113.1")
	rules := Rules{Named: []string{"http://named.test/"}, Redirects: 2}
	for _, c := range []struct{ first, to, reason string }{
		{"http://named.test/", "/elsewhere", ""},
		{"http://named.test/", "http://NAMED.test:80/", ""},
		{"http://outer.test/", "http://named.test/", ""},
		{"http://named.test/", "http://outer.test/", ""},
		{"http://named.test/", "http://named.test:81/", "loopback"},
		{"http://named.test/", "https://named.test/", "loopback"},
		{"http://named.test/", "http://127.0.0.1/", "loopback"},
		{"http://outer.test/", "http://inner.test/", "loopback"},
		{"http://outer.test/", "http://169.254.169.254/latest/", "credentials"},
		{"http://outer.test/", "http://[::ffff:a9fe:a9fe]/", "credentials"},
		{"http://outer.test/", "http://[64:ff9b::a9fe:a9fe]/", "credentials"},
		{"http://outer.test/", "http://[2002:a9fe:a9fe::]/", "IPv4"},
		{"http://outer.test/", "http://0.0.0.0/", "this machine"},
		{"http://outer.test/", "http://[::1]/", "loopback"},
		{"http://outer.test/", "ftp://outer.test/", `scheme "ftp"`},
		{"http://outer.test/", "file:///etc/passwd", `scheme "file"`},
		{"http://outer.test/", "/?to=" + url.QueryEscape("/?to=/"), "more than 2 redirects"},
	} {
		w.dialled = nil
		got, err := get(t, w.Client(rules), c.first+"?to="+url.QueryEscape(c.to))
		switch {
		case c.reason != "":
			refused(t, c.first+" to "+c.to, err, c.reason)
			if strings.Contains(c.reason, "redirects") == (len(w.dialled) == 1) {
				t.Errorf("%s to %s: connections to %q", c.first, c.to, w.dialled)
			}
		case err != nil || got != "hello":
			t.Errorf("%s to %s: %q, %v", c.first, c.to, got, err)
		}
	}
	same := rules
	same.SameServer = true
	_, err := get(t, w.Client(same), "http://outer.test/?to=http://other.test/")
	refused(t, "to another server", err, "a redirect from http://outer.test to http://other.test")
	if _, err := get(t, w.Client(same), "http://outer.test/?to=/"); err != nil {
		t.Errorf("to the same server: %v", err)
	}
	short := Rules{Redirects: 1, Bytes: 5} // less than the body of a redirect
	if got, err := get(t, w.Client(short), "http://outer.test/?to=/"); err != nil || got != "hello" {
		t.Errorf("a redirect with a body: %q, %v", got, err)
	}
	_, err = get(t, w.Client(Rules{}), "http://outer.test/?to=/")
	refused(t, "none is followed", err, "none is followed")
}

// https is verified by the roots that are given, and never left for http.
func TestTLS(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
			return
		}
		hello(w, r)
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	w := newWeb(t, hello)
	w.server, w.Roots = secure, x509.NewCertPool()
	w.Roots.AddCert(secure.Certificate())
	w.is("example.com", "203.0.113.1")
	w.is("other.test", "203.0.113.1")
	c := w.Client(Rules{Redirects: 3})
	if got, err := get(t, c, "https://example.com/"); err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := get(t, c, "https://other.test/"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a name that the certificate lacks: %v", err)
	}
	_, err := get(t, c, "https://example.com/down")
	refused(t, "down", err, "from https to http")
	w.Roots = nil
	if _, err := get(t, w.Client(Rules{}), "https://example.com/"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("roots of the system: %v", err)
	}
}

// What servers do wrong ends, with a reason.
func TestServers(t *testing.T) {
	rules := Rules{Header: 200 * time.Millisecond, Whole: 500 * time.Millisecond, Connect: 200 * time.Millisecond, Bytes: 10_000}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	coded := func(coding string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Values("Accept-Encoding"); !slices.Equal(got, []string{"identity"}) {
				t.Errorf("Accept-Encoding %q", got)
			}
			w.Header().Set("Content-Encoding", coding)
			z := gzip.NewWriter(w)
			io.WriteString(z, "hello")
			z.Close()
		}
	}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		reason string
		ours   bool
	}{
		{"no header", hang, "timeout awaiting response headers", false},
		{"drop by drop", func(w http.ResponseWriter, r *http.Request) {
			for tick := time.NewTicker(20 * time.Millisecond); ; {
				select {
				case <-r.Context().Done():
					tick.Stop()
					return
				case <-tick.C:
					io.WriteString(w, "x")
					w.(http.Flusher).Flush()
				}
			}
		}, "", false}, // the words differ with the moment
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for block := make([]byte, 1000); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, "more than 10000 bytes came, which is all that is read", true},
		{"endless header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		}, "header", false},
		{"long, announced", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10001")
			w.WriteHeader(http.StatusOK)
		}, "10001 bytes, at most 10000 are read", true},
		{"gzip", coded("gzip"), `encoded as "gzip"`, true},
		{"x-gzip", coded("x-gzip"), `encoded as "x-gzip"`, true},
		{"br behind identity", coded("identity, br"), `encoded as "identity, br"`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWeb(t, c.answer)
			w.is("slow.test", "203.0.113.1")
			_, err := get(t, w.Client(rules), "http://slow.test/")
			if err == nil || !strings.Contains(err.Error(), c.reason) || errors.Is(err, ErrRefused) != c.ours {
				t.Errorf("%v, want %q, ours %v", err, c.reason, c.ours)
			}
		})
	}
	for name, answer := range map[string]http.HandlerFunc{
		"as long as may be": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 10_000)) },
		"said to be as it is": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "Identity")
			io.WriteString(w, "hello")
		},
		"a failure that is encoded": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusNotFound)
		},
	} {
		w := newWeb(t, answer)
		w.is("good.test", "203.0.113.1")
		if _, err := get(t, w.Client(rules), "http://good.test/"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A server that takes connections and says nothing, and one that takes none, are given up.
func TestConnectIsBounded(t *testing.T) {
	w := newWeb(t, hello)
	w.is("away.test", "203.0.113.1")
	w.Connect = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c := w.Client(Rules{Connect: 50 * time.Millisecond, Whole: time.Minute})
	if _, err := get(t, c, "http://away.test/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connecting: %v", err)
	}
	w.Lookup = func(ctx context.Context, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if _, err := get(t, c, "http://slow.test/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("looking a name up: %v", err)
	}
}

// No proxy of the environment is asked, and nothing is kept.
func TestTransport(t *testing.T) {
	for _, named := range []bool{false, true} {
		if tr := new(Network).transport(Rules{}.complete(), named); tr.Proxy != nil || !tr.DisableKeepAlives || !tr.DisableCompression || tr.MaxResponseHeaderBytes == 0 {
			t.Errorf("named %v: proxy %v, keep-alives disabled %v", named, tr.Proxy != nil, tr.DisableKeepAlives)
		}
	}
	if c := new(Network).Client(Rules{}); c.Jar != nil || c.Timeout == 0 {
		t.Errorf("client %+v", c)
	}
}

// The system's own resolver and connections: the loopback, which is refused unless it is named.
func TestSystem(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(hello))
	defer server.Close()
	port := server.Listener.Addr().(*net.TCPAddr).Port
	byName := fmt.Sprintf("http://localhost:%d/", port)
	for _, address := range []string{server.URL, byName} {
		_, err := get(t, new(Network).Client(Rules{}), address)
		refused(t, address, err, "loopback")
		if got, err := get(t, new(Network).Client(Rules{Named: []string{address + "/x"}}), address); err != nil || got != "hello" {
			t.Errorf("%s, named: %q, %v", address, got, err)
		}
	}
}

func FuzzForbidden(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fe80::1%eth0", "2001:db8::1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return
		}
		b := a.Unmap()
		dangerous := b.IsLoopback() || b.IsUnspecified() || b.IsLinkLocalUnicast() || b.IsMulticast() || b.IsLinkLocalMulticast()
		if dangerous && forbidden(a) == "" {
			t.Errorf("%s passes", a)
		}
	})
}

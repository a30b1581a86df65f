package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"omca/internal/hint"
)

// ErrRefused means that an address, a redirect or an answer was refused here. With any other error of a client nothing came.
var ErrRefused = errors.New("refused")

// refusal is an [ErrRefused] that says why.
type refusal struct{ why string }

func (r *refusal) Error() string        { return r.why }
func (r *refusal) Is(target error) bool { return target == ErrRefused }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// Network is the way to addresses that others name. The zero Network is that of the system, on a machine without a daemon.
type Network struct {
	// Listeners returns what this daemon listens on. An unspecified address stands for all addresses of this machine. Nil: nothing.
	Listeners func(context.Context) ([]netip.AddrPort, error)
	// Addresses returns the addresses of this machine. Nil: those of its interfaces.
	Addresses func() ([]netip.Addr, error)
	// Lookup returns the addresses of a host, the best first. Nil: as the system finds them.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Connect opens a connection to an address. Nil: by TCP.
	Connect func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	Roots   *x509.CertPool // nil: those of the system

	// Transport stands for the network in tests, whose servers have no addresses. Nil: all of the above.
	Transport http.RoundTripper
}

// Rules bound what a client may do. A zero field takes the default named beside it.
type Rules struct {
	Named []string // URLs that the operator wrote: their hosts and ports are asked wherever they are
	Hint  string   // the way out when an address is refused

	Connect time.Duration // to the server, name lookup included; and as long again for TLS: 5 s
	Header  time.Duration // from the request to the end of the header of the answer: 10 s
	Whole   time.Duration // from the start to the last byte, redirects included: 30 s
	Bytes   int64         // of the body of an answer: 1 MiB

	Redirects  int  // that are followed: none
	SameServer bool // a redirect to another scheme, host or port is refused
}

func (r Rules) complete() Rules {
	r.Connect = cmp.Or(r.Connect, 5*time.Second)
	r.Header = cmp.Or(r.Header, 10*time.Second)
	r.Whole = cmp.Or(r.Whole, 30*time.Second)
	r.Bytes = cmp.Or(r.Bytes, 1<<20)
	return r
}

// Client returns a client under rules. It can be copied and used for any number of requests.
func (n *Network) Client(rules Rules) *http.Client {
	rules = rules.complete()
	w := &way{rules: rules, named: n.Transport, others: n.Transport}
	if n.Transport == nil {
		w.named, w.others = n.transport(rules, true), n.transport(rules, false)
	}
	return &http.Client{Transport: w, CheckRedirect: rules.checkRedirect, Timeout: rules.Whole}
}

// transport returns a transport to servers that the operator named, or to others.
func (n *Network) transport(rules Rules, named bool) *http.Transport {
	const maxHeader = 64 << 10
	d := dialer{network: n, within: rules.Connect, free: named}
	t := &http.Transport{
		DialContext:            d.dial,
		TLSHandshakeTimeout:    rules.Connect,
		ResponseHeaderTimeout:  rules.Header,
		MaxResponseHeaderBytes: maxHeader,
		DisableKeepAlives:      true, // a name is looked up for each request: it may move
		DisableCompression:     true, // or few octets could become many
	}
	if n.Roots != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: n.Roots, MinVersion: tls.VersionTLS12}
	}
	return t
}

// checkRedirect decides whether a redirect is followed, and takes from it what could carry a secret.
func (r Rules) checkRedirect(next *http.Request, via []*http.Request) error {
	switch from := via[len(via)-1].URL; {
	case r.Redirects == 0:
		return refuse("a redirect, and none is followed")
	case len(via) > r.Redirects:
		return refuse("more than %d redirects", r.Redirects)
	case next.URL.Scheme != "https" && next.URL.Scheme != "http":
		return refuse("a redirect to scheme %.40q, only http and https are followed", next.URL.Scheme)
	case from.Scheme == "https" && next.URL.Scheme == "http":
		return refuse("a redirect from https to http")
	case r.SameServer && (next.URL.Scheme != from.Scheme || next.URL.Host != from.Host || next.URL.User != nil):
		return refuse("a redirect from %s://%s to %s://%s", from.Scheme, from.Host, next.URL.Scheme, next.URL.Host)
	}
	next.URL.User = nil
	next.Header.Del("Referer")
	return nil
}

// way is the transport of a client: it chooses how a server is reached, and refuses answers.
type way struct {
	rules         Rules
	named, others http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (w *way) RoundTrip(request *http.Request) (*http.Response, error) {
	if s := request.URL.Scheme; s != "http" && s != "https" {
		return nil, refuse("scheme %.40q, only http and https are spoken", s)
	}
	by := w.others
	if w.rules.names(request.URL) {
		by = w.named
	}
	request = request.Clone(request.Context())
	request.Header.Set("Accept-Encoding", "identity")
	answer, err := by.RoundTrip(request)
	if err != nil {
		return nil, w.rules.explain(err, request.URL)
	}
	if err := w.rules.check(answer); err != nil {
		return nil, errors.Join(err, answer.Body.Close())
	}
	answer.Body = &bounded{ReadCloser: answer.Body, left: w.rules.Bytes, limit: w.rules.Bytes}
	return answer, nil
}

// explain says where a request led that was refused, and the way out.
func (r Rules) explain(err error, u *url.URL) error {
	if !errors.Is(err, ErrRefused) {
		return err
	}
	err = fmt.Errorf("%.300q: %w", shown(u), err)
	if r.Hint == "" {
		return err
	}
	return hint.With(err, "%s", r.Hint)
}

// names reports whether the operator named the host and the port of u.
func (r Rules) names(u *url.URL) bool {
	for _, name := range r.Named {
		if n, err := url.Parse(name); err == nil && n.Host != "" && serverOf(n) == serverOf(u) {
			return true
		}
	}
	return false
}

// serverOf returns the host and the port that a URL means.
func serverOf(u *url.URL) string {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().String()
	}
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(host, port)
}

// shown returns a URL without the parts that may be secret.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// check says why an answer is not read.
func (r Rules) check(answer *http.Response) error {
	// RFC 9110, 8.4.1: x-gzip and the like are codings too. What a redirect or a failure has in its body is not read.
	if coding := strings.Join(answer.Header.Values("Content-Encoding"), ", "); coding != "" && !strings.EqualFold(coding, "identity") && answer.StatusCode/100 == 2 {
		return hint.With(refuse("the answer is encoded as %.40q, and it was asked for as it is (Accept-Encoding: identity)", coding),
			"have the server send this URL without Content-Encoding")
	}
	if answer.ContentLength > r.Bytes && answer.StatusCode/100 != 3 {
		return refuse("%d bytes, at most %d are read", answer.ContentLength, r.Bytes)
	}
	return nil
}

// bounded is a body that is in error when it is too long, so that its beginning is not taken for the whole.
type bounded struct {
	io.ReadCloser
	left, limit int64
}

// Read implements [io.Reader].
func (b *bounded) Read(to []byte) (int, error) {
	if b.left < 0 {
		return 0, b.tooLong()
	}
	n, err := b.ReadCloser.Read(to[:min(int64(len(to)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, b.tooLong()
	}
	return n, err
}

func (b *bounded) tooLong() error {
	return refuse("more than %d bytes came, which is all that is read", b.limit)
}

// Reason takes the URL from an error of a client: a redirect may have led to one with a secret.
func Reason(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

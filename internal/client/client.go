package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds one answer, in bytes. A value is 1 MB at most; lists are longer.
const maxAnswer = 64 << 20

// alertTimeout bounds the search for the alert of a server that hung up without a word.
const alertTimeout = 5 * time.Second

// ErrUnreachable is what a call returns, wrapped, when no answer came: refused, timed out, not verified.
var ErrUnreachable = errors.New("no answer from the server")

// ErrCertificateRefused is what a call returns, wrapped, when the server ended the TLS connection over the client certificate.
// TLS 1.3 tells so only after the handshake, in place of the first answer.
var ErrCertificateRefused = errors.New("the server refused the client certificate")

// Config says where the API is.
type Config struct {
	// Transport carries the requests. Required.
	Transport http.RoundTripper
	// Server is the base URL, such as https://node1:1215. Empty for a transport that knows where it goes.
	Server string
	// Notice is called with each text that the server has for the operator beside the answer. May be nil.
	Notice func(text string)
	// Authorization is asked for the value of that header before each request: "" sends none. After a 401 it is asked again, once, with
	// the value that was refused: another one is tried. May be nil.
	Authorization func(ctx context.Context, refused string) (string, error)
}

// Client calls the API. Its methods may be called at once from several goroutines.
type Client struct {
	http          http.Client
	base          url.URL
	notice        func(string)
	authorization func(context.Context, string) (string, error)
}

// New returns a client of the API at c.Server. It makes no request.
func New(c Config) (*Client, error) {
	if c.Transport == nil {
		return nil, errors.New("client: no transport given")
	}
	server := c.Server
	if server == "" {
		server = "http://omca"
	}
	base, err := ParseServer(server)
	if err != nil {
		return nil, err
	}
	notice := c.Notice
	if notice == nil {
		notice = func(string) {}
	}
	return &Client{
		http: http.Client{
			Transport: c.Transport,
			// The API redirects nothing; following would carry a POST elsewhere as a GET.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base:          *base,
		notice:        notice,
		authorization: c.Authorization,
	}, nil
}

// ParseServer reads a base URL: http or https, a host, and nothing else.
func ParseServer(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return nil, fmt.Errorf("server %q: not of the form https://HOST:1215", server)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("server %q: more than a scheme, a host and a port", server)
	}
	u.Path = ""
	return u, nil
}

// request is one call before it is sent.
type request struct {
	method, path string // path is unescaped
	query        url.Values
	contentType  string
	body         []byte
}

// send makes one request and returns the body of a 2xx answer. Any other status is an [*Error].
func (c *Client) send(ctx context.Context, r request) ([]byte, error) {
	answer, err := c.open(ctx, r)
	return c.read(ctx, r, answer, err)
}

// sendAs is send with this Authorization header, none for "".
func (c *Client) sendAs(ctx context.Context, r request, authorization string) ([]byte, error) {
	answer, err := c.openAs(ctx, r, authorization)
	return c.read(ctx, r, answer, err)
}

// read reads an answer, if one came.
func (c *Client) read(ctx context.Context, r request, answer io.ReadCloser, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer answer.Close() // what matters was read
	body, err := io.ReadAll(io.LimitReader(answer, maxAnswer+1))
	if err != nil {
		return nil, c.unanswered(ctx, err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("%s %s: the answer is longer than %d bytes", r.method, r.path, maxAnswer)
	}
	return body, nil
}

// open makes one request and returns the body of a 2xx answer, to be read and closed. Any other status is an [*Error].
func (c *Client) open(ctx context.Context, r request) (io.ReadCloser, error) {
	if c.authorization == nil {
		return c.openAs(ctx, r, "")
	}
	value, err := c.authorization(ctx, "")
	if err != nil {
		return nil, err
	}
	body, err := c.openAs(ctx, r, value)
	var refused *Error
	if value == "" || !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		return body, err
	}
	// Nothing was done for nobody, so that asking again does it once.
	another, failed := c.authorization(ctx, value)
	if failed != nil {
		return nil, failed
	}
	if another == value {
		return nil, err
	}
	return c.openAs(ctx, r, another)
}

// openAs makes one request with this Authorization header, none for "".
func (c *Client) openAs(ctx context.Context, r request, authorization string) (io.ReadCloser, error) {
	u := c.base
	u.Path, u.RawQuery = r.path, r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if asksFirst(ctx) {
		req.Header.Set(headerAsk, "breaks")
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unanswered(ctx, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close() // what matters is read
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return nil, c.unanswered(ctx, err)
		}
		return nil, problem(resp, body)
	}
	for _, text := range resp.Header.Values("Omca-Notice") {
		c.notice(text)
	}
	return resp.Body, nil
}

// unanswered says why no answer came.
func (c *Client) unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // the URL is the API's business, the server's name is added below
	}
	why := alertIn(err)
	if t, ok := c.http.Transport.(*http.Transport); ok && why == nil && c.base.Scheme == "https" && hungUp(err) {
		why = c.lostAlert(ctx, t.TLSClientConfig)
	}
	if why != nil {
		return fmt.Errorf("%s: %w: %w", c.base.Host, ErrCertificateRefused, why)
	}
	return fmt.Errorf("%s: %w: %w", c.base.Host, ErrUnreachable, err)
}

// alertIn is the TLS alert that an error is about, nil for none: crypto/tls calls it a remote error.
func alertIn(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op.Err
	}
	return nil
}

// hungUp tells whether the server ended a connection that it had let begin.
func hungUp(err error) bool {
	var op *net.OpError
	var unverified *tls.CertificateVerificationError
	return !(errors.As(err, &op) && op.Op == "dial") && !errors.As(err, &unverified) && !errors.Is(err, context.DeadlineExceeded)
}

// lostAlert finds out why the server hung up. A client of TLS 1.3 writes its request before it reads how the handshake ended, and to
// who has hung up by then: the system drops the alert, or HTTP/2 does. Another connection, on which nothing is written after the
// handshake, hears it: a server that takes the certificate speaks first there too, its settings (RFC 9113, section 3.4).
func (c *Client) lostAlert(ctx context.Context, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, alertTimeout)
	defer cancel()
	if config = config.Clone(); config == nil {
		config = new(tls.Config)
	}
	config.NextProtos = []string{"h2", "http/1.1"}
	port := c.base.Port()
	if port == "" {
		port = "443"
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", net.JoinHostPort(c.base.Hostname(), port))
	if err != nil {
		return alertIn(err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })() // nothing is lost with it
	_, err = conn.Read(make([]byte, 1))
	conn.Close() // the same
	return alertIn(err)
}

// call sends in as JSON (nothing when nil) and reads the JSON answer into a T.
func call[T any](ctx context.Context, c *Client, r request, in json.Marshaler) (T, error) {
	var out T
	if in != nil {
		body, err := in.MarshalJSON()
		if err != nil {
			return out, fmt.Errorf("%s %s: %w", r.method, r.path, err)
		}
		r.body, r.contentType = body, "application/json"
	}
	body, err := c.send(ctx, r)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, fmt.Errorf("%s %s: the answer is not the JSON expected: %w", r.method, r.path, err)
	}
	return out, nil
}

// asJSON marks a value as the JSON body of a request.
func asJSON[T any](v T) json.Marshaler { return jsonBody[T]{v} }

type jsonBody[T any] struct{ value T }

func (b jsonBody[T]) MarshalJSON() ([]byte, error) { return json.Marshal(b.value) }

package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"omca/pki"
)

const (
	maxRedirects = 3
	maxValidator = 1 << 10 // octets of an ETag or a Last-Modified that are sent back
	maxHeader    = 64 << 10
)

// newClient returns a client that keeps no connection, no cookie and no secret. A name is looked up for each fetch: it may move.
func newClient(transport http.RoundTripper, limits Limits) *http.Client {
	if transport == nil {
		transport = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: limits.Connect}).DialContext,
			TLSHandshakeTimeout:    limits.Connect,
			ResponseHeaderTimeout:  limits.Header,
			MaxResponseHeaderBytes: maxHeader,
			DisableKeepAlives:      true,
			DisableCompression:     true,
		}
	}
	return &http.Client{Transport: transport, CheckRedirect: checkRedirect}
}

// checkRedirect decides whether a redirect is followed, and takes from it what could carry a secret. The client itself never sends
// credentials, as no source has any.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch from := via[len(via)-1].URL; {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d redirects", pki.ErrInvalid, maxRedirects)
	case next.URL.Scheme != "https" && next.URL.Scheme != "http":
		return fmt.Errorf("%w: a redirect to scheme %.40q, only http and https are followed", pki.ErrInvalid, next.URL.Scheme)
	case from.Scheme == "https" && next.URL.Scheme == "http":
		return fmt.Errorf("%w: a redirect from https to http", pki.ErrInvalid)
	}
	next.URL.User = nil
	next.Header.Del("Referer")
	return nil
}

// get asks for address, on condition that it is not what came with etag or modified, "" for none.
func (f *Feeds) get(ctx context.Context, address, etag, modified string) (p parcel, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return p, err
	}
	request.Header.Set("User-Agent", "omca")
	request.Header.Set("Accept", "application/pkix-crl, application/x-pem-file, */*")
	conditional := etag != "" || modified != ""
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	if modified != "" {
		request.Header.Set("If-Modified-Since", modified)
	}
	answer, err := f.client.Do(request)
	if err != nil {
		return p, bare(err)
	}
	defer func() { err = cmp.Or(err, answer.Body.Close()) }()
	switch {
	case answer.StatusCode == http.StatusNotModified && conditional:
		return parcel{outcome: confirmed}, nil
	case answer.StatusCode != http.StatusOK:
		return p, fmt.Errorf("the server answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	case answer.ContentLength > int64(f.limits.Bytes):
		return p, tooLong(answer.ContentLength, f.limits.Bytes)
	}
	p.etag, p.modified = validator(answer, "ETag"), validator(answer, "Last-Modified")
	p.body, err = readAll(answer.Body, f.limits.Bytes)
	return p, err
}

func validator(answer *http.Response, name string) string {
	if value := answer.Header.Get(name); len(value) <= maxValidator {
		return value
	}
	return ""
}

// bare takes the URL from an error of the client: the source is named beside it anyway, and a redirect may have led to one with a secret.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

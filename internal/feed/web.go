package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"omca/internal/outbound"
	"omca/pki"
)

const (
	maxRedirects = 3
	maxValidator = 1 << 10 // octets of an ETag or a Last-Modified that are sent back
)

// client returns a client for one fetch. The operator names the sources of cluster.crl; a redirect, and the delta list that a list names,
// are what others name.
func (f *Feeds) client() *http.Client {
	var named []string
	for _, s := range f.configured() {
		if s.kind == web {
			named = append(named, s.place)
		}
	}
	return f.network.Client(outbound.Rules{
		Named: named, Hint: "if it is to be asked all the same, name it: \"omca cluster config update --set cluster.crl+=URL\"",
		Connect: f.limits.Connect, Header: f.limits.Header, Bytes: int64(f.limits.Bytes), Redirects: maxRedirects,
		Whole: f.limits.Whole + time.Second, // the context of an attempt ends before, with a reason
	})
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
	answer, err := f.client().Do(request)
	if err != nil {
		return p, invalid(outbound.Reason(err))
	}
	defer func() { err = cmp.Or(err, answer.Body.Close()) }()
	switch {
	case answer.StatusCode == http.StatusNotModified && conditional:
		return parcel{outcome: confirmed}, nil
	case answer.StatusCode != http.StatusOK:
		return p, fmt.Errorf("the server answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	p.etag, p.modified = validator(answer, "ETag"), validator(answer, "Last-Modified")
	p.body, err = io.ReadAll(answer.Body)
	return p, invalid(err)
}

func validator(answer *http.Response, name string) string {
	if value := answer.Header.Get(name); len(value) <= maxValidator {
		return value
	}
	return ""
}

// invalid makes an error of what was refused on its way here one of what came.
func invalid(err error) error {
	if errors.Is(err, outbound.ErrRefused) {
		return fmt.Errorf("%w: %w", pki.ErrInvalid, err)
	}
	return err
}

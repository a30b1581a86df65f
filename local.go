package omca

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Transport returns a way to call the API in process, with the rights that the
// unix socket gives: whoever can open the home has them anyway. It serves a
// command when no daemon runs, and a program that embeds the authority.
func (s *Server) Transport() http.RoundTripper { return local{s} }

type local struct{ s *Server }

// RoundTrip answers from the handler that the daemon serves.
func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	defer body.Close()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	served := r.Clone(context.WithValue(r.Context(), localKey{}, "in process"))
	served.Body, served.RequestURI, served.RemoteAddr = body, r.URL.RequestURI(), "@"
	if served.Host == "" {
		served.Host = r.URL.Host
	}
	w := &answer{header: make(http.Header)}
	if err := w.serve(l.s.handler, served); err != nil {
		return nil, err
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// answer is a response in memory. Every answer of the API is bounded.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// serve runs the handler. http.ErrAbortHandler, the one panic that a handler
// may use, ends a connection: here it is an error.
func (a *answer) serve(h http.Handler, r *http.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errors.New("omca: the handler gave up")
		}
	}()
	h.ServeHTTP(a, r)
	a.WriteHeader(http.StatusOK)
	return nil
}

package omca

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Transport returns a way to call the API in process, with the rights that the
// unix socket gives: whoever can open the home has them anyway. It serves a
// command when no daemon runs, and a program that embeds the authority.
func (s *Server) Transport() http.RoundTripper { return local{s} }

type local struct{ s *Server }

// RoundTrip answers from the handler that the daemon serves.
func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	served := r.Clone(context.WithValue(r.Context(), localKey{}, "in process"))
	served.RequestURI, served.RemoteAddr = r.URL.RequestURI(), "@"
	if served.Body == nil {
		served.Body = http.NoBody
	}
	if err := r.Context().Err(); err != nil {
		return nil, errors.Join(err, served.Body.Close())
	}
	if served.Host == "" {
		served.Host = r.URL.Host
	}
	body, w := newAnswer()
	go w.serve(l.s.handler, served)
	select {
	case <-w.begun:
	case <-r.Context().Done():
		return nil, errors.Join(r.Context().Err(), body.Close())
	}
	if w.status == 0 {
		return nil, errGaveUp
	}
	length := int64(-1)
	if n, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64); err == nil {
		length = n
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: body, ContentLength: length, Request: r,
	}, nil
}

var errGaveUp = errors.New("omca: the handler gave up")

// answer is a response on its way: what the handler writes waits until it is
// read, and who closes the body ends the handler.
type answer struct {
	header http.Header
	body   *io.PipeWriter

	once   sync.Once
	begun  chan struct{} // closed when status and header are what they will be
	status int           // 0 when the handler gave up before it answered
	sent   http.Header
}

func newAnswer() (io.ReadCloser, *answer) {
	r, w := io.Pipe()
	return r, &answer{header: make(http.Header), body: w, begun: make(chan struct{})}
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// serve runs the handler. The body ends when it has returned. http.ErrAbortHandler,
// the one panic that a handler may use, ends a connection: here it is an error.
func (a *answer) serve(h http.Handler, r *http.Request) {
	defer func() {
		var err error
		if v := recover(); v != nil {
			err = errGaveUp
			a.once.Do(func() { close(a.begun) })
		}
		a.WriteHeader(http.StatusOK)
		a.body.CloseWithError(errors.Join(err, r.Body.Close())) // never fails; nil is the end of the body
	}()
	h.ServeHTTP(a, r)
}

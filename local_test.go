package omca

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

// inProcess makes a request to a handler in process.
func inProcess(ctx context.Context, h http.HandlerFunc) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://omca/x", nil)
	if err != nil {
		return nil, err
	}
	return local{&Server{handler: h}}.RoundTrip(r)
}

// An answer in process is read as it is written, and ends as its handler does.
func TestLocal(t *testing.T) {
	const pieces, size = 100, 100_000
	resp, err := inProcess(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-A", "before")
		for range pieces {
			if _, err := w.Write(make([]byte, size)); err != nil {
				t.Error(err)
			}
			w.Header().Set("X-A", "after")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != pieces*size || resp.StatusCode != http.StatusOK || resp.Header.Get("X-A") != "before" || resp.ContentLength != -1 {
		t.Errorf("%d bytes, %v, status %d, header %v", n, err, resp.StatusCode, resp.Header)
	}

	resp, err = inProcess(t.Context(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Errorf("an answer without a body: %+v, %v", resp, err)
	}

	if _, err := inProcess(t.Context(), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }); !errors.Is(err, errGaveUp) {
		t.Errorf("a handler that gives up before it answers: %v", err)
	}
	resp, err = inProcess(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write([]byte("half")); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(resp.Body); !errors.Is(err, errGaveUp) || !bytes.Equal(text, []byte("half")) {
		t.Errorf("a handler that gives up: %q, %v", text, err)
	}
}

// Who does not read on ends the handler.
func TestLocalReaderLeaves(t *testing.T) {
	ended := make(chan error, 1)
	resp, err := inProcess(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				ended <- err
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the handler met %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the handler goes on for nobody")
	}

	ctx, cancel := context.WithCancel(t.Context())
	if _, err := inProcess(ctx, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that was cancelled: %v", err)
	}
}

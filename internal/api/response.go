package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"omca/internal/text"
)

// A response is an answer ready to be sent.
type response struct {
	status int
	media  string
	body   []byte
	header http.Header  // more headers; may be nil
	stream http.Handler // answers in place of the above, when set
}

// reply answers with v as JSON.
func reply[T any](status int, v T) (response, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return response{}, fmt.Errorf("writing the answer: %w", err)
	}
	return response{status: status, media: mediaJSON, body: append(text.JSON(b), '\n')}, nil
}

// noContent answers that it is done.
func noContent() (response, error) { return response{status: http.StatusNoContent}, nil }

func (r response) write(w http.ResponseWriter, req *http.Request, notices []string) {
	h := w.Header()
	for _, notice := range notices {
		h.Add("Omca-Notice", text.Line(notice)) // RFC 9110, section 5.5, permits no control characters
	}
	for name, values := range r.header {
		h[name] = values
	}
	if r.stream != nil {
		r.stream.ServeHTTP(w, req)
		return
	}
	if r.media != "" {
		h["Content-Type"] = []string{r.media}
		h["Content-Length"] = []string{strconv.Itoa(len(r.body))}
	}
	w.WriteHeader(r.status)
	if req.Method != http.MethodHead {
		// Whoever asked is gone when this fails, and nobody else wants to know.
		_, _ = w.Write(r.body)
	}
}

package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
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
	return response{status: status, media: mediaJSON, body: append(b, '\n')}, nil
}

// noContent answers that it is done.
func noContent() (response, error) { return response{status: http.StatusNoContent}, nil }

func (r response) write(w http.ResponseWriter, req *http.Request, notices []string) {
	h := w.Header()
	for _, text := range notices {
		h.Add("Omca-Notice", headerText(text))
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

// headerText keeps a text to one line of printable characters: RFC 9110,
// section 5.5, permits no control characters in a field.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

package client

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"

	"omca/internal/wire"
)

// Error is a refusal of the API (RFC 9457).
type Error struct {
	Status    int    `json:"status"` // the HTTP status, which is the one of the answer even when the body says another
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	Hint      string `json:"hint"`       // what to try next; may be empty
	RequestID string `json:"request_id"` // as found in the server's log; may be empty

	// Breaks is why the call was not done, when it was made with [AskFirst].
	Breaks []wire.Break `json:"breaks"`
}

// Error returns the detail, or the title when there is none.
func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Title
}

// problem makes an Error of an answer that is not a 2xx.
func problem(resp *http.Response, body []byte) error {
	e := &Error{}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	// OpenSVC's server calls its problems plain JSON.
	if err == nil && (mediaType == "application/problem+json" || mediaType == "application/json") && json.Unmarshal(body, e) == nil && e.Error() != "" {
		e.Status = resp.StatusCode
		return e
	}
	return &Error{
		Status: resp.StatusCode,
		Title:  http.StatusText(resp.StatusCode),
		Detail: fmt.Sprintf("%s %s: unexpected answer %q", resp.Request.Method, resp.Request.URL.Path, resp.Status),
	}
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/registry"
	"omca/internal/text"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

const mediaProblem = "application/problem+json"

// kinds of errors and what they are in HTTP, the first that fits.
//
// What is missing here is nobody's business: see problemOf.
func (d *door) statusOf(err error) int {
	switch {
	case errors.Is(err, usr.ErrLimited), errors.Is(err, usr.ErrQuota):
		return http.StatusTooManyRequests
	case errors.Is(err, usr.ErrUnauthenticated):
		return http.StatusUnauthorized
	case errors.Is(err, usr.ErrDenied), errors.Is(err, pki.ErrNotAllowed):
		return http.StatusForbidden
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed
	case errors.Is(err, errMediaType):
		return http.StatusUnsupportedMediaType
	case errors.Is(err, errTooLarge), errors.Is(err, registry.ErrKeyTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ca.ErrNotFound), errors.Is(err, errNoRoute):
		return http.StatusNotFound
	case errors.Is(err, errUpstream): // what came from there may be invalid, and the request was not
		return http.StatusBadGateway
	case errors.Is(err, ca.ErrConflict): // object.ErrExists is one
		return http.StatusConflict
	case errors.Is(err, errBadRequest), errors.Is(err, ca.ErrInvalid),
		errors.Is(err, pki.ErrInvalid), errors.Is(err, usr.ErrInvalid):
		return http.StatusBadRequest
	case d.Full(err):
		return http.StatusInsufficientStorage
	case d.Down(err), errors.Is(err, errNotReady), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// problemOf says an error to the caller. Only the errors that statusOf knows
// speak for themselves: they were written for operators. The text of any other
// one, and of the store, may tell what it must not, and stays in the log.
func (d *door) problemOf(err error, requestID string) wire.Problem {
	status := d.statusOf(err)
	p := wire.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, RequestID: requestID}
	switch status {
	case http.StatusUnauthorized:
		p.Detail = "not authenticated" // docs/authorization.md, Who is calling: it does not say why
	case http.StatusTooManyRequests:
		var quota *usr.QuotaError
		if errors.As(err, &quota) {
			p.Detail, p.Hint = err.Error(), quotaHint(quota)
			break
		}
		// It does not say which limit it was: that would tell who else tries.
		p.Detail = usr.ErrLimited.Error()
		p.Hint = "try again in " + retryAfter(err) + " s"
	case http.StatusInternalServerError:
		p.Detail = "something went wrong inside; the log has it under this request id"
	case http.StatusInsufficientStorage:
		p.Detail = "the store is full: nothing was changed"
		p.Hint = "make room on the file system of the home (OMCA_HOME), then repeat the command"
	case http.StatusServiceUnavailable:
		p.Detail = "the service cannot do its work at the moment"
		if d.Explain == nil {
			break
		}
		if detail, hint := d.Explain(err); detail != "" {
			p.Detail, p.Hint = detail, hint
		}
	default:
		p.Detail, p.Hint, p.Breaks = err.Error(), hint.Of(err), breaksOf(err)
	}
	return p
}

// quotaHint returns when there is room again, and the ways to more.
func quotaHint(q *usr.QuotaError) string {
	if q.Keyword == "" {
		return "try again in " + retryAfter(q) + " s"
	}
	way := fmt.Sprintf("root does it without a bound, or raises the keyword with \"omca cluster config update --set %s=N\"", q.Keyword)
	if q.Keyword == "cluster.max_tokens" {
		way = "\"omca token revoke\" takes tokens back; " + way
	}
	if after := retryAfter(q); after != "0" {
		return "try again in " + after + " s; " + way
	}
	return way
}

// refuse answers with the problem that err is. It is the only one who does.
func (d *door) refuse(w http.ResponseWriter, err error) {
	p := d.problemOf(err, requestID(w))
	if p.Status >= http.StatusInternalServerError {
		d.Log.LogAttrs(context.Background(), slog.LevelError, "failed",
			slog.Int("status", p.Status), slog.String("request_id", p.RequestID), slog.String("error", err.Error()))
	}
	h := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = challenges()
	case http.StatusTooManyRequests:
		if after := retryAfter(err); after != "0" {
			h.Set("Retry-After", after)
		}
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "5")
	}
	body, err := json.Marshal(p)
	if err != nil { // cannot be: it is strings and a number
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	body = text.JSON(body)
	h.Set("Content-Type", mediaProblem)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // whoever asked is gone when this fails
}

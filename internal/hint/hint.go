package hint

import (
	"errors"
	"fmt"
)

// hinted is an error that knows what to try next. It reads as the error that it wraps.
type hinted struct {
	err  error
	text string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// With attaches to err the next thing to try, formatted as by [fmt.Sprintf].
//
// The text of err does not change, and [errors.Is] and [errors.As] still see it. A nil err stays nil, so that a function may end
// with
//
//	return hint.With(err, "start it with %q", "omca daemon run")
func With(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err: err, text: fmt.Sprintf(format, args...)}
}

// Of returns the hint of err: the outermost one, since whoever added it last knew most about what was being tried.
// It returns "" when err is nil or carries no hint.
func Of(err error) string {
	var h *hinted
	if !errors.As(err, &h) {
		return ""
	}
	return h.text
}

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"omca/internal/object"
	"omca/usr"
)

// call is one request on its walk.
type call struct {
	route   *route
	request *http.Request // under the decision, while there is one
	id      string        // of the request
	who     usr.Caller    // nobody on public routes
	path    object.Path
	vars    map[string]string // of the URL, unescaped
	query   url.Values
	body    []byte

	refresher *Refresher // who sends a refresh token, on the route that takes one

	// Made of the body once, however often the call is decided.
	hash   usr.PasswordHash // of the password in it
	opened []byte           // the private key in it, without its password

	before *reign // what the CA of the cluster was; nil unless the call may change that

	// Done by an adoption so far, however often the call is decided.
	adopted  []string // users
	recorded int

	notices []string    // for the operator, beside the answer
	facts   []slog.Attr // for the audit line
}

// target is the object of the call in the words of usr.
func (c *call) target() usr.Object { return target(c.path) }

func target(p object.Path) usr.Object {
	return usr.Object{Namespace: p.Namespace, Kind: string(p.Kind), Name: p.Name}
}

// notice has something to say to the operator.
func (c *call) notice(format string, args ...any) {
	c.notices = append(c.notices, fmt.Sprintf(format, args...))
}

// note adds a fact to the audit line of the call.
func (c *call) note(a slog.Attr) { c.facts = append(c.facts, a) }

// list returns the values of a repeatable parameter without the empty ones,
// which OpenSVC's client sends for what it was not given.
func (c *call) list(name string) []string {
	var words []string
	for _, v := range c.query[name] {
		if v != "" {
			words = append(words, v)
		}
	}
	return words
}

// flag reads a parameter that is true or false; false unless given.
func (c *call) flag(name string) (bool, error) {
	text := c.query.Get(name)
	if text == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%w: %s is %.32q, not true or false", errBadRequest, name, text)
	}
	return v, nil
}

// readBody reads what the request carries, once its type and its size are right.
func (c *call) readBody(w http.ResponseWriter, b body) error {
	if b.media == "" {
		return nil
	}
	r := c.request
	if r.ContentLength > b.limit {
		return fmt.Errorf("%w: the body has %d bytes, at most %d", errTooLarge, r.ContentLength, b.limit)
	}
	var err error
	c.body, err = io.ReadAll(http.MaxBytesReader(plain(w), r.Body, b.limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return fmt.Errorf("%w: the body has more than %d bytes", errTooLarge, b.limit)
	}
	if err != nil {
		return fmt.Errorf("%w: the body ends early", errBadRequest)
	}
	if len(c.body) == 0 && b.optional {
		return nil
	}
	if b.orForm && checkMedia(r.Header.Get("Content-Type"), mediaForm) == nil {
		return nil
	}
	return checkMedia(r.Header.Get("Content-Type"), b.media)
}

// checkMedia refuses a body of another type than want. Raw bytes are of any type.
func checkMedia(got, want string) error {
	if want == mediaAny {
		return nil
	}
	media, params, err := mime.ParseMediaType(got)
	if err != nil {
		return fmt.Errorf("%w: Content-Type is %.64q, want %q", errMediaType, got, want)
	}
	wanted, _, _ := strings.Cut(want, ";")
	// OpenSVC's client sends config files as octets.
	if media != wanted && (want != mediaText || media != mediaAny) {
		return fmt.Errorf("%w: Content-Type is %.64q, want %q", errMediaType, media, wanted)
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return fmt.Errorf("%w: charset is %.64q, want utf-8", errMediaType, charset)
	}
	return nil
}

// decode reads the JSON body into a T. Unknown fields, and anything behind the
// value, are refused; an empty body, where the route permits one, is the zero T.
func decode[T any](c *call) (T, error) {
	var v T
	if len(c.body) == 0 {
		return v, nil
	}
	dec := json.NewDecoder(bytes.NewReader(c.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, badJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return v, fmt.Errorf("%w: the body goes on behind its JSON value", errBadRequest)
	}
	return v, nil
}

// badJSON says what is wrong with a body, and never what is in it: it may be a secret.
func badJSON(err error) error {
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%w: the body is not JSON, at byte %d", errBadRequest, syntax.Offset)
	case errors.As(err, &wrongType):
		return fmt.Errorf("%w: field %q cannot be a %s", errBadRequest, wrongType.Field, strings.Fields(wrongType.Value + " value")[0])
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the JSON ends early", errBadRequest)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("%w: unknown field %.80s", errBadRequest, field)
	}
	return fmt.Errorf("%w: the body does not fit", errBadRequest)
}

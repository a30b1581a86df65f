package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"omca/internal/wire"
	"omca/usr"
)

// problem is what the API says when it does not do something.
type problem = wire.Problem

// A refusal is a problem that the API answered with.
type refusal struct {
	Problem    problem
	RetryAfter string // seconds; "" when it does not say
}

func (e *refusal) Error() string { return e.Problem.Detail }

// who is who the visitor is taken for.
type who struct {
	wire.Whoami
	Root     bool
	InPerson bool // by what is the user's alone: there is an object of that user, and it is theirs
}

// Path is the object of the visitor, who is there in person.
func (w *who) Path() string { return "system/usr/" + w.Name }

// recorder is the answer of the API, read.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is for [http.ResponseWriter].
func (a *recorder) Header() http.Header { return a.header }

// WriteHeader is for [http.ResponseWriter].
func (a *recorder) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write is for [http.ResponseWriter].
func (a *recorder) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// send asks the API in the visitor's name: with the connection, the address and
// the headers of the visit, so that the API finds the same proofs of a name, and
// the same signs of a request of another origin, as if it had been asked
// directly. An answer other than 2xx is a *refusal.
func (v *visit) send(method, path string, query url.Values, media string, body []byte) (*recorder, error) {
	r := v.r.Clone(v.r.Context())
	r.Method, r.Pattern = method, ""
	at, err := url.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", path, err)
	}
	at.RawQuery = query.Encode()
	r.URL, r.RequestURI = at, at.RequestURI()
	for _, name := range []string{"Content-Type", "Content-Length", "Accept", "Accept-Encoding", "Range", "If-None-Match", "If-Modified-Since"} {
		r.Header.Del(name)
	}
	r.TransferEncoding, r.Form, r.PostForm, r.MultipartForm = nil, nil, nil, nil
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	a := &recorder{header: http.Header{}}
	v.API.ServeHTTP(a, r)
	if a.status >= 200 && a.status < 300 {
		return a, nil
	}
	no := &refusal{RetryAfter: a.header.Get("Retry-After")}
	if err := json.Unmarshal(a.body.Bytes(), &no.Problem); err != nil || no.Problem.Status != a.status {
		return nil, fmt.Errorf("%s %s answered %d with what is no problem", method, path, a.status)
	}
	return nil, no
}

// get reads an answer of the API.
func get[T any](v *visit, path string, query url.Values) (T, error) {
	a, err := v.send(http.MethodGet, path, query, "", nil)
	if err != nil {
		var none T
		return none, err
	}
	return read[T](a)
}

// read reads an answer that is JSON.
func read[T any](a *recorder) (into T, err error) {
	err = json.Unmarshal(a.body.Bytes(), &into)
	return into, err
}

// post has the API change something.
func (v *visit) post(path string, query url.Values, body any) (*recorder, error) {
	return v.change(http.MethodPost, path, query, body)
}

func (v *visit) change(method, path string, query url.Values, body any) (*recorder, error) {
	if body == nil {
		return v.send(method, path, query, "", nil)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return v.send(method, path, query, "application/json", text)
}

// identify finds out who the visitor is.
func (v *visit) identify() error {
	me, err := get[wire.Whoami](v, "/whoami", nil)
	if err != nil {
		return err
	}
	_, root := me.Grant[string(usr.RoleRoot)]
	person := slices.Contains([]usr.Method{usr.MethodSession, usr.MethodX509, usr.MethodPassword}, usr.Method(me.Auth))
	v.who = &who{Whoami: me, Root: root, InPerson: person}
	return nil
}

// may asks whether the visitor may do something.
func (v *visit) may(verb, path string, what ...string) (wire.Verdict, error) {
	query := url.Values{"verb": {verb}}
	if path != "" {
		query.Set("path", path)
	}
	if len(what) > 0 {
		query["what"] = what
	}
	return get[wire.Verdict](v, "/api/auth/can-i", query)
}

// allowed is may for what is left out of a page when it is not.
func (v *visit) allowed(into *bool, verb, path string, what ...string) error {
	verdict, err := v.may(verb, path, what...)
	*into = verdict.Allowed
	return err
}

// needs is may for a page that leads to something: who may not is told by which
// rule.
func (v *visit) needs(verb, path string, what ...string) error {
	verdict, err := v.may(verb, path, what...)
	if err != nil || verdict.Allowed {
		return err
	}
	return &refusal{Problem: problem{Status: http.StatusForbidden, Title: "Forbidden", Detail: verdict.Reason, Hint: "this is for: " + verdict.Rule}}
}

// isRefused reports whether the API refused with one of these statuses.
func isRefused(err error, statuses ...int) bool {
	no, ok := err.(*refusal) //nolint:errorlint // send wraps none
	if !ok {
		return false
	}
	for _, status := range statuses {
		if no.Problem.Status == status {
			return true
		}
	}
	return false
}

// cut is a path in its parts; ok is false for what has not three.
func cut(path string) (namespace, kind, name string, ok bool) {
	part := strings.Split(path, "/")
	if len(part) != 3 || slices.Contains(part, "") {
		return "", "", "", false
	}
	return part[0], part[1], part[2], true
}

// urlOf is the address of the object at a path in the API.
func urlOf(path string) (string, error) {
	namespace, kind, name, ok := cut(path)
	if !ok {
		return "", bad(http.StatusBadRequest, "the path of an object is NAMESPACE/KIND/NAME")
	}
	return objectURL(namespace, kind, name), nil
}

// problemOf is what the API refused with; ok is false for any other error.
func problemOf(err error) (p problem, ok bool) {
	no, ok := err.(*refusal) //nolint:errorlint // send wraps none
	if !ok {
		return p, false
	}
	return no.Problem, true
}

// objectURL is the address of an object in the API.
func objectURL(namespace, kind, name string) string {
	return "/api/object/path/" + url.PathEscape(namespace) + "/" + url.PathEscape(kind) + "/" + url.PathEscape(name)
}

// nextOf keeps, for after the login, which page was asked for.
func nextOf(r *http.Request) string {
	if r.URL.Path == "/" && r.URL.RawQuery == "" {
		return ""
	}
	return "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
}

// pageSize is how many rows a list has: pages stay far below 100 kB.
const pageSize = 50

func limit(n int) []string { return []string{strconv.Itoa(n)} }

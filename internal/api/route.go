package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/gorilla/mux"

	"omca/internal/object"
	"omca/internal/registry"
)

// A route is one row of the table: everything there is to know about one
// method on one path.
type route struct {
	method string
	path   string // pattern of gorilla/mux, without regular expressions
	rest   bool   // the variable at the end of the path may have slashes in it
	rule   rule   // who may
	id     string // operation, as OpenAPI, the audit trail and the metrics call it
	about  string // one sentence for the operator
	params []param
	body   body
	answer answer
	audit  audit
	handle handler

	paced     bool // it issues something: see pace
	anyOrigin bool // it changes nothing, whatever its method says: see sameOrigin
}

// A handler does one call and says the answer. It runs after the rule of its
// route said yes.
type handler func(ctx context.Context, c *call) (response, error)

// param is a parameter of the query.
type param struct {
	name  string
	list  bool // may be repeated
	about string
}

// body is what a request carries; the zero body is none.
type body struct {
	media    string       // "" for no body, mediaAny for bytes of any type
	schema   reflect.Type // of JSON
	limit    int64        // bytes
	optional bool
	orForm   bool // or the fields of a page's form
}

// answer is what comes back when all went well.
type answer struct {
	status  int
	another int          // a second status with the same body; 0 is none
	media   string       // "" for no body
	orText  bool         // text/plain too, when it is text
	schema  reflect.Type // of JSON

	unchanged bool // 304 to whoever has it already
}

// audit says which calls of a route leave a line although nothing was denied.
type audit int

const (
	auditNone   audit = iota // reads
	auditCalls               // every change, and every value given away
	auditSealed              // the values of sealed kinds given away
	auditByCA                // ca writes a better line when it issues
)

const (
	mediaJSON = "application/json"
	mediaText = "text/plain; charset=utf-8"
	mediaHTML = "text/html; charset=utf-8"
	mediaPEM  = "application/x-pem-file"
	mediaP12  = "application/x-pkcs12"
	mediaAny  = "application/octet-stream"
	mediaForm = "application/x-www-form-urlencoded"

	mediaCRL         = "application/pkix-crl"     // RFC 2585, 4.2
	mediaOCSPRequest = "application/ocsp-request" // RFC 6960, A.1
	mediaOCSP        = "application/ocsp-response"
)

// The limits of bodies, in bytes.
const (
	limitJSON   = 1_500_000 // a value of 1 MB in base64
	limitRaw    = registry.MaxKeySize
	limitCSR    = 64 << 10
	limitConfig = 256 << 10
)

func jsonBody[T any](limit int64) body {
	return body{media: mediaJSON, schema: reflect.TypeFor[T](), limit: limit}
}

// jsonOption is a body that may be left out.
func jsonOption[T any]() body {
	return body{media: mediaJSON, schema: reflect.TypeFor[T](), limit: limitCSR, optional: true}
}

func jsonAnswer[T any](status int) answer {
	return answer{status: status, media: mediaJSON, schema: reflect.TypeFor[T]()}
}

// router makes the router from the table. Whatever the table does not say is
// a problem: 404, or 405 with the methods that the path has.
func (d *door) router(routes []route) (http.Handler, error) {
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	seen := make(map[string]bool)
	for _, row := range routes {
		if err := row.check(); err != nil {
			return nil, err
		}
		if name := row.method + " " + row.path; seen[name] || seen[row.id] {
			return nil, fmt.Errorf("route %s is there twice", name)
		}
		seen[row.method+" "+row.path], seen[row.id] = true, true
		methods := []string{row.method}
		if row.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		r.Handle(row.pattern(), d.serve(row)).Methods(methods...)
	}
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		d.refuse(w, errNoRoute)
	})
	r.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Allow", allowed(r, req))
		d.refuse(w, fmt.Errorf("%w: %s", errMethod, req.Method))
	})
	return r, nil
}

// pattern is the path as the router takes it.
func (r route) pattern() string {
	if !r.rest {
		return r.path
	}
	return strings.TrimSuffix(r.path, "}") + ":.+}"
}

// check refuses a row that lacks something. Default deny: a route without a
// rule would be open to everyone, so there is none.
func (r route) check() error {
	switch {
	case r.rule.check == nil && !r.rule.public:
		return fmt.Errorf("route %s %s does not say who may", r.method, r.path)
	case r.handle == nil || r.id == "" || r.about == "" || r.answer.status == 0:
		return fmt.Errorf("route %s %s lacks its handler, its id, its sentence or its answer", r.method, r.path)
	case r.body.media != "" && r.body.limit <= 0:
		return fmt.Errorf("route %s %s does not bound its body", r.method, r.path)
	}
	return nil
}

// allowed lists the methods that the router takes at the path of req.
func allowed(r *mux.Router, req *http.Request) string {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		try := *req
		try.Method = method
		if match := (mux.RouteMatch{}); r.Match(&try, &match) && match.MatchErr == nil {
			methods = append(methods, method)
		}
	}
	return strings.Join(methods, ", ")
}

// serve is the walk of one request.
func (d *door) serve(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if x, ok := w.(*exchange); ok {
			x.operation = r.id
		}
		c := &call{route: &r, request: req, id: requestID(w)}
		answer, err := d.walk(req.Context(), c, w)
		d.record(req.Context(), r, c, answer.status, err)
		if r.paced {
			d.pace.wait(req.Context(), c.who)
		}
		if err != nil {
			d.refuse(w, err)
			return
		}
		answer.write(w, req, c.notices)
	})
}

func (d *door) walk(ctx context.Context, c *call, w http.ResponseWriter) (response, error) {
	r := c.route
	if d.Latest != nil && r.method != http.MethodGet && !r.rule.public {
		d.Latest(ctx) // who calls and what is there is decided by what all nodes know
	}
	if r.mayCommit() {
		return d.change(ctx, c, w)
	}
	if err := d.enter(ctx, c); err != nil {
		return response{}, err
	}
	if err := c.readBody(w, r.body); err != nil {
		return response{}, err
	}
	return r.handle(ctx, c)
}

// enter decides whether the caller may take the route.
func (d *door) enter(ctx context.Context, c *call) error {
	r := c.route
	var err error
	if !r.rule.public {
		if c.who, err = d.Identify(c.request); err != nil {
			return err
		}
		c.who.RequestID = c.id
	}
	if !r.anyOrigin {
		if err := sameOrigin(c.request); err != nil {
			return err
		}
	}
	if err := c.address(); err != nil {
		return err
	}
	if r.rule.check == nil {
		return nil
	}
	return r.rule.check(ctx, c)
}

// address reads the query and the object that the URL names.
func (c *call) address() error {
	r := c.route
	var err error
	if c.request.URL.RawQuery != "" {
		if c.query, err = url.ParseQuery(c.request.URL.RawQuery); err != nil {
			return fmt.Errorf("%w: the query cannot be read", errBadRequest)
		}
		if err := r.checkQuery(c.query); err != nil {
			return err
		}
	}
	if strings.HasPrefix(r.path, pathCluster) {
		c.path = object.ClusterPath()
		return nil
	}
	vars := mux.Vars(c.request)
	if len(vars) == 0 {
		return nil
	}
	c.vars = make(map[string]string, len(vars))
	for name, escaped := range vars {
		if c.vars[name], err = url.PathUnescape(escaped); err != nil {
			return fmt.Errorf("%w: the path cannot be read", errBadRequest)
		}
	}
	if _, ok := c.vars["kind"]; ok {
		c.path, err = object.ParsePath(c.vars["namespace"] + "/" + c.vars["kind"] + "/" + c.vars["name"])
	}
	return err
}

// checkQuery refuses parameters that the route does not have: a slip of the
// finger in a name must not silently select everything.
func (r route) checkQuery(query url.Values) error {
	for name, values := range query {
		i := -1
		for j, p := range r.params {
			if p.name == name {
				i = j
			}
		}
		switch {
		case i < 0:
			return fmt.Errorf("%w: unknown parameter %.64q", errBadRequest, name)
		case !r.params[i].list && len(values) > 1:
			return fmt.Errorf("%w: parameter %q is given %d times", errBadRequest, name, len(values))
		}
	}
	return nil
}

var (
	errBadRequest = errors.New("bad request")
	errNoRoute    = errors.New("there is nothing at this address")
	errMethod     = errors.New("the address is there, but not for this method")
	errTooLarge   = errors.New("too large")
	errMediaType  = errors.New("unsupported media type")
	errUpstream   = errors.New("not fetched")
)

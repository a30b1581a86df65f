package console

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"omca/internal/text"
)

// Config says what the pages are made of. Every field is required.
type Config struct {
	API     http.Handler // what is no page is for it, too
	Now     func() time.Time
	Version string // of the program
	Log     *slog.Logger
}

// policy lets pages have script, style and images of this server, and nothing
// else: no inline script, no other host, no frame around them.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// limitForm is how much a form may send, in bytes.
const limitForm = 64 << 10

// console is what the pages share.
type console struct {
	Config
	pages map[string]*template.Template
	files map[string]*file
}

// A page answers one request, or fails; the error is shown as a page.
type page func(*visit) error

// New returns a handler that serves the pages, and everything else from the API.
func New(c Config) (http.Handler, error) {
	if c.API == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("console: Config needs API, Now and Log")
	}
	// Three megabytes that live cost every certificate some of the collector's time: they wait for the first visitor.
	pages := sync.OnceValues((&console{Config: c}).build)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Before the router, which would redirect from what has two slashes:
		// there may be some in the base64 of an OCSP request.
		if apiPath(r.URL.Path) {
			c.API.ServeHTTP(w, r)
			return
		}
		mux, err := pages()
		if err != nil {
			c.Log.ErrorContext(r.Context(), "no console", "error", err)
			http.Error(w, "the console cannot be shown; the log says why", http.StatusInternalServerError)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// build reads the files and makes the pages.
func (s *console) build() (*http.ServeMux, error) {
	var err error
	if s.files, err = readFiles(); err != nil {
		return nil, err
	}
	if s.pages, err = s.readPages(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for pattern, show := range pages() {
		mux.Handle(pattern, s.serve(show))
	}
	mux.HandleFunc("GET /static/{hash}/{name}", s.serveFile)
	mux.HandleFunc("/", s.other)
	return mux, nil
}

// pages are all there are, by what the mux calls them.
func pages() map[string]page {
	return map[string]page{
		"GET /{$}":     overview,
		"GET /hands":   showHands,
		"POST /lists":  refreshLists,
		"GET /audit":   showAudit,
		"GET /login":   askLogin,
		"POST /login":  login,
		"POST /logout": logout,

		"GET /login/openid":          beginOpenID,
		"GET /login/openid/callback": endOpenID,

		"GET /certificates":                  listCertificates,
		"GET /certificates/{serial}":         showCertificate,
		"GET /certificates/{serial}/pem":     downloadCertificate,
		"GET /certificates/{serial}/chain":   downloadChain,
		"GET /certificates/{serial}/pkcs12":  askPKCS12,
		"POST /certificates/{serial}/pkcs12": downloadPKCS12,
		"GET /certificates/{serial}/revoke":  askRevoke,
		"POST /certificates/{serial}/revoke": revoke,
		"POST /certificates/{serial}/renew":  renew,

		"GET /issue":          askIssue,
		"POST /issue/preview": previewIssue,
		"POST /issue":         issue,

		"GET /users":                  listUsers,
		"GET /adduser":                askUser,
		"POST /adduser":               addUser,
		"GET /users/{user}":           showUser,
		"GET /users/{user}/grants":    askGrants,
		"POST /users/{user}/grants":   setGrants,
		"POST /users/{user}/state":    setState,
		"POST /users/{user}/unlock":   unlockUser,
		"GET /users/{user}/password":  askPassword,
		"POST /users/{user}/password": setPassword,
		"POST /users/{user}/sessions": endSessions,

		"GET /tokens":         listTokens,
		"GET /tokens/new":     askToken,
		"POST /tokens/new":    issueToken,
		"POST /tokens/revoke": revokeToken,

		"GET /objects":                           listObjects,
		"GET /objects/new":                       askObject,
		"POST /objects/new":                      addObject,
		"GET /objects/{namespace}/{kind}/{name}": showObject,
		"GET /edit/{namespace}/{kind}/{name}":    askKeywords,
		"POST /edit/{namespace}/{kind}/{name}":   setKeywords,
		"GET /delete/{namespace}/{kind}/{name}":  askDelete,
		"POST /delete/{namespace}/{kind}/{name}": deleteObject,
		"GET /cluster":                           showCluster,
		"GET /cluster/edit":                      askKeywords,
		"POST /cluster/edit":                     setKeywords,
	}
}

// serve answers with a page, and with the page of the error when there is none.
func (s *console) serve(show page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers(w.Header())
		v := &visit{console: s, w: w, r: r}
		defer func() {
			if p := recover(); p != nil {
				s.Log.ErrorContext(r.Context(), "panic", "page", r.Pattern, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				v.fail(errors.New("panic"))
			}
		}()
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, limitForm)
		}
		if err := show(v); err != nil {
			v.fail(err)
		}
	})
}

func headers(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers older than frame-ancestors
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// other is what is no page of ours: the API answers. To a person who follows a
// link that leads nowhere, its answer is put on a page.
func (s *console) other(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.API.ServeHTTP(w, r)
		return
	}
	s.serve(noPage).ServeHTTP(w, r)
}

// apiPath reports whether an address is of the API, for whoever asks.
func apiPath(path string) bool {
	for _, at := range []string{"/api", "/crl", "/ocsp", "/debug", "/.well-known", "/ca.pem", "/healthz", "/readyz", "/metrics", "/whoami"} {
		if path == at || strings.HasPrefix(path, at+"/") {
			return true
		}
	}
	return false
}

func noPage(*visit) error { return bad(http.StatusNotFound, "there is no page at this address") }

// visit is one request for a page.
type visit struct {
	*console
	w   http.ResponseWriter
	r   *http.Request
	who *who // once it was asked for
}

// view is what a template is given.
type view struct {
	Title   string
	Section string // of the navigation
	Places  []place
	Who     *who // nil: nobody proved a name
	Now     time.Time
	Version string
	Notice  string // what was just done
	Data    any
}

// show answers with the page of that name. It is written as a whole or not at all.
func (v *visit) show(status int, name, title, section string, data any) error {
	all := view{Title: title, Section: section, Places: v.places(), Who: v.who, Now: v.Now().UTC(), Version: v.Version, Notice: notices[v.r.URL.Query().Get("done")], Data: data}
	entry := "page"
	// htmx asks for what it replaces; the rest of the page is there already.
	if v.r.Header.Get("HX-Request") == "true" && v.r.Header.Get("HX-Target") == "results" && v.pages[name].Lookup("results") != nil {
		entry = "results"
	}
	var b bytes.Buffer
	if err := v.pages[name].ExecuteTemplate(&b, entry, all); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Vary", "HX-Request")
	v.w.WriteHeader(status)
	_, _ = io.WriteString(v.w, text.Block(b.String())) // whoever asked is gone when this fails
	return nil
}

// notices are what a page says after a change: the address has the word, so that
// nobody can make it say something else.
var notices = map[string]string{
	"revoked":  "The certificate is revoked.",
	"renewed":  "The new certificate is in place.",
	"issued":   "The certificate is signed and in place.",
	"added":    "The user is there.",
	"made":     "The object is there.",
	"deleted":  "It is deleted.",
	"saved":    "The change is saved.",
	"same":     "Nothing differs from what was there.",
	"disabled": "The user is disabled: sessions and tokens are over.",
	"enabled":  "The user is enabled.",
	"unlocked": "The attempts to guess the password are forgotten.",
	"password": "The password is changed.",
	"ended":    "The session is over.",
	"token":    "The token is revoked.",
	"fetched":  "The revocation lists were fetched.",
}

// to sends the visitor to another page, so that reloading does not repeat a change.
func (v *visit) to(address string) error {
	http.Redirect(v.w, v.r, address, http.StatusSeeOther)
	return nil
}

// fail shows an error as a page. Who is not known is asked to sign in.
func (v *visit) fail(err error) {
	var no *refusal
	if !errors.As(err, &no) {
		no = &refusal{Problem: problem{Status: http.StatusInternalServerError, Title: "Internal Server Error", RequestID: rand.Text(),
			Detail: "something went wrong inside; the log has it under this request id"}}
		v.Log.ErrorContext(v.r.Context(), "page failed", "page", v.r.Pattern, "request_id", no.Problem.RequestID, "error", err.Error())
	}
	if no.Problem.Status == http.StatusUnauthorized && v.r.Header.Get("HX-Request") == "true" {
		// A redirect would put the login into the middle of a page that is over.
		v.w.Header().Set("HX-Redirect", "/login"+nextOf(v.r))
		v.w.WriteHeader(http.StatusNoContent)
		return
	}
	if no.Problem.Status == http.StatusUnauthorized && v.r.Method == http.MethodGet {
		_ = v.to("/login" + nextOf(v.r)) // never fails
		return
	}
	if v.who == nil && no.Problem.Status != http.StatusUnauthorized {
		_ = v.identify() // the navigation is left out for nobody
	}
	if no.RetryAfter != "" {
		v.w.Header().Set("Retry-After", no.RetryAfter)
	}
	if err := v.show(no.Problem.Status, "error", no.Problem.Title, "", no.Problem); err != nil {
		v.Log.ErrorContext(v.r.Context(), "page failed", "page", "error", "error", err.Error())
		http.Error(v.w, "something went wrong inside", http.StatusInternalServerError)
	}
}

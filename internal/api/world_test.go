package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/internal/wire"
	"omca/pki"
	"omca/pki/lint"
	"omca/usr"
	"omca/usr/session"
	"omca/usr/token"
)

// callerHeader is how the tests say who calls: the name of a user, or "root"
// for the unix socket. Without it nobody does.
const callerHeader = "Test-Caller"

// world is a whole API over a store in memory. Every answer that it gives is
// held against its OpenAPI document.
type world struct {
	members fakeMembers
	t       testing.TB
	door    *door
	handler http.Handler
	objects *registry.Store
	doc     routers.Router
	db      *faultyStore
	log     *lockedBuffer
	now     time.Time
	stopped int

	restarted    int
	idp          error // what the OpenID issuer fails at
	restartFails error // what Restart answers
	ready        error

	tokens    *token.Service
	publisher *ca.Publisher
	external  []wire.ExternalList
	clock     *wire.ClockStatus
	panics    []wire.TaskPanics
	openid    *wire.OpenIDStatus
	trail     []wire.AuditLine
	ocsp      func(request []byte) (answer []byte, next time.Time, err error)
	refresh   error    // that fetching gives
	refreshed []string // sources

	sessions *session.Service

	passwords *usr.Passwords
	unlocked  []string // users
}

// lockedBuffer is a log that may be written to from everywhere.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged since the last time.
func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// faultyStore fails its commits with fault, when that is set, and calls before and
// after each.
type faultyStore struct {
	store.Store
	fault         error
	before, after func(store.Tx)
}

func (s *faultyStore) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if s.fault != nil {
		return 0, s.fault
	}
	if s.before != nil {
		s.before(tx)
	}
	rev, err := s.Store.Commit(ctx, tx)
	if err == nil && s.after != nil {
		s.after(tx)
	}
	return rev, err
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := emptyWorld(t)
	w.put("cluster", "cluster.name=clu", "cluster.id=0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a", "cluster.nodes=node1 node2")
	w.put("system/sec/ca")
	w.issue("system/sec/ca")
	w.put("system/sec/cert", "cn=node1", "alt_names=node1.clu.mycorp")
	w.issue("system/sec/cert")
	w.put("ns1/sec/web", "cn=web.clu.mycorp")
	w.put("ns1/cfg/plain", "env.a=1")
	w.key("ns1/sec/web", "color", "blue")
	w.key("ns1/cfg/plain", "motd", "hello")
	for name, grant := range map[string]string{
		"none": "", "guest": "guest", "guest1": "guest:ns1", "operator1": "operator:ns1", "admin1": "admin:ns1", "adminall": "admin",
		"adminsys": "admin:system", "squatter": "squatter", "boss": "root", "signer": "guest:ns1",
	} {
		set := []string{}
		if grant != "" {
			set = append(set, "grant="+grant)
		}
		if name == "signer" {
			set = append(set, "names=*.clu.mycorp")
		}
		w.put("system/usr/"+name, set...)
	}
	w.issue("system/usr/guest1")
	w.publish()
	w.log.take()
	return w
}

// publish builds what there is to publish now.
func (w *world) publish() {
	w.t.Helper()
	if _, err := w.publisher.Publish(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// emptyWorld is a world in which nothing was created.
func emptyWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, log: new(lockedBuffer), now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), db: &faultyStore{Store: mem.New()}}
	w.ocsp = func([]byte) ([]byte, time.Time, error) { return []byte("answer"), w.now.Add(time.Hour), nil }
	clock := func() time.Time { return w.now }
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	master := must(seal.CreateFileMaster(filepath.Join(t.TempDir(), "seal.key")))(t)
	w.objects = must(registry.OpenStore(t.Context(), registry.StoreConfig{Store: w.db, Master: master, Now: clock, Log: log}))(t)
	authority := must(ca.New(ca.Config{Store: w.objects, Linter: lint.New(), Now: clock, Log: log}))(t)
	w.objects.OnChange(func(p object.Path) {
		if p == object.ClusterPath() {
			p = object.Path{}
		}
		authority.Changed(p.String())
	})
	w.tokens = must(token.New(token.Config{Store: w.objects, Settings: w.objects.TokenSettings, Now: clock, Profiles: foreignProfiles()}))(t)
	w.publisher = authority.NewPublisher()
	w.objects.OnRevoke(w.publisher.Add)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.objects.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ended with %v", err)
		}
	})
	w.sessions = newSessions(t, w.objects, clock)
	w.passwords = must(usr.NewPasswords(usr.PasswordCost{Memory: 64, Passes: 1, Threads: 1}))(t)
	if err := w.tokens.Init(t.Context(), "https://node1:1215"); err != nil {
		t.Fatal(err)
	}
	w.handler = must(New(w.config(authority, log, clock)))(t)
	w.door = &door{Config: w.config(authority, log, clock)}
	loaded := must(openapi3.NewLoader().LoadFromData(w.raw(http.MethodGet, "/api/openapi").body))(t)
	if err := loaded.Validate(t.Context()); err != nil {
		t.Fatalf("the OpenAPI document is not valid: %v", err)
	}
	w.doc = must(gorillamux.NewRouter(loaded))(t)
	return w
}

func (w *world) config(authority *ca.Authority, log *slog.Logger, clock func() time.Time) Config {
	return Config{
		Authority: authority, Objects: w.objects, Publisher: w.publisher, Identify: w.identify, Log: log, Now: clock, Version: "1.2.3",
		Status: func(context.Context) (wire.Status, error) {
			return wire.Status{Node: "node1", Version: "1.2.3", Addresses: []string{"[::]:1215"}, ListenerNotAfter: w.now, Clock: w.clock, Panics: w.panics, OpenID: w.openid}, nil
		},
		Members:       &w.members,
		Ready:         func(context.Context) error { return w.ready },
		Stop:          func() { w.stopped++ },
		AcceptSetBack: func(context.Context) ([]string, error) { return []string{"one list is gone"}, nil },
		Restart: func() error {
			w.restarted++
			return w.restartFails
		},
		Full: func(err error) bool { return errors.Is(err, store.ErrFull) },
		Down: func(err error) bool { return errors.Is(err, store.ErrBroken) },

		Tokens: w.tokens, IdentifyRefresh: w.identifyRefresh, InspectToken: w.inspectToken,
		Foreign: foreignTokens(), Trail: func(most int) []wire.AuditLine { return w.trail[max(0, len(w.trail)-most):] },

		OCSP:     func(_ context.Context, request []byte) ([]byte, time.Time, error) { return w.ocsp(request) },
		External: func(context.Context) []wire.ExternalList { return w.external },
		Refresh: func(_ context.Context, source string) error {
			w.refreshed = append(w.refreshed, source)
			return w.refresh
		},

		Sessions: w.sessions, Login: w.login,
		AskOpenID: func(_ *http.Request, redirect string) (wire.OpenIDQuestion, error) {
			return wire.OpenIDQuestion{Address: "https://idp.test/authorize", State: "s", Nonce: "n", Verifier: redirect}, w.idp
		},
		LoginOpenID: func(_ *http.Request, a wire.OpenIDAnswer) (session.Login, error) {
			if a.State != "s" {
				return session.Login{}, usr.ErrUnauthenticated
			}
			return session.Login{User: "openid:alice", Method: usr.MethodOpenID, Issuer: "idp", Grants: "guest:ns1"}, w.idp
		},

		Passwords: w.passwords, CheckPassword: w.checkPassword,
		Unlock: func(_ *http.Request, user string) (bool, error) {
			w.unlocked = append(w.unlocked, user)
			return len(w.unlocked) == 1, nil
		},
	}
}

func (w *world) identify(r *http.Request) (usr.Caller, error) {
	switch name := r.Header.Get(callerHeader); name {
	case "":
		return usr.Caller{}, fmt.Errorf("%w: the secret reason", usr.ErrUnauthenticated)
	case "root":
		return usr.Caller{Name: "root", Method: usr.MethodSocket, Grants: usr.RootGrants(), Address: "uid 0"}, nil
	case "broken":
		return usr.Caller{}, errors.New("the secret failure")
	case "openid": // has no object
		grants, err := usr.ParseGrants("squatter")
		return usr.Caller{Name: "somebody", Method: usr.MethodOpenID, Grants: grants}, err
	case "basic", "jwt", "session", "clustercockpit", "crooked":
		return foreign(name)
	default:
		if who, ok := w.rootsOf(name); ok {
			return who, nil
		}
		u, err := w.objects.User(r.Context(), name)
		return usr.Caller{Name: name, Method: usr.MethodX509, Grants: u.Grants, Roles: u.Roles, Address: r.RemoteAddr}, err
	}
}

// aToken issues a token to a user, for all that the user holds.
func (w *world) aToken(subject string, use token.Use) token.Issued {
	w.t.Helper()
	u := must(w.objects.User(w.t.Context(), subject))(w.t)
	r := token.Request{Subject: subject, Use: use, Grants: u.Grants, Roles: u.Roles, By: usr.Caller{Name: "root", Method: usr.MethodSocket}}
	return must(w.tokens.Issue(w.t.Context(), r))(w.t)
}

// identifyRefresh takes a refresh token, as the tests of the root package have
// it in full.
func (w *world) identifyRefresh(r *http.Request) (Refresher, error) {
	compact, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims, err := w.tokens.Verify(r.Context(), compact, token.Refresh)
	if err != nil {
		return Refresher{}, err
	}
	u, err := w.objects.User(r.Context(), claims.Subject)
	return Refresher{Caller: usr.Caller{Name: u.Name, Method: usr.MethodToken, Grants: u.Grants, Roles: u.Roles, TokenID: claims.ID}, Token: claims}, err
}

func (w *world) inspectToken(r *http.Request, compact string, use token.Use) (token.Claims, usr.Grants, error) {
	claims, err := w.tokens.Verify(r.Context(), compact, use)
	return claims, claims.Grants, err
}

// must fails the test when err is set.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// put creates an object behind the API's back.
func (w *world) put(path string, set ...string) {
	w.t.Helper()
	p := must(object.ParsePath(path))(w.t)
	c, _, err := object.NewConfig(p).Apply(object.Update{Set: must(object.ParseExprs(set))(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.objects.Create(w.t.Context(), p, c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) key(path, name, value string) {
	w.t.Helper()
	p := must(object.ParsePath(path))(w.t)
	if err := w.objects.Edit(w.t.Context(), p, []registry.Edit{{Action: registry.PutKey, Name: name, Value: []byte(value)}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) issue(path string) {
	w.t.Helper()
	root := usr.Caller{Name: "root", Method: usr.MethodSocket, Grants: usr.RootGrants()}
	must(w.door.Authority.Create(w.t.Context(), root, path, ca.CreateOptions{}))(w.t)
}

// result is an answer, read.
type result struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   []byte
}

// want checks the status.
func (r result) want(status int) result {
	r.t.Helper()
	if r.status != status {
		r.t.Errorf("%s: status %d, want %d: %.500s", r.what, r.status, status, r.body)
	}
	return r
}

// refused checks that the answer is a problem with that status whose detail
// and hint together have each of the words.
func (r result) refused(status int, words ...string) {
	r.t.Helper()
	r.want(status)
	p := r.problem()
	for _, word := range words {
		if !strings.Contains(p.Detail+"\n"+p.Hint, word) {
			r.t.Errorf("%s: detail %q, hint %q: want %q in them", r.what, p.Detail, p.Hint, word)
		}
	}
}

func (r result) problem() wire.Problem {
	r.t.Helper()
	var p wire.Problem
	if err := json.Unmarshal(r.body, &p); err != nil || r.header.Get("Content-Type") != "application/problem+json" {
		r.t.Fatalf("%s: %s %.200q is no problem", r.what, r.header.Get("Content-Type"), r.body)
	}
	if p.Status != r.status || p.Type != "about:blank" || p.Title != http.StatusText(r.status) || p.Detail == "" || p.RequestID != r.header.Get("X-Request-Id") {
		r.t.Errorf("%s: problem %+v does not go with status %d and request id %q", r.what, p, r.status, r.header.Get("X-Request-Id"))
	}
	return p
}

// into reads the JSON of an answer.
func into[T any](r result) T {
	r.t.Helper()
	var v T
	if err := json.Unmarshal(r.body, &v); err != nil {
		r.t.Fatalf("%s: status %d: %.200q: %v", r.what, r.status, r.body, err)
	}
	return v
}

// request is one call: the zero values of its fields are a GET by nobody.
type request struct {
	method, target string
	by             string
	body           string
	media          string // of the body; JSON unless given
	header         map[string]string
}

func (w *world) do(r request) result {
	w.t.Helper()
	if r.method == "" {
		r.method = http.MethodGet
	}
	req, res := w.send(r)
	w.conforms(r, req, res)
	return res
}

// send makes a call without looking at the document: for those that make
// thousands.
func (w *world) send(r request) (*http.Request, result) {
	w.t.Helper()
	req := httptest.NewRequest(r.method, r.target, strings.NewReader(r.body))
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.media != "" {
		req.Header.Set("Content-Type", r.media)
	}
	if r.by != "" {
		req.Header.Set(callerHeader, r.by)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, req)
	res := result{t: w.t, what: r.by + " " + r.method + " " + r.target, status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
	for _, name := range []string{"X-Request-Id", "Cache-Control", "X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy"} {
		if res.header.Get(name) == "" {
			w.t.Errorf("%s: no header %s", res.what, name)
		}
	}
	return req, res
}

// raw makes a call by nobody without looking at the document.
func (w *world) raw(method, target string) result {
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, httptest.NewRequest(method, target, nil))
	return result{t: w.t, what: method + " " + target, status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
}

// conforms checks an exchange against the OpenAPI document: what was accepted
// must be a request that the document describes, and every answer too.
func (w *world) conforms(r request, req *http.Request, res result) {
	w.t.Helper()
	if r.method == http.MethodHead {
		return
	}
	req.Body = io.NopCloser(strings.NewReader(r.body))
	row, vars, err := w.doc.FindRoute(req)
	if err != nil {
		if res.status < 400 {
			w.t.Errorf("%s: answered %d, and the document does not have it: %v", res.what, res.status, err)
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: vars, Route: row,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true,
			ExcludeRequestBody: r.media != "" && r.media != mediaJSON, SkipSettingDefaults: true}}
	if res.status < 300 {
		if err := openapi3filter.ValidateRequest(w.t.Context(), in); err != nil {
			w.t.Errorf("%s: accepted, against the document: %v", res.what, err)
		}
	}
	media, _, _ := strings.Cut(res.header.Get("Content-Type"), ";")
	if res.status < 400 && media != mediaJSON { // text and bytes: the type alone is documented
		if described := row.Operation.Responses.Status(res.status); described == nil || media != "" && described.Value.Content[media] == nil {
			w.t.Errorf("%s: answered %d %q, which the document does not have", res.what, res.status, media)
		}
		return
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.status, Header: res.header, Options: in.Options}
	out.SetBodyBytes(res.body)
	if err := openapi3filter.ValidateResponse(w.t.Context(), out); err != nil {
		w.t.Errorf("%s: the answer is not the documented one: %v\n%.300s", res.what, err, res.body)
	}
}

// csr returns a signing request for a name.
func csr(t testing.TB, cn string, names ...string) string {
	t.Helper()
	key := must(pki.GenerateKey("ec-p256"))(t)
	return string(must(pki.CreateSigningRequest(key, pki.Subject{CommonName: cn}, must(pki.ParseNames(names))(t)))(t))
}

// asJSON writes a body.
func asJSON[T any](t testing.TB, v T) string { return string(must(json.Marshal(v))(t)) }

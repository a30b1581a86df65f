package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"omca/ca"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr"
	"omca/usr/session"
	"omca/usr/token"
)

// Config says what the door leads to. Every field is required, unless it says otherwise.
type Config struct {
	Authority *ca.Authority
	Objects   *registry.Store

	// Identify says who makes a request, or usr.ErrUnauthenticated when nobody
	// proved a name. Any other error is a failure to find out: it is a 500.
	// It is not asked for public routes.
	Identify func(*http.Request) (usr.Caller, error)

	Log     *slog.Logger // the audit trail, and what went wrong inside
	Now     func() time.Time
	Version string // of the program

	Status func(context.Context) (wire.Status, error)
	Ready  func(context.Context) error // nil when requests can be served

	// Stop asks the daemon to drain and end; it returns at once. Nil: this is no daemon.
	Stop func()

	// Restart has another process take the daemon's place, or says why none can. It
	// returns before that is done. Nil: this is no daemon.
	Restart func() error

	// Full and Down say whether an error of the store means that there is no
	// room left, or that it takes no more work. Nil: no error means that.
	Full, Down func(error) bool

	// Latest waits until this node knows what any other has acknowledged. Calls that
	// may change something begin with it. Nil: there is no other.
	Latest func(context.Context)

	// Explain says, of an error that means Down, what is wrong and what to do, in
	// words for whoever calls; "" when that is for the log alone. Nil: always.
	Explain func(error) (detail, hint string)

	// Publisher has the revocation lists of our own CAs.
	Publisher *ca.Publisher

	// OCSP answers a request, DER, and says when there will be a newer answer;
	// zero for an answer that is for this request alone. Its errors are
	// pki.ErrInvalid for what is no request, crl.ErrNotOurs for one about another
	// CA, or a failure. Nil: nobody answers here.
	OCSP func(ctx context.Context, request []byte) (answer []byte, next time.Time, err error)

	// External says how the revocation lists of other CAs are doing, and Refresh
	// fetches those of one source of External now; its errors are told to the
	// caller. Nil: there are none.
	External func(context.Context) []wire.ExternalList
	Refresh  func(ctx context.Context, source string) error

	// Sessions are those of browsers, and Login proves a name for a new one: by
	// name and password, or, for the name "", by the client certificate of the
	// connection. Its errors are those of Identify. Nil: there are no sessions.
	Sessions *session.Service
	Login    func(r *http.Request, name string, password []byte) (session.Login, error)

	// AskOpenID begins a login at the OpenID issuer, which sends the browser back
	// to an address of ours; LoginOpenID proves a name by what came back. Their
	// errors are those of Login. Nil: nobody logs in so.
	AskOpenID   func(r *http.Request, redirect string) (wire.OpenIDQuestion, error)
	LoginOpenID func(r *http.Request, answer wire.OpenIDAnswer) (session.Login, error)

	// Tokens issues tokens and takes them back. IdentifyRefresh names the caller
	// who sends a refresh token, with errors as those of Identify. InspectToken
	// says what a token says and what it gives now; usr.ErrUnauthenticated when
	// it is not accepted.
	Tokens          *token.Service
	IdentifyRefresh func(*http.Request) (Refresher, error)
	InspectToken    func(r *http.Request, compact string, use token.Use) (token.Claims, usr.Grants, error)

	// Foreign has the keys of the tokens for other services. May be zero.
	Foreign ForeignTokens

	// Passwords makes the hashes that are kept of passwords; nil: none can be set.
	// CheckPassword counts and checks a password, with errors as those of Login;
	// nil: nobody changes their own.
	// Unlock forgets the attempts to log in as a user, and says whether there were
	// too many; nil: nobody is ever locked out. Address says where a request comes
	// from; nil: from the address of the connection.
	Passwords     *usr.Passwords
	CheckPassword func(r *http.Request, name string, password []byte) (registry.User, error)
	Unlock        func(r *http.Request, user string) (bool, error)
	Address       func(*http.Request) wire.Address

	// Trail is the last lines of the audit trail, the oldest first. Nil: none are kept.
	Trail func(most int) []wire.AuditLine

	// AcceptSetBack takes a store that was set back for whole, and returns in which ways it
	// was not what was written last; none when it was. Unmarked says why nothing outside of
	// the home remembers how far the store was; nil while something does.
	AcceptSetBack func(context.Context) (reasons []string, err error)
	Unmarked      func() error

	// Members are the members of the cluster that keeps the store in the daemons.
	// Nil: the store is this node's own, or kept elsewhere.
	Members Members

	// Collectors are more metrics to serve. May be nil.
	Collectors []prometheus.Collector

	// AuthInfo says how callers can prove who they are. Nil: by certificate.
	AuthInfo func() wire.AuthInfo
}

// door is what the handlers share.
type door struct {
	Config
	metrics *metrics

	// The OpenAPI document and the page for people, each made once, when it is first
	// asked for: making them takes longer than all else of a start.
	openapi, docs func() ([]byte, error)

	decrypting decrypting
	pace       pace

	shown shownLists
}

// New returns the handler of the API. It refuses a Config that lacks something
// and a table of routes that says of one of them not who may call it.
func New(c Config) (http.Handler, error) {
	d, err := newDoor(c)
	if err != nil {
		return nil, err
	}
	return d.whole()
}

// Handlers returns the handlers of New and Public. They count together: what is
// asked for in the clear, OCSP among it, is in the metrics of the first.
func Handlers(c Config) (all, public http.Handler, err error) {
	d, err := newDoor(c)
	if err != nil {
		return nil, nil, err
	}
	if all, err = d.whole(); err != nil {
		return nil, nil, err
	}
	public, err = d.signed()
	return all, public, err
}

// whole is the handler of all routes.
func (d *door) whole() (http.Handler, error) {
	routes := d.routes()
	d.openapi = sync.OnceValues(func() ([]byte, error) { return openAPI(routes, d.Version) })
	d.docs = sync.OnceValues(func() ([]byte, error) { return docsPage(routes, d.Version) })
	router, err := d.router(routes)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return d.outside(router), nil
}

// Public returns the handler for plain HTTP: revocation lists, OCSP and the
// certificate of the CA, which are signed and no secret, and nothing else.
func Public(c Config) (http.Handler, error) {
	d, err := newDoor(c)
	if err != nil {
		return nil, err
	}
	return d.signed()
}

// signed is the handler of what plain HTTP has.
func (d *door) signed() (http.Handler, error) {
	router, err := d.router(d.signedRoutes())
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return d.outside(router), nil
}

// newDoor checks a Config and fills in what has an honest default.
func newDoor(c Config) (*door, error) {
	if c.Authority == nil || c.Objects == nil || c.Publisher == nil || c.Identify == nil || c.Log == nil || c.Now == nil || c.Status == nil || c.Ready == nil {
		return nil, errors.New("api: Config needs Authority, Objects, Publisher, Identify, Log, Now, Status and Ready")
	}
	if c.Tokens == nil || c.IdentifyRefresh == nil || c.InspectToken == nil {
		return nil, errors.New("api: Config needs Tokens, IdentifyRefresh and InspectToken")
	}
	if c.Full == nil {
		c.Full = never
	}
	if c.Down == nil {
		c.Down = never
	}
	if c.External == nil {
		c.External = func(context.Context) []wire.ExternalList { return nil }
	}
	if c.AuthInfo == nil {
		c.AuthInfo = certificatesAlone
	}
	m, err := newMetrics(c)
	if err != nil {
		return nil, fmt.Errorf("api: metrics: %w", err)
	}
	return &door{Config: c, metrics: m}, nil
}

func never(error) bool { return false }

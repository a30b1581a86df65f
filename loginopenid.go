package omca

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"omca/ca"
	"omca/internal/openid"
	"omca/internal/openid/login"
	"omca/internal/wire"
	"omca/usr"
	"omca/usr/session"
)

const (
	// openIDSession is how long whom an issuer let in stays at most. The grants are
	// those of the login, and nobody tells us when the issuer takes them back.
	openIDSession = time.Hour
	flowLife      = 10 * time.Minute // that the endpoints of an issuer are remembered
	flowPause     = 10 * time.Second // that an issuer which did not say them is left alone
)

// flows remembers how one logs in at the issuer, so that not every visitor costs
// it a request.
type flows struct {
	mu     sync.Mutex // held while the issuer is asked, for one visitor at a time
	flow   *login.Flow
	failed error // why there is no flow
	of     openid.Settings
	at     time.Time
}

// known is what is remembered of the issuer of these settings.
func (f *flows) known(of openid.Settings, now time.Time) (flow *login.Flow, ok bool, err error) {
	age := now.Sub(f.at)
	switch {
	case f.of != of || age < 0:
		return nil, false, nil
	case f.flow != nil:
		return f.flow, age < flowLife, nil
	}
	return nil, f.failed != nil && age < flowPause, f.failed
}

// webLogin is the flow of the issuer that is configured now. An issuer whose keys
// are not known is not asked: nothing that it says could be verified.
func (s *Server) webLogin(ctx context.Context) (*login.Flow, openid.Settings, error) {
	settings, err := s.openidSettings(ctx)
	if err != nil {
		return nil, settings, err
	}
	if !s.openid.Status().Usable {
		return nil, settings, fmt.Errorf("%w: nobody logs in at an OpenID issuer here at the moment: none is configured, or its keys are not known", ca.ErrNotFound)
	}
	s.flows.mu.Lock()
	defer s.flows.mu.Unlock()
	if flow, ok, err := s.flows.known(settings, s.config.Now()); ok {
		return flow, settings, err
	}
	flow, err := login.Discover(ctx, login.Config{Issuer: settings.Issuer, ClientID: settings.ClientID, Scopes: []string{"profile", "email"}, Now: s.config.Now, Network: s.network()})
	if ctx.Err() != nil { // the visitor went: that says nothing of the issuer
		return nil, settings, ctx.Err()
	}
	s.flows.flow, s.flows.failed, s.flows.of, s.flows.at = flow, err, settings, s.config.Now()
	return flow, settings, err
}

// issuerOf names the issuer and the client, so that a session ends with either.
func issuerOf(s openid.Settings) string { return s.Issuer + " " + s.ClientID }

func (s *Server) askOpenID(r *http.Request, redirect string) (wire.OpenIDQuestion, error) {
	flow, _, err := s.webLogin(r.Context())
	if err != nil {
		return wire.OpenIDQuestion{}, err
	}
	address, q, err := flow.Ask(redirect)
	return wire.OpenIDQuestion{Address: address, State: q.State, Nonce: q.Nonce, Verifier: q.Verifier}, err
}

// loginOpenID proves a name by what came back from the issuer. Attempts are
// counted by address, as those by password are: each costs the issuer a request.
func (s *Server) loginOpenID(r *http.Request, got wire.OpenIDAnswer) (session.Login, error) {
	guard, err := s.objects.Guard(r.Context())
	if err != nil {
		return session.Login{}, err
	}
	address := s.address(r)
	attempt, err := s.guesses.Take(guard.Guesses, "openid:"+address.String(), address)
	if err != nil {
		return session.Login{}, err
	}
	flow, settings, err := s.webLogin(r.Context())
	if err != nil {
		return session.Login{}, err
	}
	query, err := url.ParseQuery(got.Query)
	if err != nil {
		return session.Login{}, fmt.Errorf("%w: the address that the issuer sent the browser to cannot be read", usr.ErrUnauthenticated)
	}
	tokens, err := flow.Answer(r.Context(), got.RedirectURI, login.Question{State: got.State, Nonce: got.Nonce, Verifier: got.Verifier}, query)
	if err != nil {
		return session.Login{}, fmt.Errorf("%w: %w", usr.ErrUnauthenticated, err)
	}
	id, err := s.openid.Verify(r.Context(), tokens.Bearer)
	if err != nil {
		return session.Login{}, err
	}
	attempt.Succeeded()
	return session.Login{
		User: id.Name, Method: usr.MethodOpenID, Address: s.from(r), Grants: id.Grants.String(), Issuer: issuerOf(settings), Until: s.config.Now().Add(openIDSession).UTC(),
	}, nil
}

// openIDHolds says whether the issuer that let somebody in is still ours.
func (s *Server) openIDHolds(ctx context.Context, l session.Login) error {
	settings, err := s.openidSettings(ctx)
	if err != nil {
		return err
	}
	if settings.Issuer == "" || issuerOf(settings) != l.Issuer {
		return fmt.Errorf("%w: the OpenID issuer that let %q in is not ours any more", usr.ErrUnauthenticated, l.User)
	}
	return nil
}

// openIDCaller is whom the issuer let in: nobody's object, with the grants of the
// login, as if the token came with each call.
func (s *Server) openIDCaller(r *http.Request, l session.Login) (usr.Caller, error) {
	grants, err := usr.ParseGrants(l.Grants)
	if err != nil {
		return usr.Caller{}, err
	}
	return usr.Caller{Name: l.User, Method: usr.MethodOpenID, Grants: grants, Address: s.from(r)}, nil
}

package omca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"omca/ca"
	"omca/internal/api"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/usr"
	"omca/usr/session"
)

// sweepEvery is how often the sessions that are over are forgotten.
const sweepEvery = time.Hour

// newSessions makes the service of the sessions of browsers.
func (s *Server) newSessions() error {
	var err error
	s.sessions, err = session.New(session.Config{Store: s.objects, Now: s.config.Now, MaxAge: s.sessionMaxAge, Holds: s.holds})
	return err
}

// sessionMaxAge reads the keyword, each time: a change of it counts at once.
func (s *Server) sessionMaxAge(ctx context.Context) (time.Duration, error) {
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return 0, err
	}
	return cluster.Config.Duration("listener.session_max_age")
}

// bySession takes the cookie of a session.
func (s *Server) bySession(r *http.Request) (usr.Caller, error) {
	secret := api.SessionSecret(r)
	if secret == "" {
		return usr.Caller{}, errNotTried
	}
	one, err := s.sessions.Find(r.Context(), secret)
	if err != nil {
		return usr.Caller{}, err
	}
	if one.Method == usr.MethodOpenID {
		s.touch(r, one)
		return s.openIDCaller(r, one.Login)
	}
	u, err := s.user(r, one.User)
	if err != nil {
		return usr.Caller{}, err
	}
	s.touch(r, one)
	return usr.Caller{Name: u.Name, Method: usr.MethodSession, Grants: u.Grants, Roles: u.Roles, External: one.External, Address: s.from(r)}, nil
}

// touch notes the use of a session. When that fails it goes on for as long as the
// last use that was noted has it.
func (s *Server) touch(r *http.Request, one session.Session) {
	if err := s.sessions.Touch(r.Context(), one); err != nil {
		s.config.Log.WarnContext(r.Context(), "use of a session not noted", "user", one.User, "error", err)
	}
}

// login proves a name for a new session: by name and password, or by the client
// certificate of the connection when name is "".
func (s *Server) login(r *http.Request, name string, password []byte) (session.Login, error) {
	if err := s.current(r.Context()); err != nil {
		return session.Login{}, err
	}
	if name != "" {
		return s.loginByPassword(r, name, password)
	}
	who, err := s.byCertificate(r)
	if errors.Is(err, errNotTried) {
		return session.Login{}, fmt.Errorf("%w: neither a name nor a client certificate", usr.ErrUnauthenticated)
	}
	if err != nil {
		return session.Login{}, err
	}
	u, err := s.user(r, who.Name)
	if err != nil {
		return session.Login{}, err
	}
	l := s.loginOf(r, u, usr.MethodX509)
	l.External = who.External
	for _, cert := range r.TLS.VerifiedChains[0] {
		l.Certificates = append(l.Certificates, cert.Raw)
	}
	return l, nil
}

// loginByPassword refuses a login that would come to nothing: a certificate
// counts before a session, and the caller would stay whom it speaks for.
func (s *Server) loginByPassword(r *http.Request, name string, password []byte) (session.Login, error) {
	u, err := s.checkPassword(r, name, password)
	if err != nil {
		return session.Login{}, err
	}
	if who, err := s.byCertificate(r); err == nil && who.Name != u.Name {
		return session.Login{}, hint.With(fmt.Errorf("%w: this connection came with the certificate of %q, which counts before a session of %q", ca.ErrConflict, who.Name, u.Name),
			"log in from a browser that sends no certificate")
	}
	return s.loginOf(r, u, usr.MethodPassword), nil
}

// loginOf is what must stay as it is for a session of u to go on.
func (s *Server) loginOf(r *http.Request, u registry.User, method usr.Method) session.Login {
	return session.Login{User: u.Name, Method: method, Address: s.from(r), UserCreated: u.Created, PasswordChanged: u.PasswordChanged, Era: u.Era}
}

// holds says whether a login would still be one: the same user, enabled ever
// since, with the same password, and the certificate, if it was one, still good.
func (s *Server) holds(ctx context.Context, l session.Login) error {
	if l.Method == usr.MethodOpenID {
		return s.openIDHolds(ctx, l)
	}
	u, err := s.objects.User(ctx, l.User)
	if errors.Is(err, ca.ErrNotFound) {
		return fmt.Errorf("%w: user %q does not exist", usr.ErrUnauthenticated, l.User)
	}
	if err != nil {
		return err
	}
	switch {
	case !l.UserCreated.Equal(u.Created):
		return fmt.Errorf("%w: it is that of an earlier user %q", usr.ErrUnauthenticated, l.User)
	case u.Disabled, l.Era != u.Era:
		return fmt.Errorf("%w: user %q was disabled since", usr.ErrUnauthenticated, l.User)
	case !l.PasswordChanged.Equal(u.PasswordChanged):
		return fmt.Errorf("%w: the password of user %q was changed since", usr.ErrUnauthenticated, l.User)
	case l.Method == usr.MethodX509:
		return s.certificateHolds(ctx, l)
	}
	return nil
}

// certificateHolds asks of the certificate that began a session what a new
// connection with it would be asked.
func (s *Server) certificateHolds(ctx context.Context, l session.Login) error {
	refuse := func(err error) error {
		return fmt.Errorf("%w: its certificate: %w", usr.ErrUnauthenticated, err)
	}
	if len(l.Certificates) == 0 {
		return refuse(errors.New("there is none"))
	}
	leaf, err := x509.ParseCertificate(l.Certificates[0])
	if err != nil {
		return refuse(err)
	}
	trusted, err := s.authority.Trust(ctx)
	if err != nil && len(trusted) == 0 {
		return err
	}
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: s.config.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range trusted {
		options.Roots.AddCert(cert)
	}
	for _, der := range l.Certificates[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return refuse(err)
		}
		options.Intermediates.AddCert(cert)
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return refuse(err)
	}
	if err := s.enforcer.Check(chains); err != nil {
		return refuse(err)
	}
	if err := s.noteUnrevoked(ctx, chains[0]); err != nil {
		return err
	}
	id, err := s.authority.Identify(ctx, chains[0])
	if err != nil {
		return refuse(err)
	}
	if id.User != l.User {
		return refuse(fmt.Errorf("it speaks for %q", id.User))
	}
	return nil
}

// sweepSessions forgets, now and then, the sessions that are over.
func (s *Server) sweepSessions(ctx context.Context) {
	for {
		timer := time.NewTimer(sweepEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if !s.chosen() {
			continue
		}
		n, err := s.sessions.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			s.config.Log.ErrorContext(ctx, "sessions not swept", "error", err)
		}
		if n > 0 {
			s.config.Log.InfoContext(ctx, "sessions swept", "count", n)
		}
	}
}

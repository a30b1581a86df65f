package omca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"

	"omca/ca"
	"omca/internal/registry"
	"omca/listener"
	"omca/usr"
)

// Who calls is asked on every request, so that a user who was disabled or lost
// a grant notices at the next one. Whom a certificate speaks for is a matter of
// the certificate and its chain alone: that is asked once for a connection.

// memo is what one TLS connection remembers.
type memo struct{ identity atomic.Pointer[ca.Identity] }

type (
	memoKey  struct{} // *memo: a TLS connection
	localKey struct{} // string: a caller with the rights of the machine's root, and how it came
)

// withMemo is the [listener.ConnContext] of TLS connections.
func withMemo(ctx context.Context, _ net.Conn) (context.Context, error) {
	return context.WithValue(ctx, memoKey{}, new(memo)), nil
}

// withPeer is the [listener.ConnContext] of the unix socket: it lets in root
// and the daemon's own user.
func withPeer(ctx context.Context, c net.Conn) (context.Context, error) {
	uid, err := listener.PeerUID(c)
	if err != nil {
		return ctx, err
	}
	if uid != 0 && int(uid) != os.Geteuid() {
		return ctx, fmt.Errorf("%w: uid %d on the unix socket is neither root nor the daemon's", usr.ErrDenied, uid)
	}
	return context.WithValue(ctx, localKey{}, fmt.Sprintf("uid %d", uid)), nil
}

// A way is one of the ways to prove a name. It returns errNotTried for a request
// that does not take it, usr.ErrUnauthenticated (wrapped, with the reason for the
// log) for one that fails, and any other error when it could not find out.
type way func(*http.Request) (usr.Caller, error)

var errNotTried = errors.New("not tried")

// ways are tried in this order: the first that succeeds names the caller.
func (s *Server) ways() []way {
	return []way{s.byCertificate, s.byToken, s.byOpenID, s.byPassword, s.bySession}
}

// identify names the caller of a request: usr.ErrUnauthenticated when it has
// not proved to be anybody.
func (s *Server) identify(r *http.Request) (usr.Caller, error) {
	if who, err := s.bySocket(r); err == nil {
		return who, nil
	}
	if err := s.current(r.Context()); err != nil {
		return usr.Caller{}, err
	}
	var failed []error
	for _, try := range s.tries {
		who, err := try(r)
		switch {
		case err == nil:
			return who, nil
		case errors.Is(err, usr.ErrUnauthenticated):
			failed = append(failed, err)
		case !errors.Is(err, errNotTried):
			return usr.Caller{}, err
		}
	}
	if len(failed) == 0 {
		return usr.Caller{}, usr.ErrUnauthenticated
	}
	return usr.Caller{}, errors.Join(failed...)
}

// bySocket takes the machine's root, on the unix socket and in process.
func (s *Server) bySocket(r *http.Request) (usr.Caller, error) {
	how, ok := r.Context().Value(localKey{}).(string)
	if !ok {
		return usr.Caller{}, errNotTried
	}
	return rootCaller(usr.MethodSocket, how), nil
}

// byCertificate takes the client certificate of the TLS connection.
func (s *Server) byCertificate(r *http.Request) (usr.Caller, error) {
	ctx := r.Context()
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return usr.Caller{}, errNotTried
	}
	if err := s.enforcer.Check(r.TLS.VerifiedChains); err != nil { // a connection that is being closed
		return usr.Caller{}, fmt.Errorf("%w: %w", usr.ErrUnauthenticated, err)
	}
	if err := s.noteUnrevoked(ctx, r.TLS.VerifiedChains[0]); err != nil {
		return usr.Caller{}, err
	}
	id, err := s.identity(ctx, r.TLS)
	if err != nil {
		return usr.Caller{}, fmt.Errorf("%w: %w", usr.ErrUnauthenticated, err)
	}
	u, err := s.user(r, id.User)
	if err != nil {
		return usr.Caller{}, err
	}
	if !id.BelongsTo(u.Created) {
		return usr.Caller{}, fmt.Errorf("%w: certificate %s is that of an earlier user %q", usr.ErrUnauthenticated, id.Serial, u.Name)
	}
	return usr.Caller{Name: u.Name, Method: usr.MethodX509, Grants: u.Grants, Roles: u.Roles, External: id.IssuedAt.IsZero(), Address: s.from(r)}, nil
}

// noteUnrevoked notes for a decision that no certificate of a chain, which was checked,
// is revoked: commits for the caller expect that this is still so.
func (s *Server) noteUnrevoked(ctx context.Context, chain []*x509.Certificate) error {
	if !registry.Deciding(ctx) {
		return nil
	}
	ctx = registry.Assumed(ctx)
	for i, cert := range chain[:len(chain)-1] {
		if _, _, err := s.authority.RevocationBelow(ctx, cert, chain[i+1:]); err != nil {
			return err
		}
	}
	return s.enforcer.Above(chain[len(chain)-1], func(cert, issuer *x509.Certificate) error {
		_, _, err := s.authority.RevocationBelow(ctx, cert, []*x509.Certificate{issuer})
		return err
	})
}

// user returns the user of that name, who exists, is not disabled and may call
// from where r comes from: usr.ErrUnauthenticated otherwise.
func (s *Server) user(r *http.Request, name string) (registry.User, error) {
	u, err := s.objects.User(r.Context(), name)
	if errors.Is(err, ca.ErrNotFound) {
		return registry.User{}, fmt.Errorf("%w: user %q does not exist", usr.ErrUnauthenticated, name)
	}
	if err != nil {
		return registry.User{}, err
	}
	if err := admit(u, s.address(r)); err != nil {
		return registry.User{}, fmt.Errorf("%w: %w", usr.ErrUnauthenticated, err)
	}
	return u, nil
}

// admit says whether the user may call at all, from that address.
func admit(u registry.User, from netip.Addr) error {
	if u.Disabled {
		return fmt.Errorf("user %q is disabled", u.Name)
	}
	if len(u.AllowedIPs) == 0 {
		return nil
	}
	if !from.IsValid() {
		return fmt.Errorf("user %q may call from some addresses only, and this one is unknown", u.Name)
	}
	if !within(u.AllowedIPs, from) {
		return fmt.Errorf("user %q may not call from %s", u.Name, from)
	}
	return nil
}

// identity asks once per connection whom its certificate speaks for.
func (s *Server) identity(ctx context.Context, state *tls.ConnectionState) (ca.Identity, error) {
	m, remembers := ctx.Value(memoKey{}).(*memo)
	if remembers {
		if id := m.identity.Load(); id != nil {
			return *id, nil
		}
	}
	id, err := s.authority.Identify(ctx, state.VerifiedChains[0])
	if err == nil && remembers {
		m.identity.Store(&id)
	}
	return id, err
}

// verify is asked by the listener about each handshake with a client
// certificate, full or resumed: the revoked are refused. A certificate that
// speaks for nobody is refused by the routes, which can say so.
func (s *Server) verify(state tls.ConnectionState) error {
	return s.enforcer.Check(state.VerifiedChains)
}

// userOf names the user of a connection, so that it ends with the user.
func (s *Server) userOf(state tls.ConnectionState) string {
	id, err := s.authority.Identify(s.background, state.VerifiedChains[0])
	if err != nil {
		return ""
	}
	return id.User
}

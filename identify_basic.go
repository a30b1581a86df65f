package omca

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"omca/ca"
	"omca/internal/api"
	"omca/internal/registry"
	"omca/usr"
)

// maxBasic bounds the credentials of HTTP Basic authentication, in bytes of
// base64: a name and a password of [usr.MaxPassword].
const maxBasic = 2048

// newPasswords makes what checks passwords, and what counts attempts to guess them.
func (s *Server) newPasswords() error {
	var err error
	s.guesses = usr.NewGuesses(s.config.Now)
	if s.passwords, err = usr.NewPasswords(usr.PasswordCost{}); err == nil {
		s.passwords.OnMemory(s.config.Memory)
	}
	return err
}

// byPassword takes the name and the password of HTTP Basic authentication.
func (s *Server) byPassword(r *http.Request) (usr.Caller, error) {
	name, password, err := basic(r.Header["Authorization"])
	if err != nil {
		return usr.Caller{}, err
	}
	u, err := s.checkPassword(r, name, password)
	if err != nil {
		return usr.Caller{}, err
	}
	return usr.Caller{Name: u.Name, Method: usr.MethodPassword, Grants: u.Grants, Roles: u.Roles, Address: s.from(r)}, nil
}

// basic reads the header Authorization as RFC 7617, section 2, has it:
// errNotTried when it is of another scheme. The name ends at the first colon;
// the rest, colons and all, is the password. Both are UTF-8, as the challenge says.
func basic(headers []string) (name string, password []byte, err error) {
	credentials, tried := "", false
	for _, h := range headers {
		if scheme, rest, _ := strings.Cut(h, " "); strings.EqualFold(scheme, "Basic") {
			credentials, tried = rest, true
		}
	}
	if !tried {
		return "", nil, errNotTried
	}
	bad := func(why string) (string, []byte, error) {
		return "", nil, fmt.Errorf("%w: basic: %s", usr.ErrUnauthenticated, why)
	}
	switch {
	case len(headers) > 1: // RFC 9110, 5.3: it is no list, and somebody in between may have looked at the other
		return bad("more than one header Authorization")
	case len(credentials) > maxBasic:
		return bad("the credentials are too long")
	}
	text, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(credentials, " "))
	if err != nil {
		return bad("the credentials are not base64")
	}
	before, after, found := strings.Cut(string(text), ":")
	if !found || before == "" {
		return bad("the credentials have no name")
	}
	return before, []byte(after), nil
}

// checkPassword returns the user whose name and password these are, who is not
// disabled and may call from where r comes from.
//
// Attempts are counted first, by user and by address: [*usr.LimitedError]. A request
// proves a password once, as long as the hash in the store is the same.
//
// Everything else is [usr.ErrUnauthenticated], with the reason for the log, and
// takes the same work: for a user who does not exist, is disabled or has no
// password, and for a name that can be nobody's.
func (s *Server) checkPassword(r *http.Request, name string, password []byte) (registry.User, error) {
	ctx := r.Context()
	guard, err := s.objects.Guard(ctx)
	if err != nil {
		return registry.User{}, err
	}
	known, err := usr.NormalName(name)
	if err != nil {
		known = name // nobody's, and counted all the same
	}
	u, err := s.objects.User(ctx, known)
	exists := err == nil
	if err != nil && !errors.Is(err, ca.ErrNotFound) {
		return registry.User{}, err
	}
	about := "a user who does not exist" // and whose name may be a password that went into the wrong field
	if exists {
		about = fmt.Sprintf("user %q", known)
	}
	address := s.address(r)
	proved, err := api.Proved(ctx, known, password, s.objects.PasswordHash)
	if err != nil {
		return registry.User{}, err
	}
	if exists && proved {
		if err := admit(u, address); err != nil {
			return registry.User{}, fmt.Errorf("%w: %w", usr.ErrUnauthenticated, err)
		}
		return u, nil
	}
	attempt, err := s.guesses.Take(guard.Guesses, known, address)
	if err != nil {
		return registry.User{}, fmt.Errorf("%s: %w", about, err)
	}
	hash, err := s.objects.PasswordHash(ctx, known)
	if err != nil {
		return registry.User{}, err
	}
	better, err := s.passwords.Verify(ctx, password, hash)
	if err != nil {
		return registry.User{}, fmt.Errorf("%s: %w", about, err)
	}
	if !exists { // made between the two looks
		return registry.User{}, fmt.Errorf("%w: %s", usr.ErrUnauthenticated, about)
	}
	if err := admit(u, address); err != nil {
		return registry.User{}, fmt.Errorf("%w: %w", usr.ErrUnauthenticated, err)
	}
	attempt.Succeeded()
	api.Prove(ctx, known, password, hash)
	if !better.IsZero() {
		s.improvePassword(r, known, hash, better)
		api.Prove(ctx, known, password, better)
	}
	return u, nil
}

// improvePassword keeps a better hash of a password that was just found right.
// The login does not depend on it.
func (s *Server) improvePassword(r *http.Request, name string, was, better usr.PasswordHash) {
	err := s.objects.ImprovePassword(r.Context(), name, was, better)
	switch {
	case errors.Is(err, ca.ErrConflict): // it was changed, or somebody else was first
	case err != nil:
		s.config.Log.WarnContext(r.Context(), "password not hashed anew", "user", name, "error", err)
	default:
		s.config.Log.InfoContext(r.Context(), "password hashed anew", "user", name, "was", was.Scheme())
	}
}

// unlock forgets the attempts to log in as a user, and reports whether they had
// locked the user out.
func (s *Server) unlock(r *http.Request, name string) (bool, error) {
	guard, err := s.objects.Guard(r.Context())
	if err != nil {
		return false, err
	}
	return s.guesses.Unlock(guard.Guesses, name), nil
}

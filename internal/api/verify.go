package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"omca/internal/hint"
	"omca/internal/object"
	"omca/usr"
)

// Forward authorization: a proxy in front of some service asks about each
// request that it gets, with the headers of that request, and lets it through
// when the answer is 204 (docs/forward-auth.md).

// The headers that say to the service who is calling. Each is there in every
// 204, the empty ones too: a proxy that copies them thereby overwrites what the
// client sent under these names.
const (
	headerUser   = "X-Auth-User"
	headerRoles  = "X-Auth-Roles"
	headerMethod = "X-Auth-Method"
)

// maxAsked bounds the roles and the grants of one question.
const maxAsked = 16

func (d *door) verifyRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/api/auth/verify", rule: asksForSomebody(), id: "verifyRequest",
			about: "Whether a proxy should let a request through that has these credentials: 204 with X-Auth-User, X-Auth-Roles and X-Auth-Method, 401 or 403.",
			params: []param{
				{name: "role", list: true, about: "Role that the user must have; of several with commas between them, one. Repeated: all of them."},
				{name: "grant", list: true, about: "Grant that the user must hold, such as guest:ns1. Repeated: all of them."},
			},
			answer: answer{status: http.StatusNoContent}, handle: d.verifyRequest},
	}
}

// named is for what tells callers who they are.
func named() rule { return needs("any user, with a token for other services too", usr.Named()) }

// asksForSomebody is for the question of a proxy: what proves a name must have
// come with the request that the proxy asks about, and not with the proxy. So
// what belongs to the connection proves nothing here: the unix socket and a
// client certificate are the proxy's, and everybody would get in under its name.
func asksForSomebody() rule {
	return rule{says: "any user, with a token for other services too; not by the unix socket nor by a client certificate", check: func(_ context.Context, c *call) error {
		switch c.who.Method {
		case usr.MethodSocket:
			return hint.With(fmt.Errorf("%w: needs what the user sent; the unix socket proves only who runs the proxy", usr.ErrDenied),
				"have the proxy ask https://HOST:1215/api/auth/verify")
		case usr.MethodX509:
			return hint.With(fmt.Errorf("%w: needs what the user sent; the client certificate is that of the proxy", usr.ErrDenied),
				"have the proxy ask without a client certificate")
		}
		return c.who.May(usr.Named())
	}}
}

// verifyRequest answers for the proxy. What is asked and not understood is
// refused: a question with a hole in it must not be answered yes.
func (d *door) verifyRequest(_ context.Context, c *call) (response, error) {
	roles, grants := c.query["role"], c.query["grant"]
	if len(roles)+len(grants) > maxAsked {
		return response{}, fmt.Errorf("%w: %d roles and grants, at most %d", errBadRequest, len(roles)+len(grants), maxAsked)
	}
	c.note(slog.String("asked", strings.Join(append(slices.Clone(roles), grants...), " ")))
	for _, asked := range roles {
		if err := hasOneOf(c.who, asked); err != nil {
			return response{}, err
		}
	}
	for _, asked := range grants {
		want, err := usr.ParseGrants(asked)
		if err != nil {
			return response{}, err
		}
		if len(want.Words()) == 0 {
			return response{}, fmt.Errorf("%w: parameter grant is empty", errBadRequest)
		}
		if err := c.who.Grants.Covers(want); err != nil {
			return response{}, err
		}
	}
	header := http.Header{headerUser: {c.who.By()}, headerRoles: {strings.Join(c.who.Roles, ",")}, headerMethod: {string(c.who.Method)}}
	for name, values := range header {
		if err := inHeader(values[0]); err != nil {
			return response{}, fmt.Errorf("%w: %s for this caller: %w", usr.ErrDenied, name, err)
		}
	}
	return response{status: http.StatusNoContent, header: header}, nil
}

// hasOneOf returns nil when the caller has one of these roles.
func hasOneOf(who usr.Caller, asked string) error {
	known, err := object.LookupKeyword(object.KindUsr, "roles")
	if err != nil {
		return err
	}
	roles := strings.Split(asked, ",")
	for _, role := range roles {
		if !slices.Contains(known.Choices, role) {
			return fmt.Errorf("%w: role is %.32q, want %s", errBadRequest, role, strings.Join(known.Choices, ", "))
		}
	}
	for _, role := range roles {
		if err = usr.HoldsRoles(who, []string{role}); err == nil {
			return nil
		}
	}
	return err
}

// inHeader refuses what does not arrive as it was sent, and what ends a header
// (RFC 9110, 5.5). The subject of an identity provider may be any text: it is
// refused and not altered, for altered it could be somebody else's name.
func inHeader(value string) error {
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' {
			return errors.New("it has a character that no header should have")
		}
	}
	return nil
}

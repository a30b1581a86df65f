package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"

	"omca/internal/hint"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr"
	"omca/usr/session"
)

func (d *door) ownPasswordRoutes() []route {
	change := body{media: mediaJSON, schema: reflect.TypeFor[wire.PasswordChange](), limit: limitLogin}
	return []route{
		{method: http.MethodPost, path: "/api/auth/password", rule: inPerson(), id: "changeOwnPassword",
			about: "Change one's own password, which takes the one until now, and ends the user's sessions. A call by a session goes on with a new one.",
			body:  change, answer: answer{status: http.StatusNoContent}, audit: auditCalls, handle: d.changeOwnPassword},
	}
}

// inPerson is for users who proved to be who they are: by what is theirs alone,
// not by a token, nor by what somebody else says they are.
func inPerson() rule {
	return rule{says: "the user in person: by password, client certificate or session", check: func(_ context.Context, c *call) error {
		self, err := selfPath(c.who)
		if err == nil && c.who.Is(target(self)) {
			c.path = self
			return nil
		}
		return hint.With(fmt.Errorf("changing one's own password: %w: needs a password, a client certificate or a session; this call came by %s", usr.ErrDenied, c.who.Method),
			"whoever may change a user sets its password: \"omca user passwd NAME\"")
	}}
}

// changeOwnPassword takes the password until now, whatever proved the name: a
// session that was left open, or a certificate that was stolen and will be
// revoked, must not become a password that lasts. For the same reason nobody
// gives themselves their first one.
func (d *door) changeOwnPassword(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.PasswordChange](c)
	if err != nil {
		return response{}, err
	}
	if d.Passwords == nil || d.CheckPassword == nil {
		return response{}, errNoRoute
	}
	u, err := d.CheckPassword(c.request, c.who.Name, []byte(want.Current))
	if errors.Is(err, usr.ErrUnauthenticated) { // the caller is known: another login would not help
		return response{}, hint.With(fmt.Errorf("changing one's own password: %w: the current password is wrong, or there is none", usr.ErrDenied),
			"whoever may change the user sets a forgotten one, and the first: \"omca user passwd %s\"", c.who.Name)
	}
	if err != nil {
		return response{}, err
	}
	hash, err := d.hashOnce(ctx, c, []byte(want.Password))
	if err != nil {
		return response{}, err
	}
	own, err := d.own(ctx, c)
	if err != nil {
		return response{}, err
	}
	changed, err := d.Objects.ReplacePassword(ctx, u, hash)
	if err != nil || own == nil || own.User != u.Name {
		return response{status: http.StatusNoContent}, err
	}
	login := own.Login
	login.PasswordChanged = changed
	return d.goOn(registry.Undecided(ctx), c, *own, login)
}

// goOn begins another session in the place of one that is over, for what began
// with the former password is.
func (d *door) goOn(ctx context.Context, c *call, over session.Session, login session.Login) (response, error) {
	if err := d.Sessions.End(ctx, over); err != nil {
		return response{}, err
	}
	secret, begun, err := d.Sessions.Begin(ctx, login)
	if err != nil {
		return response{}, err
	}
	c.note(slog.String("session", begun.ID))
	return response{status: http.StatusNoContent, header: http.Header{"Set-Cookie": {sessionCookie(secret, 0)}}}, nil
}

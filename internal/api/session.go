package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"reflect"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/wire"
	"omca/usr"
	"omca/usr/session"
)

// SessionCookie is the cookie that holds the secret of a session. The prefix
// has browsers refuse it unless it is of this host alone, of all of it, and
// came over TLS (RFC 6265bis, 4.1.3.2): no other host can plant one.
const SessionCookie = "__Host-omca-session"

const limitLogin = 8 << 10 // bytes of a name and a password, and what is around them

func (d *door) sessionRoutes() []route {
	user := []param{{name: "user", about: "Name of the user: the caller unless given."}}
	login := body{media: mediaJSON, schema: reflect.TypeFor[wire.LoginRequest](), limit: limitLogin, optional: true, orForm: true}
	return []route{
		{method: http.MethodPost, path: "/api/auth/login", rule: whoever("whoever proves a name by password or by client certificate"), id: "login",
			about: "Begin a session: the answer sets a cookie. Without a body the client certificate says who it is.",
			body:  login, answer: jsonAnswer[wire.SessionItem](http.StatusOK), audit: auditCalls, handle: d.login},
		{method: http.MethodPost, path: "/api/auth/logout", rule: whoever("anyone"), id: "logout", about: "End the session of the cookie, if there is one.",
			answer: answer{status: http.StatusNoContent}, audit: auditCalls, handle: d.logout},
		{method: http.MethodGet, path: "/api/session", rule: d.ofUser(), id: "listSessions", about: "The sessions of a user that go on.",
			params: user, answer: jsonAnswer[wire.SessionList](http.StatusOK), handle: d.listSessions},
		{method: http.MethodPost, path: "/api/session/revoke", rule: d.ofUser(), id: "revokeSessions", about: "End all sessions of a user.",
			params: user, answer: jsonAnswer[wire.SessionsEnded](http.StatusOK), audit: auditCalls, handle: d.revokeSessions},
		{method: http.MethodPost, path: "/api/session/{id}/revoke", rule: authenticated(), id: "revokeSession", about: "End one session: the caller's own, or that of a user whom the caller may change.",
			answer: jsonAnswer[wire.SessionsEnded](http.StatusOK), audit: auditCalls, handle: d.revokeSession},
		{method: http.MethodGet, path: "/api/auth/can-i", rule: authenticated(), id: "canI", about: "Whether the caller may do something, and by which rule. Nothing is done.",
			params: []param{
				{name: "verb", about: "read, read-key, create, change, delete, revoke, set, grant, sign or administer."},
				{name: "path", about: "Of the object that it is about; grant, sign and administer need none."},
				{name: "what", list: true, about: "Names of keys for read-key and of certificates for sign, expressions for set, grants for grant."},
				{name: "as", about: "Name of another user to ask for: whoever may change that user may."},
			}, answer: jsonAnswer[wire.Verdict](http.StatusOK), handle: d.canI},
	}
}

// whoever is for what begins or ends a session: nobody is asked who they are. A
// page of another origin cannot do it in a visitor's name, which is one more
// attack: being logged in as somebody else (login CSRF).
func whoever(says string) rule { return rule{says: says, public: true} }

// ofUser is for the sessions of the user that the query names: the user in
// person, and whoever could change what the user calls with.
func (d *door) ofUser() rule {
	return rule{says: "the user itself; admin on system who holds every grant that the user holds", check: func(ctx context.Context, c *call) error {
		name := c.query.Get("user")
		if name == "" && c.who.IsMachine() {
			return nil // it has no sessions
		}
		if name == "" {
			name = c.who.Name
		}
		var err error
		if c.path, err = object.UserPath(name); err != nil {
			return err
		}
		return d.mayEnd(ctx, c.who, c.path)
	}}
}

// login begins a session. A session that the browser had before ends: what was
// in the cookie before a login is worth nothing after it.
func (d *door) login(ctx context.Context, c *call) (response, error) {
	if d.Sessions == nil || d.Login == nil {
		return response{}, errNoRoute
	}
	want, err := c.loginRequest()
	if err != nil {
		return response{}, err
	}
	proved, err := d.Login(c.request, want.Name, []byte(want.Password))
	if err != nil {
		return response{}, err
	}
	return d.begin(ctx, c, proved)
}

// begin begins the session of who proved a name.
func (d *door) begin(ctx context.Context, c *call, proved session.Login) (response, error) {
	c.who = usr.Caller{Name: proved.User, Method: proved.Method, Address: proved.Address, RequestID: c.id}
	if err := d.endOwn(ctx, c); err != nil {
		return response{}, err
	}
	secret, begun, err := d.Sessions.Begin(ctx, proved)
	if err != nil {
		return response{}, err
	}
	c.note(slog.String("session", begun.ID))
	item, err := d.sessionItem(ctx, begun, begun.ID)
	if err != nil {
		return response{}, err
	}
	answer, err := reply(http.StatusOK, item)
	answer.header = http.Header{"Set-Cookie": {sessionCookie(secret, 0)}}
	return answer, err
}

// loginRequest reads the body, JSON or the form of a page.
func (c *call) loginRequest() (wire.LoginRequest, error) {
	media, _, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if len(c.body) == 0 || err != nil || media != mediaForm {
		want, err := decode[wire.LoginRequest](c)
		if err == nil && want.Name == "" && want.Password != "" {
			err = fmt.Errorf("%w: a password without a name", errBadRequest)
		}
		return want, err
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return wire.LoginRequest{}, fmt.Errorf("%w: the form cannot be read", errBadRequest)
	}
	for name, values := range form {
		if name != "name" && name != "password" || len(values) > 1 {
			return wire.LoginRequest{}, fmt.Errorf("%w: the form has the fields name and password, each once", errBadRequest)
		}
	}
	if form.Get("name") == "" {
		return wire.LoginRequest{}, fmt.Errorf("%w: the form has no name", errBadRequest)
	}
	return wire.LoginRequest{Name: form.Get("name"), Password: form.Get("password")}, nil
}

// sessionCookie is the header that sets the cookie; a negative age takes it
// away. Without an age it goes when the browser is closed. SameSite=Strict: no
// request that begins elsewhere carries it.
func sessionCookie(secret string, age int) string {
	c := http.Cookie{Name: SessionCookie, Value: secret, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	return c.String()
}

// SessionSecret is what the cookie of a request holds; "" when there is none.
// More than one cookie of that name is none: somebody planted one of them.
func SessionSecret(r *http.Request) string {
	cookies := r.CookiesNamed(SessionCookie)
	if len(cookies) != 1 {
		return ""
	}
	return cookies[0].Value
}

// own is the session of the cookie, nil when there is none that goes on.
func (d *door) own(ctx context.Context, c *call) (*session.Session, error) {
	secret := SessionSecret(c.request)
	if d.Sessions == nil || secret == "" {
		return nil, nil
	}
	one, err := d.Sessions.Find(ctx, secret)
	switch {
	case errors.Is(err, usr.ErrUnauthenticated):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &one, nil
}

// endOwn ends the session of the cookie.
func (d *door) endOwn(ctx context.Context, c *call) error {
	one, err := d.own(ctx, c)
	if err != nil || one == nil {
		return err
	}
	c.note(slog.String("ended", one.ID))
	return d.Sessions.End(ctx, *one)
}

func (d *door) logout(ctx context.Context, c *call) (response, error) {
	one, err := d.own(ctx, c)
	if err != nil {
		return response{}, err
	}
	if one != nil {
		c.who = usr.Caller{Name: one.User, Method: usr.MethodSession, RequestID: c.id}
		c.note(slog.String("ended", one.ID))
		if err := d.Sessions.End(ctx, *one); err != nil {
			return response{}, err
		}
	}
	return response{status: http.StatusNoContent, header: http.Header{"Set-Cookie": {sessionCookie("", -1)}}}, nil
}

func (d *door) listSessions(ctx context.Context, c *call) (response, error) {
	list := wire.SessionList{Kind: "SessionList", Items: []wire.SessionItem{}}
	if d.Sessions == nil || c.path.IsZero() {
		return reply(http.StatusOK, list)
	}
	own, err := d.own(ctx, c)
	if err != nil {
		return response{}, err
	}
	current := ""
	if own != nil {
		current = own.ID
	}
	all, err := d.Sessions.List(ctx, c.path.Name)
	if err != nil {
		return response{}, err
	}
	for _, one := range all {
		item, err := d.sessionItem(ctx, one, current)
		if err != nil {
			return response{}, err
		}
		list.Items = append(list.Items, item)
	}
	return reply(http.StatusOK, list)
}

func (d *door) sessionItem(ctx context.Context, one session.Session, current string) (wire.SessionItem, error) {
	ends, err := d.Sessions.Ends(ctx, one)
	return wire.SessionItem{
		ID: one.ID, User: one.User, Auth: string(one.Method), Address: one.Address,
		BeganAt: one.Began.UTC(), UsedAt: one.Used.UTC(), EndsAt: ends.UTC(), Current: one.ID == current,
	}, err
}

func (d *door) revokeSessions(ctx context.Context, c *call) (response, error) {
	ended := wire.SessionsEnded{}
	if d.Sessions != nil && !c.path.IsZero() {
		var err error
		if ended.Ended, err = d.Sessions.EndAll(ctx, c.path.Name); err != nil {
			return response{}, err
		}
	}
	return reply(http.StatusOK, ended)
}

// revokeSession ends one session. One that the caller may not end is answered
// like one that does not exist.
func (d *door) revokeSession(ctx context.Context, c *call) (response, error) {
	none := fmt.Errorf("%w: no such session", ca.ErrNotFound)
	if d.Sessions == nil {
		return response{}, none
	}
	one, err := d.Sessions.Get(ctx, c.vars["id"])
	if errors.Is(err, usr.ErrUnauthenticated) {
		return response{}, none
	}
	if err != nil {
		return response{}, err
	}
	err = c.who.May(usr.Root())
	if one.Method != usr.MethodOpenID { // who came so has no object
		if c.path, err = object.UserPath(one.User); err != nil {
			return response{}, err
		}
		err = d.mayEnd(ctx, c.who, c.path)
	}
	if errors.Is(err, usr.ErrDenied) {
		c.path = object.Path{}
		return response{}, none
	}
	if err != nil {
		return response{}, err
	}
	c.note(slog.String("ended", one.ID))
	if err := d.Sessions.End(ctx, one); err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.SessionsEnded{Ended: 1})
}

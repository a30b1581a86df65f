package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"omca/internal/registry"
	"omca/usr"
	"omca/usr/session"
)

// checkPassword knows one password, and that of somebody who guessed too often.
func (w *world) checkPassword(r *http.Request, name string, password []byte) (registry.User, error) {
	switch string(password) {
	case thePassword:
		return w.objects.User(r.Context(), name)
	case "again and again":
		return registry.User{}, &usr.LimitedError{After: 7}
	}
	return registry.User{}, fmt.Errorf("%w: the secret reason", usr.ErrUnauthenticated)
}

const ownPassword = "/api/auth/password"

func (w *world) ownPassword(by, current, password string) result {
	return w.do(request{method: http.MethodPost, target: ownPassword, by: by, body: fmt.Sprintf(`{"current":%q,"password":%q}`, current, password)})
}

// TestOwnPassword: users who hold nothing change their own password, and nobody
// does so without the one until now.
func TestOwnPassword(t *testing.T) {
	w := newWorld(t)
	w.do(request{method: http.MethodPost, target: "/api/object/path/system/usr/none/data/key?name=password", by: "root", body: thePassword, media: mediaAny}).want(http.StatusNoContent)
	before := must(w.objects.User(t.Context(), "none"))(t).PasswordChanged
	for _, tt := range []struct {
		by, current, password string
		status                int
		says                  string
	}{
		{"none", "", "new", 403, "the current password is wrong, or there is none"},
		{"none", "wrong", "new", 403, "the current password is wrong, or there is none"},
		{"none", "again and again", "new", 429, "too many attempts"},
		{"none", thePassword, "", 400, "it is empty"},
		{"none", thePassword, "a\tb", 400, "control characters"},
		{"", thePassword, "new", 401, "not authenticated"},
		{"root", thePassword, "new", 403, "came by ux"},
		{"jwt", thePassword, "new", 403, "came by jwt"},
		{"openid", thePassword, "new", 403, "came by jwt-openid"},
		{"clustercockpit", thePassword, "new", 403, "came by jwt"},
		{"guest", thePassword, "new", 409, "was changed meanwhile"}, // has none: the first one is for others to give
	} {
		got := w.ownPassword(tt.by, tt.current, tt.password).want(tt.status)
		if !strings.Contains(string(got.body), tt.says) || strings.Contains(string(got.body), "secret") {
			t.Errorf("%+v: %s", tt, got.body)
		}
	}
	if after := must(w.objects.User(t.Context(), "none"))(t).PasswordChanged; !after.Equal(before) {
		t.Fatalf("what was refused changed the password at %s", after)
	}
	w.ownPassword("none", thePassword, "new").want(http.StatusNoContent)
	if after := must(w.objects.User(t.Context(), "none"))(t).PasswordChanged; !after.After(before) {
		t.Errorf("changed at %s, before at %s", after, before)
	}
	if log := w.log.take(); !strings.Contains(log, `"action":"changeOwnPassword"`) || strings.Contains(log, thePassword) {
		t.Errorf("the audit trail: %s", log)
	}
}

// TestOwnPasswordRenewsSession: the session that the change came with goes on
// under another secret.
func TestOwnPasswordRenewsSession(t *testing.T) {
	w := newWorld(t)
	w.do(request{method: http.MethodPost, target: "/api/object/path/system/usr/none/data/key?name=password", by: "root", body: thePassword, media: mediaAny}).want(http.StatusNoContent)
	secret, was, err := w.sessions.Begin(t.Context(), session.Login{User: "none", Method: usr.MethodPassword, UserCreated: w.now})
	if err != nil {
		t.Fatal(err)
	}
	change := request{method: http.MethodPost, target: ownPassword, by: "none", header: map[string]string{"Cookie": SessionCookie + "=" + secret}, body: `{"current":"` + thePassword + `","password":"new"}`}
	res := w.do(change).want(http.StatusNoContent)
	if _, err := w.sessions.Find(t.Context(), secret); err == nil {
		t.Error("the former secret still opens")
	}
	now, err := w.sessions.Find(t.Context(), strings.TrimPrefix(cookieOf(t, res), SessionCookie+"="))
	if err != nil || now.ID == was.ID || now.User != "none" || !now.PasswordChanged.Equal(must(w.objects.User(t.Context(), "none"))(t).PasswordChanged) {
		t.Errorf("the new session: %+v, %v", now, err)
	}
	// That of somebody else is left alone.
	id := w.aSession("guest")
	other, _, err := w.sessions.Begin(t.Context(), session.Login{User: "guest", Method: usr.MethodPassword, UserCreated: w.now})
	if err != nil {
		t.Fatal(err)
	}
	change.header = map[string]string{"Cookie": SessionCookie + "=" + other}
	if res := w.do(change).want(http.StatusNoContent); res.header.Get("Set-Cookie") != "" {
		t.Errorf("a cookie for %s, who did not log in", "none")
	}
	if _, err := w.sessions.Get(t.Context(), id); err != nil {
		t.Error(err)
	}
}

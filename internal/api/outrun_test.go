package api

import (
	"net/http"
	"slices"
	"testing"

	"omca/internal/object"
	"omca/internal/store"
	"omca/usr"
)

// TestNoTokenOutrunsRevocation: a token that was on its way while its caller's
// certificate was taken back is taken back too.
func TestNoTokenOutrunsRevocation(t *testing.T) {
	w := newWorld(t)
	c := w.door.Config
	asked, usual := 0, w.handler
	c.Identify = func(r *http.Request) (usr.Caller, error) {
		if asked++; asked > 1 {
			return usr.Caller{}, usr.ErrUnauthenticated
		}
		return w.identify(r)
	}
	w.handler = must(New(c))(t)
	w.do(request{method: http.MethodPost, target: "/api/auth/token", by: "guest"}).want(http.StatusUnauthorized)
	w.handler = usual
	list := into[TokenList](w.do(request{target: "/api/token?subject=guest", by: "root"}).want(http.StatusOK))
	if len(list.Items) != 1 || list.Items[0].State != stateRevoked {
		t.Errorf("what is left: %+v", list.Items)
	}
}

// TestNoCertificateOutrunsDeletion: what a user has signed while the user is
// being deleted is not on record, or is taken back too.
func TestNoCertificateOutrunsDeletion(t *testing.T) {
	w := newWorld(t)
	w.db.before = func(tx store.Tx) {
		if slices.Contains(tx.Deletes, "obj/system/usr/guest1") { // all that was there is revoked by now
			w.db.before = nil
			w.sign("root", asJSON(t, SignRequest{CSR: csr(t, "web.clu.mycorp"), Owner: "system/usr/guest1"})).want(http.StatusCreated)
		}
	}
	w.do(request{method: http.MethodPost, target: at + "system/usr/guest1/action/delete", by: "root"}).want(http.StatusOK)
	const gone = "revoked cessationOfOperation"
	if got := w.states("system/usr/guest1"); w.db.before != nil || got != gone+", "+gone {
		t.Errorf("of the deleted user: %s", got)
	}

	for _, method := range []usr.Method{usr.MethodX509, usr.MethodSession, usr.MethodPassword} {
		for when, want := range map[string]string{"before it is on record": "valid", "once it is": "valid, " + gone} {
			w = newWorld(t)
			c := w.door.Config
			c.Identify = func(r *http.Request) (usr.Caller, error) {
				who, err := w.identify(r)
				who.Method = method
				if err != nil {
					err = usr.ErrUnauthenticated
				}
				return who, err
			}
			usual := w.handler
			w.handler = must(New(c))(t)
			deletes := func(tx store.Tx) {
				w.db.before, w.db.after = nil, nil
				if err := w.objects.Delete(t.Context(), must(object.ParsePath("system/usr/guest1"))(t)); err != nil {
					t.Error(err)
				}
			}
			if when == "once it is" {
				w.db.after = deletes
			} else {
				w.db.before = deletes
			}
			w.sign("guest1", asJSON(t, SignRequest{CSR: csr(t, "guest1"), Profile: "usr"})).want(http.StatusUnauthorized)
			w.handler = usual
			if got := w.states("system/usr/guest1"); got != want && got != gone+", valid" {
				t.Errorf("by %s, signed for a user who was deleted %s: %s", method, when, got)
			}
		}
	}
}

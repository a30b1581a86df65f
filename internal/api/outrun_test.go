package api

import (
	"net/http"
	"testing"

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

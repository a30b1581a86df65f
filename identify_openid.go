package omca

import (
	"net/http"

	"omca/internal/registry"
	"omca/usr"
)

// byOpenID takes a bearer token of the OpenID issuer. Whom it names has no
// object here, and is no user of the same name: see [usr.Caller.Is]. Grants come
// from the token alone (docs/openid.md).
func (s *Server) byOpenID(r *http.Request) (usr.Caller, error) {
	compact, err := bearer(r)
	if err != nil {
		return usr.Caller{}, err
	}
	// A token that names a key of ours is byToken's, whatever else it says: what
	// was revoked there must not come in here.
	if foreign, err := s.foreign(r.Context(), compact); err != nil || !foreign {
		if err == nil {
			err = errNotTried
		}
		return usr.Caller{}, err
	}
	if registry.Deciding(r.Context()) { // on the keywords of the cluster: they name the issuer
		if _, err := s.openidSettings(r.Context()); err != nil {
			return usr.Caller{}, err
		}
	}
	id, err := s.openid.Verify(r.Context(), compact)
	if err != nil {
		return usr.Caller{}, err
	}
	return usr.Caller{Name: id.Name, Method: usr.MethodOpenID, Grants: id.Grants, Address: s.from(r)}, nil
}

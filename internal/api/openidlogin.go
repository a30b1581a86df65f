package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr"
)

// pathOpenIDLogin is where the issuer sends a browser back to, on this server.
const pathOpenIDLogin = "/login/openid/callback"

func (d *door) openIDRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "/api/auth/openid", rule: whoever("anyone, where an OpenID issuer is configured"), id: "askOpenID",
			about: "Where to log in at the OpenID issuer: authorization code with PKCE, state and nonce.",
			body:  jsonBody[wire.OpenIDRequest](limitLogin), answer: jsonAnswer[wire.OpenIDQuestion](http.StatusOK), handle: d.askOpenID},
		{method: http.MethodPost, path: "/api/auth/openid/login", rule: whoever("whoever comes back from the OpenID issuer"), id: "loginOpenID",
			about: "Begin a session by the answer of the OpenID issuer: the answer sets a cookie. The grants are those that the issuer gives at that moment.",
			body:  jsonBody[wire.OpenIDAnswer](limitLogin), answer: jsonAnswer[wire.SessionItem](http.StatusOK), audit: auditCalls, handle: d.loginOpenID},
	}
}

// checkRedirect permits one address on a server, by https. Which server is for the
// issuer to permit: it sends nobody to an address that it does not know.
func checkRedirect(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != pathOpenIDLogin || u.RawQuery != "" || u.Fragment != "" || strings.Contains(address, "#") {
		return fmt.Errorf("%w: redirect_uri is %.128q, not https://HOST%s", errBadRequest, address, pathOpenIDLogin)
	}
	return nil
}

func (d *door) askOpenID(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.OpenIDRequest](c)
	if err != nil {
		return response{}, err
	}
	if d.AskOpenID == nil {
		return response{}, errNoRoute
	}
	if err := checkRedirect(want.RedirectURI); err != nil {
		return response{}, err
	}
	q, err := d.AskOpenID(c.request, want.RedirectURI)
	if err != nil {
		return response{}, d.upstream(ctx, c, err)
	}
	return reply(http.StatusOK, q)
}

func (d *door) loginOpenID(ctx context.Context, c *call) (response, error) {
	got, err := decode[wire.OpenIDAnswer](c)
	if err != nil {
		return response{}, err
	}
	if d.Sessions == nil || d.LoginOpenID == nil {
		return response{}, errNoRoute
	}
	if err := checkRedirect(got.RedirectURI); err != nil {
		return response{}, err
	}
	proved, err := d.LoginOpenID(c.request, got)
	if err != nil {
		return response{}, d.upstream(ctx, c, err)
	}
	// The issuer answers once, so this is not run again. The session itself keeps the
	// facts that must still hold, and they are looked at each time that it is used.
	return d.begin(registry.Undecided(ctx), c, proved)
}

// upstream makes what an issuer failed at an error of what is behind this server,
// unless it says more. The caller may be anybody, so the reason is for the log.
func (d *door) upstream(ctx context.Context, c *call, err error) error {
	for _, known := range []error{usr.ErrLimited, usr.ErrUnauthenticated, ca.ErrNotFound, context.Canceled} {
		if errors.Is(err, known) {
			return err
		}
	}
	d.Log.WarnContext(ctx, "openid login failed", "request_id", c.id, "error", err.Error(), "hint", hint.Of(err))
	return fmt.Errorf("%w: the OpenID issuer cannot be asked; the log of the daemon has the reason under this request id", errUpstream)
}

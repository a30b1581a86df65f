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
	"omca/internal/object"
	"omca/usr"
)

// pathOpenIDLogin is where the issuer sends a browser back to, on this server.
const pathOpenIDLogin = "/login/openid/callback"

// OpenIDRequest asks where to log in at the OpenID issuer.
type OpenIDRequest struct {
	RedirectURI string `json:"redirect_uri"` // https://HOST/login/openid/callback
}

// OpenIDQuestion is a login at the OpenID issuer that has begun. The browser keeps
// it: nothing of it is kept here.
type OpenIDQuestion struct {
	Address  string `json:"address"` // where the person logs in
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE (RFC 7636)
}

// OpenIDAnswer is what the issuer sent the browser back with, and what it is the
// answer to.
type OpenIDAnswer struct {
	RedirectURI string `json:"redirect_uri"`
	State       string `json:"state"`
	Nonce       string `json:"nonce"`
	Verifier    string `json:"verifier"`
	Query       string `json:"query"` // of the address that the browser came back to
}

func (d *door) openIDRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "/api/auth/openid", rule: whoever("anyone, where an OpenID issuer is configured"), id: "askOpenID",
			about: "Where to log in at the OpenID issuer: authorization code with PKCE, state and nonce.",
			body:  jsonBody[OpenIDRequest](limitLogin), answer: jsonAnswer[OpenIDQuestion](http.StatusOK), handle: d.askOpenID},
		{method: http.MethodPost, path: "/api/auth/openid/login", rule: whoever("whoever comes back from the OpenID issuer"), id: "loginOpenID",
			about: "Begin a session by the answer of the OpenID issuer: the answer sets a cookie. The grants are those that the issuer gives at that moment.",
			body:  jsonBody[OpenIDAnswer](limitLogin), answer: jsonAnswer[SessionItem](http.StatusOK), audit: auditCalls, handle: d.loginOpenID},
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
	want, err := decode[OpenIDRequest](c)
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
	got, err := decode[OpenIDAnswer](c)
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
	return d.begin(object.Undecided(ctx), c, proved)
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

package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/wire"
	"omca/usr"
	"omca/usr/token"
)

// Refresher is who sends a refresh token, with what they hold now, and what the
// token says.
type Refresher struct {
	Caller usr.Caller
	Token  token.Claims
}

const pathJWKS = "/.well-known/jwks.json"

func (d *door) tokenRoutes() []route {
	ask := []param{
		{name: "role", list: true, about: "Only these roles: admin, blacklistadmin, guest, heartbeat, join, leave, operator, prioritizer, root or squatter. All that are held unless given."},
		{name: "scope", about: "Only in this namespace. In all unless given."},
		{name: "access_duration", about: "How long the access token lives, such as 10m: from 1s to 24h."},
	}
	issue := append(ask[:len(ask):len(ask)],
		param{name: "subject", about: "The user whom the token is for: the caller unless given. Another one needs root. Of the machine's root, root is the user of that name, and ux:root itself."},
		param{name: "refresh", about: "true: with a refresh token."},
		param{name: "refresh_duration", about: "How long the refresh token lives, such as 24h: from 1s to 30d."},
		param{name: "audience", list: true, about: "For these services, and not for this API. For this API unless given."})
	return []route{
		{method: http.MethodPost, path: "/api/auth/token", rule: needs("who has a user object, by password, client certificate or session (with refresh: by password), for itself; root, for any user", usr.Authenticated()),
			id: "issueToken", paced: true, about: "Issue a token that holds no more than its subject does.",
			params: issue, answer: jsonAnswer[wire.TokenPair](http.StatusOK), audit: auditCalls, handle: d.issueToken},
		{method: http.MethodPost, path: "/api/auth/refresh", rule: d.refreshes(), id: "refreshToken", paced: true, about: "Exchange a refresh token, sent as the bearer token, for an access token.",
			params: ask, answer: jsonAnswer[wire.TokenPair](http.StatusOK), audit: auditCalls, handle: d.refreshToken},
		{method: http.MethodGet, path: "/api/token", rule: authenticated(), id: "listTokens", about: "The tokens that were issued, soonest expiry first: the caller's own, and those of the users whom the caller may read.",
			params: []param{
				{name: "subject", about: "Only those of this user; ux:root is the machine's root."},
				{name: "state", about: "Only those in this state: valid, expired or revoked."},
				{name: "limit", about: "At most so many, from 1 to 1000."},
				{name: "after", about: "Only those behind this cursor, the next of another page."},
			},
			answer: jsonAnswer[wire.TokenList](http.StatusOK), handle: d.listTokens},
		{method: http.MethodPost, path: "/api/token/revoke", rule: tokensRule(), id: "revokeTokens", about: "Take back all tokens of a user, for good.",
			params: []param{{name: "subject", about: "The user: the caller unless given; ux:root is the machine's root."}},
			answer: jsonAnswer[wire.TokensRevoked](http.StatusOK), audit: auditCalls, handle: d.revokeTokens},
		{method: http.MethodPost, path: "/api/token/rotate-key", rule: root(), id: "rotateTokenKey", about: "Make a new key that signs tokens from now on.",
			params: []param{{name: "overlap", about: "false: what was signed before is refused from now on. true unless given: until it has expired."}},
			answer: jsonAnswer[wire.SigningKey](http.StatusOK), audit: auditCalls, handle: d.rotateTokenKey},
		{method: http.MethodPost, path: "/api/token/verify", rule: root(), id: "verifyToken", about: "What a token says, whether it is accepted, and why not.",
			body: jsonBody[wire.VerifyRequest](2 * token.MaxSize), answer: jsonAnswer[wire.VerifiedToken](http.StatusOK), handle: d.verifyToken},
		{method: http.MethodPost, path: "/api/token/{id}/revoke", rule: tokensRule(), id: "revokeToken", about: "Take a token back, for good. Asking again changes nothing.",
			answer: jsonAnswer[wire.TokenItem](http.StatusOK), audit: auditCalls, handle: d.revokeToken},
		{method: http.MethodGet, path: pathJWKS, rule: public(), id: "jwks", about: "The public keys of tokens that may be accepted, a JWK Set (RFC 7517).",
			answer: answer{status: http.StatusOK, media: mediaJSON}, handle: d.getJWKS},
		{method: http.MethodGet, path: "/.well-known/openid-configuration", rule: public(), id: "tokenDiscovery", about: "Where whoever verifies tokens finds the keys (OpenID Connect Discovery 1.0).",
			answer: jsonAnswer[wire.TokenDiscovery](http.StatusOK), handle: d.getDiscovery},
	}
}

// refreshes is for the one route that takes refresh tokens, and takes nothing else.
func (d *door) refreshes() rule {
	return rule{says: "who sends a refresh token", public: true, check: func(_ context.Context, c *call) error {
		if err := sameOrigin(c.request); err != nil {
			return err
		}
		r, err := d.IdentifyRefresh(c.request)
		if err != nil {
			return err
		}
		c.refresher, c.who = &r, r.Caller
		c.who.RequestID = c.id
		return nil
	}}
}

// tokensRule is for a token of the list: whose it is says the record, so the
// handler decides.
func tokensRule() rule {
	return needs("the user itself, or whoever may change that user", usr.Authenticated())
}

// ask reads which part of the grants somebody wants.
func (c *call) ask() (roles []usr.Role, scope string, err error) {
	for _, word := range c.list("role") {
		role, err := usr.ParseRole(word)
		if err != nil {
			return nil, "", err
		}
		roles = append(roles, role)
	}
	return roles, c.query.Get("scope"), nil
}

// lifetime reads how long a token is to live, 0 when it is not said: in the
// units of Go, or in ours, which have days too.
func (c *call) lifetime(name string) (time.Duration, error) {
	text := c.query.Get(name)
	if text == "" {
		return 0, nil
	}
	lifetime, err := time.ParseDuration(text)
	if err != nil {
		if lifetime, err = object.ParseDuration(text); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	if lifetime < 0 {
		return 0, fmt.Errorf("%w: %s is %.32q, less than nothing", errBadRequest, name, text)
	}
	return max(lifetime, token.Shortest), nil
}

// tokenAsk is a call for tokens.
type tokenAsk struct {
	access  token.Request
	roles   []usr.Role
	scope   string
	refresh bool          // a refresh token too
	later   time.Duration // that it is to live
}

// tokenAsk reads the query.
func (d *door) tokenAsk(c *call) (tokenAsk, error) {
	var a tokenAsk
	var err error
	if a.roles, a.scope, err = c.ask(); err != nil {
		return a, err
	}
	if a.refresh, err = c.flag("refresh"); err != nil {
		return a, err
	}
	a.access = token.Request{Use: token.Access, Subject: c.query.Get("subject"), Audience: c.list("audience")}
	// The machine's root has the name of a user: told by name, it is that user.
	if a.access.Subject == "" || a.access.Subject == usr.MachineRoot && c.who.IsMachine() {
		a.access.Subject, a.access.Socket = c.who.Name, c.who.IsMachine()
	}
	c.note(slog.String("subject", cmp.Or(c.query.Get("subject"), c.who.By())))
	if err := usr.CanIssueToken(c.who, a.access.Subject, a.refresh); err != nil {
		return a, err
	}
	if a.later, err = c.lifetime("refresh_duration"); err != nil {
		return a, err
	}
	if a.access.Lifetime, err = c.lifetime("access_duration"); err != nil {
		return a, err
	}
	if c.who.External && a.access.Subject == c.who.Name {
		a.access.Lifetime = min(cmp.Or(a.access.Lifetime, token.DefaultAccess), token.LongestExternal)
	}
	return a, nil
}

// issueToken follows OpenSVC, except that nobody gets more than they hold.
func (d *door) issueToken(ctx context.Context, c *call) (response, error) {
	a, err := d.tokenAsk(c)
	if err != nil {
		return response{}, err
	}
	issued, err := d.issueOne(ctx, c, a, a.access)
	if err != nil {
		return response{}, err
	}
	c.note(slog.String("token", issued.ID))
	pair := wire.TokenPair{AccessToken: issued.Token, AccessExpiredAt: issued.ExpiresAt}
	if !a.refresh {
		return reply(http.StatusOK, pair)
	}
	second := a.access
	second.Use, second.Lifetime = token.Refresh, a.later
	err = d.decided(ctx, c, func(ctx context.Context) error { // by itself, like the first
		issued, err := d.issueOne(ctx, c, a, second)
		if err != nil {
			return err
		}
		c.note(slog.String("refresh_token", issued.ID))
		pair.RefreshToken, pair.RefreshExpiredAt = issued.Token, &issued.ExpiresAt
		return nil
	})
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, pair)
}

// issueOne issues one of the tokens that the call asks for, with the grants and the
// roles of its subject now.
func (d *door) issueOne(ctx context.Context, c *call, a tokenAsk, r token.Request) (token.Issued, error) {
	if err := usr.CanIssueToken(c.who, r.Subject, a.refresh); err != nil {
		return token.Issued{}, err
	}
	r.By = c.who
	if err := d.fillSubject(ctx, c.who, &r); err != nil {
		return token.Issued{}, err
	}
	var err error
	if r.Grants, err = usr.FilterGrants(r.Grants, a.roles, a.scope); err != nil {
		return token.Issued{}, fmt.Errorf("token for %q: %w", r.Subject, err)
	}
	return d.Tokens.Issue(ctx, r)
}

// fillSubject says in the request what its subject holds now. The machine's root
// needs no user object; whoever asks for another user is root, and learns what
// is wrong with them.
func (d *door) fillSubject(ctx context.Context, who usr.Caller, r *token.Request) error {
	if r.Socket {
		r.Grants = who.Grants
		return nil
	}
	u, err := d.Objects.User(ctx, r.Subject)
	switch {
	case errors.Is(err, ca.ErrNotFound):
		err = hint.With(fmt.Errorf("token: %w: there is no user %.64q", usr.ErrDenied, r.Subject), "\"omca usr ls\" lists the users")
		if who.IsMachine() && r.Subject == who.Name {
			err = hint.With(err, "leave the subject out for a token of the machine's root, which is no user")
		}
		return err
	case err != nil:
		return err
	case u.Disabled:
		return fmt.Errorf("token: %w: user %q is disabled", usr.ErrDenied, u.Name)
	}
	r.Grants, r.Roles = u.Grants, u.Roles
	return nil
}

// refreshToken gives an access token that holds what the refresh token was given
// and its subject still holds.
func (d *door) refreshToken(ctx context.Context, c *call) (response, error) {
	roles, scope, err := c.ask()
	if err != nil {
		return response{}, err
	}
	lifetime, err := c.lifetime("access_duration")
	if err != nil {
		return response{}, err
	}
	if c.refresher == nil {
		return response{}, usr.ErrUnauthenticated
	}
	issued, err := d.Tokens.Refresh(ctx, token.RefreshRequest{
		Token: c.refresher.Token, Held: c.who.Grants, Roles: c.who.Roles, Ask: roles, Scope: scope, Lifetime: lifetime, By: c.who,
	})
	if err != nil {
		return response{}, err
	}
	c.note(slog.String("token", issued.ID))
	// As for stands: what was got with a token that was taken back meanwhile goes the same way.
	if err := d.Tokens.CheckRecord(ctx, c.refresher.Token.ID); err != nil {
		_, failed := d.Tokens.Revoke(context.WithoutCancel(ctx), issued.ID, c.who)
		return response{}, errors.Join(err, failed)
	}
	return reply(http.StatusOK, wire.TokenPair{AccessToken: issued.Token, AccessExpiredAt: issued.ExpiresAt})
}

func (d *door) tokenItem(r token.Record) wire.TokenItem {
	item := wire.TokenItem{
		ID: r.ID, Subject: r.Subject, Profile: r.Profile, Use: string(r.Use), Grant: r.Grant, Roles: append([]string{}, r.Roles...),
		Audience: append([]string{}, r.Audience...), IssuedAt: r.IssuedAt, IssuedBy: r.By, Auth: string(r.Method), State: string(ca.StateValid), RevokedBy: r.RevokedBy,
	}
	if !r.ExpiresAt.IsZero() {
		item.ExpiresAt = &r.ExpiresAt
		if !d.Now().Before(r.ExpiresAt) {
			item.State = string(ca.StateExpired)
		}
	}
	if !r.RevokedAt.IsZero() {
		item.RevokedAt, item.State = &r.RevokedAt, stateRevoked
	}
	return item
}

// listTokens gives a page of what the caller may see. Like that of certificates
// it may have fewer items than the limit and not be the last.
func (d *door) listTokens(ctx context.Context, c *call) (response, error) {
	q := token.Query{Subject: c.query.Get("subject"), After: c.query.Get("after")}
	state := c.query.Get("state")
	if state != "" && state != string(ca.StateValid) && state != string(ca.StateExpired) && state != stateRevoked {
		return response{}, fmt.Errorf("%w: state is %.32q, not valid, expired or revoked", errBadRequest, state)
	}
	limit := defaultPage
	if text := c.query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > defaultPage {
			return response{}, fmt.Errorf("%w: limit is %.32q, not 1 to %d", errBadRequest, text, defaultPage)
		}
	}
	const mostCursor = 128
	if len(q.After) > mostCursor {
		return response{}, fmt.Errorf("%w: after is no cursor of a list", errBadRequest)
	}
	if q.Subject == "" && c.who.May(usr.In(usr.RoleGuest, "system")) != nil {
		q.Subject = c.who.By() // of the others nothing would be left
	}
	if q.Subject != "" && q.Subject != usr.MachineRoot {
		if err := usr.ValidName(q.Subject); err != nil {
			return response{}, err
		}
	}
	list := wire.TokenList{Kind: "TokenList", Items: []wire.TokenItem{}}
	looked, cursor := 0, ""
	for l, err := range d.Tokens.List(ctx, q) {
		if err != nil {
			return response{}, err
		}
		if len(list.Items) == limit || looked == maxScan {
			list.Next = cursor
			break
		}
		looked, cursor = looked+1, l.Cursor
		sees, err := d.seesToken(ctx, c.who, l.Record)
		if err != nil {
			return response{}, err
		}
		if !sees {
			continue
		}
		if item := d.tokenItem(l.Record); state == "" || item.State == state {
			list.Items = append(list.Items, item)
		}
	}
	return reply(http.StatusOK, list)
}

func (d *door) revokeToken(ctx context.Context, c *call) (response, error) {
	id := c.vars["id"]
	r, err := d.Tokens.Token(ctx, id)
	if err != nil {
		return response{}, err
	}
	sees, err := d.seesToken(ctx, c.who, r)
	if err != nil {
		return response{}, err
	}
	if !sees { // as if it were not there
		return response{}, fmt.Errorf("%w: no token with id %s is known here", ca.ErrNotFound, id)
	}
	c.note(slog.String("token", id))
	c.note(slog.String("subject", r.Subject))
	if err := d.mayRevokeTokens(ctx, c.who, r.Subject); err != nil {
		return response{}, err
	}
	if r, err = d.Tokens.Revoke(ctx, id, c.who); err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, d.tokenItem(r))
}

func (d *door) revokeTokens(ctx context.Context, c *call) (response, error) {
	subject := c.query.Get("subject")
	if subject == "" {
		subject = c.who.By()
	}
	c.note(slog.String("subject", subject))
	if err := d.mayRevokeTokens(ctx, c.who, subject); err != nil {
		return response{}, err
	}
	n, err := d.Tokens.RevokeSubject(ctx, subject, c.who)
	if err != nil {
		return response{}, err
	}
	c.note(slog.Int("revoked", n))
	return reply(http.StatusOK, wire.TokensRevoked{Revoked: n})
}

// endTokens takes back the tokens of the user at p: one who was disabled, or
// whose certificate was revoked, may be in other hands.
func (d *door) endTokens(ctx context.Context, c *call, p object.Path) error {
	if self, err := object.UserPath(p.Name); p.Kind != object.KindUsr || err != nil || self != p {
		return nil //nolint:nilerr // a name that is no user's has no tokens
	}
	n, err := d.Tokens.RevokeSubject(ctx, p.Name, c.who)
	if n > 0 {
		c.note(slog.Int("tokens_revoked", n))
	}
	if err != nil {
		return fmt.Errorf("%s: done, and its tokens are not all revoked: %w", p, err)
	}
	return nil
}

func (d *door) rotateTokenKey(ctx context.Context, c *call) (response, error) {
	overlap := true
	if c.query.Get("overlap") != "" {
		var err error
		if overlap, err = c.flag("overlap"); err != nil {
			return response{}, err
		}
	}
	key, err := d.Tokens.Rotate(ctx, overlap)
	if err != nil {
		return response{}, err
	}
	c.note(slog.String("kid", key.ID))
	return reply(http.StatusOK, wire.SigningKey{KeyID: key.ID, PublicKey: key.Public, CreatedAt: key.CreatedAt})
}

func (d *door) verifyToken(_ context.Context, c *call) (response, error) {
	want, err := decode[wire.VerifyRequest](c)
	if err != nil {
		return response{}, err
	}
	use := token.Use(want.Use)
	switch use {
	case "":
		use = token.Access
	case token.Access, token.Refresh:
	default:
		return response{}, fmt.Errorf("%w: token_use is %.32q, not access or refresh", errBadRequest, want.Use)
	}
	claims, now, err := d.InspectToken(c.request, want.Token, use)
	if err != nil && !errors.Is(err, usr.ErrUnauthenticated) {
		return response{}, err
	}
	v := wire.VerifiedToken{
		Valid: err == nil, ID: claims.ID, KeyID: claims.KeyID, Issuer: claims.Issuer, Subject: claims.Owner(), Audience: append([]string{}, claims.Audience...),
		Use: string(claims.Use), Grant: claims.Grants.String(), GrantNow: now.String(), Roles: append([]string{}, claims.Roles...), IssuedAt: claims.IssuedAt.UTC(),
	}
	if err != nil {
		v.Reason = err.Error()
	}
	if !claims.ExpiresAt.IsZero() {
		v.ExpiresAt = &claims.ExpiresAt
	}
	return reply(http.StatusOK, v)
}

// getJWKS may be kept for a few minutes: whoever meets a token of a newer key
// asks again.
func (d *door) getJWKS(ctx context.Context, _ *call) (response, error) {
	keys, err := d.Tokens.JWKS(ctx)
	if err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, media: mediaJSON, body: append(keys, '\n'), header: http.Header{"Cache-Control": {"public, max-age=300"}}}, nil
}

func (d *door) getDiscovery(ctx context.Context, _ *call) (response, error) {
	issuer, err := d.Tokens.Issuer(ctx)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.TokenDiscovery{
		Issuer: issuer, JWKSURI: issuer + pathJWKS, Algorithms: []string{"EdDSA"}, ResponseTypes: []string{"none"}, SubjectTypes: []string{"public"},
		Claims: []string{"iss", "sub", "aud", "iat", "nbf", "exp", "jti", "token_use", "grant", "roles"},
	})
}

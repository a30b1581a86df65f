package api

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr"
	"omca/usr/token"
)

// Tokens for other services: they say who somebody is and which roles that user
// has, to whoever has the public key of their profile (docs/clustercockpit.md).

// ForeignTokens is the keys of these profiles. The zero value has none.
type ForeignTokens struct {
	// Profile names the profile whose key the object at p holds, "" for none.
	Profile func(p object.Path) string

	// PublicKey is that of a profile. Where there is none yet it is made, if make
	// is set; else it is ca.ErrNotFound.
	PublicKey func(ctx context.Context, profile string, make bool) (ed25519.PublicKey, error)

	// Import takes a private key made elsewhere for the object at p.
	Import func(ctx context.Context, p object.Path, text []byte) error
}

func (d *door) foreignRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "/api/token/profile/{profile}", rule: needs("who has the role api, for itself; who has the role admin, and root, for any user", usr.Authenticated()),
			id: "issueForeignToken", paced: true, about: "Issue a token for other services, which they verify by the public key of the profile: clustercockpit, cross-login or metric-store.",
			body: jsonOption[wire.ForeignTokenRequest](), answer: jsonAnswer[wire.ForeignToken](http.StatusCreated), audit: auditCalls, handle: d.issueForeign},
		{method: http.MethodGet, path: "/api/token/profile/{profile}/key", rule: authenticated(),
			id: "getForeignKey", about: "The public key of a profile. For root it is made when there is none yet.",
			answer: jsonAnswer[wire.ForeignKey](http.StatusOK), handle: d.getForeignKey},
	}
}

func (d *door) issueForeign(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.ForeignTokenRequest](c)
	if err != nil {
		return response{}, err
	}
	profile := c.vars["profile"]
	r := token.Request{Subject: want.Subject, Use: token.Access, Profile: profile, By: c.who, Issuer: want.Issuer, FullName: want.Name, Projects: want.Projects}
	if r.Subject == "" {
		if c.who.IsMachine() {
			return response{}, hint.With(fmt.Errorf("%w: a token of profile %.32q is about a user, and the machine's root is no user", ca.ErrNotFound, profile), "name the user: --subject NAME")
		}
		r.Subject = c.who.Name
	}
	c.note(slog.String("profile", profile))
	c.note(slog.String("subject", r.Subject))
	if err := d.mayIssueForeign(c.who, r); err != nil {
		return response{}, err
	}
	if r.Lifetime, err = d.foreignLifetime(ctx, want.Duration); err != nil {
		return response{}, err
	}
	if r.Roles, err = d.foreignRoles(ctx, r.Subject, want.Roles); err != nil {
		return response{}, err
	}
	issued, err := d.Tokens.Issue(ctx, r)
	if err != nil {
		return response{}, err
	}
	c.note(slog.String("token", issued.ID))
	answer := wire.ForeignToken{Token: issued.Token, ID: issued.ID, Profile: profile, Subject: issued.Subject, Roles: issued.Roles}
	if !issued.ExpiresAt.IsZero() {
		answer.ExpiresAt = &issued.ExpiresAt
	}
	return reply(http.StatusCreated, answer)
}

// profileMetricStore is the profile whose tokens open everything to whoever has
// one: cc-metric-store looks at neither subject nor role.
const profileMetricStore = "metric-store"

func (d *door) mayIssueForeign(who usr.Caller, r token.Request) error {
	if err := usr.CanIssueForeignToken(who, r.Subject); err != nil {
		return err
	}
	if r.Profile != profileMetricStore || who.May(usr.Root()) == nil {
		return nil
	}
	if err := usr.HoldsRoles(who, []string{"admin"}); err != nil {
		return fmt.Errorf("a token of profile %s, which opens all of the metric store: %w", r.Profile, err)
	}
	return nil
}

// foreignLifetime is how long a token is to live, 0 for ever.
func (d *door) foreignLifetime(ctx context.Context, text string) (time.Duration, error) {
	var lifetime time.Duration
	if text != "" {
		var err error
		if lifetime, err = object.ParseDuration(text); err != nil {
			return 0, fmt.Errorf("duration: %w", err)
		}
		if lifetime < token.Shortest {
			return 0, fmt.Errorf("%w: duration is %.32q, want at least %s", errBadRequest, text, token.Shortest)
		}
	}
	settings, err := d.Tokens.Settings(ctx)
	if err != nil {
		return 0, err
	}
	if settings.MaxAge > 0 && (lifetime == 0 || lifetime > settings.MaxAge) {
		lifetime = settings.MaxAge
	}
	return lifetime, nil
}

// foreignRoles are the roles that a token says: those of the subject, or some of them.
func (d *door) foreignRoles(ctx context.Context, subject string, asked []string) ([]string, error) {
	u, err := d.Objects.User(ctx, subject)
	switch {
	case errors.Is(err, ca.ErrNotFound):
		return nil, hint.With(fmt.Errorf("%w: there is no user %.64q", ca.ErrNotFound, subject), "\"omca usr ls\" lists the users")
	case err != nil:
		return nil, err
	case u.Disabled:
		return nil, fmt.Errorf("token: %w: user %q is disabled", usr.ErrDenied, subject)
	case len(u.Roles) == 0:
		return nil, hint.With(fmt.Errorf("%w: user %q has no role, and a token for other services says nothing else", errBadRequest, subject),
			"\"omca system/usr/%s config update --set roles=api\"", subject)
	}
	if len(asked) == 0 {
		return u.Roles, nil
	}
	var roles []string
	for _, role := range asked {
		role = strings.ToLower(role)
		if !slices.Contains(u.Roles, role) {
			return nil, hint.With(fmt.Errorf("%w: user %q has no role %.32q", errBadRequest, subject, role), "its roles are %s", strings.Join(u.Roles, ", "))
		}
		if !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	return roles, nil
}

func (d *door) getForeignKey(ctx context.Context, c *call) (response, error) {
	if d.Foreign.PublicKey == nil {
		return response{}, errNoRoute
	}
	profile := c.vars["profile"]
	makes := c.who.May(usr.Root()) == nil && changing(c.request) == nil // a page elsewhere makes no key by a GET
	key, err := d.Foreign.PublicKey(ctx, profile, makes)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.ForeignKey{Profile: profile, PublicKey: key})
}

// holdsTokenKey reports whether the object at p holds the key of a profile.
func (d *door) holdsTokenKey(p object.Path) bool {
	return d.Foreign.Profile != nil && d.Foreign.Profile(p) != ""
}

// certifiable refuses a certificate for the key of a profile: what signs tokens
// signs nothing else.
func (d *door) certifiable(p object.Path) error {
	if !d.holdsTokenKey(p) {
		return nil
	}
	return hint.With(fmt.Errorf("%w: %s holds the key that signs tokens of profile %s, and no certificate", errBadRequest, p, d.Foreign.Profile(p)),
		"another object of kind sec takes a certificate: \"omca system/sec/NAME create\"")
}

// importTokenKey brings the key of a profile. The object is made when it is not
// there: it is nothing but its key.
func (d *door) importTokenKey(ctx context.Context, c *call, e registry.Edit) error {
	if e.Name != ca.KeyPrivate {
		return d.certifiable(c.path)
	}
	if err := d.Foreign.Import(ctx, c.path, e.Value); err != nil {
		return err
	}
	c.notice("%s: tokens of profile %s are signed with this key from now on: those signed before are no longer accepted here", c.path, d.Foreign.Profile(c.path))
	return nil
}

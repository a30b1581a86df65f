package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

// question is something that somebody would like to do.
type question struct {
	who  usr.Caller
	verb string
	path object.Path
	what []string
}

// A verb is what can be asked about: who may, and how that is decided. It
// decides by the rules of the routes that do it, and does nothing.
type verb struct {
	name   string
	what   string // names what comes behind the path; "" for nothing
	noPath bool   // it is about no object, or need not be
	rule   rule
	decide func(context.Context, question) error
}

func (d *door) verbs() []verb {
	byRule := func(r rule) func(context.Context, question) error {
		return func(ctx context.Context, q question) error {
			return r.check(ctx, &call{who: q.who, path: q.path, query: url.Values{"name": q.what}})
		}
	}
	return []verb{
		{name: "read", rule: reads(), decide: byRule(reads())},
		{name: "read-key", what: "NAME…", rule: d.readsValues(), decide: byRule(d.readsValues())},
		{name: "create", rule: d.creates(), decide: byRule(d.creates())},
		{name: "change", rule: d.changes(), decide: byRule(d.changes())},
		{name: "delete", rule: d.changes(), decide: byRule(d.changes())},
		{name: "revoke", rule: d.revokes(), decide: byRule(d.revokes())},
		{name: "set", what: "EXPR…", rule: rule{says: "as for a change; root for names, profile, allow_names, deny_names, and for cn, alt_names, o and ou of a user; what the own user may ask for, for cn, alt_names, email, o and ou; whoever holds it for grant and roles; as for a change of the CA for ca"}, decide: d.decideSet},
		{name: "grant", what: "GRANT…", noPath: true, rule: rule{says: "whoever holds every one of the grants; for a user also as for a change"}, decide: d.decideGrant},
		{name: "sign", what: "NAME…", noPath: true, rule: rule{says: "names of the keyword names of the user, as the policy of the CA has it; root by the policy alone"},
			decide: func(ctx context.Context, q question) error {
				return d.Authority.MaySign(ctx, q.who, ca.ProfileListener, q.what)
			}},
		{name: "administer", noPath: true, rule: root(), decide: byRule(root())},
	}
}

// canI answers whether the caller, or the user that the caller asks for, may do
// something. Nothing is done. The answer tells of objects what the refusal of
// the deed itself would.
func (d *door) canI(ctx context.Context, c *call) (response, error) {
	v, q, err := d.question(ctx, c)
	if err != nil {
		return response{}, err
	}
	answer := wire.Verdict{User: q.who.Name, Verb: v.name, What: append([]string{}, q.what...), Rule: v.rule.says}
	if !q.path.IsZero() {
		answer.Path = q.path.String()
	}
	err = d.admits(ctx, q.who)
	if err == nil {
		err = v.decide(ctx, q)
	}
	switch {
	case err == nil:
		answer.Allowed = true
	case errors.Is(err, usr.ErrDenied), errors.Is(err, pki.ErrNotAllowed):
		answer.Reason = err.Error()
	default:
		return response{}, err
	}
	return reply(http.StatusOK, answer)
}

// question reads what is asked.
func (d *door) question(ctx context.Context, c *call) (verb, question, error) {
	q := question{who: c.who, verb: c.query.Get("verb"), what: c.list("what")}
	var v verb
	var names []string
	for _, known := range d.verbs() {
		names = append(names, known.name)
		if known.name == q.verb {
			v = known
		}
	}
	if v.name == "" {
		err := fmt.Errorf("%w: verb is %.32q, not one of %s", errBadRequest, q.verb, strings.Join(names, ", "))
		if near, ok := hint.Nearest(q.verb, names); ok {
			err = hint.With(err, "did you mean %q?", near)
		}
		return v, q, err
	}
	switch text := c.query.Get("path"); {
	case text == "" && !v.noPath:
		return v, q, fmt.Errorf("%w: %s needs a path", errBadRequest, v.name)
	case text != "":
		var err error
		if q.path, err = object.ParsePath(text); err != nil {
			return v, q, err
		}
	}
	const most = 100
	switch {
	case v.what != "" && (len(q.what) == 0 || len(q.what) > most):
		return v, q, fmt.Errorf("%w: %s needs %s, at most %d of them", errBadRequest, v.name, v.what, most)
	case v.what == "" && len(q.what) > 0:
		return v, q, fmt.Errorf("%w: %s takes nothing but a path", errBadRequest, v.name)
	}
	as := c.query.Get("as")
	if as == "" || as == c.who.By() {
		return v, q, nil
	}
	var err error
	q.who, err = d.asUser(ctx, c, as)
	return v, q, err
}

// asUser is the user of that name as it would call with its certificate. Only
// who could be that user anyway may ask for it: an answer tells what it holds.
func (d *door) asUser(ctx context.Context, c *call, name string) (usr.Caller, error) {
	p, err := object.UserPath(name)
	if err != nil {
		return usr.Caller{}, err
	}
	c.note(slog.String("as", name))
	if err := d.mayChange(ctx, c.who, p); err != nil {
		return usr.Caller{}, fmt.Errorf("asking for %s: %w", name, err)
	}
	u, err := d.Objects.User(ctx, name)
	if err != nil {
		return usr.Caller{}, err
	}
	return usr.Caller{Name: u.Name, Method: usr.MethodX509, Grants: u.Grants, Roles: u.Roles}, nil
}

// admits refuses for a user who is disabled.
func (d *door) admits(ctx context.Context, who usr.Caller) error {
	self, err := selfPath(who)
	if err != nil || !who.Is(target(self)) {
		return nil //nolint:nilerr // no user of ours: there is nothing that could be disabled
	}
	u, err := d.Objects.User(ctx, who.Name)
	if err == nil && u.Disabled {
		err = fmt.Errorf("%w: user %q is disabled", usr.ErrDenied, who.Name)
	}
	return err
}

// decideSet decides about a change of keywords of an object as it is, or as it
// would be made.
func (d *door) decideSet(ctx context.Context, q question) error {
	if _, err := d.mayCreate(ctx, q.who, q.path); err != nil { // says nothing of an object that one may not change
		return err
	}
	exprs, err := object.ParseExprs(q.what)
	if err != nil {
		return err
	}
	config := object.NewConfig(q.path)
	o, err := d.Objects.Get(ctx, q.path)
	if err == nil {
		config = o.Config
	} else if !errors.Is(err, ca.ErrNotFound) {
		return err
	}
	next, changed, err := config.Apply(object.Update{Set: exprs})
	if err != nil {
		return err
	}
	return d.maySet(ctx, q.who, next, changed)
}

// decideGrant decides about giving grants, to a user or to anybody at all.
func (d *door) decideGrant(ctx context.Context, q question) error {
	if !q.path.IsZero() {
		if _, err := d.mayCreate(ctx, q.who, q.path); err != nil {
			return err
		}
	}
	want, err := usr.ParseGrants(strings.Join(q.what, " "))
	if err != nil {
		return err
	}
	return usr.CanGrant(q.who, want)
}

package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"omca/ca"
	"omca/crl"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

// visible lists the objects that the parameter path selects and the caller may read.
func (d *door) visible(ctx context.Context, c *call) ([]object.Path, error) {
	text := c.query.Get("path")
	if text == "" {
		text = "**"
	}
	sel, err := object.ParseSelector(text)
	if err != nil {
		return nil, err
	}
	all, err := d.Objects.List(ctx, sel)
	if err != nil {
		return nil, err
	}
	paths := []object.Path{}
	for _, p := range all {
		if usr.CanRead(c.who, target(p)) == nil {
			paths = append(paths, p)
		}
	}
	return paths, nil
}

func (d *door) listPaths(ctx context.Context, c *call) (response, error) {
	paths, err := d.visible(ctx, c)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, paths)
}

func (d *door) listObjects(ctx context.Context, c *call) (response, error) {
	paths, err := d.visible(ctx, c)
	if err != nil {
		return response{}, err
	}
	list := wire.ObjectList{Kind: "ObjectList", Items: []wire.ObjectItem{}}
	for _, p := range paths {
		item, err := d.item(ctx, c.who, p)
		if errors.Is(err, ca.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return response{}, err
		}
		list.Items = append(list.Items, item)
	}
	return reply(http.StatusOK, list)
}

func (d *door) getObject(ctx context.Context, c *call) (response, error) {
	item, err := d.item(ctx, c.who, c.path)
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, item)
}

// item reads one object. A certificate that cannot be read is left out and
// logged: the rest of the object is what helps to put it right.
func (d *door) item(ctx context.Context, who usr.Caller, p object.Path) (wire.ObjectItem, error) {
	o, err := d.Objects.Get(ctx, p)
	if err != nil {
		return wire.ObjectItem{}, err
	}
	data := wire.ObjectData{CreatedAt: o.Created, UpdatedAt: o.Updated, Keywords: make(map[string]string), Keys: keyInfos(o)}
	for _, s := range o.Config.Settings() {
		data.Keywords[s.Keyword] = s.Value
	}
	if p.Kind.Sealed() {
		state, err := d.certificateState(ctx, who, p)
		switch {
		case err != nil:
			d.Log.ErrorContext(ctx, "certificate not readable", "path", p.String(), "error", err.Error())
		case state.State != string(ca.StateNone):
			data.Certificate = &state
		}
	}
	return wire.ObjectItem{Kind: "ObjectItem", Meta: wire.ObjectMeta{Object: p.String()}, Data: data}, nil
}

func keyInfos(o registry.Object) []wire.KeyInfo {
	keys := make([]wire.KeyInfo, 0, len(o.Keys))
	for _, k := range o.Keys {
		keys = append(keys, wire.KeyInfo{Name: k.Name, Size: k.Size})
	}
	return keys
}

// createObject makes a path what the call says: what is not there is made, what is there gets the
// keywords, and force begins from nothing.
func (d *door) createObject(ctx context.Context, c *call) (response, error) {
	want, err := decode[wire.CreateRequest](c)
	if err != nil {
		return response{}, err
	}
	if want.Revoke && !want.Force {
		return response{}, fmt.Errorf("%w: revoke goes with force", errBadRequest)
	}
	exprs, err := object.ParseExprs(want.Keywords)
	if err != nil {
		return response{}, err
	}
	former, err := d.Objects.Get(ctx, c.path)
	exists := err == nil
	switch {
	case err != nil && !errors.Is(err, ca.ErrNotFound):
		return response{}, err
	case exists && want.Config != "" && !want.Force:
		return response{}, hint.With(fmt.Errorf("%w: %s", registry.ErrExists, c.path), "replace its config with \"omca %s config edit\", or all of it with --force", c.path)
	case exists && !want.Force:
		return d.updateObject(ctx, c, exprs)
	}
	config := object.NewConfig(c.path)
	if want.Config != "" {
		if config, err = object.ParseINI(c.path, []byte(want.Config)); err != nil {
			return response{}, err
		}
	}
	if config, _, err = config.Apply(object.Update{Set: exprs}); err != nil {
		return response{}, err
	}
	store := d.settle
	if exists {
		store = d.replace
	}
	if err := d.makeObject(ctx, c, config, store); err != nil {
		return response{}, err
	}
	if exists && want.Revoke {
		if err := d.supersedeOwned(registry.Undecided(ctx), c, former.Created); err != nil {
			return response{}, err
		}
	}
	return reply(http.StatusCreated, wire.Created{Object: c.path.String(), Created: true, IsChanged: true})
}

// updateObject gives the keywords to an object that is there. A user whose
// creation was cut short gets its certificate now.
func (d *door) updateObject(ctx context.Context, c *call, exprs []object.Expr) (response, error) {
	changed, err := d.configure(ctx, c, func(old object.Config) (object.Config, []string, error) {
		return old.Apply(object.Update{Set: exprs})
	})
	if err != nil {
		return response{}, err
	}
	issued := false
	first := func(ctx context.Context) error {
		issued, err = d.firstCertificate(ctx, c)
		return err
	}
	if changed { // which was decided and is done: this is decided by itself
		err = d.decided(ctx, c, first)
	} else {
		err = first(ctx)
	}
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.Created{Object: c.path.String(), IsChanged: changed || issued})
}

// makeObject makes the object of the call, with all that a new one gets, or
// nothing. It is store that puts it where it belongs.
func (d *door) makeObject(ctx context.Context, c *call, config object.Config, store func(context.Context, *call, object.Config) error) error {
	changed := object.NewConfig(c.path).Changed(config)
	if err := d.maySet(ctx, c.who, config, changed); err != nil {
		return err
	}
	c.note(slog.String("keywords", strings.Join(changed, " ")))
	return store(ctx, c, config)
}

// write makes the object of the call hold config and nothing else, and a user's
// its certificate too, and gives others the configs in beside: in one commit, so that
// there is the old one or the new one and never half of it. The revision is that of the
// one that is there, or 0.
func (d *door) write(ctx context.Context, c *call, revision int64, config object.Config, beside ...registry.Reconfigured) error {
	wanted, err := d.wantsCertificate(ctx, c)
	if err != nil {
		return err
	}
	if !wanted {
		return d.Objects.Make(ctx, c.path, revision, config, beside...)
	}
	issued, err := d.Authority.Create(d.Objects.Stage(ctx, c.path, revision, config, beside...), c.who, c.path.String(), ca.CreateOptions{ReplaceExternal: true})
	switch {
	case err != nil && revision == 0:
		return fmt.Errorf("%w; %s was not created", err, c.path)
	case err != nil:
		return fmt.Errorf("%w; %s is as it was", err, c.path)
	}
	d.metrics.issued.WithLabelValues(ca.ProfileUser).Inc()
	c.noticeCut(issued)
	return nil
}

// replace stores the object in place of the one that is there. Its namespace
// is the caller's as before, even when there is nothing else in it.
func (d *door) replace(ctx context.Context, c *call, config object.Config) error {
	if err := usr.CanRemake(c.who, c.target()); err != nil {
		return err
	}
	if err := usr.CanMakeUser(c.who, c.target()); err != nil {
		return err
	}
	if err := d.deletable(ctx, c.path); err != nil {
		return err
	}
	o, err := d.Objects.Get(ctx, c.path)
	if err != nil {
		return err
	}
	if err := c.askFirst(func() ([]wire.Break, error) { return d.remakeBreaks(ctx, c.path, config) }); err != nil {
		return err
	}
	return d.write(ctx, c, o.Revision, config)
}

// settle stores the new object and, where its namespace is new too, gives the
// caller admin on it: both in one commit.
func (d *door) settle(ctx context.Context, c *call, config object.Config) error {
	claims, err := d.mayCreate(ctx, c.who, c.path)
	if err != nil {
		return err
	}
	if !claims {
		return d.write(ctx, c, 0, config)
	}
	claim, err := d.claim(ctx, c)
	if err != nil {
		return fmt.Errorf("granting %s:%s to %q: %w", usr.RoleAdmin, c.path.Namespace, c.who.Name, err)
	}
	if err := d.write(ctx, c, 0, config, claim); err != nil {
		return err
	}
	c.note(slog.String("claimed", c.path.Namespace))
	return nil
}

// claim is the config of the caller's user with admin on the namespace of the call,
// as a squatter earns it (docs/authorization.md, New namespaces). What the caller's
// object holds counts, not what the caller came with: a token may hold less.
func (d *door) claim(ctx context.Context, c *call) (registry.Reconfigured, error) {
	self, err := selfPath(c.who)
	if err != nil {
		return registry.Reconfigured{}, err
	}
	o, err := d.Objects.Get(ctx, self)
	if err != nil {
		return registry.Reconfigured{}, err
	}
	held, err := configGrants(o.Config)
	if err != nil {
		return registry.Reconfigured{}, err
	}
	if held, err = held.With(usr.RoleAdmin, c.path.Namespace); err != nil {
		return registry.Reconfigured{}, err
	}
	next, _, err := o.Config.Apply(object.Update{Set: []object.Expr{{Keyword: "grant", Op: object.OpSet, Value: held.String()}}})
	return registry.Reconfigured{Path: self, Revision: o.Revision, Config: next}, err
}

// firstCertificate gives a user that was made when there was no CA yet its
// certificate and key.
func (d *door) firstCertificate(ctx context.Context, c *call) (issued bool, err error) {
	wanted, err := d.wantsCertificate(ctx, c)
	if err != nil || !wanted {
		return false, err
	}
	held, err := d.Authority.Held(ctx, c.path.String())
	if err != nil || held.State != ca.StateNone {
		return false, err
	}
	_, err = d.issue(ctx, c, ca.CreateOptions{})
	return err == nil, err
}

// wantsCertificate reports whether the object of the call is a user, who gets a
// certificate and a key at once (docs/issuing.md, For a user), and says why not
// where that may surprise.
func (d *door) wantsCertificate(ctx context.Context, c *call) (bool, error) {
	if c.path.Kind != object.KindUsr {
		return false, nil
	}
	if self, err := object.UserPath(c.path.Name); err != nil || self != c.path {
		c.notice("%s gets no certificate: the users who can call are system/usr/NAME", c.path)
		return false, nil //nolint:nilerr // a name that is no user's
	}
	ready, err := d.caReady(ctx)
	if err == nil && !ready {
		c.notice("%s has no certificate yet: the cluster has no CA that can sign; \"omca %s certificate create\" when it has", c.path, c.path)
	}
	return ready, err
}

// caReady reports whether the cluster's CA exists and is complete.
func (d *door) caReady(ctx context.Context) (bool, error) {
	path, err := d.Authority.ClusterCA(ctx)
	if errors.Is(err, ca.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	held, err := d.Authority.Held(ctx, path)
	if errors.Is(err, ca.ErrNotFound) {
		return false, nil
	}
	return held.Chain != nil, err
}

// deletable refuses to delete what the cluster cannot do without.
func (d *door) deletable(ctx context.Context, p object.Path) error {
	if p == object.ClusterPath() {
		return fmt.Errorf("%w: the cluster object cannot be deleted", ca.ErrInvalid)
	}
	if p == object.JWTPath() {
		return hint.With(fmt.Errorf("%w: %s holds the keys that sign tokens and cannot be deleted", ca.ErrConflict, p),
			"\"omca token rotate-key --no-overlap\" makes a new one and ends all tokens")
	}
	use, err := d.inUse(ctx, p)
	if err != nil {
		return err
	}
	if use == "" {
		return d.unbound(ctx, p)
	}
	return hint.With(fmt.Errorf("%w: %s is %s and cannot be deleted", ca.ErrConflict, p, use),
		"replace what it holds: \"omca %[1]s certificate renew --rekey\", or import another key and certificate with \"omca %[1]s key change\"", p)
}

// unbound refuses to lose the names that a CA allows and denies while a CA below it signs.
func (d *door) unbound(ctx context.Context, p object.Path) error {
	below, err := d.Authority.Bounded(ctx, p.String())
	if err != nil || below == "" {
		return err
	}
	return hint.With(fmt.Errorf("%w: allow_names and deny_names of %s bind %s, which is a CA below it, and would end with the object", ca.ErrConflict, p, below),
		"set them at %s, then unset them here: \"omca %s config update --unset allow_names --unset deny_names\"", below, p)
}

// inUse says what the cluster uses the object at p for, "" if for nothing.
func (d *door) inUse(ctx context.Context, p object.Path) (string, error) {
	for _, u := range []struct {
		path func(context.Context) (string, error)
		as   string
	}{{d.Authority.ClusterCA, "the CA of the cluster"}, {d.Authority.ListenerPath, "what the listener presents"}} {
		used, err := u.path(ctx)
		if errors.Is(err, ca.ErrNotFound) {
			continue
		}
		if err != nil {
			return "", err
		}
		if used == p.String() {
			return u.as, nil
		}
	}
	return "", nil
}

func (d *door) deleteObject(ctx context.Context, c *call) (response, error) {
	if err := d.deletable(ctx, c.path); err != nil {
		return response{}, err
	}
	revoke, err := c.flag("revoke")
	if err != nil {
		return response{}, err
	}
	if err := c.askFirst(func() ([]wire.Break, error) { return d.deletionBreaks(ctx, revoke, c.path) }); err != nil {
		return response{}, err
	}
	destroyed, err := d.toDestroy(ctx, c)
	if err != nil {
		return response{}, err
	}
	if _, err := d.Objects.Get(ctx, c.path); errors.Is(err, ca.ErrNotFound) && len(destroyed) > 0 {
		return d.destroyGone(ctx, c, destroyed)
	}
	// First: what is deleted and still works is found by nobody.
	wanted, made, err := d.endOf(ctx, c)
	if err != nil {
		return response{}, err
	}
	if err := d.Objects.Delete(ctx, c.path, destroyed...); err != nil {
		return response{}, err
	}
	if len(destroyed) > 0 {
		d.Authority.KeysDestroyed(ctx, c.who, c.path.String(), destroyed)
		d.Publisher.Reload()
	}
	// And once more: what was on its way to the object meanwhile is on record now,
	// and nothing gets there any more.
	if wanted {
		if err := d.revokeOwned(registry.Undecided(context.WithoutCancel(ctx)), c, made, "", crl.CessationOfOperation); err != nil {
			return response{}, fmt.Errorf("%s is deleted, and not all that was issued for it meanwhile is revoked: %w", c.path, err)
		}
	}
	return reply(http.StatusOK, wire.Orchestration{OrchestrationID: object.NewUUID()})
}

// destroyGone destroys the keys of CAs whose object was deleted before.
func (d *door) destroyGone(ctx context.Context, c *call, ids []pki.AuthorityID) (response, error) {
	if err := d.Objects.DestroyKeys(ctx, ids); err != nil {
		return response{}, err
	}
	d.Authority.KeysDestroyed(ctx, c.who, c.path.String(), ids)
	d.Publisher.Reload()
	return reply(http.StatusOK, wire.Orchestration{OrchestrationID: object.NewUUID()})
}

// toDestroy returns the CAs whose keys go with the object of the call: none, unless that
// is asked for. Else the lists and OCSP answers of a CA go on without its object, which
// the caller is told.
func (d *door) toDestroy(ctx context.Context, c *call) ([]pki.AuthorityID, error) {
	destroy, err := c.flag("destroy_key")
	if err != nil {
		return nil, err
	}
	held, err := d.Authority.DestroyableKeys(ctx, c.path.String())
	switch {
	case err != nil:
		return nil, err
	case destroy && c.who.May(usr.Root()) != nil:
		return nil, fmt.Errorf("destroying the key of a CA: %w", c.who.May(usr.Root()))
	case destroy && len(held) == 0:
		return nil, hint.With(fmt.Errorf("%w: destroy_key: %s holds no CA whose key is here", ca.ErrInvalid, c.path), "leave it out: the keys of other objects go with them")
	case destroy:
		return held, d.Authority.MayDestroyKeys(ctx, c.path.String(), held)
	case len(held) > 0:
		c.notice("the revocation list and the OCSP answers of %s go on until the last certificate that it signed has expired, with its key, which stays sealed; what is revoked stays refused", c.path)
	}
	return nil, nil
}

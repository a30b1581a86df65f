package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/pki"
	"omca/usr"
)

// A rule says who may take a route. The zero rule is no rule, and no route
// with it gets into the router.
type rule struct {
	says   string // completes "who may: …" in the documentation
	public bool   // nobody is asked who they are
	check  func(context.Context, *call) error
}

func public() rule { return rule{says: "anyone", public: true} }

func needs(says string, need usr.Need) rule {
	return rule{says: says, check: func(_ context.Context, c *call) error { return c.who.May(need) }}
}

func authenticated() rule { return needs("any user", usr.Authenticated()) }

func root() rule { return needs("root", usr.Root()) }

// reads is for what an object shows of itself.
func reads() rule {
	return rule{says: "guest on the namespace, or the user itself", check: func(_ context.Context, c *call) error {
		return usr.CanRead(c.who, c.target())
	}}
}

// readsValues is for the values of the keys that the query names.
func (d *door) readsValues() rule {
	return rule{says: "admin on the namespace (guest for a cfg); root for private keys, for system/sec and for every CA", check: func(ctx context.Context, c *call) error {
		for _, name := range c.list("name") {
			if err := d.mayReadKey(ctx, c.who, c.path, name); err != nil {
				return err
			}
		}
		if len(c.list("name")) == 0 {
			return usr.CanRead(c.who, c.target())
		}
		return nil
	}}
}

// readsPrivateKey is for what has the private key in it.
func (d *door) readsPrivateKey() rule {
	return rule{says: "root, or the user itself", check: func(ctx context.Context, c *call) error {
		return d.mayReadKey(ctx, c.who, c.path, ca.KeyPrivate)
	}}
}

// mayReadKey decides whether a caller may read the value of a key of the object at p.
func (d *door) mayReadKey(ctx context.Context, who usr.Caller, p object.Path, name string) error {
	if err := usr.CanReadKey(who, target(p), name); err != nil {
		return err
	}
	is, err := d.isCA(ctx, who, p)
	if err != nil || !is {
		return err
	}
	return usr.CanReadCAKey(who, target(p), name)
}

// changes is for whatever alters an object.
func (d *door) changes() rule {
	return rule{says: "admin on the namespace; root for system/sec, the cluster and every CA; for a usr also every grant that it holds",
		check: func(ctx context.Context, c *call) error { return d.mayChange(ctx, c.who, c.path) }}
}

// creates is for making an object, or updating the one that is there.
func (d *door) creates() rule {
	return rule{says: "as for a change; squatter where the namespace does not exist yet", check: func(ctx context.Context, c *call) error {
		_, err := d.mayCreate(ctx, c.who, c.path)
		return err
	}}
}

// ownersRule is for a certificate of the inventory: whose it is says the record,
// so its handler decides.
func ownersRule() rule {
	return needs("whoever may change the object that it was issued for, or the user itself", usr.Authenticated())
}

// looksAround is for facts about the daemon: whoever is somebody somewhere.
func looksAround() rule {
	return rule{says: "guest on any namespace", check: func(_ context.Context, c *call) error { return guestSomewhere(c.who) }}
}

// measures is for the metrics (docs/authorization.md, Who may read).
func (d *door) measures() rule {
	return rule{says: "guest on any namespace, or a caller on this machine", public: true, check: func(_ context.Context, c *call) error {
		if onLoopback(c.request) {
			return nil
		}
		var err error
		if c.who, err = d.Identify(c.request); err != nil {
			return err
		}
		return guestSomewhere(c.who)
	}}
}

func guestSomewhere(who usr.Caller) error {
	if err := who.May(usr.Authenticated()); err != nil {
		return err
	}
	held := who.Grants.Map()
	for _, role := range []usr.Role{usr.RoleRoot, usr.RoleAdmin, usr.RoleOperator, usr.RoleGuest} {
		if _, ok := held[string(role)]; ok {
			return nil
		}
	}
	return fmt.Errorf("%w: needs guest on any namespace", usr.ErrDenied)
}

// onLoopback reports whether the caller is on this machine. Whoever comes
// through a proxy on this machine is not.
func onLoopback(r *http.Request) bool {
	if Forwarded(r) {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// mayChange decides whether who may change the object at p, or make it in a
// namespace that exists.
func (d *door) mayChange(ctx context.Context, who usr.Caller, p object.Path) error {
	err := error(nil)
	if p.Kind == object.KindUsr {
		err = d.mayChangeUser(ctx, who, p)
	} else {
		err = usr.CanWrite(who, target(p))
	}
	if err != nil {
		return err
	}
	return d.mayChangeCA(ctx, who, p)
}

func (d *door) mayChangeUser(ctx context.Context, who usr.Caller, p object.Path) error {
	theirs, err := d.holdingsOf(ctx, p)
	if err != nil {
		return err
	}
	var names []string
	self, err := selfPath(who)
	// A token, and whoever an identity provider calls so, is not the user whose
	// object has the names.
	if err == nil && len(theirs.Names) > 0 && who.Is(target(self)) {
		mine, err := d.holdingsOf(ctx, self)
		if err != nil {
			return err
		}
		names = mine.Names
	}
	return usr.CanChangeUser(who, target(p), theirs, names)
}

// mayChangeCA keeps every CA to root: an object that is a CA by its profile, and one
// that cluster.ca names. The certificates that a CA signs speak for others, so a caller
// who can change one can be any user. All ways to change an object come here. maySet
// holds the keywords that an object gets against the same rule.
func (d *door) mayChangeCA(ctx context.Context, who usr.Caller, p object.Path) error {
	is, err := d.isCA(ctx, who, p)
	if err != nil {
		return err
	}
	if is {
		return usr.CanChangeCA(who, target(p))
	}
	cluster, err := d.Objects.Cluster(ctx)
	if errors.Is(err, ca.ErrNotFound) || err == nil && !slices.Contains(cluster.Trusted, p.String()) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := who.May(usr.Root()); err != nil {
		return fmt.Errorf("changing %s, which the keyword cluster.ca names: %w", p, err)
	}
	return nil
}

// isCA reports whether the object at p is a CA, or would be one if it was made. It is
// false for root, which may do everything with a CA.
func (d *door) isCA(ctx context.Context, who usr.Caller, p object.Path) (bool, error) {
	if !p.Kind.Sealed() || who.May(usr.Root()) == nil {
		return false, nil
	}
	o, err := d.Objects.Get(ctx, p)
	if errors.Is(err, ca.ErrNotFound) {
		return saysCA(object.NewConfig(p)), nil
	}
	return err == nil && saysCA(o.Config), err
}

// saysCA reports whether keywords make a CA of their object: by the profile, which has
// a default for some paths. Keywords that cannot be read count as those of a CA.
func saysCA(c object.Config) bool {
	profile, err := c.Eval("profile")
	return err != nil || profile == ca.ProfileCA
}

// holdingsOf returns what the usr at p holds; nothing when there is no such user.
func (d *door) holdingsOf(ctx context.Context, p object.Path) (usr.Holdings, error) {
	o, err := d.Objects.Get(ctx, p)
	if errors.Is(err, ca.ErrNotFound) {
		return usr.Holdings{}, nil
	}
	if err != nil {
		return usr.Holdings{}, err
	}
	var h usr.Holdings
	var unread [3]error
	h.Grants, unread[0] = configGrants(o.Config)
	h.Roles, unread[1] = o.Config.Strings("roles")
	h.Names, unread[2] = o.Config.Strings("names")
	if errors.Join(unread[:]...) != nil {
		return usr.RootHoldings(), nil // damaged: only root puts it right
	}
	return h, nil
}

func configGrants(c object.Config) (usr.Grants, error) {
	text, _ := c.Get("grant")
	return usr.ParseGrants(text)
}

// mayCreate decides whether who may create the object at p, or update the one
// that is there. claims: its namespace does not exist yet, and becomes theirs.
//
// Whoever may not learns nothing of the namespace: both denials read the same.
func (d *door) mayCreate(ctx context.Context, who usr.Caller, p object.Path) (claims bool, err error) {
	denied := d.mayChange(ctx, who, p)
	if denied == nil {
		denied = d.mayMake(ctx, who, p)
	}
	if denied != nil && !errors.Is(denied, usr.ErrDenied) {
		return false, denied
	}
	exists, err := d.Objects.HasNamespace(ctx, p.Namespace)
	if err != nil {
		return false, err
	}
	if exists || who.May(usr.Root()) == nil {
		return false, denied
	}
	if err := usr.CanCreateNamespace(who, p.Namespace); err != nil {
		if denied != nil {
			return false, denied
		}
		return false, err
	}
	if p.Kind == object.KindSec {
		if err := d.mayChangeCA(ctx, who, p); err != nil {
			return false, err
		}
	}
	// The rights on a namespace are kept in the user's own object: whoever has
	// none, such as the subject of an identity provider, could not keep them.
	self, err := selfPath(who)
	if err == nil {
		_, err = d.Objects.Get(ctx, self)
	}
	if errors.Is(err, ca.ErrNotFound) || errors.Is(err, ca.ErrInvalid) { // of a provider, whose names are no users'
		return false, fmt.Errorf("creating namespace %q: %w: %q has no object to keep the grant %s:%s in",
			p.Namespace, usr.ErrDenied, who.Name, usr.RoleAdmin, p.Namespace)
	} else if err != nil {
		return false, err
	}
	if p.Kind == object.KindUsr || p.Kind == object.KindCcfg {
		return true, denied
	}
	return true, nil
}

// mayMake decides whether a caller that may change the object at p may make it if it
// is not there.
func (d *door) mayMake(ctx context.Context, who usr.Caller, p object.Path) error {
	denied := usr.CanMakeUser(who, target(p))
	if denied == nil {
		return nil
	}
	_, err := d.Objects.Get(ctx, p)
	if errors.Is(err, ca.ErrNotFound) {
		return denied
	}
	return err
}

// maySet decides whether who, who may change the object, may also change these
// keywords of it to what they are in next.
func (d *door) maySet(ctx context.Context, who usr.Caller, next object.Config, changed []string) error {
	for _, keyword := range changed {
		var err error
		switch keyword {
		case "grant":
			var want usr.Grants
			if want, err = configGrants(next); err == nil {
				err = usr.CanGrant(who, want)
			}
		case "roles":
			var want []string
			if want, err = next.Strings("roles"); err == nil {
				err = usr.CanGiveRoles(who, want)
			}
		case "ca":
			err = d.mayUseCA(ctx, who, next)
		case "cluster.name":
			err = d.mayRename(ctx)
		default:
			err = usr.CanSetKeyword(who, target(next.Path()), keyword)
		}
		if err == nil {
			err = usr.CanBound(who, target(next.Path()), keyword)
		}
		if err != nil {
			return err
		}
	}
	if p := next.Path(); p.Kind.Sealed() && len(changed) > 0 && saysCA(next) {
		return usr.CanChangeCA(who, target(p))
	}
	return d.mayName(ctx, who, next, changed)
}

// mayLive decides whether who may give an object the validity that next has: it
// bounds the certificates that the object gets.
func (d *door) mayLive(ctx context.Context, who usr.Caller, next object.Config) error {
	if _, ok := next.Get("validity"); !ok {
		return nil // a default is cut to the bounds
	}
	profile, err := next.Eval("profile")
	if err != nil {
		return err
	}
	validity, err := next.Duration("validity")
	if err != nil {
		return err
	}
	if err := d.Authority.MayLive(ctx, who, profile, validity); err != nil {
		return fmt.Errorf("setting keyword \"validity\": %w", err)
	}
	return nil
}

// mayName decides whether who may give an object the cn, alt_names, email, o, ou and
// validity that next has. What the object has already, and keeps, takes no right.
func (d *door) mayName(ctx context.Context, who usr.Caller, next object.Config, changed []string) error {
	p := next.Path()
	if !p.Kind.Sealed() || who.May(usr.Root()) == nil {
		return nil
	}
	var now object.Config
	switch o, err := d.Objects.Get(ctx, p); {
	case err == nil:
		now = o.Config
	case !errors.Is(err, ca.ErrNotFound):
		return err
	}
	var n ca.Naming
	var asked []string
	n.Issuer, _ = next.Get("ca")
	for _, keyword := range changed {
		value, _ := next.Get(keyword)
		old, _ := now.Get(keyword)
		if value == old {
			continue // made anew with what it had
		}
		switch keyword {
		case "cn":
			n.Names = append(n.Names, value)
		case "alt_names", "email":
			n.Names = append(n.Names, newNames(strings.Fields(old), strings.Fields(value))...)
		case "o":
			n.Subject.Organization = value
		case "ou":
			n.Subject.OrganizationalUnit = value
		case "validity":
			if err := d.mayLive(ctx, who, next); err != nil {
				return err
			}
			continue
		default:
			continue
		}
		asked = append(asked, strconv.Quote(keyword))
	}
	n.Names = slices.DeleteFunc(n.Names, func(name string) bool { return name == "" }) // of what is unset
	if err := d.Authority.MayName(ctx, who, n); err != nil {
		return fmt.Errorf("setting keyword %s: %w", strings.Join(asked, ", "), err)
	}
	return nil
}

// newNames returns the names that are not among the old ones, in whatever spelling.
func newNames(old, names []string) []string {
	canonical := func(name string) string {
		n, err := pki.ParseNames([]string{name})
		if err != nil || n.Empty() {
			return name
		}
		return n.Strings()[0]
	}
	have := make(map[string]bool, len(old))
	for _, name := range old {
		have[canonical(name)] = true
	}
	return slices.DeleteFunc(names, func(name string) bool { return have[canonical(name)] })
}

// mayUseCA decides whether who may name the CA that signs for an object: the
// cluster's, which signs for all, or one that they may change.
func (d *door) mayUseCA(ctx context.Context, who usr.Caller, next object.Config) error {
	text, _ := next.Get("ca")
	if text == "" {
		return nil
	}
	p, err := object.ParsePath(text)
	if err != nil {
		return err
	}
	own, err := d.Authority.ClusterCA(ctx)
	if err != nil && !errors.Is(err, ca.ErrNotFound) {
		return err
	}
	if own == p.String() {
		return nil
	}
	return usr.CanUseCA(who, target(p))
}

// mayRename refuses another name for a cluster whose users have certificates:
// each names the cluster as its trust domain, and would speak for nobody.
func (d *door) mayRename(ctx context.Context) error {
	cluster, err := d.Objects.Cluster(ctx)
	if errors.Is(err, ca.ErrNotFound) || err == nil && cluster.Name == "" {
		return nil
	}
	if err != nil {
		return err
	}
	for r, err := range d.Authority.Records(ctx, ca.Query{Profile: ca.ProfileUser}) {
		if err != nil {
			return err
		}
		if r.Certificate.NotAfter.Before(d.Now()) {
			continue
		}
		return hint.With(fmt.Errorf("%w: cluster.name: the certificates of users, such as %s, name the cluster %q and would no longer be accepted",
			ca.ErrConflict, r.Owner, cluster.Name), "choose the name before users are created: \"omca daemon run --cluster-name NAME\" on the first start")
	}
	return nil
}

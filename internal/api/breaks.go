package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

// headerAsk is the header by which a client has the server ask before it breaks something:
// a call that has it and breaks something for others is refused with 409, and the problem
// has the breaks. A call without it is not asked about.
const headerAsk = "Omca-Ask"

// breaksError refuses a call that breaks something, since its client wants to ask first.
type breaksError struct{ breaks []wire.Break }

func (e *breaksError) Error() string {
	texts := make([]string, len(e.breaks))
	for i, b := range e.breaks {
		texts[i] = b.What
	}
	return strings.Join(texts, "; ")
}

// askFirst refuses a call that breaks something when its client wants to ask first.
func (c *call) askFirst(breaks func() ([]wire.Break, error)) error {
	if c.request.Header.Get(headerAsk) == "" {
		return nil
	}
	all, err := breaks()
	if err != nil || len(all) == 0 {
		return err
	}
	return hint.With(fmt.Errorf("%w: nothing was changed: %w", ca.ErrConflict, &breaksError{all}), "repeat it with --yes")
}

// breaksOf are the breaks that an error is about; nil for another error.
func breaksOf(err error) []wire.Break {
	var e *breaksError
	if errors.As(err, &e) {
		return e.breaks
	}
	return nil
}

func (d *door) breakRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/api/object/breaks", rule: authenticated(), id: "listBreaks",
			about:  "What deleting the objects that a selector selects breaks for others, as far as the caller may delete them. Nothing is deleted.",
			params: []param{{name: "path", about: "Selector: paths or globs, comma separated."}, {name: "revoke", about: "true: when all certificates that were issued for them are revoked first."}},
			answer: jsonAnswer[wire.BreakList](http.StatusOK), handle: d.listBreaks},
	}
}

func (d *door) listBreaks(ctx context.Context, c *call) (response, error) {
	if c.query.Get("path") == "" {
		return response{}, fmt.Errorf("%w: path is missing", errBadRequest)
	}
	paths, err := d.visible(ctx, c)
	if err != nil {
		return response{}, err
	}
	list := wire.BreakList{Kind: "BreakList", Objects: len(paths), Items: []wire.Break{}}
	var deletable []object.Path
	for _, p := range paths {
		switch err := d.mayChange(ctx, c.who, p); {
		case err == nil:
			deletable = append(deletable, p)
		case !errors.Is(err, usr.ErrDenied):
			return response{}, err
		}
	}
	revoke, err := c.flag("revoke")
	if err != nil {
		return response{}, err
	}
	breaks, err := d.deletionBreaks(ctx, revoke, deletable...)
	if err != nil {
		return response{}, err
	}
	list.Items = append(list.Items, breaks...)
	return reply(http.StatusOK, list)
}

// deletionBreaks is what the deletion of objects breaks, taken together, with the revocation
// of their certificates or without.
func (d *door) deletionBreaks(ctx context.Context, revoke bool, paths ...object.Path) ([]wire.Break, error) {
	var all []wire.Break
	gone := make(map[string]bool) // users
	for _, p := range paths {
		switch p.Kind {
		case object.KindSec:
			sentence := saysEnded
			if revoke {
				sentence = saysRevoked
			}
			breaks, err := d.caBreaks(ctx, p, sentence)
			if err != nil {
				return nil, err
			}
			all = append(all, breaks...)
		case object.KindUsr:
			if self, err := object.UserPath(p.Name); err == nil && self == p {
				gone[p.Name] = true
			}
		}
	}
	roots, err := d.rootBreaks(ctx, gone)
	return append(all, roots...), err
}

// liveCA returns the certificate of the CA at p, and whether its key is there too; nil for an
// object that is no CA, or holds none.
func (d *door) liveCA(ctx context.Context, p object.Path) (cert *x509.Certificate, signs bool, err error) {
	o, err := d.Objects.Get(ctx, p)
	if errors.Is(err, ca.ErrNotFound) || err == nil && p.Kind != object.KindSec {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	profile, err := o.Config.Eval("profile")
	if err != nil || profile != ca.ProfileCA {
		return nil, false, err
	}
	held, err := d.Authority.Held(ctx, p.String())
	if err != nil || len(held.Chain) == 0 {
		return nil, false, err
	}
	signs = slices.ContainsFunc(o.Keys, func(k registry.KeyInfo) bool { return k.Name == ca.KeyPrivate })
	return held.Chain[0], signs, nil
}

// caBreaks is what a call breaks that ends what the CA at p is now. The sentence has one %s
// for the certificates that lead to the CA.
func (d *door) caBreaks(ctx context.Context, p object.Path, sentence string) ([]wire.Break, error) {
	ctx = registry.Unnoted(ctx)
	cert, signs, err := d.liveCA(ctx, p)
	switch {
	case err != nil || cert == nil:
		return nil, err
	case !signs:
		return d.trustBreaks(ctx, p, cert)
	}
	n, err := d.Authority.CountBelow(ctx, pki.AuthorityOf(cert))
	if err != nil {
		return nil, err
	}
	return []wire.Break{{Object: p.String(), What: fmt.Sprintf("%s: ", p) + certificates(sentence, n), Count: n}}, nil
}

// trustBreaks is what the end of a CA of others at p breaks: nothing, unless it is trusted.
func (d *door) trustBreaks(ctx context.Context, p object.Path, cert *x509.Certificate) ([]wire.Break, error) {
	trusted, err := d.Authority.Trust(ctx)
	if !slices.ContainsFunc(trusted, cert.Equal) {
		return nil, err
	}
	return []wire.Break{{Object: p.String(), What: fmt.Sprintf("%s: the certificates that %s has signed elsewhere will no longer be accepted; how many there are is not known here", p, cert.Subject)}}, nil
}

// certificates puts a count of certificates into a sentence with one %s.
func certificates(sentence string, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf(sentence, "no certificate leads")
	case 1:
		return fmt.Sprintf(sentence, "1 certificate leads")
	}
	return fmt.Sprintf(sentence, fmt.Sprintf("%d certificates lead", n))
}

// The sentences of [door.caBreaks].
const (
	saysEnded    = "%s to this CA, which will sign and renew nothing any more; each is accepted only as long as a CA above it is trusted"
	saysReplaced = "%s to its present key, which will sign and renew nothing any more; each is accepted only as long as a CA above it is trusted"
	saysRefused  = "%s to the present key of the cluster's CA, and will no longer be accepted: each has to be issued again"
	saysRevoked  = "%s to this CA, and will be refused: each has to be issued again"
)

// endOfCA is what the end of the CA at p breaks.
func (d *door) endOfCA(ctx context.Context, p object.Path) ([]wire.Break, error) {
	return d.caBreaks(ctx, p, saysEnded)
}

// rekeyBreaks is what another key breaks in the CA at p.
func (d *door) rekeyBreaks(ctx context.Context, p object.Path) ([]wire.Break, error) {
	own, err := d.Authority.ClusterCA(ctx)
	switch {
	case err != nil && !errors.Is(err, ca.ErrNotFound):
		return nil, err
	case err == nil && own == p.String():
		return d.caBreaks(ctx, p, saysRefused)
	}
	return d.caBreaks(ctx, p, saysReplaced)
}

// revocationBreaks is what the revocation of a certificate breaks: of a CA, all that leads
// to it.
func (d *door) revocationBreaks(ctx context.Context, r ca.Record) ([]wire.Break, error) {
	if !r.Certificate.IsCA {
		return nil, nil
	}
	if before, err := d.Authority.Revoked(ctx, r.Serial()); err != nil || before {
		return nil, err
	}
	n, err := d.Authority.CountBelow(registry.Unnoted(ctx), pki.AuthorityOf(r.Certificate))
	if err != nil {
		return nil, err
	}
	return []wire.Break{{Object: r.Owner, What: fmt.Sprintf("%s (%s): ", r.Owner, r.Serial()) + certificates(saysRevoked, n), Count: n}}, nil
}

// rootBreaks is what it breaks that users are root no longer: nothing, unless no other user
// is. The machine's root stays.
func (d *door) rootBreaks(ctx context.Context, gone map[string]bool) ([]wire.Break, error) {
	ctx = registry.Unnoted(ctx)
	var last []string
	for name := range gone {
		is, err := d.isRoot(ctx, name)
		if err != nil {
			return nil, err
		}
		if is {
			last = append(last, name)
		}
	}
	if len(last) == 0 {
		return nil, nil
	}
	everybody, err := object.ParseSelector("system/usr/*")
	if err != nil {
		return nil, err
	}
	all, err := d.Objects.List(ctx, everybody)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if gone[p.Name] {
			continue
		}
		if is, err := d.isRoot(ctx, p.Name); err != nil || is {
			return nil, err
		}
	}
	slices.Sort(last)
	users := "the last user"
	if len(last) > 1 {
		users = fmt.Sprintf("the last %d users", len(last))
	}
	return []wire.Break{{Object: "system/usr/" + last[0], Count: len(last),
		What: fmt.Sprintf("%s with the grant root will be gone (%s): only root on a machine of the cluster will have it", users, strings.Join(last, ", "))}}, nil
}

// isRoot reports whether a user may call and holds the grant root.
func (d *door) isRoot(ctx context.Context, name string) (bool, error) {
	u, err := d.Objects.User(ctx, name)
	if errors.Is(err, ca.ErrNotFound) {
		return false, nil
	}
	return err == nil && !u.Disabled && holdsRoot(u.Grants), err
}

func holdsRoot(g usr.Grants) bool {
	return usr.Caller{Name: "user", Method: usr.MethodX509, Grants: g}.May(usr.Root()) == nil
}

// configBreaks is what another config of the object at p breaks: a CA that becomes something
// else, and a user who is root no longer.
func (d *door) configBreaks(ctx context.Context, p object.Path, next object.Config) ([]wire.Break, error) {
	switch p.Kind {
	case object.KindSec:
		if saysCA(next) {
			return nil, nil
		}
		return d.endOfCA(ctx, p)
	case object.KindUsr:
		disabled, err := next.Bool("disabled")
		if err != nil {
			return nil, err
		}
		grants, err := configGrants(next)
		if self, named := object.UserPath(p.Name); err != nil || named != nil || self != p || !disabled && holdsRoot(grants) {
			return nil, err
		}
		return d.rootBreaks(ctx, map[string]bool{p.Name: true})
	}
	return nil, nil
}

// remakeBreaks is what it breaks that the object at p is made anew with a config.
func (d *door) remakeBreaks(ctx context.Context, p object.Path, next object.Config) ([]wire.Break, error) {
	if p.Kind == object.KindSec {
		return d.rekeyBreaks(ctx, p)
	}
	return d.configBreaks(ctx, p, next)
}

// editBreaks is what edits of keys break: a part of the set of a CA that is taken away.
func (d *door) editBreaks(ctx context.Context, p object.Path, edits []registry.Edit) ([]wire.Break, error) {
	for _, e := range edits {
		if e.Action == registry.Remove && ca.Imports(e.Name) {
			return d.endOfCA(ctx, p)
		}
	}
	return nil, nil
}

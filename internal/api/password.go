package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/usr"
)

// keyPassword is the key of a usr that holds the hash of its password.
const keyPassword = "password"

func isPassword(p object.Path, key string) bool {
	return p.Kind == object.KindUsr && key == keyPassword
}

func (d *door) userRoutes() []route {
	return []route{
		{method: http.MethodPost, path: pathObject + "/action/unlock", rule: d.changes(), id: "unlockUser",
			about:  "Forget the attempts to guess the password of a user, so that the user can log in at once.",
			answer: jsonAnswer[wire.Unlocked](http.StatusOK), audit: auditCalls, handle: d.unlockUser},
	}
}

func (d *door) unlockUser(ctx context.Context, c *call) (response, error) {
	if self, err := object.UserPath(c.path.Name); err != nil || self != c.path {
		return response{}, fmt.Errorf("%w: %s cannot log in: the users who can are system/usr/NAME", ca.ErrInvalid, c.path)
	}
	if _, err := d.Objects.Get(ctx, c.path); err != nil {
		return response{}, err
	}
	done := wire.Unlocked{Object: c.path.String()}
	if d.Unlock != nil {
		var err error
		if done.Unlocked, err = d.Unlock(c.request, c.path.Name); err != nil {
			return response{}, err
		}
	}
	c.note(slog.Bool("unlocked", done.Unlocked))
	return reply(http.StatusOK, done)
}

// passwordForm says in what form a password comes.
type passwordForm struct {
	hashed bool // it is the hash of a password
	weak   bool // it is taken however easy to guess
}

// hashPasswords has the passwords that the edits set hashed: what gets to the
// store is a hash, whichever way the password came. One call sets one: a hash
// is made to be work.
func (d *door) hashPasswords(ctx context.Context, c *call, edits []registry.Edit, forms []passwordForm) error {
	seen := false
	for i := range edits {
		e := &edits[i]
		if e.Action != registry.Add && e.Action != registry.Change {
			continue
		}
		if !isPassword(c.path, e.Name) {
			if forms[i] != (passwordForm{}) {
				return fmt.Errorf("%w: hashed and weak go with the key %q of a usr, not with %.64q of %s", errBadRequest, keyPassword, e.Name, c.path)
			}
			continue
		}
		if seen {
			return fmt.Errorf("%w: key %q is set twice", errBadRequest, keyPassword)
		}
		seen = true
		var err error
		if e.Hash, err = d.hashPassword(ctx, c, e.Value, forms[i]); err != nil {
			return fmt.Errorf("key %q: %w", keyPassword, err)
		}
		e.Value = nil
	}
	return nil
}

// hashPassword makes the hash of a password, or reads the hash that came in its
// place. Which of the two it is says the caller, never the text: a password may
// look like a hash.
func (d *door) hashPassword(ctx context.Context, c *call, value []byte, form passwordForm) (usr.PasswordHash, error) {
	if form.hashed {
		h, err := usr.ParsePasswordHash(value)
		if err == nil {
			c.note(slog.String("hash", h.Scheme()))
		}
		return h, err
	}
	if d.Passwords == nil {
		return usr.PasswordHash{}, fmt.Errorf("%w: nobody logs in with a password here", errBadRequest)
	}
	if err := d.checkPassword(ctx, c, value, form.weak); err != nil {
		return usr.PasswordHash{}, err
	}
	h, err := d.hashOnce(ctx, c, value)
	if errors.Is(err, usr.ErrInvalid) {
		return h, hint.With(err, "pipe it in without a line break: printf %%s \"$PASSWORD\" | omca %s key change --name password --from -", c.path)
	}
	return h, err
}

// checkPassword refuses a password that is too easy to guess. Root may have it taken all
// the same, as ClusterCockpit's own command does, and is told.
func (d *door) checkPassword(ctx context.Context, c *call, password []byte, weak bool) error {
	if weak {
		if err := c.who.May(usr.Root()); err != nil {
			return fmt.Errorf("a weak password: %w", err)
		}
	}
	if _, err := usr.NormalPassword(password); err != nil {
		return nil //nolint:nilerr // what cannot be hashed is refused there, with the way out
	}
	cluster, err := d.Objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return err
	}
	least, err := cluster.Config.Int("cluster.min_password")
	if err != nil {
		return err
	}
	name, _ := cluster.Config.Get("cluster.name")
	switch err := usr.CheckPassword(password, least, c.path.Name, name, "omca"); {
	case err != nil && weak:
		c.notice("this password is weak: %v", err)
	case err != nil:
		return hint.With(err, "a sentence of a few words is long and easy to keep in mind; a hash that was made elsewhere is taken as it is")
	}
	return nil
}

// hashOnce hashes the one password that the body of the call sets, once, however
// often the call is decided.
func (d *door) hashOnce(ctx context.Context, c *call, password []byte) (usr.PasswordHash, error) {
	if !c.hash.IsZero() {
		return c.hash, nil
	}
	var err error
	c.hash, err = d.Passwords.Hash(ctx, password)
	return c.hash, err
}

// retryAfter is what the header of that name says (RFC 9110, 10.2.3): seconds. "0" is
// for what waiting alone does not change.
func retryAfter(err error) string {
	after := time.Second
	var limited *usr.LimitedError
	var quota *usr.QuotaError
	switch {
	case errors.As(err, &limited):
		after = limited.After
	case errors.As(err, &quota):
		after = quota.After
	}
	return strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10)
}

// challenges are the ways to prove a name that HTTP knows by name, one a line
// (RFC 9110, 11.6.1). They are the same for everybody.
func challenges() []string {
	return []string{`Basic realm="omca", charset="UTF-8"`, `Bearer realm="omca"`, `x509 realm="omca"`}
}

// Forwarded reports whether a request came through a proxy that says so. From
// one, the address of the connection says nothing of who calls.
func Forwarded(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"} {
		if len(r.Header[name]) > 0 {
			return true
		}
	}
	return false
}

// from is where a request comes from.
func (d *door) from(r *http.Request) wire.Address {
	if d.Address != nil {
		return d.Address(r)
	}
	a := wire.Address{Shown: r.RemoteAddr}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a.IP = peer.Addr().Unmap()
	}
	return a
}

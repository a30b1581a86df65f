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
	"omca/usr"
)

// keyPassword is the key of a usr that holds the hash of its password.
const keyPassword = "password"

func isPassword(p object.Path, key string) bool {
	return p.Kind == object.KindUsr && key == keyPassword
}

// Unlocked says what unlocking did.
type Unlocked struct {
	Object   string `json:"object"`
	Unlocked bool   `json:"unlocked"` // it was locked out
}

func (d *door) userRoutes() []route {
	return []route{
		{method: http.MethodPost, path: pathObject + "/action/unlock", rule: d.changes(), id: "unlockUser",
			about:  "Forget the attempts to guess the password of a user, so that the user can log in at once.",
			answer: jsonAnswer[Unlocked](http.StatusOK), audit: auditCalls, handle: d.unlockUser},
	}
}

func (d *door) unlockUser(ctx context.Context, c *call) (response, error) {
	if self, err := object.UserPath(c.path.Name); err != nil || self != c.path {
		return response{}, fmt.Errorf("%w: %s cannot log in: the users who can are system/usr/NAME", ca.ErrInvalid, c.path)
	}
	if _, err := d.Objects.Get(ctx, c.path); err != nil {
		return response{}, err
	}
	done := Unlocked{Object: c.path.String()}
	if d.Unlock != nil {
		var err error
		if done.Unlocked, err = d.Unlock(c.request, c.path.Name); err != nil {
			return response{}, err
		}
	}
	c.note(slog.Bool("unlocked", done.Unlocked))
	return reply(http.StatusOK, done)
}

// hashPasswords has the passwords that the edits set hashed: what gets to the
// store is a hash, whichever way the password came. One call sets one: a hash
// is made to be work.
func (d *door) hashPasswords(ctx context.Context, c *call, edits []object.Edit, hashed []bool) error {
	seen := false
	for i := range edits {
		e := &edits[i]
		if e.Action != object.Add && e.Action != object.Change {
			continue
		}
		if !isPassword(c.path, e.Name) {
			if hashed[i] {
				return fmt.Errorf("%w: hashed goes with the key %q of a usr, not with %.64q of %s", errBadRequest, keyPassword, e.Name, c.path)
			}
			continue
		}
		if seen {
			return fmt.Errorf("%w: key %q is set twice", errBadRequest, keyPassword)
		}
		seen = true
		var err error
		if e.Hash, err = d.hashPassword(ctx, c, e.Value, hashed[i]); err != nil {
			return fmt.Errorf("key %q: %w", keyPassword, err)
		}
		e.Value = nil
	}
	return nil
}

// hashPassword makes the hash of a password, or reads the hash that came in its
// place. Which of the two it is says the caller, never the text: a password may
// look like a hash.
func (d *door) hashPassword(ctx context.Context, c *call, value []byte, hashed bool) (usr.PasswordHash, error) {
	if hashed {
		h, err := usr.ParsePasswordHash(value)
		if err == nil {
			c.note(slog.String("hash", h.Scheme()))
		}
		return h, err
	}
	if d.Passwords == nil {
		return usr.PasswordHash{}, fmt.Errorf("%w: nobody logs in with a password here", errBadRequest)
	}
	h, err := d.hashOnce(ctx, c, value)
	if errors.Is(err, usr.ErrInvalid) {
		return h, hint.With(err, "pipe it in without a line break: printf %%s \"$PASSWORD\" | omca %s key change --name password --from -", c.path)
	}
	return h, err
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

// retryAfter is what the header of that name says (RFC 9110, 10.2.3): seconds.
func retryAfter(err error) string {
	var limited *usr.LimitedError
	if !errors.As(err, &limited) {
		return "1"
	}
	return strconv.FormatInt(int64((limited.After+time.Second-1)/time.Second), 10)
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

// Address is where a request comes from.
type Address struct {
	IP    netip.Addr // zero: there is none, or it cannot be known
	Local bool       // by the unix socket, or in process: the caller is the machine's root
	Shown string     // for people: with the port, where the port is the caller's own
}

// from is where a request comes from.
func (d *door) from(r *http.Request) Address {
	if d.Address != nil {
		return d.Address(r)
	}
	a := Address{Shown: r.RemoteAddr}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a.IP = peer.Addr().Unmap()
	}
	return a
}

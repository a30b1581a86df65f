package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/store"
	"omca/usr"
)

// keyPassword is the key of a usr that holds the hash of its password.
const keyPassword = "password"

// isPassword reports whether the key holds a password: that of any usr does,
// also where no user can call.
func isPassword(p object.Path, key string) bool {
	return p.Kind == object.KindUsr && key == keyPassword
}

// errPlainPassword is a password on a way that would keep it as it came.
func errPlainPassword(p object.Path) error {
	return fmt.Errorf("%w: key %q of %s: a password is kept as a hash", ca.ErrInvalid, keyPassword, p)
}

// editPassword takes a step that has to do with a password: it can be set, by
// its hash, and removed. Under another name it would be readable, and another
// value under its name would be no hash.
func (s *Store) editPassword(p object.Path, h *head, tx *store.Tx, e Edit) error {
	if !isPassword(p, e.Name) && !e.Hash.IsZero() {
		return fmt.Errorf("%w: key %q of %s is no password", ca.ErrInvalid, e.Name, p)
	}
	switch e.Action {
	case Add, Change, PutKey:
		if e.Hash.IsZero() || len(e.Value) > 0 {
			return errPlainPassword(p)
		}
		h.passwordChanges()
		return s.putValue(p, h, tx, KeyInfo{Name: keyPassword}, e.Hash.Encode())
	case Remove:
		if h.has(keyPassword) {
			h.passwordChanges()
		}
		h.drop(keyPassword)
		tx.Deletes = append(tx.Deletes, valueKey(p, keyPassword))
		return nil
	}
	return fmt.Errorf("%w: key %q of %s can be set and removed, and nothing else", ca.ErrInvalid, keyPassword, p)
}

// passwordChanges notes that what began with the password so far is over. No
// two changes have the same time, whatever the clock says.
func (h *head) passwordChanges() {
	after := h.PasswordChanged.Add(time.Nanosecond)
	h.PasswordChanged = h.Updated
	if h.PasswordChanged.Before(after) {
		h.PasswordChanged = after
	}
}

// PasswordHash returns the hash of the password of the user of that name; zero
// when it has none, or when there is no such user.
func (s *Store) PasswordHash(ctx context.Context, name string) (usr.PasswordHash, error) {
	p, err := object.UserPath(name)
	if err != nil {
		return usr.PasswordHash{}, nil //nolint:nilerr // what is no name is nobody's
	}
	e, err := s.entry(ctx, p)
	switch {
	case errors.Is(err, ca.ErrNotFound):
		return usr.PasswordHash{}, nil
	case err != nil:
		return usr.PasswordHash{}, err
	case !e.has(keyPassword):
		return usr.PasswordHash{}, nil
	}
	return s.passwordAt(ctx, p)
}

func (s *Store) passwordAt(ctx context.Context, p object.Path) (usr.PasswordHash, error) {
	text, err := s.value(ctx, p, keyPassword)
	if errors.Is(err, ca.ErrNotFound) {
		return usr.PasswordHash{}, nil // removed meanwhile
	}
	if err != nil {
		return usr.PasswordHash{}, err
	}
	h, err := usr.ParsePasswordHash(text)
	if err != nil {
		return usr.PasswordHash{}, fmt.Errorf("%s: key %q as stored: %w", p, keyPassword, err)
	}
	return h, nil
}

// ImprovePassword puts a better hash of the same password in the place of the
// one that was read: [ca.ErrConflict] when it is not there any more. It is no
// change of the password: what began with it goes on.
func (s *Store) ImprovePassword(ctx context.Context, name string, was, better usr.PasswordHash) error {
	p, err := object.UserPath(name)
	if err != nil {
		return err
	}
	e, err := s.entry(ctx, p)
	if err != nil {
		return err
	}
	now, err := s.passwordAt(ctx, p)
	if err != nil {
		return err
	}
	if string(now.Encode()) != string(was.Encode()) || better.IsZero() {
		return fmt.Errorf("%w: the password of %s was changed meanwhile", ca.ErrConflict, p)
	}
	// The value was read after the head: whatever changed it since has changed
	// the revision, too.
	return s.change(having(ctx, beside), p, e.rev, func(h *head, tx *store.Tx) error {
		return s.putValue(p, h, tx, KeyInfo{Name: keyPassword}, better.Encode())
	})
}

// ReplacePassword puts the hash of a new password in the place of the one that u
// was found to know: [ca.ErrConflict] when that has changed since u was read, so
// that whoever took a stolen password away is not undone by its thief. It returns
// the time that it has as that of the change.
func (s *Store) ReplacePassword(ctx context.Context, u User, hash usr.PasswordHash) (changed time.Time, err error) {
	p, err := object.UserPath(u.Name)
	if err != nil {
		return time.Time{}, err
	}
	e, err := s.entry(ctx, p)
	if err != nil {
		return time.Time{}, err
	}
	if !e.Created.Equal(u.Created) || !e.PasswordChanged.Equal(u.PasswordChanged) || !e.has(keyPassword) {
		return time.Time{}, fmt.Errorf("%w: the password of %s was changed meanwhile", ca.ErrConflict, p)
	}
	err = s.change(ctx, p, e.rev, func(h *head, tx *store.Tx) error {
		err := s.editPassword(p, h, tx, Edit{Action: Change, Name: keyPassword, Hash: hash})
		changed = h.PasswordChanged
		return err
	})
	return changed, err
}

// Guard is what the cluster's keywords say of the door: how often may be
// guessed, and which proxies are believed when they say who calls.
type Guard struct {
	Guesses usr.GuessLimit
	Proxies []netip.Prefix
}

// Guard reads the keywords. It is asked on every login, and knows of a change
// at once.
func (s *Store) Guard(ctx context.Context) (Guard, error) {
	e, err := s.entry(ctx, object.ClusterPath())
	if err != nil {
		return Guard{}, err
	}
	return once(s, &e.guard, func() (Guard, error) {
		var g Guard
		var err error
		if g.Guesses.Rate, err = e.Config.Rate("listener.rate_limiter_rate"); err != nil {
			return g, err
		}
		if g.Guesses.Burst, err = e.Config.Int("listener.rate_limiter_burst"); err != nil {
			return g, err
		}
		g.Proxies, err = e.Config.Networks("listener.trusted_proxies")
		return g, err
	})
}

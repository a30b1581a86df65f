package registry_test

import (
	"errors"
	"testing"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/store/mem"
	"omca/usr"
)

// TestReplacePassword: the password is changed by whoever knew the one that is
// there, and by nobody whose own was taken away meanwhile.
func TestReplacePassword(t *testing.T) {
	s := newStore(t, mem.New(), fileMaster(t))
	ctx := t.Context()
	p := path(t, "system/usr/alice")
	if err := s.Create(ctx, p, object.NewConfig(p)); err != nil {
		t.Fatal(err)
	}
	passwords, err := usr.NewPasswords(usr.PasswordCost{Memory: 64, Passes: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	hash := func(password string) usr.PasswordHash {
		h, err := passwords.Hash(ctx, []byte(password))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	user := func() registry.User {
		u, err := s.User(ctx, "alice")
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	refused := func(what string, u registry.User) {
		t.Helper()
		if at, err := s.ReplacePassword(ctx, u, hash("stolen")); !errors.Is(err, ca.ErrConflict) || !at.IsZero() {
			t.Errorf("%s: %v, %v", what, at, err)
		}
	}
	refused("there is none", user())
	if err := s.Edit(ctx, p, []registry.Edit{{Action: registry.Add, Name: "password", Hash: hash("first")}}); err != nil {
		t.Fatal(err)
	}
	known := user()
	at, err := s.ReplacePassword(ctx, known, hash("second"))
	if now := user().PasswordChanged; err != nil || !at.Equal(now) || !at.After(known.PasswordChanged) {
		t.Errorf("changed at %v, the user says %v: %v", at, now, err)
	}
	refused("it was changed meanwhile", known)
	known = user()
	if err := s.Edit(ctx, p, []registry.Edit{{Action: registry.Remove, Name: "password"}}); err != nil {
		t.Fatal(err)
	}
	refused("it was removed meanwhile", known)
}

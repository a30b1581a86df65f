package registry

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/usr"
)

// TestPasswordsAreHashes: whatever asks for it, the store keeps no password but
// as a hash, and gives none away.
func TestPasswordsAreHashes(t *testing.T) {
	master, err := seal.CreateFileMaster(filepath.Join(t.TempDir(), "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }
	s, err := OpenStore(t.Context(), StoreConfig{Store: mem.New(), Master: master, Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ended with %v", err)
		}
	})
	p, err := object.UserPath("alice")
	if err != nil {
		t.Fatal(err)
	}
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
	first, second := hash("first"), hash("second")
	edit := func(edits ...Edit) error { return s.Edit(ctx, p, edits) }
	if err := edit(Edit{Action: Add, Name: "other", Value: first.Encode()}); err != nil {
		t.Fatal(err)
	}
	for what, e := range map[string]Edit{
		"in the clear":           {Action: Add, Name: "password", Value: []byte("first")},
		"put in the clear":       {Action: PutKey, Name: "password", Value: []byte("first")},
		"what looks like a hash": {Action: Add, Name: "password", Value: first.Encode()},
		"both":                   {Action: Add, Name: "password", Value: []byte("first"), Hash: first},
		"under another name":     {Action: Add, Name: "third", Hash: first},
		"renamed into place":     {Action: Rename, Name: "other", To: "password"},
	} {
		if err := edit(e); !errors.Is(err, ca.ErrInvalid) || strings.Contains(err.Error(), "first") {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	if err := s.putKey(p, &head{}, &store.Tx{}, KeyInfo{Name: "password"}, []byte("first")); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("by the way of certificates: %v, want ErrInvalid", err)
	}
	changed := func() time.Time {
		u, err := s.User(ctx, "alice")
		if err != nil {
			t.Fatal(err)
		}
		return u.PasswordChanged
	}
	if !changed().IsZero() {
		t.Errorf("a password that was never set was changed %s", changed())
	}
	last := time.Time{}
	for what, e := range map[string]Edit{"set": {Action: PutKey, Name: "password", Hash: first}, "set again": {Action: PutKey, Name: "password", Hash: first}} {
		if err := edit(e); err != nil {
			t.Fatal(err)
		}
		if !changed().After(last) { // the clock stands still
			t.Errorf("%s: changed %s, before %s", what, changed(), last)
		}
		last = changed()
	}
	if _, err := s.Value(ctx, p, "password"); !errors.Is(err, usr.ErrDenied) {
		t.Errorf("reading: %v, want ErrDenied", err)
	}
	if err := edit(Edit{Action: Rename, Name: "password", To: "readable"}); !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("renaming: %v, want ErrInvalid", err)
	}
	// Improving is no change, and only of what is there.
	if err := s.ImprovePassword(ctx, "alice", second, second); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("improving another password: %v, want ErrConflict", err)
	}
	if err := s.ImprovePassword(ctx, "alice", first, second); err != nil || !changed().Equal(last) {
		t.Errorf("improving: %v, changed %s, before %s", err, changed(), last)
	}
	if got, err := s.PasswordHash(ctx, "alice"); err != nil || string(got.Encode()) != string(second.Encode()) {
		t.Errorf("kept %s: %v", got.Encode(), err)
	}
	if err := edit(Edit{Action: Remove, Name: "password"}); err != nil || !changed().After(last) {
		t.Errorf("removing: %v, changed %s, before %s", err, changed(), last)
	}
	for _, name := range []string{"alice", "nobody", "../alice", ""} {
		if got, err := s.PasswordHash(ctx, name); err != nil || !got.IsZero() {
			t.Errorf("%q has a password: %v", name, err)
		}
	}
}

// TestEverybodyIsNoProxy: trusting all is believing what any client writes.
func TestEverybodyIsNoProxy(t *testing.T) {
	for value, ok := range map[string]bool{"192.0.2.10 2001:db8::/32": true, "0.0.0.0/0": false, "192.0.2.10 ::/0": false} {
		exprs, err := object.ParseExprs([]string{"listener.trusted_proxies=" + value})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = object.NewConfig(object.ClusterPath()).Apply(object.Update{Set: exprs})
		if ok && err != nil || !ok && (!errors.Is(err, ca.ErrInvalid) || !strings.Contains(err.Error(), "is everybody")) {
			t.Errorf("%q: %v, want it taken: %v", value, err, ok)
		}
	}
}

package session_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"omca/usr"
	"omca/usr/session"
)

// memory is a store that forgets with the test.
type memory struct {
	kept    map[string]session.Session
	touches int
	reads   int
	fault   error
}

func (m *memory) AddSession(_ context.Context, s session.Session) error {
	if m.fault == nil {
		m.kept[s.ID] = s
	}
	return m.fault
}

func (m *memory) Session(_ context.Context, id string) (session.Session, error) {
	m.reads++
	s, ok := m.kept[id]
	if !ok {
		return s, session.ErrNone
	}
	return s, m.fault
}

func (m *memory) TouchSession(_ context.Context, id string, used time.Time) error {
	m.touches++
	if s, ok := m.kept[id]; ok {
		s.Used = used
		m.kept[id] = s
	}
	return m.fault
}

func (m *memory) EndSessions(_ context.Context, sessions ...session.Session) error {
	for _, s := range sessions {
		delete(m.kept, s.ID)
	}
	return m.fault
}

func (m *memory) Sessions(_ context.Context, user string) iter.Seq2[session.Session, error] {
	return func(yield func(session.Session, error) bool) {
		if m.fault != nil {
			yield(session.Session{}, m.fault)
			return
		}
		for _, s := range m.kept {
			if (user == "" || s.User == user) && !yield(s, nil) {
				return
			}
		}
	}
}

// world is a service over a memory, and a clock that the test sets.
type world struct {
	*session.Service
	t      testing.TB
	memory *memory
	now    time.Time
	most   time.Duration
	unread error            // of MaxAge
	lost   map[string]error // by user: what Holds says
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, memory: &memory{kept: map[string]session.Session{}}, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), most: 8 * time.Hour, lost: map[string]error{}}
	var err error
	w.Service, err = session.New(session.Config{
		Store: w.memory, Now: func() time.Time { return w.now }, MaxAge: func(context.Context) (time.Duration, error) { return w.most, w.unread },
		Holds: func(_ context.Context, l session.Login) error { return w.lost[l.User] },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) begin(user string) (string, session.Session) {
	w.t.Helper()
	secret, s, err := w.Begin(w.t.Context(), session.Login{User: user, Method: usr.MethodPassword, Address: "192.0.2.1", UserCreated: w.now.Add(-time.Hour)})
	if err != nil {
		w.t.Fatal(err)
	}
	return secret, s
}

func (w *world) finds(what, secret string, want bool) {
	w.t.Helper()
	s, err := w.Find(w.t.Context(), secret)
	switch {
	case want && (err != nil || s.User != "alice"):
		w.t.Errorf("%s: %+v, %v, want the session", what, s, err)
	case !want && (!errors.Is(err, session.ErrNone) || !errors.Is(err, usr.ErrUnauthenticated)):
		w.t.Errorf("%s: %v, want ErrNone", what, err)
	}
}

func TestNewAndBeginRefuse(t *testing.T) {
	if _, err := session.New(session.Config{}); err == nil {
		t.Error("a service without anything")
	}
	w := newWorld(t)
	for _, l := range []session.Login{{}, {User: "alice"}, {UserCreated: w.now}} {
		if _, _, err := w.Begin(t.Context(), l); err == nil {
			t.Errorf("a session of %+v", l)
		}
	}
	if _, err := w.EndAll(t.Context(), ""); err == nil {
		t.Error("the sessions of nobody in particular were ended")
	}
}

// Whoever reads the store cannot call with what is there.
func TestSecretIsNotKept(t *testing.T) {
	w := newWorld(t)
	secret, s := w.begin("alice")
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || len(raw) != 32 {
		t.Fatalf("secret of %d bytes: %v", len(raw), err)
	}
	if kept := fmt.Sprintf("%+v %x", w.memory.kept, raw); strings.Contains(kept, secret) || strings.Count(kept, fmt.Sprintf("%x", raw)) != 1 {
		t.Errorf("the store has the secret: %s", kept)
	}
	w.finds("by the secret", secret, true)
	w.finds("by the id", s.ID, false)
	w.finds("by the hash in the form of a secret", base64.RawURLEncoding.EncodeToString([]byte(s.ID)[:32]), false)
	other, _ := w.begin("alice")
	if other == secret {
		t.Error("two sessions have one secret")
	}
}

func TestFindRefuses(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.begin("alice")
	for name, text := range map[string]string{
		"nothing": "", "cut": secret[:42], "longer": secret + "A", "padded": secret + "=", "white space": " " + secret, "new line": secret + "\n",
		"not base64": strings.Repeat("!", 43), "a megabyte": strings.Repeat("A", 1<<20),
	} {
		w.finds(name, text, false)
	}
	for _, id := range []string{"", "abc", strings.Repeat("A", 64), "../" + strings.Repeat("a", 61)} {
		if _, err := w.Get(t.Context(), id); !errors.Is(err, session.ErrNone) {
			t.Errorf("id %q: %v", id, err)
		}
	}
	if w.memory.reads != 0 {
		t.Errorf("what cannot be a secret or an id was looked up %d times", w.memory.reads)
	}
	w.finds("another", strings.Repeat("A", 43), false)
}

func TestIdleAge(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.begin("alice")
	w.now = w.now.Add(session.Idle - time.Second)
	w.finds("a second before", secret, true)
	w.now = w.now.Add(time.Second)
	w.finds("idle for long enough", secret, false)
}

// What is used goes on, up to the absolute age; a touch is written at most once a minute.
func TestAbsoluteAge(t *testing.T) {
	w := newWorld(t)
	secret, began := w.begin("alice")
	for range 8*60 - 1 {
		for range 3 {
			w.now = w.now.Add(20 * time.Second)
			s, err := w.Find(t.Context(), secret)
			if err != nil {
				t.Fatalf("after %s: %v", w.now.Sub(began.Began), err)
			}
			if err := w.Touch(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if w.memory.touches != 8*60-1 {
		t.Errorf("%d touches in %d minutes", w.memory.touches, 8*60-1)
	}
	w.now = w.now.Add(time.Minute - time.Second)
	w.finds("a second before", secret, true)
	w.now = w.now.Add(time.Second)
	w.finds("in use, and too old", secret, false)
}

// The absolute age counts as it is now, not as it was at login.
// Whom an OpenID issuer let in stays until then at most, however busy.
func TestUntil(t *testing.T) {
	w := newWorld(t)
	secret, _, err := w.Begin(t.Context(), session.Login{User: "alice", Method: usr.MethodOpenID, Issuer: "idp", Until: w.now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.now = w.now.Add(10 * time.Minute)
		w.finds("within the hour", secret, true)
		s, err := w.Find(t.Context(), secret)
		if err == nil {
			err = w.Touch(t.Context(), s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.now = w.now.Add(10 * time.Minute)
	w.finds("after the hour", secret, false)
}

func TestMaxAgeIsHot(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.begin("alice")
	w.now = w.now.Add(10 * time.Minute)
	w.finds("of eight hours", secret, true)
	w.most = 5 * time.Minute
	w.finds("of five minutes", secret, false)
	w.unread = errors.New("not readable")
	if _, err := w.Find(t.Context(), secret); err == nil || errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("the age cannot be read: %v", err)
	}
}

func TestClockSetBack(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.begin("alice")
	w.now = w.now.Add(-time.Minute)
	w.finds("a minute back", secret, true)
	w.now = w.now.Add(-time.Hour)
	w.finds("an hour back", secret, false)
}

// TestTouchedByAClockAhead: a session that was used by a clock that leapt is not idle for hours more when the clock is back.
func TestTouchedByAClockAhead(t *testing.T) {
	w := newWorld(t)
	secret, s := w.begin("alice")
	w.now = w.now.Add(20 * time.Minute)
	if err := w.Touch(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(-2 * time.Minute)
	w.finds("two minutes back", secret, true)
	s.Used = w.now.Add(6 * time.Hour)
	w.memory.kept[s.ID] = s
	w.finds("used in six hours", secret, false)
	w.now = w.now.Add(time.Hour)
	w.finds("idle for an hour", secret, false)
}

func TestEnd(t *testing.T) {
	w := newWorld(t)
	first, s := w.begin("alice")
	second, _ := w.begin("alice")
	bobs, _ := w.begin("bob")
	if err := w.End(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.finds("ended", first, false)
	w.finds("another of the same user", second, true)
	if err := w.Touch(t.Context(), session.Session{ID: s.ID}); err != nil {
		t.Fatal(err)
	}
	w.finds("ended, then touched", first, false)
	if n, err := w.EndAll(t.Context(), "alice"); n != 1 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	w.finds("all ended", second, false)
	if s, err := w.Find(t.Context(), bobs); err != nil || s.User != "bob" {
		t.Errorf("bob's: %+v, %v", s, err)
	}
}

func TestListAndSweep(t *testing.T) {
	w := newWorld(t)
	w.begin("alice")
	w.now = w.now.Add(20 * time.Minute)
	_, second := w.begin("alice")
	w.begin("bob")
	if all, err := w.List(t.Context(), "alice"); err != nil || len(all) != 2 || all[0].ID != second.ID {
		t.Errorf("%+v, %v", all, err)
	}
	w.now = w.now.Add(15 * time.Minute)
	if all, err := w.List(t.Context(), ""); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	w.lost["bob"] = usr.ErrUnauthenticated
	if all, err := w.List(t.Context(), ""); err != nil || len(all) != 1 || all[0].User != "alice" {
		t.Errorf("without bob: %+v, %v", all, err)
	}
	n, err := w.Sweep(t.Context())
	if n != 2 || err != nil || len(w.memory.kept) != 1 {
		t.Errorf("%d swept, %v, %d left", n, err, len(w.memory.kept))
	}
}

// A session is worth what its login is worth now.
func TestHolds(t *testing.T) {
	w := newWorld(t)
	secret, s := w.begin("alice")
	w.lost["alice"] = fmt.Errorf("%w: another password", usr.ErrUnauthenticated)
	if _, err := w.Find(t.Context(), secret); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("%v, want ErrUnauthenticated", err)
	}
	if _, err := w.Get(t.Context(), s.ID); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("by id: %v, want ErrUnauthenticated", err)
	}
	fault := errors.New("no disk")
	w.lost["alice"] = fault
	if _, err := w.Find(t.Context(), secret); !errors.Is(err, fault) || errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("%v, want the fault", err)
	}
	if _, err := w.Sweep(t.Context()); !errors.Is(err, fault) || len(w.memory.kept) != 1 {
		t.Errorf("swept on a fault: %v, %d left", err, len(w.memory.kept))
	}
}

// Somebody who logs in over and over does not fill the store.
func TestMostOfUser(t *testing.T) {
	w := newWorld(t)
	first, _ := w.begin("alice")
	for range session.MostOfUser - 1 {
		w.now = w.now.Add(time.Second)
		w.begin("alice")
	}
	w.finds("one too few", first, true)
	last, _ := w.begin("alice")
	w.finds("one too many", first, false)
	w.finds("the last", last, true)
	if len(w.memory.kept) != session.MostOfUser {
		t.Errorf("%d kept", len(w.memory.kept))
	}
}

func TestStoreFails(t *testing.T) {
	w := newWorld(t)
	secret, s := w.begin("alice")
	fault := errors.New("no disk")
	w.memory.fault = fault
	_, _, began := w.Begin(t.Context(), s.Login)
	_, found := w.Find(t.Context(), secret)
	_, listed := w.List(t.Context(), "alice")
	_, swept := w.Sweep(t.Context())
	_, ended := w.EndAll(t.Context(), "alice")
	w.now = w.now.Add(time.Hour)
	for what, err := range map[string]error{"begin": began, "find": found, "list": listed, "sweep": swept, "end all": ended, "touch": w.Touch(t.Context(), s)} {
		if !errors.Is(err, fault) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

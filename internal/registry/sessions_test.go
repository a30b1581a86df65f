package registry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/usr"
	"omca/usr/session"
)

func aSession(user string, n int) session.Session {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return session.Session{
		ID:    fmt.Sprintf("%064x", n),
		Login: session.Login{User: user, Method: usr.MethodX509, Address: "192.0.2.1", UserCreated: at, Era: 2, Certificates: [][]byte{{1, 2}, {3}}},
		Began: at, Used: at,
	}
}

func sessionsOf(t *testing.T, s *registry.Store, user string) []string {
	t.Helper()
	ids := []string{}
	for one, err := range s.Sessions(t.Context(), user) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, one.User+" "+one.ID[60:])
	}
	return ids
}

// What one node begins, touches and ends, another one sees at once.
func TestSessions(t *testing.T) {
	db, master := mem.New(), fileMaster(t)
	s, other := newStore(t, db, master), newStore(t, db, master)
	want := aSession("alice", 1)
	for _, one := range []session.Session{want, aSession("alice", 2), aSession("alice.b", 3), aSession("alic", 4)} {
		if err := s.AddSession(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddSession(t.Context(), want); err == nil {
		t.Error("two sessions have one id")
	}
	got, err := other.Session(t.Context(), want.ID)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"alice 0001", "alice 0002"}, sessionsOf(t, other, "alice")); diff != "" {
		t.Errorf("of alice (-want +got):\n%s", diff)
	}
	if all := sessionsOf(t, other, ""); len(all) != 4 {
		t.Errorf("of all: %q", all)
	}
	later := want.Used.Add(time.Minute)
	if err := other.TouchSession(t.Context(), want.ID, later); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Session(t.Context(), want.ID); err != nil || !got.Used.Equal(later) || !got.Began.Equal(want.Began) {
		t.Errorf("touched: %+v, %v", got, err)
	}
	if err := other.EndSessions(t.Context(), want, aSession("nobody", 9)); err != nil {
		t.Fatal(err)
	}
	if err := s.TouchSession(t.Context(), want.ID, later); err != nil {
		t.Errorf("touching what is gone: %v", err)
	}
	if _, err := s.Session(t.Context(), want.ID); !errors.Is(err, session.ErrNone) {
		t.Errorf("ended: %v", err)
	}
	if diff := cmp.Diff([]string{"alice 0002"}, sessionsOf(t, s, "alice")); diff != "" {
		t.Errorf("of alice (-want +got):\n%s", diff)
	}
}

// between is a store that does something between a read and the next commit.
type between struct {
	store.Store
	do func()
}

func (b *between) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if do := b.do; do != nil {
		b.do = nil
		do()
	}
	return b.Store.Commit(ctx, tx)
}

// A touch on one node and an end on another: the end wins, though it comes
// between the two halves of the touch.
func TestTouchNeverRevives(t *testing.T) {
	db, master := &between{Store: mem.New()}, fileMaster(t)
	s, other := newStore(t, db, master), newStore(t, db.Store, master)
	one := aSession("alice", 1)
	if err := s.AddSession(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	db.do = func() {
		if err := other.EndSessions(t.Context(), one); err != nil {
			t.Error(err)
		}
	}
	if err := s.TouchSession(t.Context(), one.ID, one.Used.Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := s.Session(t.Context(), one.ID); !errors.Is(err, session.ErrNone) || db.do != nil {
		t.Errorf("the session lives: %v", err)
	}
}

// More sessions than one transaction takes.
func TestEndManySessions(t *testing.T) {
	s := newStore(t, mem.New(), fileMaster(t))
	var all []session.Session
	for n := range 130 {
		all = append(all, aSession("alice", n))
		if err := s.AddSession(t.Context(), all[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.EndSessions(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	if left := sessionsOf(t, s, ""); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
}

// Each time that a user is disabled another era begins, and enabling it does
// not bring the former one back.
func TestEra(t *testing.T) {
	s := newStore(t, mem.New(), fileMaster(t))
	p := create(t, s, "system/usr/alice")
	for _, tt := range []struct {
		keyword string
		want    int
	}{{"ou=x", 0}, {"disabled=true", 1}, {"disabled=yes", 1}, {"disabled=false", 1}, {"disabled=true", 2}, {"grant=guest", 2}} {
		o, err := s.Get(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Configure(t.Context(), p, o.Revision, config(t, p, tt.keyword)); err != nil {
			t.Fatal(err)
		}
		if u, err := s.User(t.Context(), "alice"); err != nil || u.Era != tt.want {
			t.Errorf("after %s: era %d, %v, want %d", tt.keyword, u.Era, err, tt.want)
		}
	}
}

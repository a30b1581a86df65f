package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/usr"
	"omca/usr/token"
)

// epoch is the time of the stores of the tests.
func epoch() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }

func tokenStore(t *testing.T) (*registry.Store, store.Store) {
	t.Helper()
	db := mem.New()
	return newStore(t, db, fileMaster(t)), db
}

// keep records a token of a subject that expires then; zero is never.
func keep(t *testing.T, s *registry.Store, id, subject string, expires time.Time) token.Record {
	t.Helper()
	r := token.Record{
		ID: id, Subject: subject, Use: token.Access, Grant: "admin:ns1", Roles: []string{"api"}, Audience: []string{"omca:x"},
		IssuedAt: epoch(), ExpiresAt: expires, By: "root", Method: usr.MethodSocket,
	}
	if err := s.RecordToken(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func ids(t *testing.T, s *registry.Store, q token.Query) string {
	t.Helper()
	var all []string
	for l, err := range s.Tokens(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l.ID)
	}
	return strings.Join(all, " ")
}

func TestTokenRecords(t *testing.T) {
	s, _ := tokenStore(t)
	ctx := t.Context()
	never := keep(t, s, "never", "bob", time.Time{})
	late := keep(t, s, "late", "alice", epoch().Add(2*time.Hour))
	soon := keep(t, s, "soon", "alice", epoch().Add(time.Hour))
	keep(t, s, "alike", "alice2", epoch().Add(time.Hour)) // whose name begins the same
	cursor := fmt.Sprintf("%010x/soon", soon.ExpiresAt.Unix())
	for want, q := range map[string]token.Query{
		"alike soon late never": {},
		"soon late":             {Subject: "alice"},
		"never":                 {Subject: "bob"},
		"":                      {Subject: "nobody"},
		"late never":            {After: cursor},
		"late":                  {Subject: "alice", After: cursor},
	} {
		if got := ids(t, s, q); got != want {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	for _, want := range []token.Record{never, late} {
		got, err := s.Token(ctx, want.ID)
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: %+v, %v, want %+v", want.ID, got, err, want)
		}
	}
	if _, err := s.Token(ctx, "other"); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("unknown id: %v, want ErrNotFound", err)
	}
	if err := s.RecordToken(ctx, late); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("the same id again: %v, want ErrConflict", err)
	}
	for _, bad := range []token.Record{{ID: "a/b", Subject: "alice"}, {ID: "", Subject: "alice"}, {ID: "x", Subject: "../x"}} {
		if err := s.RecordToken(ctx, bad); !errors.Is(err, usr.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", bad, err)
		}
	}
}

func TestTokenRevocation(t *testing.T) {
	s, _ := tokenStore(t)
	ctx := t.Context()
	var all []token.Record
	for i := range 250 { // more than one transaction takes
		all = append(all, keep(t, s, fmt.Sprintf("id%03d", i), "alice", epoch().Add(time.Hour)))
	}
	if s.Revoked("id000") {
		t.Error("revoked before it was")
	}
	if err := s.RevokeTokens(ctx, all, "bob", epoch().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if !s.Revoked(r.ID) {
			t.Fatalf("%s is not known as revoked when the commit returned", r.ID)
		}
	}
	got, err := s.Token(ctx, "id249")
	if err != nil || got.RevokedBy != "bob" || !got.RevokedAt.Equal(epoch().Add(time.Minute)) {
		t.Errorf("record says %s by %q, %v", got.RevokedAt, got.RevokedBy, err)
	}
	if err := s.RevokeTokens(ctx, all[:1], "eve", epoch().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Token(ctx, "id000"); err != nil || got.RevokedBy != "bob" {
		t.Errorf("revoked again: by %q, %v: the first one stays", got.RevokedBy, err)
	}
}

// Other nodes of the cluster know what was revoked: one that follows as soon as the change is there, one that starts from the start.
func TestTokenRevocationElsewhere(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	here := newStore(t, db, m)
	there := newStore(t, db, m)
	r := keep(t, here, "one", "alice", epoch().Add(time.Hour))
	if err := here.RevokeTokens(t.Context(), []token.Record{r}, "bob", epoch()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); !there.Revoked("one"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other node does not know")
		}
	}
	if !newStore(t, db, m).Revoked("one") {
		t.Error("a node that starts does not know")
	}
	if _, err := here.SweepTokens(t.Context(), epoch().Add(2*time.Hour), 10); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); there.Revoked("one"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other node remembers what was swept")
		}
	}
}

func TestTokensOfTheDeleted(t *testing.T) {
	for name, end := range map[string]func(context.Context, *registry.Store, object.Path) error{
		"delete": func(ctx context.Context, s *registry.Store, p object.Path) error { return s.Delete(ctx, p) },
		"force": func(ctx context.Context, s *registry.Store, p object.Path) error {
			o, err := s.Get(ctx, p)
			if err != nil {
				return err
			}
			return s.Make(ctx, p, o.Revision, object.NewConfig(p))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := tokenStore(t)
			ctx := t.Context()
			p, err := object.UserPath("alice")
			if err == nil {
				err = s.Create(ctx, p, object.NewConfig(p))
			}
			if err != nil {
				t.Fatal(err)
			}
			keep(t, s, "hers", "alice", epoch().Add(time.Hour))
			keep(t, s, "expired", "alice", epoch().Add(-30*365*24*time.Hour)) // by a clock that is ahead, for all that is known
			keep(t, s, "his", "bob", epoch().Add(time.Hour))
			if err := s.Create(ctx, p, object.NewConfig(p)); !errors.Is(err, registry.ErrExists) {
				t.Fatalf("created twice: %v", err)
			}
			if s.Revoked("hers") {
				t.Error("revoked by a creation that failed")
			}
			if err := end(ctx, s, p); err != nil {
				t.Fatal(err)
			}
			if !s.Revoked("hers") || !s.Revoked("expired") || s.Revoked("his") {
				t.Errorf("revoked: hers %v, one that had expired %v, his %v", s.Revoked("hers"), s.Revoked("expired"), s.Revoked("his"))
			}
		})
	}
}

func TestSweepTokens(t *testing.T) {
	s, db := tokenStore(t)
	ctx := t.Context()
	before := count(t, db)
	var old []token.Record
	for i := range 60 {
		old = append(old, keep(t, s, fmt.Sprintf("old%02d", i), "alice", epoch().Add(time.Duration(i)*time.Second)))
	}
	keep(t, s, "new", "alice", epoch().Add(time.Hour))
	keep(t, s, "never", "alice", time.Time{})
	if err := s.RevokeTokens(ctx, old, "bob", epoch()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.SweepTokens(ctx, epoch().Add(time.Minute), 10); n != 10 || err != nil {
		t.Errorf("swept %d, %v, want the 10 asked for", n, err)
	}
	if n, err := s.SweepTokens(ctx, epoch().Add(time.Minute), 1000); n != 50 || err != nil {
		t.Errorf("swept %d, %v, want the 50 left", n, err)
	}
	if n, err := s.SweepTokens(ctx, epoch().Add(time.Minute), 1000); n != 0 || err != nil {
		t.Errorf("swept %d, %v, want nothing", n, err)
	}
	if got := ids(t, s, token.Query{}); got != "new never" {
		t.Errorf("left: %s", got)
	}
	if got := count(t, db); got != before+2*3+1 {
		t.Errorf("%d keys more in the store than before, want 6 and the note of what was swept", got-before)
	}
	for _, id := range []string{"old00", "old59"} {
		if recorded, err := s.Recorded(ctx, id); recorded || err != nil {
			t.Errorf("%s is on record: %v, %v", id, recorded, err)
		}
	}
	if recorded, err := s.Recorded(ctx, "new"); !recorded || err != nil {
		t.Errorf("what was not swept is on record: %v, %v", recorded, err)
	}
}

// TestSweepOnTwoNodes: two nodes that sweep at once sweep each record once, and nothing else.
func TestSweepOnTwoNodes(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	first, second := newStore(t, db, m), newStore(t, db, m)
	for i := range 400 {
		keep(t, first, fmt.Sprintf("old%03d", i), "alice", epoch().Add(time.Duration(i)*time.Second))
	}
	keep(t, first, "new", "alice", epoch().Add(time.Hour))
	type result struct {
		n   int
		err error
	}
	results := make(chan result, 2)
	for _, s := range []*registry.Store{first, second} {
		go func() {
			n, err := s.SweepTokens(t.Context(), epoch().Add(time.Hour), 1000)
			results <- result{n, err}
		}()
	}
	swept := 0
	for range 2 {
		r := <-results
		if r.err != nil && !errors.Is(r.err, ca.ErrConflict) {
			t.Error(r.err)
		}
		swept += r.n
	}
	if n, err := first.SweepTokens(t.Context(), epoch().Add(time.Hour), 1000); err != nil || swept+n != 400 {
		t.Errorf("swept %d and %d, %v, want 400 in all", swept, n, err)
	}
	if got := ids(t, first, token.Query{}); got != "new" {
		t.Errorf("left: %s", got)
	}
}

// TestSweptElsewhere: a sweep on another node ends what is remembered here of the records, and at no moment of it is a revoked token on
// record and not revoked.
func TestSweptElsewhere(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	here, there := newStore(t, db, m), newStore(t, db, m)
	ctx := t.Context()
	for i := range 50 {
		id := fmt.Sprintf("id%d", i)
		r, plain := keep(t, there, id, "alice", epoch().Add(time.Hour)), keep(t, there, id+"-plain", "alice", epoch().Add(time.Hour))
		for _, id := range []string{r.ID, plain.ID} {
			for range 2 { // read, and remembered
				if recorded, err := here.Recorded(ctx, id); !recorded || err != nil {
					t.Fatalf("%s is on record: %v, %v", id, recorded, err)
				}
			}
		}
		if err := here.RevokeTokens(ctx, []token.Record{r}, "root", epoch()); err != nil {
			t.Fatal(err)
		}
		swept := make(chan error, 1)
		go func() {
			_, err := there.SweepTokens(ctx, epoch().Add(2*time.Hour), 10)
			swept <- err
		}()
		for deadline := time.Now().Add(5 * time.Second); ; {
			revoked := here.Revoked(r.ID)
			recorded, err := here.Recorded(ctx, r.ID)
			if err != nil || recorded && !revoked {
				t.Fatalf("recorded %v, revoked %v, %v", recorded, revoked, err)
			}
			plainly, err := here.Recorded(ctx, plain.ID)
			if err != nil {
				t.Fatal(err)
			}
			if !revoked && !recorded && !plainly {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("swept elsewhere, and here: revoked %v, recorded %v, the other %v", revoked, recorded, plainly)
			}
		}
		if err := <-swept; err != nil {
			t.Fatal(err)
		}
	}
}

// TestSweptIsNotMadeAgain: a token of another profile has no id of its own, so that one that says the same would be the same. Its
// revocation outlives its record.
func TestSweptIsNotMadeAgain(t *testing.T) {
	s, _ := tokenStore(t)
	ctx := t.Context()
	r := token.Record{ID: "0123", Subject: "alice", Profile: "clustercockpit", Use: token.Access, IssuedAt: epoch(), ExpiresAt: epoch().Add(time.Hour), By: "root", Method: usr.MethodSocket}
	if err := s.RecordToken(ctx, r); err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeTokens(ctx, []token.Record{r}, "root", epoch()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.SweepTokens(ctx, epoch().Add(48*time.Hour), 10); n != 1 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	if recorded, err := s.Recorded(ctx, r.ID); recorded || err != nil {
		t.Errorf("on record: %v, %v", recorded, err)
	}
	if !s.Revoked(r.ID) {
		t.Error("the revocation went with the record")
	}
	if err := s.RecordToken(ctx, r); !errors.Is(err, ca.ErrConflict) || !s.Revoked(r.ID) {
		t.Errorf("made again: %v, want a conflict", err)
	}
}

// TestTokensOfOlderBuilds: what build e10a22b has stored of a token is enough for it to count.
func TestTokensOfOlderBuilds(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	newStore(t, db, m)
	const expiry, id = "006a65ccc0", "4PDJ7MWX4VIEPSGXMLLLTHA3JD"
	put := func(key, value string) store.Put { return store.Put{Key: key, Value: []byte(value)} }
	if _, err := view(t, db, m).Commit(t.Context(), store.Tx{Puts: []store.Put{
		put("token/"+expiry+"/"+id, `{"s":"alice","u":"access","g":"guest:ns1","a":["omca:x"],"t":1785000000,"e":1785055424,"b":"root","m":"ux"}`),
		put("token-id/"+id, expiry), put("token-of/alice//"+expiry+"/"+id, ""),
		put("token/ffffffffff/0123", `{"s":"bob","p":"clustercockpit","u":"access","r":["api"],"t":1785000000,"b":"root","m":"ux"}`),
		put("token-id/0123", "ffffffffff"), put("token-of/bob//ffffffffff/0123", ""),
		put("token-revoked/0123", `{"t":1785000001,"e":"ffffffffff","b":"root"}`),
	}}); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, db, m)
	for _, id := range []string{id, "0123"} {
		if recorded, err := s.Recorded(t.Context(), id); !recorded || err != nil {
			t.Errorf("%s is on record: %v, %v", id, recorded, err)
		}
	}
	if s.Revoked(id) || !s.Revoked("0123") {
		t.Errorf("revoked: %v and %v, want the second alone", s.Revoked(id), s.Revoked("0123"))
	}
	if got := ids(t, s, token.Query{Subject: "alice"}); got != id {
		t.Errorf("of alice: %q", got)
	}
}

// count is the number of keys in the store.
func count(t *testing.T, db store.Store) int {
	t.Helper()
	page, err := db.Scan(t.Context(), store.Range{})
	if err != nil || page.More {
		t.Fatalf("%v, more %v", err, page.More)
	}
	return len(page.Entries)
}

func TestTokenKeys(t *testing.T) {
	s, db := tokenStore(t)
	ctx := t.Context()
	if text, rev, err := s.LoadKeys(ctx); text != nil || rev != 0 || err != nil {
		t.Fatalf("of an empty store: %q, %d, %v", text, rev, err)
	}
	if err := s.SaveKeys(ctx, 0, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveKeys(ctx, 0, []byte("late")); !s.Conflict(err) {
		t.Errorf("made twice: %v, want a conflict", err)
	}
	text, rev, err := s.LoadKeys(ctx)
	if string(text) != "first" || err != nil {
		t.Fatalf("%q, %v", text, err)
	}
	if err := s.SaveKeys(ctx, rev, []byte("second")); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveKeys(ctx, rev, []byte("late")); !s.Conflict(err) {
		t.Errorf("saved over another: %v, want a conflict", err)
	}
	e, err := db.Get(ctx, "key/system/sec/jwt/keys")
	if err != nil || strings.Contains(string(e.Value), "second") {
		t.Errorf("the keys are in the store in clear, %v", err)
	}
}

func TestTokenSettings(t *testing.T) {
	s, _ := tokenStore(t)
	ctx := t.Context()
	create(t, s, "cluster", "cluster.id=0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a", "token.issuer=https://vip.clu:1215", "token.max_age=2h", "cluster.max_tokens=7")
	want := token.Settings{Issuer: "https://vip.clu:1215", Audience: "omca:0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a", MaxAge: 2 * time.Hour, Living: 7}
	for range 2 { // read, and kept
		if got, err := s.TokenSettings(ctx); got != want || err != nil {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
}

// TestNoTokenOfTheDisabled: one that was asked for while its subject was disabled
// is not kept, or it would count when the subject is enabled again.
func TestNoTokenOfTheDisabled(t *testing.T) {
	s, _ := tokenStore(t)
	ctx := t.Context()
	for _, name := range []string{"alice", "root"} {
		p := path(t, "system/usr/"+name)
		config := object.NewConfig(p)
		if err := s.Create(ctx, p, config); err != nil && !errors.Is(err, ca.ErrConflict) {
			t.Fatal(err)
		}
		o, err := s.Get(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		next, _, err := o.Config.Apply(object.Update{Set: must(t, "disabled=true")})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Configure(ctx, p, o.Revision, next); err != nil {
			t.Fatal(err)
		}
	}
	r := token.Record{ID: "late", Subject: "alice", Use: token.Access, IssuedAt: epoch(), ExpiresAt: epoch().Add(time.Hour), By: "alice", Method: usr.MethodPassword}
	for _, method := range []usr.Method{usr.MethodPassword, usr.MethodX509, usr.MethodSession, usr.MethodToken} {
		r.Method = method
		if err := s.RecordToken(ctx, r); !errors.Is(err, usr.ErrDenied) {
			t.Errorf("by %s: %v", method, err)
		}
	}
	r.By, r.Method = "root", usr.MethodSocket
	if err := s.RecordToken(ctx, r); !errors.Is(err, usr.ErrDenied) {
		t.Errorf("root for alice: %v", err)
	}
	r.Subject = "root" // the user, disabled too
	if err := s.RecordToken(ctx, r); !errors.Is(err, usr.ErrDenied) {
		t.Errorf("root for the user root: %v", err)
	}
	r.Subject = usr.MachineRoot // it needs no user
	if err := s.RecordToken(ctx, r); err != nil {
		t.Errorf("the machine's root for itself: %v", err)
	}
}

// TestMachineTokens: the tokens of the machine's root are not those of the user of its
// name, also where an earlier build kept them under that name.
func TestMachineTokens(t *testing.T) {
	s, _ := tokenStore(t)
	ctx := t.Context()
	expires := epoch().Add(time.Hour)
	keep(t, s, "earlier", "root", expires) // by root, on the socket, when there was no user root
	keep(t, s, "machine", usr.MachineRoot, expires)
	if err := s.RecordToken(ctx, token.Record{ID: "bad", Subject: "ux:bob", Use: token.Access, IssuedAt: epoch(), ExpiresAt: expires}); err == nil {
		t.Error("a token was kept of a name that nobody has")
	}
	p := path(t, "system/usr/root")
	if err := s.Create(ctx, p, object.NewConfig(p)); err != nil {
		t.Fatal(err)
	}
	user := token.Record{ID: "user", Subject: "root", Use: token.Access, IssuedAt: epoch(), ExpiresAt: expires, By: "root", Method: usr.MethodPassword}
	if err := s.RecordToken(ctx, user); err != nil {
		t.Fatal(err)
	}
	for want, q := range map[string]token.Query{
		"earlier machine user": {},
		"machine":              {Subject: usr.MachineRoot},
		"user":                 {Subject: "root"},
	} {
		if got := ids(t, s, q); got != want {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	for _, id := range []string{"earlier", "machine"} {
		r, err := s.Token(ctx, id)
		if err != nil || r.Subject != usr.MachineRoot {
			t.Errorf("%s: %+v, %v", id, r, err)
		}
	}
	if err := s.Delete(ctx, p); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"earlier": false, "machine": false, "user": true} {
		if got := s.Revoked(id); got != want {
			t.Errorf("%s was taken back with the user root: %v", id, got)
		}
	}
	if n, err := s.SweepTokens(ctx, epoch().Add(2*time.Hour), 10); err != nil || n != 3 || ids(t, s, token.Query{}) != "" {
		t.Errorf("swept %d, %v", n, err)
	}
}

func must(t *testing.T, text string) []object.Expr {
	t.Helper()
	exprs, err := object.ParseExprs([]string{text})
	if err != nil {
		t.Fatal(err)
	}
	return exprs
}

// TestCountTokens: those that have not expired count, of one subject, and those that
// were taken back do not live. Room is when fewer than the bound live.
func TestCountTokens(t *testing.T) {
	s, _ := tokenStore(t)
	ctx := t.Context()
	for _, name := range []string{"alice", "bob"} {
		create(t, s, "system/usr/"+name)
	}
	add := func(id, subject string, expires time.Time) token.Record {
		t.Helper()
		r := token.Record{ID: id, Subject: subject, Use: token.Access, IssuedAt: epoch(), ExpiresAt: expires, By: subject, Method: usr.MethodPassword}
		if err := s.RecordToken(ctx, r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	add("expired", "alice", epoch())
	for i := range 5 {
		add(fmt.Sprintf("a%d", i), "alice", epoch().Add(time.Duration(i+1)*time.Minute))
	}
	add("other", "bob", epoch().Add(time.Hour))
	for most, want := range map[int]token.Count{
		9: {Living: 5, Recorded: 5},
		5: {Living: 5, Recorded: 5, Room: epoch().Add(time.Minute)},
		3: {Living: 5, Recorded: 5, Room: epoch().Add(3 * time.Minute)},
	} {
		if got, err := s.CountTokens(ctx, "alice", epoch(), most); err != nil || got.Living != want.Living || got.Recorded != want.Recorded || !got.Room.Equal(want.Room) {
			t.Errorf("%d at most: %+v, %v, want %+v", most, got, err, want)
		}
	}
	gone := add("gone", "alice", epoch().Add(30*time.Second))
	if err := s.RevokeTokens(ctx, []token.Record{gone}, "alice", epoch()); err != nil {
		t.Fatal(err)
	}
	add("ever", "alice", time.Time{})
	if got, err := s.CountTokens(ctx, "alice", epoch(), 1); err != nil || got.Living != 6 || got.Recorded != 7 || !got.Room.IsZero() {
		t.Errorf("with one that was taken back and one that never expires: %+v, %v", got, err)
	}
}

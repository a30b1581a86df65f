package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/internal/store/storetest"
)

func fileMaster(t *testing.T) seal.Master {
	t.Helper()
	m, err := seal.CreateFileMaster(filepath.Join(t.TempDir(), "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// newStore opens objects on db and follows its changes until the test ends.
func newStore(t *testing.T, db store.Store, m seal.Master) *registry.Store {
	t.Helper()
	s, err := registry.OpenStore(t.Context(), registry.StoreConfig{
		Store: db, Master: m, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, storetest.ErrFault) {
			t.Errorf("the watch ended with %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

// view returns a store as those see it who write it: values without their tags.
func view(t *testing.T, db store.Store, m seal.Master) store.Store {
	t.Helper()
	v, err := registry.Authentic(t.Context(), db, m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func path(t *testing.T, s string) object.Path {
	t.Helper()
	p, err := object.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func config(t *testing.T, p object.Path, keywords ...string) object.Config {
	t.Helper()
	set, err := object.ParseExprs(keywords)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := object.NewConfig(p).Apply(object.Update{Set: set})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t *testing.T, s *registry.Store, name string, keywords ...string) object.Path {
	t.Helper()
	p := path(t, name)
	if err := s.Create(t.Context(), p, config(t, p, keywords...)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestObjectsComeAndGo(t *testing.T) {
	s := newStore(t, mem.New(), fileMaster(t))
	p := create(t, s, "ns1/sec/web", "cn=web.example.com")
	if err := s.Create(t.Context(), p, object.NewConfig(p)); !errors.Is(err, registry.ErrExists) {
		t.Errorf("a second create: %v, want ErrExists", err)
	}
	o, err := s.Get(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if cn, _ := o.Config.Get("cn"); cn != "web.example.com" {
		t.Errorf("cn %q", cn)
	}
	if err := s.Configure(t.Context(), p, o.Revision, config(t, p, "cn=www.example.com")); err != nil {
		t.Fatal(err)
	}
	if err := s.Configure(t.Context(), p, o.Revision, config(t, p)); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("a change of what moved on: %v, want a conflict", err)
	}
	if o, _ = s.Get(t.Context(), p); o.Config.Settings()[0].Value != "www.example.com" {
		t.Errorf("config %v", o.Config.Settings())
	}
	if err := s.Edit(t.Context(), p, []registry.Edit{{Action: registry.Add, Name: "a/b", Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), p); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("after delete: %v", err)
	}
	create(t, s, "ns1/sec/web")
	if _, err := s.Value(t.Context(), p, "a/b"); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("a key outlived its object: %v", err)
	}
}

func TestList(t *testing.T) {
	s := newStore(t, mem.New(), fileMaster(t))
	for _, name := range []string{"ns1/sec/a", "ns1/cfg/b", "ns2/sec/c", "system/usr/d"} {
		create(t, s, name)
	}
	for selector, want := range map[string]string{
		"*/sec/*":              "ns1/sec/a ns2/sec/c",
		"ns1/**,system/usr/*":  "ns1/cfg/b ns1/sec/a system/usr/d",
		"ns2/sec/c":            "ns2/sec/c",
		"ns3/sec/*":            "",
		"system/usr/d,*/usr/*": "system/usr/d",
	} {
		sel, err := object.ParseSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		paths, err := s.List(t.Context(), sel)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range paths {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", selector, got, want)
		}
	}
	for namespace, want := range map[string]bool{"ns1": true, "ns": false, "ns3": false} {
		if got, err := s.HasNamespace(t.Context(), namespace); err != nil || got != want {
			t.Errorf("HasNamespace(%s) = %v, %v", namespace, got, err)
		}
	}
}

func TestEdit(t *testing.T) {
	s := newStore(t, mem.New(), fileMaster(t))
	p := create(t, s, "ns1/sec/web")
	binary := []byte{0, 1, 0xff, '\n', 0}
	edit := func(edits ...registry.Edit) error { return s.Edit(t.Context(), p, edits) }
	value := func(name string) []byte {
		t.Helper()
		v, err := s.Value(t.Context(), p, name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if err := edit(registry.Edit{Action: registry.Add, Name: "one", Value: binary}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(value("one"), binary) {
		t.Errorf("value %q", value("one"))
	}
	if err := edit(registry.Edit{Action: registry.Rename, Name: "one", To: "two"}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(value("two"), binary) {
		t.Errorf("renamed value %q", value("two"))
	}
	if err := edit(registry.Edit{Action: registry.PutKey, Name: "empty"}); err != nil || len(value("empty")) != 0 {
		t.Errorf("an empty value: %v", err)
	}
	big := bytes.Repeat([]byte{7}, registry.MaxKeySize)
	if err := edit(registry.Edit{Action: registry.Add, Name: "big", Value: big}); err != nil || !bytes.Equal(value("big"), big) {
		t.Errorf("a value of %d bytes: %v", len(big), err)
	}

	before, err := s.Get(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		edit registry.Edit
		want error
	}{
		{"add what is there", registry.Edit{Action: registry.Add, Name: "two"}, registry.ErrExists},
		{"change what is not", registry.Edit{Action: registry.Change, Name: "none"}, ca.ErrNotFound},
		{"rename what is not", registry.Edit{Action: registry.Rename, Name: "none", To: "x"}, ca.ErrNotFound},
		{"rename onto another", registry.Edit{Action: registry.Rename, Name: "two", To: "big"}, registry.ErrExists},
		{"too large", registry.Edit{Action: registry.PutKey, Name: "x", Value: append(big, 1)}, registry.ErrKeyTooLarge},
		{"no name", registry.Edit{Action: registry.PutKey}, ca.ErrInvalid},
		{"a long name", registry.Edit{Action: registry.PutKey, Name: strings.Repeat("n", 256)}, ca.ErrInvalid},
		{"climbing", registry.Edit{Action: registry.PutKey, Name: "../x"}, ca.ErrInvalid},
		{"absolute", registry.Edit{Action: registry.PutKey, Name: "/x"}, ca.ErrInvalid},
		{"control character", registry.Edit{Action: registry.PutKey, Name: "a\nb"}, ca.ErrInvalid},
		{"not UTF-8", registry.Edit{Action: registry.PutKey, Name: "a\xff"}, ca.ErrInvalid},
		{"kept for imports", registry.Edit{Action: registry.PutKey, Name: "pending/certificate"}, ca.ErrInvalid},
		{"unknown action", registry.Edit{Action: "swap", Name: "two"}, ca.ErrInvalid},
	} {
		// The good edit in front must not survive the bad one.
		err := edit(registry.Edit{Action: registry.PutKey, Name: "fresh"}, tt.edit)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	if after, _ := s.Get(t.Context(), p); after.Revision != before.Revision {
		t.Error("a refused edit changed the object")
	}
	if err := edit(registry.Edit{Action: registry.Remove, Name: "two"}, registry.Edit{Action: registry.Remove, Name: "none"}); err != nil {
		t.Errorf("removing, also what is not there: %v", err)
	}
	if _, err := s.Value(t.Context(), p, "two"); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("a removed key: %v", err)
	}
}

// Values of sec and usr are nowhere in the store as they are, and one that is
// moved to another key does not open.
func TestSealedAtRest(t *testing.T) {
	db, master := mem.New(), fileMaster(t)
	s := newStore(t, db, master)
	secret := []byte("correct horse battery staple")
	paths := []object.Path{create(t, s, "ns1/sec/a"), create(t, s, "ns1/sec/b"), create(t, s, "system/usr/u")}
	for _, p := range paths {
		if err := s.Edit(t.Context(), p, []registry.Edit{{Action: registry.Add, Name: "k", Value: secret}}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := db.Scan(t.Context(), store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Entries {
		if bytes.Contains(e.Value, secret[:8]) {
			t.Errorf("%s holds the secret in the clear", e.Key)
		}
	}
	stolen, err := db.Get(t.Context(), "key/ns1/sec/a/k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: "key/ns1/sec/b/k", Value: stolen.Value}}}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Value(t.Context(), paths[1], "k"); err == nil {
		t.Errorf("a value moved to another key opened: %q", v)
	}
	if _, err := registry.OpenStore(t.Context(), registry.StoreConfig{
		Store: db, Master: fileMaster(t), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}); err == nil {
		t.Error("the store opened with another master key")
	}
	again := newStore(t, db, master)
	if v, err := again.Value(t.Context(), paths[0], "k"); err != nil || !bytes.Equal(v, secret) {
		t.Errorf("after reopening: %q, %v", v, err)
	}
}

// A commit returns once this process has seen it: whoever wrote reads it back,
// however many write at once, and whoever is told of changes has been told.
func TestReadYourOwnWrites(t *testing.T) {
	db := mem.New()
	s, err := registry.OpenStore(t.Context(), registry.StoreConfig{Store: db, Master: fileMaster(t), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	told := make(map[object.Path]int)
	s.OnChange(func(p object.Path) {
		mu.Lock()
		defer mu.Unlock()
		told[p]++
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()

	var writers sync.WaitGroup
	for i := range 8 {
		p := path(t, fmt.Sprintf("ns1/cfg/c%d", i))
		writers.Go(func() {
			if err := s.Create(t.Context(), p, object.NewConfig(p)); err != nil {
				t.Error(err)
				return
			}
			for n := range 20 {
				want := fmt.Appendf(nil, "%d", n)
				if err := s.Edit(t.Context(), p, []registry.Edit{{Action: registry.PutKey, Name: "k", Value: want}}); err != nil {
					t.Error(err)
					return
				}
				o, err := s.Get(t.Context(), p)
				if err != nil || o.Keys[0].Size != len(want) {
					t.Errorf("read back %+v, %v", o.Keys, err)
				}
				mu.Lock()
				if told[p] != n+2 {
					t.Errorf("%s: told %d times after %d commits", p, told[p], n+2)
				}
				mu.Unlock()
			}
		})
	}
	writers.Wait()

	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
	p := path(t, "ns1/cfg/late")
	if err := s.Create(t.Context(), p, object.NewConfig(p)); err == nil {
		t.Error("a commit that this process cannot see returned as if it had")
	}
}

// Somebody else's change to the store is seen, though this process had read
// the object before.
func TestFollowsOthers(t *testing.T) {
	db, master := mem.New(), fileMaster(t)
	mine := newStore(t, db, master)
	theirs := newStore(t, db, master)
	p := create(t, mine, "system/usr/alice", "grant=guest:ns1")
	if u, err := theirs.User(t.Context(), "alice"); err != nil || u.Grants.String() != "guest:ns1" {
		t.Fatalf("%+v, %v", u, err)
	}
	o, err := theirs.Get(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Configure(t.Context(), p, o.Revision, config(t, p, "grant=admin:ns1", "disabled=true")); err != nil {
		t.Fatal(err)
	}
	// A commit of mine is behind theirs: once it returns, theirs was seen.
	create(t, mine, "ns1/cfg/after")
	u, err := mine.User(t.Context(), "alice")
	if err != nil || u.Grants.String() != "admin:ns1" || !u.Disabled {
		t.Errorf("%+v, %v", u, err)
	}
}

// Made from nothing: what was there goes in the same commit, or nothing does.
func TestMakeReplacesWhole(t *testing.T) {
	s := newStore(t, mem.New(), fileMaster(t))
	p := create(t, s, "ns1/sec/web", "cn=old.example.com")
	if err := s.Edit(t.Context(), p, []registry.Edit{{Action: registry.Add, Name: "k", Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Make(t.Context(), p, 0, config(t, p)); !errors.Is(err, registry.ErrExists) {
		t.Errorf("made although it is there: %v", err)
	}
	before, err := s.Get(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Make(t.Context(), p, before.Revision-1, config(t, p)); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("made on another revision: %v", err)
	}
	if _, err := s.Value(t.Context(), p, "k"); err != nil {
		t.Errorf("a refused making took a key: %v", err)
	}
	if err := s.Make(t.Context(), p, before.Revision, config(t, p, "cn=new.example.com")); err != nil {
		t.Fatal(err)
	}
	after, err := s.Get(t.Context(), p)
	if err != nil || len(after.Keys) != 0 || after.Config.Settings()[0].Value != "new.example.com" {
		t.Errorf("%+v, %v", after, err)
	}
	if _, err := s.Value(t.Context(), p, "k"); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("a key of the old one: %v", err)
	}
}

// contested is a store in which somebody else is quicker, so many times: before an
// object is deleted it changes.
type contested struct {
	store.Store
	times int
}

func (c *contested) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if len(tx.Deletes) > 0 && c.times > 0 {
		c.times--
		e, err := c.Get(ctx, tx.Deletes[0])
		if err != nil {
			return 0, err
		}
		if _, err := c.Store.Commit(ctx, store.Tx{Puts: []store.Put{{Key: e.Key, Value: e.Value}}}); err != nil {
			return 0, err
		}
	}
	return c.Store.Commit(ctx, tx)
}

// An object that is changed while it is deleted is deleted all the same. When
// that never ends, the conflict says nothing of how things are kept.
func TestDeleteBesideChanges(t *testing.T) {
	db := &contested{Store: mem.New()}
	s := newStore(t, db, fileMaster(t))
	p := create(t, s, "ns1/cfg/app")
	db.times = 2
	if err := s.Delete(t.Context(), p); err != nil {
		t.Errorf("beside two changes: %v", err)
	}
	create(t, s, "ns1/cfg/app")
	db.times = 100
	err := s.Delete(t.Context(), p)
	if !errors.Is(err, ca.ErrConflict) || strings.Contains(err.Error(), "obj/") || strings.Contains(err.Error(), "revision") {
		t.Errorf("beside changes without an end: %v", err)
	}
}

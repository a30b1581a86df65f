package registry_test

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"omca/ca"
	"omca/crl"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/pki"
	"omca/usr"
	"omca/usr/token"
)

// touch changes an object in a way that no decision looks at.
func touch(t *testing.T, s *registry.Store, p object.Path, mark string) {
	t.Helper()
	if err := tryTouch(t, s, p, mark); err != nil {
		t.Fatal(err)
	}
}

func tryTouch(t *testing.T, s *registry.Store, p object.Path, mark string) error {
	o, err := s.Get(t.Context(), p)
	if err != nil {
		return err
	}
	keyword := "comment="
	if p == object.ClusterPath() {
		keyword = "cluster.nodes=n"
	}
	set, err := object.ParseExprs([]string{keyword + mark})
	if err != nil {
		return err
	}
	next, _, err := o.Config.Apply(object.Update{Set: set})
	if err != nil {
		return err
	}
	return s.Configure(t.Context(), p, o.Revision, next)
}

// peopled is a store with a cluster, a user, a session of hers, and what else decisions look at.
func peopled(t *testing.T) (*registry.Store, store.Store) {
	t.Helper()
	db := mem.New()
	s := newStore(t, db, fileMaster(t))
	create(t, s, "cluster", "cluster.name=clu", "cluster.id=0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a")
	create(t, s, "system/usr/alice", "grant=admin:ns1")
	create(t, s, "ns1/sec/web")
	if err := errors.Join(s.AddSession(t.Context(), aSession("alice", 1)), s.SaveKeys(t.Context(), 0, []byte("keys"))); err != nil {
		t.Fatal(err)
	}
	return s, db
}

const aKeyID, aSerial = "00ff", pki.Serial("0123")

func revocationOf(serial pki.Serial) ca.Revocation {
	return ca.Revocation{Authority: aKeyID, Revocation: crl.Revocation{Entry: crl.Entry{Serial: serial, At: epoch()}, NotAfter: epoch()}}
}

// TestEveryReadIsNoted: whatever is read for a decision, a commit fails when it has changed since, and the action
// is run again.
func TestEveryReadIsNoted(t *testing.T) {
	alice, web := path(t, "system/usr/alice"), path(t, "ns1/sec/web")
	type reader struct {
		read   func(context.Context, *registry.Store) error
		change func(*testing.T, *registry.Store)
	}
	readers := map[string]reader{}
	on := func(p object.Path, reads map[string]func(context.Context, *registry.Store) error) {
		for name, read := range reads {
			readers[name] = reader{read, func(t *testing.T, s *registry.Store) { touch(t, s, p, "meanwhile") }}
		}
	}
	on(alice, map[string]func(context.Context, *registry.Store) error{
		"object": func(ctx context.Context, s *registry.Store) error { _, err := s.Get(ctx, alice); return err },
		"user":   func(ctx context.Context, s *registry.Store) error { _, err := s.User(ctx, "alice"); return err },
		"holder": func(ctx context.Context, s *registry.Store) error {
			_, err := s.Holder(ctx, alice.String())
			return err
		},
		"password": func(ctx context.Context, s *registry.Store) error { _, err := s.PasswordHash(ctx, "alice"); return err },
	})
	on(object.ClusterPath(), map[string]func(context.Context, *registry.Store) error{
		"cluster": func(ctx context.Context, s *registry.Store) error { _, err := s.Cluster(ctx); return err },
		"guard":   func(ctx context.Context, s *registry.Store) error { _, err := s.Guard(ctx); return err },
		"tokens":  func(ctx context.Context, s *registry.Store) error { _, err := s.TokenSettings(ctx); return err },
	})
	on(object.JWTPath(), map[string]func(context.Context, *registry.Store) error{
		"token keys": func(ctx context.Context, s *registry.Store) error { _, _, err := s.LoadKeys(ctx); return err },
	})
	readers["absent object"] = reader{
		func(ctx context.Context, s *registry.Store) error {
			if _, err := s.User(ctx, "bob"); !errors.Is(err, ca.ErrNotFound) {
				return err
			}
			return nil
		},
		func(t *testing.T, s *registry.Store) { create(t, s, "system/usr/bob") },
	}
	readers["session"] = reader{
		func(ctx context.Context, s *registry.Store) error {
			_, err := s.Session(ctx, aSession("alice", 1).ID)
			return err
		},
		func(t *testing.T, s *registry.Store) {
			if err := s.EndSessions(t.Context(), aSession("alice", 1)); err != nil {
				t.Fatal(err)
			}
		},
	}
	readers["certificate that is not revoked"] = reader{
		func(ctx context.Context, s *registry.Store) error {
			if _, err := s.Revocation(ctx, aKeyID, aSerial); !errors.Is(err, ca.ErrNotFound) {
				return err
			}
			return nil
		},
		func(t *testing.T, s *registry.Store) {
			if err := s.Revoke(t.Context(), revocationOf(aSerial)); err != nil {
				t.Fatal(err)
			}
		},
	}
	readers["token that is not revoked"] = reader{
		func(ctx context.Context, s *registry.Store) error { _, err := s.TokenRevoked(ctx, "ABC"); return err },
		func(t *testing.T, s *registry.Store) {
			if err := s.RevokeTokens(t.Context(), []token.Record{{ID: "ABC"}}, "root", epoch()); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, tt := range readers {
		t.Run(name, func(t *testing.T) {
			s, db := peopled(t)
			tries := 0
			err := s.Decide(t.Context(), func(ctx context.Context) error {
				if err := tt.read(ctx, s); err != nil && tries == 0 {
					return err
				}
				if tries++; tries > 1 {
					return nil // it would be decided otherwise now
				}
				tt.change(t, s)
				before := everything(t, db)
				err := s.Edit(ctx, web, []registry.Edit{{Action: registry.PutKey, Name: "color", Value: []byte("red")}})
				if !errors.Is(err, ca.ErrOvertaken) || !errors.Is(err, ca.ErrConflict) {
					t.Errorf("committed on what had changed: %v", err)
				}
				if !maps.Equal(before, everything(t, db)) {
					t.Error("something was written")
				}
				return err
			})
			if err != nil || tries != 2 {
				t.Errorf("%d tries, %v", tries, err)
			}
		})
	}
}

// TestEveryCommitExpects: no door of the store writes for a decision that does not stand.
func TestEveryCommitExpects(t *testing.T) {
	alice, web := path(t, "system/usr/alice"), path(t, "ns1/sec/web")
	for name, commit := range map[string]func(context.Context, *testing.T, *registry.Store) error{
		"create": func(ctx context.Context, t *testing.T, s *registry.Store) error {
			p := path(t, "ns1/cfg/new")
			return s.Create(ctx, p, object.NewConfig(p))
		},
		"configure": func(ctx context.Context, t *testing.T, s *registry.Store) error {
			o, err := s.Get(ctx, web)
			if err != nil {
				return err
			}
			return s.Configure(ctx, web, o.Revision, config(t, web, "cn=x"))
		},
		"edit": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			return s.Edit(ctx, web, []registry.Edit{{Action: registry.Add, Name: "k", Value: []byte("v")}})
		},
		"make with keys": func(ctx context.Context, t *testing.T, s *registry.Store) error {
			p := path(t, "ns1/cfg/new")
			return s.MakeWith(ctx, p, object.NewConfig(p), []registry.Edit{{Action: registry.Add, Name: "k", Value: []byte("v")}})
		},
		"delete": func(ctx context.Context, _ *testing.T, s *registry.Store) error { return s.Delete(ctx, web) },
		"certificate set": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			h, err := s.Holder(ctx, web.String())
			if err != nil {
				return err
			}
			return s.Commit(ctx, ca.Change{Path: web.String(), Revision: h.Revision, Put: map[string][]byte{ca.KeyPrivate: []byte("k")}})
		},
		"revoke": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			return s.Revoke(ctx, revocationOf(aSerial))
		},
		"record a token": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			return s.RecordToken(ctx, token.Record{ID: "ABC", Subject: "alice", Use: token.Access, IssuedAt: epoch(), ExpiresAt: epoch()})
		},
		"revoke tokens": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			return s.RevokeTokens(ctx, []token.Record{{ID: "ABC"}}, "root", epoch())
		},
		"token keys": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			return s.SaveKeys(ctx, 0, []byte("other"))
		},
		"add session": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			return s.AddSession(ctx, aSession("alice", 2))
		},
		"end session": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			return s.EndSessions(ctx, aSession("alice", 1))
		},
		"replace password": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			u, err := s.User(ctx, "alice")
			if err != nil {
				return err
			}
			hash, err := usr.ParsePasswordHash([]byte(aHash))
			if err != nil {
				return err
			}
			_, err = s.ReplacePassword(ctx, u, hash)
			return err
		},
		"ask a node": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			return s.Ask(ctx, registry.Task{Node: "node1", Do: registry.DoStop})
		},
		"token to join": func(ctx context.Context, _ *testing.T, s *registry.Store) error {
			return s.JoinTokens().Add(ctx, joinRecord("1", epoch()))
		},
		"confirm": func(ctx context.Context, _ *testing.T, s *registry.Store) error { return s.Confirm(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			s, db := peopled(t)
			if err := s.Edit(t.Context(), alice, []registry.Edit{{Action: registry.Add, Name: "password", Hash: parsedHash(t)}}); err != nil {
				t.Fatal(err)
			}
			done := errors.New("done")
			var before map[string]string
			err := s.Decide(t.Context(), func(ctx context.Context) error {
				if before != nil {
					return done
				}
				if _, err := s.Cluster(ctx); err != nil {
					return err
				}
				touch(t, s, object.ClusterPath(), "meanwhile")
				before = everything(t, db)
				err := commit(ctx, t, s)
				if !errors.Is(err, ca.ErrOvertaken) {
					t.Errorf("committed on a decision that does not stand: %v", err)
				}
				return err
			})
			if !errors.Is(err, done) || !maps.Equal(before, everything(t, db)) {
				t.Errorf("something was written, or the end is %v", err)
			}
		})
	}
}

const aHash = "$2a$04$KF0B2xUL7JYJQ6mVYXBcmOs0UWo5bRzWDVuGwp5WxDpPPLyfKv7i6"

func parsedHash(t *testing.T) usr.PasswordHash {
	t.Helper()
	hash, err := usr.ParsePasswordHash([]byte(aHash))
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// TestFirstNoteStands: a decision stands on the oldest that it has read, also when a later read saw more.
func TestFirstNoteStands(t *testing.T) {
	s, _ := peopled(t)
	web, tries := path(t, "ns1/sec/web"), 0
	err := s.Decide(t.Context(), func(ctx context.Context) error {
		tries++
		if _, err := s.User(ctx, "alice"); err != nil {
			return err
		}
		if tries == 1 {
			touch(t, s, path(t, "system/usr/alice"), "meanwhile")
		}
		if _, err := s.User(ctx, "alice"); err != nil { // as she is now
			return err
		}
		return s.Edit(ctx, web, []registry.Edit{{Action: registry.PutKey, Name: "tries", Value: []byte(strconv.Itoa(tries))}})
	})
	if v, _ := s.Value(t.Context(), web, "tries"); err != nil || string(v) != "2" {
		t.Errorf("committed at try %s, %v", v, err)
	}
}

// TestOwnWritesStand: an action does not trip over what it wrote itself, nor over what it does not stand on.
func TestOwnWritesStand(t *testing.T) {
	s, _ := peopled(t)
	web, tries := path(t, "ns1/sec/web"), 0
	edit := func(ctx context.Context, name string) error {
		return s.Edit(ctx, web, []registry.Edit{{Action: registry.Add, Name: name, Value: []byte("v")}})
	}
	err := s.Decide(t.Context(), func(ctx context.Context) error {
		tries++
		if _, err := s.Cluster(ctx); err != nil {
			return err
		}
		if err := errors.Join(edit(ctx, "first"), edit(ctx, "second")); err != nil {
			return err
		}
		touch(t, s, object.ClusterPath(), "meanwhile")
		if err := edit(registry.Undecided(ctx), "rest"); err != nil {
			t.Errorf("the rest of an action that was decided: %v", err)
		}
		return edit(ctx, "third")
	})
	if !errors.Is(err, ca.ErrOvertaken) || tries != 1 {
		t.Errorf("%d tries of what cannot be done twice, %v", tries, err)
	}
	if o, err := s.Get(t.Context(), web); err != nil || len(o.Keys) != 3 {
		t.Errorf("%+v, %v", o.Keys, err)
	}
}

// TestTakenAwayTwice: an action that has only taken something away is run again, and comes to its end although it
// is overtaken more often than an action that does not come further.
func TestTakenAwayTwice(t *testing.T) {
	s, _ := peopled(t)
	const all = 30
	err := s.Decide(t.Context(), func(ctx context.Context) error {
		if _, err := s.Cluster(ctx); err != nil {
			return err
		}
		for i := range all {
			serial := pki.Serial(strconv.Itoa(1000 + i))
			if _, err := s.Revocation(registry.Unnoted(ctx), aKeyID, serial); err == nil {
				continue
			}
			if err := s.Revoke(ctx, revocationOf(serial)); err != nil {
				return err
			}
			touch(t, s, object.ClusterPath(), string(serial))
		}
		return nil
	})
	n := 0
	for _, listed := range s.Revocations(t.Context(), aKeyID) {
		if listed == nil {
			n++
		}
	}
	if err != nil || n != all {
		t.Errorf("%d of %d are revoked, %v", n, all, err)
	}
}

// TestOwnConflictStays: what a commit itself expects is a conflict as before, and nothing is run again.
func TestOwnConflictStays(t *testing.T) {
	s, _ := peopled(t)
	tries := 0
	err := s.Decide(t.Context(), func(ctx context.Context) error {
		tries++
		if _, err := s.Cluster(ctx); err != nil {
			return err
		}
		return s.AddSession(ctx, aSession("alice", 1))
	})
	if !errors.Is(err, ca.ErrConflict) || errors.Is(err, ca.ErrOvertaken) || tries != 1 {
		t.Errorf("%d tries, %v", tries, err)
	}
}

// TestTriesAreBounded: what is overtaken each time ends, and says what to do.
func TestTriesAreBounded(t *testing.T) {
	s, db := peopled(t)
	tries := 0
	before := everything(t, db)["key/ns1/sec/web/color"]
	err := s.Decide(t.Context(), func(ctx context.Context) error {
		tries++
		if _, err := s.Cluster(ctx); err != nil {
			return err
		}
		touch(t, s, object.ClusterPath(), strconv.Itoa(tries))
		return s.Edit(ctx, path(t, "ns1/sec/web"), []registry.Edit{{Action: registry.PutKey, Name: "color", Value: []byte("red")}})
	})
	if !errors.Is(err, ca.ErrOvertaken) || tries < 5 || tries > 10 || hint.Of(err) == "" || strings.Contains(err.Error(), "revision") {
		t.Errorf("%d tries, %v, hint %q", tries, err, hint.Of(err))
	}
	if everything(t, db)["key/ns1/sec/web/color"] != before {
		t.Error("something was written")
	}
}

// TestTooMuchToExpect: a decision on more than a commit can expect is refused, and not cut.
func TestTooMuchToExpect(t *testing.T) {
	s, _ := peopled(t)
	err := s.Decide(t.Context(), func(ctx context.Context) error {
		for i := range store.MaxOps + 10 {
			if _, err := s.User(ctx, "u"+strconv.Itoa(i)); !errors.Is(err, ca.ErrNotFound) {
				t.Fatal(err)
			}
		}
		return s.Edit(ctx, path(t, "ns1/sec/web"), []registry.Edit{{Action: registry.PutKey, Name: "color", Value: []byte("red")}})
	})
	if !errors.Is(err, ca.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// TestNamespaceBeginsOnce: of two who find a namespace absent, on two nodes, one makes its first object.
func TestNamespaceBeginsOnce(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	nodes := []*registry.Store{newStore(t, db, m), newStore(t, db, m)}
	var found [2]int // how often each found it absent
	var looked sync.WaitGroup
	looked.Add(2)
	var all sync.WaitGroup
	for i, s := range nodes {
		all.Go(func() {
			first := true
			err := s.Decide(t.Context(), func(ctx context.Context) error {
				exists, err := s.HasNamespace(ctx, "lab")
				if first {
					first = false
					looked.Done()
					looked.Wait()
				}
				if err != nil || exists {
					return err
				}
				found[i]++
				p := path(t, "lab/cfg/of-"+strconv.Itoa(i))
				return s.Create(ctx, p, object.NewConfig(p))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	sel, err := object.ParseSelector("lab/**")
	if err != nil {
		t.Fatal(err)
	}
	if paths, err := nodes[0].List(t.Context(), sel); err != nil || len(paths) != 1 || found != [2]int{1, 1} {
		t.Errorf("%v were made by %v, %v", paths, found, err)
	}
}

// TestManyDeciders: many who decide on one object count in others, while its writers do not pause. Nothing is lost,
// and nobody is turned away.
func TestManyDeciders(t *testing.T) {
	s, _ := peopled(t)
	const writers, deciders, rounds = 4, 8, 15
	var stop atomic.Bool
	var busy, done sync.WaitGroup
	for range writers {
		busy.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if err := tryTouch(t, s, object.ClusterPath(), strconv.Itoa(n)); err != nil && !errors.Is(err, ca.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	p := create(t, s, "ns1/cfg/count", "env.n=0")
	for range deciders {
		done.Go(func() {
			for range rounds {
				if err := s.Decide(t.Context(), func(ctx context.Context) error { return countUp(ctx, t, s, p) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	stop.Store(true)
	busy.Wait()
	o, err := s.Get(t.Context(), p)
	if n, _ := o.Config.Get("env.n"); err != nil || n != strconv.Itoa(deciders*rounds) {
		t.Errorf("counted to %q, want %d, %v", n, deciders*rounds, err)
	}
}

// countUp decides on the cluster, and adds one to what the object at p says.
func countUp(ctx context.Context, t *testing.T, s *registry.Store, p object.Path) error {
	if _, err := s.Cluster(ctx); err != nil {
		return err
	}
	o, err := s.Get(ctx, p)
	if err != nil {
		return err
	}
	text, _ := o.Config.Get("env.n")
	n, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	next, _, err := o.Config.Apply(object.Update{Set: must(t, "env.n="+strconv.Itoa(n+1))})
	if err != nil {
		return err
	}
	return s.Configure(ctx, p, o.Revision, next)
}

// TestManyNodes: of a hundred changes of one object at the same moment, on three nodes, none is turned away.
func TestManyNodes(t *testing.T) {
	const nodes, writers = 3, 100
	db, m := mem.New(), fileMaster(t)
	var all [nodes]*registry.Store
	for i := range all {
		all[i] = sharedStore(t, db, m, nil)
	}
	create(t, all[0], "cluster", "cluster.name=clu")
	p := create(t, all[0], "ns1/cfg/count", "env.n=0")
	var done sync.WaitGroup
	for i := range writers {
		done.Go(func() {
			s := all[i%nodes]
			if err := s.Decide(t.Context(), func(ctx context.Context) error { return countUp(ctx, t, s, p) }); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	o, err := all[0].Get(t.Context(), p)
	if n, _ := o.Config.Get("env.n"); err != nil || n != strconv.Itoa(writers) {
		t.Errorf("counted to %q, want %d, %v", n, writers, err)
	}
}

package registry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/pki"
	"omca/usr/session"
	"omca/usr/token"
)

// kept is a store that has one of everything, as it lies below.
func kept(t *testing.T) (db *mem.Store, m seal.Master) {
	t.Helper()
	db, m = mem.New(), fileMaster(t)
	s := newStore(t, db, m)
	create(t, s, "cluster", "cluster.name=calm-otter", "cluster.id=0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a")
	create(t, s, "system/usr/alice", "grant=guest")
	p := create(t, s, "ns1/cfg/one", "comment=kept")
	if err := s.Edit(t.Context(), p, []registry.Edit{{Action: registry.Add, Name: "plain", Value: []byte("value")}}); err != nil {
		t.Fatal(err)
	}
	r := keep(t, s, "swept", "alice", epoch().Add(time.Hour))
	if err := s.RevokeTokens(t.Context(), []token.Record{r}, "root", epoch()); err != nil {
		t.Fatal(err)
	}
	if err := s.AddSession(t.Context(), session.Session{ID: "id", Login: session.Login{User: "alice"}}); err != nil {
		t.Fatal(err)
	}
	record(t, s, userRecord(t, "clu", "alice", "system/usr/alice"))
	for _, serial := range []pki.Serial{"01", "02"} {
		revoke(t, s, serial)
	}
	if _, err := s.ReserveList(t.Context(), pki.AuthorityID{7}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	return db, m
}

// revoke revokes a certificate, and blocks a key.
func revoke(t *testing.T, s *registry.Store, serial pki.Serial) {
	t.Helper()
	r := ca.Revocation{Authority: pki.AuthorityID{7}.String(), By: "root", Block: pki.KeyHash{serial[1]}}
	r.Serial, r.Reason, r.At, r.NotAfter = serial, crl.KeyCompromise, epoch(), epoch().Add(time.Hour)
	if err := s.Revoke(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// copied is a store with the same content, and other revisions.
func copied(t *testing.T, db store.Store) *mem.Store {
	t.Helper()
	to := mem.New()
	for key, value := range everything(t, db) {
		put(t, to, key, value)
	}
	return to
}

func put(t *testing.T, db store.Store, key, value string) {
	t.Helper()
	if _, err := db.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: key, Value: []byte(value)}}}); err != nil {
		t.Fatal(err)
	}
}

// reads opens objects on db, reads every key, and counts.
func reads(t *testing.T, db store.Store, m seal.Master, key string) (read, count error) {
	t.Helper()
	v := view(t, db, m)
	_, read = v.Get(t.Context(), key)
	page, err := v.Scan(t.Context(), store.Range{Prefix: key})
	if (err == nil) != (read == nil) || err == nil && len(page.Entries) == 0 {
		t.Errorf("%s: read %v, scanned %v", key, read, err)
	}
	s, err := registry.OpenStore(t.Context(), registry.StoreConfig{Store: db, Master: m, Log: slog.New(slog.DiscardHandler), Now: epoch})
	if err != nil {
		return read, err
	}
	miscounts, err := s.Miscounts(t.Context())
	if len(miscounts) > 0 {
		err = errors.New(miscounts[0].String())
	}
	return read, err
}

// TestEveryByteIsAuthentic: whatever is changed in a value below, wherever, it is refused, and named.
func TestEveryByteIsAuthentic(t *testing.T) {
	db, m := kept(t)
	kinds := map[string]bool{}
	for key, value := range everything(t, db) {
		if key == "sys/keyring" { // it is sealed: TestLoadKeyringRefuses
			continue
		}
		kind, _, _ := strings.Cut(key, "/")
		kinds[kind] = true
		for i := range len(value) {
			bad := []byte(value)
			bad[i] ^= 1 << (i % 8)
			forged := copied(t, db)
			put(t, forged, key, string(bad))
			if _, err := view(t, forged, m).Get(t.Context(), key); !errors.Is(err, registry.ErrForged) || !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), key) {
				t.Fatalf("%s with octet %d of %d changed: %v", key, i, len(value), err)
			}
		}
		for _, bad := range []string{"", value[:len(value)-24], value[:len(value)-1], value + "x"} {
			forged := copied(t, db)
			put(t, forged, key, bad)
			if _, err := view(t, forged, m).Scan(t.Context(), store.Range{}); !errors.Is(err, registry.ErrForged) {
				t.Errorf("%s with %d of %d octets: %v", key, len(bad), len(value), err)
			}
		}
	}
	for _, kind := range []string{"obj", "key", "cert", "serial", "owner", "revocation", "revocation-list", "blocked", "token", "token-id", "token-of", "token-revoked", "session", "sessionof", "sum", "sys"} {
		if !kinds[kind] {
			t.Errorf("no value under %s/ was tried", kind)
		}
	}
}

// TestMovedValues: a value under the key of another one is refused.
func TestMovedValues(t *testing.T) {
	db, m := kept(t)
	all := everything(t, db)
	for key, value := range all {
		for other := range all {
			if key == other || other == "sys/keyring" || key == "sys/keyring" {
				continue
			}
			moved := copied(t, db)
			put(t, moved, other, value)
			if _, err := view(t, moved, m).Get(t.Context(), other); !errors.Is(err, registry.ErrForged) {
				t.Fatalf("the value of %s at %s: %v", key, other, err)
			}
		}
	}
}

// TestForgedWatch: a value that another process puts into the store, and that has not its tag, ends the watch. It is told to nobody.
func TestForgedWatch(t *testing.T) {
	whole, m := kept(t)
	db := copied(t, whole)
	rev, err := db.Rev(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "obj/system/usr/alice", "{}")
	for change, err := range view(t, db, m).Watch(t.Context(), "", rev) {
		if !errors.Is(err, registry.ErrForged) || len(change.Events) > 0 {
			t.Errorf("%v, %v", change, err)
		}
		return
	}
	t.Error("the watch ended without a word")
}

// counted are the keys of which the absence, or an older value, is noticed.
func counted() map[string]string {
	return map[string]string{
		"revocation/" + pki.AuthorityID{7}.String() + "/01": "revocations of certificates",
		"blocked/" + pki.KeyHash{'1'}.String():              "blocked keys",
		"token-revoked/swept":                               "revocations of tokens",
		"obj/system/usr/alice":                              "users and the cluster",
		"obj/root/ccfg/cluster":                             "users and the cluster",
	}
}

// TestRemovedIsNoticed: what takes something away, or gives a right, does not vanish in silence; nor does the record that counts it.
func TestRemovedIsNoticed(t *testing.T) {
	db, m := kept(t)
	if _, err := reads(t, db, m, "obj/system/usr/alice"); err != nil {
		t.Fatalf("the whole store: %v", err)
	}
	for key, kind := range counted() {
		less := copied(t, db)
		if _, err := less.Commit(t.Context(), store.Tx{Deletes: []string{key}}); err != nil {
			t.Fatal(err)
		}
		if _, err := reads(t, less, m, "sys/origin"); err == nil || !strings.Contains(err.Error(), kind) {
			t.Errorf("without %s: %v", key, err)
		}
	}
	for _, kind := range []string{"revocation", "blocked", "token-revoked", "config"} {
		less := copied(t, db)
		if _, err := less.Commit(t.Context(), store.Tx{Deletes: []string{"sum/" + kind}}); err != nil {
			t.Fatal(err)
		}
		if _, err := reads(t, less, m, "sys/origin"); !errors.Is(err, registry.ErrForged) {
			t.Errorf("without the count of %s: %v", kind, err)
		}
	}
}

// TestPutBackIsNoticed: an earlier value of a key is genuine, and noticed all the same. So is the earlier count with the later value.
func TestPutBackIsNoticed(t *testing.T) {
	db, m := kept(t)
	before := everything(t, db)
	s := newStore(t, db, m)
	for _, p := range []string{"cluster", "system/usr/alice"} {
		one, err := s.Get(t.Context(), path(t, p))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Configure(t.Context(), path(t, p), one.Revision, one.Config); err != nil { // it says what it said, and is another value all the same
			t.Fatal(err)
		}
	}
	revoke(t, s, "03")
	if err := s.RevokeTokens(t.Context(), []token.Record{keep(t, s, "kept", "alice", epoch().Add(time.Hour))}, "root", epoch()); err != nil {
		t.Fatal(err)
	}
	after := everything(t, db)
	tried := 0
	for key, value := range before {
		if after[key] == value || !strings.HasPrefix(key, "sum/") && counted()[key] == "" {
			continue
		}
		tried++
		back := copied(t, db)
		put(t, back, key, value)
		read, err := reads(t, back, m, key)
		if read != nil || err == nil {
			t.Errorf("the earlier %s: read %v, counted %v", key, read, err)
		}
	}
	if tried != 6 {
		t.Errorf("%d values were put back", tried)
	}
	// A copy of all that is counted, with the counts, is whole in itself: the mark outside of the store tells (TestHomePutBack).
	back := copied(t, db)
	for key := range after {
		if counted()[key] != "" || strings.HasPrefix(key, "sum/") || strings.HasPrefix(key, "revocation/") || strings.HasPrefix(key, "blocked/") || strings.HasPrefix(key, "token-revoked/") {
			if _, err := back.Commit(t.Context(), store.Tx{Deletes: []string{key}}); err != nil {
				t.Fatal(err)
			}
			if value, was := before[key]; was {
				put(t, back, key, value)
			}
		}
	}
	if _, err := reads(t, back, m, "sys/origin"); err != nil {
		t.Errorf("all of it put back: %v", err)
	}
	older, newer := markOf(t, back, m), markOf(t, db, m)
	if got := older.Behind(newer); len(got) != 4 {
		t.Errorf("behind the mark: %q", got)
	}
	if got := newer.Behind(older); len(got) > 0 {
		t.Errorf("behind an older mark: %q", got)
	}
}

func markOf(t *testing.T, db store.Store, m seal.Master) registry.Mark {
	t.Helper()
	s, err := registry.OpenStore(t.Context(), registry.StoreConfig{Store: db, Master: m, Log: slog.New(slog.DiscardHandler), Now: epoch})
	if err != nil {
		t.Fatal(err)
	}
	mark, err := s.MarkNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mark.Revision = 0 // that of a copy is another
	return mark
}

// TestStrippedTags: a store without tags and without the keyring that speaks of them is no older store: the data keys are gone with it.
func TestStrippedTags(t *testing.T) {
	db, m := kept(t)
	bare := mem.New()
	for key, value := range everything(t, view(t, db, m)) {
		if key != "sys/keyring" {
			put(t, bare, key, value)
		}
	}
	s, err := registry.OpenStore(t.Context(), registry.StoreConfig{Store: bare, Master: m, Log: slog.New(slog.DiscardHandler), Now: epoch})
	if err == nil {
		_, err = s.Get(t.Context(), path(t, "system/usr/alice"))
	}
	if !errors.Is(err, registry.ErrForged) {
		t.Errorf("with the tags and the keyring taken away: %v", err)
	}
	put(t, bare, "sys/keyring", everything(t, db)["sys/keyring"])
	if _, err := view(t, bare, m).Get(t.Context(), "obj/system/usr/alice"); !errors.Is(err, registry.ErrForged) {
		t.Errorf("with the tags taken away: %v", err)
	}
}

// TestCountedTogether: processes that change the same kinds at the same time lose no count.
func TestCountedTogether(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	const nodes, each = 3, 30
	done := make(chan error, nodes)
	for n := range nodes {
		s := sharedStore(t, db, m, func(ca.Revocation) {})
		go func() {
			var errs []error
			for i := range each {
				r := ca.Revocation{Authority: pki.AuthorityID{byte(n)}.String(), By: "root"}
				r.Serial, r.At, r.NotAfter = pki.Serial(strings.Repeat("0", i)+"1"), epoch(), epoch()
				errs = append(errs, s.Revoke(t.Context(), r))
			}
			done <- errors.Join(errs...)
		}()
	}
	for range nodes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, err := reads(t, db, m, "sys/keyring"); err != nil {
		t.Error(err)
	}
	if got := markOf(t, db, m).Changes["revocation"]; got != nodes*each {
		t.Errorf("%d changes, expected %d", got, nodes*each)
	}
}

// TestCountedMeanwhile: another process changes the same kind between the count of a commit and the commit.
func TestCountedMeanwhile(t *testing.T) {
	below, m := mem.New(), fileMaster(t)
	other := newStore(t, below, m)
	db := &between{Store: below}
	s := newStore(t, db, m)
	db.do = func() { revoke(t, other, "02") }
	revoke(t, s, "01")
	if db.do != nil {
		t.Error("nothing happened meanwhile")
	}
	if _, err := reads(t, below, m, "sys/keyring"); err != nil {
		t.Error(err)
	}
}

// telling is a store that tells of a commit before it makes it.
type telling struct {
	store.Store
	tell func(store.Tx)
}

func (b *telling) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if b.tell != nil {
		b.tell(tx)
	}
	return b.Store.Commit(ctx, tx)
}

// TestTaggedMeanwhile: another process changes a kind while the last step of the bringing over has counted it.
func TestTaggedMeanwhile(t *testing.T) {
	below, m := olderStore(t)
	other := newStore(t, below, m)
	counted := false
	db := &telling{Store: below}
	s := newStore(t, db, m)
	db.tell = func(tx store.Tx) {
		if !counted && slices.ContainsFunc(tx.Puts, func(p store.Put) bool { return p.Key == "sum/revocation" }) {
			counted = true
			revoke(t, other, "02")
		}
	}
	if _, err := s.BringOver(t.Context()); err != nil || !counted || s.Format() != seal.Reads {
		t.Fatalf("brought over: %v, counted %v, format %d", err, counted, s.Format())
	}
	if _, err := reads(t, below, m, "sys/keyring"); err != nil {
		t.Error(err)
	}
}

// TestRefusedCommits: a store that was set back takes nothing but sessions, until it is accepted; then its numbers are above the mark.
func TestRefusedCommits(t *testing.T) {
	db, m := kept(t)
	s := newStore(t, db, m)
	mark, err := s.MarkNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	above := mark
	above.Lists = map[string]string{pki.AuthorityID{7}.String(): "41"}
	s.Refuse([]string{"one list is gone"})
	if err := s.Create(t.Context(), path(t, "ns1/cfg/two"), config(t, path(t, "ns1/cfg/two"))); !errors.Is(err, registry.ErrSetBack) || !strings.Contains(err.Error(), "one list is gone") {
		t.Errorf("an object: %v", err)
	}
	if _, err := s.ReserveList(t.Context(), pki.AuthorityID{7}, time.Unix(2, 0)); !errors.Is(err, registry.ErrSetBack) {
		t.Errorf("a list: %v", err)
	}
	if err := s.AddSession(t.Context(), session.Session{ID: "another", Login: session.Login{User: "alice"}}); err != nil {
		t.Errorf("a session: %v", err)
	}
	if _, err := db.Commit(t.Context(), store.Tx{Deletes: []string{"token-revoked/swept"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.AcceptSetBack(t.Context(), above); err != nil {
		t.Fatal(err)
	}
	s.Refuse(nil)
	if list, err := s.ReserveList(t.Context(), pki.AuthorityID{7}, time.Unix(2, 0)); err != nil || list.Number.Int64() <= 41 {
		t.Errorf("the next list: %v, %v", list.Number, err)
	}
	if _, err := reads(t, db, m, "sys/keyring"); err != nil {
		t.Errorf("after it was accepted: %v", err)
	}
	now, err := s.MarkNow(t.Context())
	if err != nil || len(now.Behind(above)) > 0 {
		t.Errorf("behind: %q, %v", now.Behind(above), err)
	}
	forged := copied(t, db)
	put(t, forged, "obj/system/usr/alice", "{}")
	s, err = registry.OpenStore(t.Context(), registry.StoreConfig{Store: forged, Master: m, Log: slog.New(slog.DiscardHandler), Now: epoch})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AcceptSetBack(t.Context(), above); !errors.Is(err, registry.ErrForged) {
		t.Errorf("what omca has not written: %v", err)
	}
}

// TestForgedAreNamed: all values that are refused are counted, and the first of them named.
func TestForgedAreNamed(t *testing.T) {
	db, m := kept(t)
	s := newStore(t, copied(t, db), m)
	if found, err := s.Audit(t.Context()); found.Forged != 0 || found.Lacking != 0 || err != nil {
		t.Errorf("of a whole store: %+v, %v", found, err)
	}
	bad := copied(t, db)
	for key, value := range everything(t, db) {
		if strings.HasPrefix(key, "revocation/") || strings.HasPrefix(key, "cert/") {
			put(t, bad, key, value+"x")
		}
	}
	v, err := registry.OpenStore(t.Context(), registry.StoreConfig{Store: bad, Master: m, Log: slog.New(slog.DiscardHandler), Now: epoch})
	if err != nil {
		t.Fatal(err)
	}
	found, err := v.Audit(t.Context())
	if found.Forged != 3 || len(found.SomeForged) != 3 || !slices.IsSorted(found.SomeForged) || found.Lacking != 0 || err != nil {
		t.Errorf("%+v, %v", found, err)
	}
	for key := range everything(t, db) {
		kind, _, _ := strings.Cut(key, "/")
		if !slices.Contains([]string{"cert", "serial", "owner", "token", "token-id", "token-of"}, kind) {
			continue
		}
		less := copied(t, db)
		if _, err := less.Commit(t.Context(), store.Tx{Deletes: []string{key}}); err != nil {
			t.Fatal(err)
		}
		v, err := registry.OpenStore(t.Context(), registry.StoreConfig{Store: less, Master: m, Log: slog.New(slog.DiscardHandler), Now: epoch})
		if err != nil {
			t.Fatal(err)
		}
		if found, err := v.Audit(t.Context()); found.Lacking != 1 || err != nil {
			t.Errorf("without %s: %+v, %v", key, found, err)
		}
	}
}

// olderStore is a store of the second format, whose values have no tags.
func olderStore(t *testing.T) (*mem.Store, seal.Master) {
	t.Helper()
	from, m := kept(t)
	db := mem.New()
	keys, err := seal.NewKeyring(m)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.InFormat(2).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "sys/keyring", string(text))
	put(t, db, "obj/root/ccfg/cluster", everything(t, view(t, from, m))["obj/root/ccfg/cluster"])
	return db, m
}

// TestTaggedBehind: who follows the store, and reads of a change that was made before the values had tags after they have got them, takes it as it was.
func TestTaggedBehind(t *testing.T) {
	db, m := olderStore(t)
	s, err := registry.OpenStore(t.Context(), registry.StoreConfig{Store: db, Master: m, Log: slog.New(slog.DiscardHandler), Now: epoch})
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "revocation/"+pki.AuthorityID{7}.String()+"/01", `{}`)
	if brought, err := s.BringOver(t.Context()); err != nil || !brought {
		t.Fatalf("brought over: %v, %v", brought, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := ca.Revocation{Authority: pki.AuthorityID{8}.String(), By: "root"}
	r.Serial, r.At, r.NotAfter = "02", epoch(), epoch()
	if err := s.Revoke(t.Context(), r); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}

// TestTagged: a store of the second format has its values tagged once, also while others write, and is refused without tags from then on.
func TestTagged(t *testing.T) {
	db, m := olderStore(t)
	put(t, db, "revocation/"+pki.AuthorityID{7}.String()+"/01", `{}`)
	for i := range 300 {
		put(t, db, "zz/"+strings.Repeat("x", i), "")
	}
	s := newStore(t, db, m)
	other := newStore(t, db, m)
	if s.Format() != 2 {
		t.Fatalf("format %d", s.Format())
	}
	ctx, stop := context.WithCancel(t.Context())
	written, begun := make(chan int), make(chan struct{})
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			r := ca.Revocation{Authority: pki.AuthorityID{8}.String(), By: "root"}
			r.Serial, r.At, r.NotAfter = pki.Serial(strings.Repeat("0", n%200)+"1"), epoch(), epoch()
			if err := other.Revoke(t.Context(), r); err != nil && !errors.Is(err, ca.ErrConflict) {
				t.Error(err)
			}
			if n == 0 {
				close(begun)
			}
		}
		written <- n
	}()
	<-begun
	if brought, err := s.BringOver(t.Context()); err != nil || !brought {
		t.Fatalf("brought over: %v, %v", brought, err)
	}
	stop()
	if n := <-written; n == 0 {
		t.Error("nothing was written meanwhile")
	}
	if brought, err := other.BringOver(t.Context()); err != nil || brought || other.Format() != seal.Reads {
		t.Errorf("brought over again: %v, %v, format %d", brought, err, other.Format())
	}
	if found, err := s.Audit(t.Context()); found.Forged > 0 || err != nil {
		t.Errorf("without a tag: %+v, %v", found, err)
	}
	if _, err := reads(t, db, m, "obj/root/ccfg/cluster"); err != nil {
		t.Error(err)
	}
	put(t, db, "zz/", "") // as it was
	if _, err := view(t, db, m).Get(t.Context(), "zz/"); !errors.Is(err, registry.ErrForged) {
		t.Errorf("a value without a tag: %v", err)
	}
}

// TestRestoredIsAuthentic: what comes out of a backup is tagged and counted.
func TestRestoredIsAuthentic(t *testing.T) {
	db, m := kept(t)
	text := backup(t, newStore(t, db, m))
	if bytes.Contains(text, []byte("sum/")) {
		t.Error("the counts are in the backup")
	}
	into, master := mem.New(), fileMaster(t)
	restore(t, registry.RestoreConfig{Into: into, Master: master, Known: db}, text)
	if _, err := reads(t, into, master, "obj/system/usr/alice"); err != nil {
		t.Error(err)
	}
	if found, err := newStore(t, into, master).Audit(t.Context()); found.Forged > 0 || err != nil {
		t.Errorf("%+v, %v", found, err)
	}
	if behind := markOf(t, into, master).Behind(markOf(t, db, m)); len(behind) > 0 {
		t.Errorf("the restored store is behind the mark of the one before: %q", behind)
	}
}

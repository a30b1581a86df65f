package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/pki"
	"omca/usr/token"
)

// everything is what a store holds.
func everything(t *testing.T, db store.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for r, more := (store.Range{}), true; more; {
		page, err := db.Scan(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			all[e.Key] = string(e.Value)
			r.After = e.Key
		}
		more = page.More
	}
	return all
}

func backup(t *testing.T, s *registry.Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Backup(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restore(t *testing.T, c registry.RestoreConfig, from []byte) registry.Restored {
	t.Helper()
	c.Now = epoch
	r, err := registry.Restore(t.Context(), c, bytes.NewReader(from))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// filled returns a store with a cluster, a secret and a revocation list.
func filled(t *testing.T) (*registry.Store, store.Store) {
	t.Helper()
	db, m := mem.New(), fileMaster(t)
	s := newStore(t, db, m)
	if err := s.Create(t.Context(), object.ClusterPath(), config(t, object.ClusterPath(), "cluster.name=calm-otter")); err != nil {
		t.Fatal(err)
	}
	p := create(t, s, "ns1/sec/one", "comment=kept")
	if err := s.Edit(t.Context(), p, []registry.Edit{{Action: registry.Add, Name: "secret", Value: []byte("hunter2")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReserveList(t.Context(), pki.AuthorityID{7}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	return s, view(t, db, m)
}

func TestBackup(t *testing.T) {
	s, db := filled(t)
	if at, err := s.LastBackup(t.Context()); err != nil || !at.IsZero() {
		t.Errorf("the last backup before any: %v, %v", at, err)
	}
	if _, err := db.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: "session/x", Value: []byte("{}")}}}); err != nil {
		t.Fatal(err)
	}
	text := backup(t, s)
	if bytes.Contains(text, []byte("hunter2")) {
		t.Error("a sealed value is in the backup in clear")
	}
	if at, err := s.LastBackup(t.Context()); err != nil || at.IsZero() {
		t.Errorf("the last backup after one: %v, %v", at, err)
	}

	into, master := mem.New(), fileMaster(t)
	info := restore(t, registry.RestoreConfig{Into: into, Master: master}, text)
	if info.Cluster != "calm-otter" || info.At.IsZero() || len(info.Revoked)+len(info.Issued) > 0 {
		t.Errorf("restored: %+v", info)
	}
	before, after := everything(t, db), everything(t, view(t, into, master))
	for _, key := range []string{"sys/keyring", "sys/backup", "session/x", "sum/config", "sum/revocation", "sum/blocked", "sum/token-revoked", "revocation-list/" + pki.AuthorityID{7}.String(), "sys/origin"} { // another master, the mark, left out, another number, another store
		delete(before, key)
		delete(after, key)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("restored (-before +after):\n%s", diff)
	}
	again := newStore(t, into, master)
	if v, err := again.Value(t.Context(), path(t, "ns1/sec/one"), "secret"); err != nil || string(v) != "hunter2" {
		t.Errorf("the secret after the restore: %q, %v", v, err)
	}
	if _, err := again.Value(t.Context(), path(t, "ns1/sec/one"), "x"); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("a key that never was: %v", err)
	}
	list, err := again.ReserveList(t.Context(), pki.AuthorityID{7}, time.Unix(2, 0))
	if least := new(big.Int).Lsh(big.NewInt(1), 40); err != nil || list.Number.Cmp(least) <= 0 {
		t.Errorf("the next list after the restore has number %s, %v, expected more than %s", list.Number, err, least)
	}
}

// A backup that is made while others write is one state of the store: that of
// its end.
func TestBackupWhileWriting(t *testing.T) {
	s, db := filled(t)
	for i := range 2 * store.PageLimit / store.MaxOps { // so that the keys below are on pages of their own
		var tx store.Tx
		for j := range store.MaxOps {
			tx.Puts = append(tx.Puts, store.Put{Key: fmt.Sprintf("b/%d/%d", i, j)}, store.Put{Key: fmt.Sprintf("n/%d/%d", i, j)})
			if len(tx.Puts) == store.MaxOps {
				break
			}
		}
		if _, err := db.Commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	const writers, each = 4, 1000
	var begin, all sync.WaitGroup
	begin.Add(writers)
	for w := range writers {
		all.Go(func() {
			begin.Done()
			for i := range each {
				// Two keys that always say the same; one of them comes and goes.
				value := fmt.Appendf(nil, "%d", i)
				tx := store.Tx{Puts: []store.Put{{Key: fmt.Sprintf("a/%d", w), Value: value}, {Key: fmt.Sprintf("z/%d", w), Value: value}}}
				if i%3 == 0 {
					tx.Deletes = []string{fmt.Sprintf("m/%d", w)}
				} else {
					tx.Puts = append(tx.Puts, store.Put{Key: fmt.Sprintf("m/%d", w), Value: value})
				}
				if _, err := db.Commit(t.Context(), tx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	begin.Wait()
	backups := make([][]byte, 3)
	for i := range backups { // also at the same time as each other
		all.Go(func() {
			var b bytes.Buffer
			if err := s.Backup(t.Context(), &b); err != nil {
				t.Error(err)
			}
			backups[i] = b.Bytes()
		})
	}
	all.Wait()
	for _, b := range backups {
		into, master := mem.New(), fileMaster(t)
		restore(t, registry.RestoreConfig{Into: into, Master: master}, b)
		got := everything(t, view(t, into, master))
		for w := range writers {
			a, m, z := got[fmt.Sprintf("a/%d", w)], got[fmt.Sprintf("m/%d", w)], got[fmt.Sprintf("z/%d", w)]
			var i int
			if _, err := fmt.Sscan(a+" ", &i); a != "" && err != nil {
				t.Fatal(err)
			}
			if a != z || a != "" && (i%3 == 0) != (m == "") || m != "" && m != a {
				t.Errorf("writer %d: %q, %q and %q are of different commits", w, a, m, z)
			}
		}
	}
}

// compacting is a store whose first watches end at once: their changes are gone.
type compacting struct {
	store.Store
	times int
}

func (c *compacting) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	if prefix != "" || c.times == 0 {
		return c.Store.Watch(ctx, prefix, after)
	}
	c.times--
	return func(yield func(store.Change, error) bool) {
		if _, err := c.Store.Commit(ctx, store.Tx{Deletes: []string{fmt.Sprintf("gone/%d", c.times)}}); err != nil {
			yield(store.Change{}, err)
			return
		}
		yield(store.Change{}, store.ErrCompacted)
	}
}

// A backup that missed changes begins anew, and forgets what it had written; in
// the end it gives up.
func TestBackupBeginsAnew(t *testing.T) {
	for _, c := range []struct {
		times int
		want  error
	}{{2, nil}, {5, store.ErrCompacted}} {
		below, m := &compacting{mem.New(), c.times}, fileMaster(t)
		s := newStore(t, below, m)
		db := view(t, below, m)
		if err := s.Create(t.Context(), object.ClusterPath(), config(t, object.ClusterPath(), "cluster.name=calm-otter")); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if _, err := db.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: fmt.Sprintf("gone/%d", i)}, {Key: fmt.Sprintf("kept/%d", i)}}}); err != nil {
				t.Fatal(err)
			}
		}
		var b bytes.Buffer
		if err := s.Backup(t.Context(), &b); !errors.Is(err, c.want) {
			t.Fatalf("%d watches that end: %v, expected %v", c.times, err, c.want)
		}
		if c.want != nil {
			continue
		}
		into, master := mem.New(), fileMaster(t)
		restore(t, registry.RestoreConfig{Into: into, Master: master}, b.Bytes())
		before, after := everything(t, db), everything(t, view(t, into, master))
		for _, key := range []string{"sys/keyring", "sys/backup", "sum/config", "sum/revocation", "sum/blocked", "sum/token-revoked"} {
			delete(before, key)
			delete(after, key)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("restored (-before +after):\n%s", diff)
		}
	}
}

// What was taken back after the backup stays taken back, and is named.
func TestRestoreKnowsWhatWasRevoked(t *testing.T) {
	s, db := filled(t)
	old := backup(t, s)
	put := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			if _, err := db.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: key, Value: []byte("{}")}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("revoked/abc/01", "token-revoked/02")
	into := mem.New()
	r := restore(t, registry.RestoreConfig{Into: into, Master: fileMaster(t), Known: db}, old)
	want := []registry.Unknown{{Serial: "01"}, {Token: "02"}}
	if diff := cmp.Diff(want, r.Revoked); diff != "" {
		t.Errorf("revoked since (-want +got):\n%s", diff)
	}
	for _, key := range []string{"revoked/abc/01", "token-revoked/02"} {
		if _, err := into.Get(t.Context(), key); err != nil {
			t.Errorf("%s came back to life: %v", key, err)
		}
	}
}

// TestRestoreKnowsWhatWasSwept: a backup does not bring back a token that the
// home had swept since, with its revocation. Others come back, also one that the
// home does not know.
func TestRestoreKnowsWhatWasSwept(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	s := newStore(t, db, m)
	create(t, s, "cluster", "cluster.name=calm-otter")
	swept := keep(t, s, "swept", "alice", epoch().Add(time.Hour))
	kept := keep(t, s, "kept", "alice", epoch().Add(9*24*time.Hour))
	before := everything(t, db)
	keep(t, s, "unknown", "alice", epoch().Add(10*24*time.Hour))
	text := backup(t, s)
	home := mem.New()
	for key, value := range before {
		if _, err := home.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: key, Value: []byte(value)}}}); err != nil {
			t.Fatal(err)
		}
	}
	h := newStore(t, home, m)
	if err := h.RevokeTokens(t.Context(), []token.Record{swept, kept}, "root", epoch()); err != nil {
		t.Fatal(err)
	}
	if n, err := h.SweepTokens(t.Context(), epoch().Add(2*time.Hour), 10); n != 1 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	into, master := mem.New(), fileMaster(t)
	restore(t, registry.RestoreConfig{Into: into, Master: master, Known: home}, text)
	after := newStore(t, into, master)
	for id, want := range map[string]bool{"swept": false, "kept": true, "unknown": true} {
		if recorded, err := after.Recorded(t.Context(), id); recorded != want || err != nil {
			t.Errorf("%s is on record after the restore: %v, %v, want %v", id, recorded, err, want)
		}
	}
	if !after.Revoked("kept") || after.Revoked("unknown") {
		t.Errorf("revoked after the restore: kept %v, unknown %v", after.Revoked("kept"), after.Revoked("unknown"))
	}
	if got := ids(t, after, token.Query{Subject: "alice"}); got != "kept unknown" {
		t.Errorf("of alice after the restore: %q", got)
	}
}

// Damage is told, wherever it is; nothing is taken for a whole backup that is not.
func TestRestoreRefuses(t *testing.T) {
	s, _ := filled(t)
	whole := backup(t, s)
	master := fileMaster(t)
	try := func(b []byte) error {
		_, err := registry.Restore(t.Context(), registry.RestoreConfig{Into: mem.New(), Master: master, Now: epoch}, bytes.NewReader(b))
		return err
	}
	if err := try(whole); err != nil {
		t.Fatalf("the whole backup: %v", err)
	}
	for n := range whole {
		if err := try(whole[:n]); !errors.Is(err, ca.ErrInvalid) {
			t.Fatalf("the first %d of %d bytes: %v, expected ErrInvalid", n, len(whole), err)
		}
	}
	for name, b := range map[string][]byte{
		"more":         append(bytes.Clone(whole), 'p'),
		"other magic":  append([]byte("OMCA-BACKUP-2\n"), whole[14:]...),
		"unknown kind": append(bytes.Clone(whole[:14]), 'x'),
		"huge field":   append(bytes.Clone(whole[:14]), 'p', 0xff, 0xff, 0xff, 0xff, 0x0f),
		"only an end":  append(bytes.Clone(whole[:14]), 'e', 1, 0),
	} {
		if err := try(b); !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("%s: %v, expected ErrInvalid", name, err)
		}
	}
	full := mem.New()
	if _, err := full.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: "k"}}}); err != nil {
		t.Fatal(err)
	}
	_, err := registry.Restore(t.Context(), registry.RestoreConfig{Into: full, Master: fileMaster(t), Now: epoch}, bytes.NewReader(whole))
	if !errors.Is(err, ca.ErrConflict) || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into a store that holds something: %v", err)
	}
}

// A backup whose reader goes away ends, and says so.
func TestBackupToNobody(t *testing.T) {
	s, _ := filled(t)
	p := path(t, "ns1/sec/one")
	if err := s.Edit(t.Context(), p, []registry.Edit{{Action: registry.Add, Name: "big", Value: make([]byte, 500_000)}}); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	if err := s.Backup(t.Context(), failingWriter{gone}); !errors.Is(err, gone) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

package registry_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/pki"
)

// laterCA is a CA with a key, whose certificates end after so many hours.
type laterCA struct {
	ca.AuthorityRecord
	key []byte
}

func newLaterCA(t *testing.T, hours ...int) (all []laterCA) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := pki.EncodePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range hours {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "Lab CA"}, NotBefore: epoch(), NotAfter: epoch().Add(time.Duration(h) * time.Hour),
			IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, laterCA{ca.AuthorityRecord{
			ID: pki.AuthorityOf(cert), Path: "system/sec/ca-lab", Chain: []*x509.Certificate{cert}, KeyMade: true, Key: ca.KeyHere,
		}, text})
	}
	return all
}

func (l laterCA) recordIn(t *testing.T, s *registry.Store) {
	t.Helper()
	if err := s.RecordAuthority(t.Context(), l.AuthorityRecord, l.key); err != nil {
		t.Fatal(err)
	}
}

// kept is what a restored store has of a CA.
func (l laterCA) kept(t *testing.T, s *registry.Store) ca.AuthorityRecord {
	t.Helper()
	all, err := s.Authorities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.ID == l.ID {
			return a
		}
	}
	t.Fatalf("CA %s is not on record", l.ID.Short())
	return ca.AuthorityRecord{}
}

// rotated has a store seal under a data key that no backup of before has.
func rotated(t *testing.T, db store.Store, m seal.Master) *registry.Store {
	t.Helper()
	e, err := db.Get(t.Context(), "sys/keyring")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := seal.LoadKeyring(e.Value, m)
	if err != nil {
		t.Fatal(err)
	}
	if keys, err = keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	text, err := keys.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: "sys/keyring", Value: text}}}); err != nil {
		t.Fatal(err)
	}
	return newStore(t, db, m)
}

// TestRestoreKeepsKeys: the key of a CA that is newer than the backup is taken over. It opens with the data keys of the backup, else with
// the master key of the store that was there; where that is not to be had, the CA is named, and is on record without its key.
func TestRestoreKeepsKeys(t *testing.T) {
	gone := errors.New("no seal key")
	for name, c := range map[string]struct {
		rotate bool
		master func(seal.Master) (seal.Master, error)
		lost   string
	}{
		"of the backup's data key":       {false, func(seal.Master) (seal.Master, error) { return nil, gone }, ""},
		"of a later data key":            {true, func(m seal.Master) (seal.Master, error) { return m, nil }, ""},
		"of a later one, without master": {true, func(seal.Master) (seal.Master, error) { return nil, gone }, "no seal key"},
		"of a later one, another master": {true, func(seal.Master) (seal.Master, error) { return fileMaster(t), nil }, "wrong master key"},
	} {
		t.Run(name, func(t *testing.T) {
			db, m := mem.New(), fileMaster(t)
			s := newStore(t, db, m)
			create(t, s, "cluster", "cluster.name=calm-otter")
			old := backup(t, s)
			if c.rotate {
				s = rotated(t, db, m)
			}
			lab := newLaterCA(t, 24)[0]
			lab.recordIn(t, s)
			into, master := mem.New(), fileMaster(t)
			done := restore(t, registry.RestoreConfig{Into: into, Master: master, Known: db, KnownMaster: func() (seal.Master, error) { return c.master(m) }}, old)
			if len(done.Authorities) != 1 || done.Authorities[0].ID != lab.ID || done.Authorities[0].Path != lab.Path {
				t.Fatalf("later CAs: %+v", done.Authorities)
			}
			lost := done.Authorities[0].Lost
			after := newStore(t, into, master)
			key, err := after.AuthorityKey(t.Context(), lab.ID)
			switch is := lab.kept(t, after); {
			case c.lost == "":
				if lost != nil || err != nil || string(key) != string(lab.key) || is.Key != ca.KeyHere {
					t.Errorf("the key is not there: %v, %v, %q", lost, err, is.Key)
				}
			case lost == nil || !strings.Contains(lost.Error(), c.lost) || !errors.Is(err, ca.ErrNotFound) || is.Key != ca.KeyElsewhere:
				t.Errorf("the key is lost, and: %v, %v, %q", lost, err, is.Key)
			}
		})
	}
}

// TestRestoreMergesCAs: of a CA that the backup knows, the key counts that came later, and the newer certificate if omca wrote it. A key
// that was destroyed stays so where the backup has none, and one of another CA is not taken. A record that is damaged does not end the restore.
func TestRestoreMergesCAs(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	s := newStore(t, db, m)
	create(t, s, "cluster", "cluster.name=calm-otter")
	imported, renewed, forged, destroyed, mixed := newLaterCA(t, 24), newLaterCA(t, 24, 48), newLaterCA(t, 24, 48), newLaterCA(t, 24), newLaterCA(t, 24)
	damaged := newLaterCA(t, 24)
	without := imported[0]
	without.Key, without.key = ca.KeyElsewhere, nil
	for _, one := range []laterCA{without, renewed[0], forged[0], damaged[0]} {
		one.recordIn(t, s)
	}
	old := backup(t, s)
	mixed[0].key = renewed[0].key
	for _, one := range []laterCA{imported[0], renewed[1], forged[1], destroyed[0], mixed[0]} {
		one.recordIn(t, s)
	}
	if err := s.DestroyKeys(t.Context(), []pki.AuthorityID{destroyed[0].ID}); err != nil {
		t.Fatal(err)
	}
	flip := func(l laterCA, at func(value []byte) int) {
		t.Helper()
		e, err := db.Get(t.Context(), "authority/"+l.ID.String())
		if err != nil {
			t.Fatal(err)
		}
		e.Value[at(e.Value)] ^= 1
		if _, err := db.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: e.Key, Value: e.Value}}}); err != nil {
			t.Fatal(err)
		}
	}
	flip(forged[0], func(value []byte) int { return len(value) - 1 }) // in the tag
	flip(damaged[0], func([]byte) int { return 0 })
	into, master := mem.New(), fileMaster(t)
	done := restore(t, registry.RestoreConfig{Into: into, Master: master, Known: db}, old)
	after := newStore(t, into, master)
	for _, c := range []struct {
		what string
		ca   laterCA
		key  ca.KeyState
		end  int
	}{
		{"whose key was imported", imported[0], ca.KeyHere, 24},
		{"that was renewed", renewed[0], ca.KeyHere, 48},
		{"that somebody else renewed", forged[0], ca.KeyHere, 24},
		{"whose record is damaged", damaged[0], ca.KeyHere, 24},
		{"whose key was destroyed", destroyed[0], ca.KeyDestroyed, 24},
		{"with the key of another", mixed[0], ca.KeyElsewhere, 24},
	} {
		is := c.ca.kept(t, after)
		if hours := int(is.Chain[0].NotAfter.Sub(epoch()).Hours()); is.Key != c.key || hours != c.end {
			t.Errorf("the CA %s: key %q, ends after %d hours, want %q and %d", c.what, is.Key, hours, c.key, c.end)
		}
	}
	if len(done.Authorities) != 2 {
		t.Errorf("later keys: %+v", done.Authorities)
	}
	for _, a := range done.Authorities {
		if (a.ID == mixed[0].ID) != (a.Lost != nil) {
			t.Errorf("the key of %s: %v", a.ID.Short(), a.Lost)
		}
	}
}

// TestRestoreKnowsWhatLives: a CA on record says until when a certificate lives that is not in the inventory, for its list goes on until
// then. A later note about the CA does not forget it.
func TestRestoreKnowsWhatLives(t *testing.T) {
	db, m := mem.New(), fileMaster(t)
	s := newStore(t, db, m)
	create(t, s, "cluster", "cluster.name=calm-otter")
	old := backup(t, s)
	lab := newLaterCA(t, 24)[0]
	lab.recordIn(t, s)
	late := userRecord(t, "calm-otter", "late", "system/usr/late")
	late.Authority = lab.ID
	record(t, s, late)
	into, master := mem.New(), fileMaster(t)
	restore(t, registry.RestoreConfig{Into: into, Master: master, Known: db}, old)
	after := newStore(t, into, master)
	for range 2 {
		if got := lab.kept(t, after).Lives; !got.Equal(late.Certificate.NotAfter) {
			t.Errorf("certificates of the CA live until %s, want %s", got, late.Certificate.NotAfter)
		}
		lab.Path = "system/sec/ca-new"
		lab.recordIn(t, after)
	}
}

// TestRestoreBesideAnEarlierBuild: a store of the first format has no CA on record, and that is said.
func TestRestoreBesideAnEarlierBuild(t *testing.T) {
	s, db := filled(t)
	old := backup(t, s)
	for version, want := range map[int]bool{1: true, 2: false, seal.Reads: false} {
		text, err := json.Marshal(map[string]any{"version": version})
		if err != nil {
			t.Fatal(err)
		}
		home := mem.New()
		if _, err := home.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: "sys/keyring", Value: text}}}); err != nil {
			t.Fatal(err)
		}
		if done := restore(t, registry.RestoreConfig{Into: mem.New(), Master: fileMaster(t), Known: home}, old); done.Unrecorded != want {
			t.Errorf("beside a store of format %d: %+v", version, done)
		}
	}
	if done := restore(t, registry.RestoreConfig{Into: mem.New(), Master: fileMaster(t), Known: db}, old); done.Unrecorded {
		t.Errorf("beside a store of this build: %+v", done)
	}
}

package faults

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"omca"
	"omca/internal/interop/lab"
	"omca/internal/store/bolt"
	"omca/internal/wire"
)

// serves serves the fixture in this process, by a clock.
func (f *fixture) serves(t *testing.T, home lab.Home, at *clock) (*site, func()) {
	t.Helper()
	a := serveAt(t, omca.Config{Home: home.Dir, NodeName: "old1"}, at)
	return &site{fixture: f, api: a.Client, address: a.address, now: at.now, bearers: bearers()}, a.stop
}

// runs serves a home in a process of its own, by the clock of the machine.
func (f *fixture) runs(t *testing.T, home lab.Home, args ...string) (*site, *lab.Daemon) {
	t.Helper()
	d := home.Start(t, append([]string{"--log-level", "warn", "--node-name", "old1"}, args...)...)
	return &site{fixture: f, api: home.Client(t), address: d.Address, now: time.Now, bearers: bearers()}, d
}

// TestBringOver opens a home that an earlier build left: all of it works, and goes on to after a
// restart.
func TestBringOver(t *testing.T) {
	f := unpacked(t)
	at := f.then()
	s, stop := f.serves(t, f.Home, at)
	t.Run("clients", s.admits)
	first := s.lists(t, f.published(t))
	t.Run("OCSP", s.answers)
	t.Run("inventory", s.keeps)
	t.Run("history", s.remembers)
	t.Run("tokens", s.honours)
	t.Run("values", s.holds)
	stop()
	s, _ = f.serves(t, f.Home, at)
	t.Run("clients after a restart", s.admits)
	t.Run("lists after a restart", func(t *testing.T) { s.lists(t, first) })
	t.Run("OCSP after a restart", s.answers)
	t.Run("compromised keys", s.blocked)
	t.Run("revoking", s.revokes)
}

// keeps checks the inventory.
func (s *site) keeps(t *testing.T) {
	var before []wire.Record
	s.json(t, "inventory.json", &before)
	if len(before) < len(bearers()) {
		t.Fatalf("%d certificates in the fixture", len(before))
	}
	for _, want := range before {
		got, err := s.api.CertificateBySerial(t.Context(), want.Serial)
		if err != nil {
			t.Errorf("%s of %s: %v", want.Serial, want.Owner, err)
			continue
		}
		if diff := cmp.Diff(want, got.Record, cmpopts.IgnoreFields(wire.Record{}, "Authority")); diff != "" {
			t.Errorf("%s of %s (-before +after):\n%s", want.Serial, want.Owner, diff)
		}
	}
}

// remembers checks "ca history".
func (s *site) remembers(t *testing.T) {
	var before []wire.FormerSet
	s.json(t, "history.json", &before)
	got, err := s.api.History(t.Context(), path(t, "system/sec/ca"))
	if err != nil || len(before) == 0 {
		t.Fatal(err, before)
	}
	// The list has another name, by the identity of the CA; that of before goes on too.
	named := func(all []wire.FormerSet) (without []wire.FormerSet) {
		for _, f := range all {
			if !strings.HasPrefix(f.List, "/crl/ca-") {
				t.Errorf("former set %d has the list %q", f.Number, f.List)
			}
			f.List = ""
			without = append(without, f)
		}
		return without
	}
	if diff := cmp.Diff(named(before), named(got)); diff != "" {
		t.Errorf("history (-before +after):\n%s", diff)
	}
}

// honours checks tokens, a session and a password of frank.
func (s *site) honours(t *testing.T) {
	token := func(name string) func(*http.Request) {
		text := strings.TrimSpace(string(s.read(t, "tokens/"+name)))
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+text) }
	}
	secret := strings.TrimSpace(string(s.read(t, "tokens/session")))
	for _, way := range []struct {
		name string
		edit func(*http.Request)
		want string
	}{
		{"the token", token("access"), "frank"},
		{"the revoked token", token("revoked"), "refused"},
		{"the session", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "__Host-omca-session", Value: secret}) }, "frank"},
		{"the password", func(r *http.Request) { r.SetBasicAuth("frank", "correct horse battery") }, "frank"},
		{"another password", func(r *http.Request) { r.SetBasicAuth("frank", "correct horse") }, "refused"},
	} {
		if got := s.whoami(t, s.http(t, nil), way.edit); got != way.want {
			t.Errorf("%s: %s, expected %s", way.name, got, way.want)
		}
	}
	var issued wire.TokenPair
	s.json(t, "tokens/refresh.json", &issued)
	fresh, err := s.api.Refresh(t.Context(), issued.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.whoami(t, s.http(t, nil), func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+fresh.AccessToken) }); got != "frank" {
		t.Errorf("a token of the refresh token: %s, expected frank", got)
	}
	states := map[string]int{}
	all, err := s.api.Tokens(t.Context(), "frank", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		states[one.Profile+" "+one.State]++
	}
	want := map[string]int{" valid": 4, " revoked": 1, "clustercockpit valid": 1}
	if !maps.Equal(states, want) {
		t.Errorf("tokens %v, expected %v", states, want)
	}
}

// holds checks values of objects, and keywords.
func (s *site) holds(t *testing.T) {
	for _, v := range []struct{ path, name, want string }{
		{"ns1/sec/db", "password", "hunter2"},
		{"ns1/cfg/app", "text", "in clear"},
		{"system/usr/alice", "certificate_chain", string(s.chainText(t, "alice"))},
	} {
		got, err := s.api.Key(t.Context(), path(t, v.path), v.name)
		if err != nil || string(got) != v.want {
			t.Errorf("%s of %s: %q, %v, expected %q", v.name, v.path, got, err, v.want)
		}
	}
	for _, v := range []struct{ path, keyword, want string }{
		{"system/usr/frank", "grant", "admin:ns1 guest:ns2"},
		{"system/usr/gus", "disabled", "true"},
		{"cluster", "cluster.ca", "system/sec/ca-corp"},
		{"cluster", "cluster.crl", "system/sec/crl-corp"},
	} {
		got, err := s.api.Config(t.Context(), path(t, v.path), []string{v.keyword})
		if err != nil || len(got) != 1 || got[0].Value != v.want {
			t.Errorf("%s of %s: %+v, %v, expected %q", v.keyword, v.path, got, err, v.want)
		}
	}
}

// chainText returns the certificates of a file of the fixture, without the key.
func (s *site) chainText(t *testing.T, name string) []byte {
	t.Helper()
	text := s.read(t, "clients/"+name+".pem")
	return text[:strings.Index(string(text), "-----BEGIN PRIVATE KEY")]
}

// revokes checks that what gets in is refused once it is revoked, whatever CA signed it, and that
// the list of that CA has it.
func (s *site) revokes(t *testing.T) {
	before := s.lists(t, s.published(t))
	for i, h := range s.bearers {
		if !h.in || h.others {
			continue
		}
		if _, err := s.api.RevokeSerial(t.Context(), s.pair(t, h).Leaf.SerialNumber.Text(16), "superseded"); err != nil {
			t.Errorf("revoking %s: %v", h.file, err)
			continue
		}
		s.bearers[i].in, s.bearers[i].reason = false, "superseded"
	}
	s.admits(t)
	after := s.lists(t, before)
	rose := 0
	for name, list := range after {
		if list.Number.Cmp(before[name].Number) > 0 {
			rose++
		}
	}
	if rose < 7 { // the cluster's CA, sub, subsub, moved, no-ski, twin1, twin2
		t.Errorf("%d lists have another number, expected 7", rose)
	}
}

// TestSecondOpen opens a home again that was brought over: nothing is left to be done.
func TestSecondOpen(t *testing.T) {
	f := unpacked(t)
	at := f.then()
	var revisions []int64
	for range 2 {
		s, err := omca.Open(t.Context(), omca.Config{Home: f.Dir, NodeName: "old1", Now: at.now})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, revisionOf(t, f.Home))
	}
	if revisions[1] != revisions[0] {
		t.Errorf("the store is at revision %d after the first open, and at %d after the second", revisions[0], revisions[1])
	}
}

// revisionOf returns the revision of the store in a home that is closed.
func revisionOf(t *testing.T, home lab.Home) int64 {
	t.Helper()
	db, err := bolt.Open(t.Context(), bolt.Config{Path: filepath.Join(home.Dir, "omca.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	revision, err := db.Rev(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// TestEarlierBuildRefuses runs the earlier build on a home that was brought over: one sentence, and
// nothing is changed.
func TestEarlierBuildRefuses(t *testing.T) {
	f := unpacked(t)
	earlier := lab.Home{Dir: f.Dir, Program: lab.Earlier(t)}
	earlier.Run(t, "system/usr/alice", "certificate", "verify") // the home is the earlier build's still
	f.Run(t, "system/usr/alice", "certificate", "verify")
	f.refusesEarlier(t, f.Home)
	f.Run(t, "system/usr/alice", "certificate", "verify")
}

// refusesEarlier checks that the earlier build refuses a home.
func (f *fixture) refusesEarlier(t *testing.T, home lab.Home) {
	t.Helper()
	home.Program = lab.Earlier(t)
	r := home.Try(t, "ls")
	if r.Status != 1 || !strings.Contains(r.Stderr, lab.EarlierRefusesStore) {
		t.Fatalf("exit status %d, stderr %q, expected 1 and %q", r.Status, r.Stderr, lab.EarlierRefusesStore)
	}
	if strings.Count(r.Stderr, "omca: error: ") != 1 || strings.Count(r.Stderr, "\n") > 2 {
		t.Errorf("not one sentence and at most a hint:\n%s", r.Stderr)
	}
	refused(t, home, []string{lab.EarlierRefusesStore})
}

// TestRestartIntoThisBuild has a daemon of the earlier build, whose program was replaced, restart: the
// successor brings the home over, on the sockets that it was given.
func TestRestartIntoThisBuild(t *testing.T) {
	f := unpacked(t)
	home := lab.Home{Dir: f.Dir, Program: filepath.Join(filepath.Dir(f.Dir), "omca")}
	copyProgram(t, lab.Earlier(t), home.Program)
	s, _ := f.runs(t, home)
	before, err := s.api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	copyProgram(t, lab.Binary(t), home.Program)
	home.Run(t, "daemon", "restart")
	if after, err := s.api.Status(t.Context()); err != nil || after.PID == before.PID {
		t.Fatalf("process %d serves, as before the restart (%v)", after.PID, err)
	}
	s.admits(t)
	s.lists(t, f.published(t))
	s.answers(t)
}

// copyProgram puts a program in a place, where another one may run.
func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(to+".new", text, 0o700), os.Rename(to+".new", to)); err != nil {
		t.Fatal(err)
	}
}

// TestBringOverKilled kills the process that opens an earlier build's home for the first time, at
// several moments. The next one finishes what it began.
func TestBringOverKilled(t *testing.T) {
	const moments = 12
	whole := unpacked(t)
	begin := time.Now()
	whole.Run(t, "ls")
	took := time.Since(begin)
	for i := range moments {
		f := unpacked(t)
		first := f.Command(t.Context(), t, "ls")
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		after := took * time.Duration(i+1) / moments
		timer := time.AfterFunc(after, func() { _ = first.Process.Kill() }) // it may have ended
		err := first.Wait()
		timer.Stop()
		s, d := f.runs(t, f.Home)
		s.admits(t)
		s.lists(t, f.published(t))
		s.keeps(t)
		d.Stop(t)
		if t.Failed() {
			t.Fatalf("killed after %v of %v: %v", after, took, err)
		}
	}
}

// TestRestoreEarlier restores an earlier build's backup.
func TestRestoreEarlier(t *testing.T) {
	paths := []string{"ca-", "ns1.sub-"} // of the CAs that the backup knows
	restore := func(t *testing.T, f *fixture, args ...string) (lab.Home, string) {
		t.Helper()
		home, dir := lab.NewHome(t), filepath.Dir(f.Dir)
		r := home.Try(t, append([]string{"restore", filepath.Join(dir, "backup.omca"), "--backup-passphrase-file", filepath.Join(dir, "phrase")}, args...)...)
		if r.Status != 0 {
			t.Fatal(r.Stderr)
		}
		return home, r.Stderr
	}
	check := func(t *testing.T, s *site) {
		t.Helper()
		s.bearers = known()
		s.admits(t)
		published := lasting(s.published(t), paths...)
		maps.DeleteFunc(published, func(name string, _ *x509.RevocationList) bool { return strings.HasPrefix(name, "ca-twin") })
		for name, list := range published { // what was revoked later is not known
			list.RevokedCertificateEntries = slices.DeleteFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
				_, err := s.api.CertificateBySerial(t.Context(), e.SerialNumber.Text(16))
				return err != nil
			})
			published[name] = list
		}
		for name, list := range s.lists(t, published) {
			if list.Number.Cmp(published[name].Number) <= 0 {
				t.Errorf("%s: number %d, and %d was published after the backup", name, list.Number, published[name].Number)
			}
		}
		s.answers(t)
	}
	t.Run("alone", func(t *testing.T) {
		f := unpacked(t)
		home, _ := restore(t, f)
		s, stop := f.serves(t, home, f.then())
		check(t, s)
		s.blocked(t)
		stop()
		f.refusesEarlier(t, home)
	})
	t.Run("in place of the home", func(t *testing.T) {
		f := unpacked(t)
		home, said := restore(t, f, "--replaces", f.Dir)
		f.names(t, said)
		if !strings.Contains(said, "put no CA on record") {
			t.Errorf("the lists of later CAs end, and the restore says:\n%s", said)
		}
		s, _ := f.serves(t, home, f.then())
		check(t, s)
	})
	t.Run("in place of a home that was brought over", func(t *testing.T) {
		f := unpacked(t)
		f.Run(t, "ls")
		home, said := restore(t, f, "--replaces", f.Dir)
		f.names(t, said)
		if strings.Contains(said, "put no CA on record") || strings.Contains(said, "got its key after the backup") {
			t.Errorf("the backup does not tell which CAs are later, and the restore says:\n%s", said)
		}
		s, _ := f.serves(t, home, f.then())
		check(t, s)
		s.served(t, lasting(s.published(t), "ns1.subsub-", "ns1.taken-")) // CAs of after the backup
	})
	t.Run("as a cluster", func(t *testing.T) {
		f := unpacked(t)
		home, _ := restore(t, f)
		s, _ := f.runs(t, home, "--cluster", "--peer", "127.0.0.1:"+lab.FreePort(t))
		check(t, s)
	})
}

// served checks that lists go on, whatever is on them.
func (s *site) served(t *testing.T, above map[string]*x509.RevocationList) {
	t.Helper()
	settles(t, func() (found []string) {
		for name, before := range above {
			der, status := s.get(t, "/crl/"+name)
			list, err := x509.ParseRevocationList(der)
			if status != http.StatusOK || err != nil || list.Number.Cmp(before.Number) <= 0 {
				found = append(found, fmt.Sprintf("%s: status %d, %v; a number above %d is expected", name, status, err, before.Number))
			}
		}
		return found
	})
}

// names checks what a restore in place of the home says: which certificates it keeps revoked that
// the backup had as valid, and no others.
func (f *fixture) names(t *testing.T, said string) {
	t.Helper()
	for _, h := range bearers() {
		if h.reason == "" {
			continue
		}
		line := "certificate " + f.pair(t, h).Leaf.SerialNumber.Text(16) + " was revoked after the backup"
		if strings.Contains(said, line) != h.later {
			t.Errorf("%s was revoked after the backup: %t; the restore says:\n%s", h.file, h.later, said)
		}
	}
}

// TestEarlierHomeBecomesCluster makes an earlier build's home the first member of a cluster.
func TestEarlierHomeBecomesCluster(t *testing.T) {
	f := unpacked(t)
	s, d := f.runs(t, f.Home, "--cluster", "--peer", "127.0.0.1:"+lab.FreePort(t))
	s.admits(t)
	lists := s.lists(t, f.published(t))
	s.answers(t)
	s.keeps(t)
	d.Stop(t)
	earlier := lab.Home{Dir: f.Dir, Program: lab.Earlier(t)}
	if r := earlier.Try(t, "daemon", "run", "--listen", "127.0.0.1:0"); r.Status != 1 || !strings.Contains(r.Stderr, lab.EarlierRefusesStore) {
		t.Errorf("the earlier build, as the only member: %+v", r)
	}
	s, _ = f.runs(t, f.Home)
	s.admits(t)
	s.lists(t, lists)
}

// TestFixture holds the fixture against itself: what it was made of is there.
func TestFixture(t *testing.T) {
	f := unpacked(t)
	for _, h := range bearers() {
		if leaf := f.pair(t, h).Leaf; leaf.Subject.CommonName != h.name() && h.user == "" && !strings.HasPrefix(h.file, leaf.Subject.CommonName) && leaf.Subject.CommonName != "alice" {
			t.Errorf("%s is for %q", h.file, leaf.Subject.CommonName)
		} else if life := leaf.NotAfter.Sub(f.made); life < 60*365*24*time.Hour {
			t.Errorf("%s lives for %v", h.file, life)
		}
	}
	for _, name := range []string{"omca.db", "seal.key"} {
		if info, err := os.Stat(filepath.Join(f.Dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

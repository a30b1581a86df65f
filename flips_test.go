package omca_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"omca"
	"omca/internal/store/bolt"
	"omca/internal/wire"
)

// aHome is a home with users, one half of whose certificates are revoked, as it lies on the disk: closed, or, when it was killed, with
// what it did last in the journal.
type aHome struct {
	dir    string
	states map[string]string // of its certificates, by serial number
}

func newHomes(t *testing.T) (closed, killed aHome) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "home")
	s, err := omca.Open(t.Context(), omca.Config{Home: dir, ClusterName: "clu", NodeName: "node1"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		local(t, s, "POST", fmt.Sprintf("%su%d", usersAt, i), nil)
		if i%2 == 0 {
			local(t, s, "POST", fmt.Sprintf("%su%d/certificate/revoke", usersAt, i), nil)
		}
	}
	states, refused := statesOf(t, s)
	if refused || len(states) < 9 {
		t.Fatalf("certificates: %v", states)
	}
	killed = aHome{filepath.Join(t.TempDir(), "home"), states}
	copyHome(t, dir, killed.dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, dir+".mark", killed.dir+".mark")
	return aHome{dir, states}, killed
}

func copyHome(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{"seal.key"}, files()...) {
		copyFile(t, filepath.Join(from, name), filepath.Join(to, name))
	}
}

// files are those of the store in a home.
func files() []string {
	var all []string
	for _, suffix := range bolt.Suffixes() {
		all = append(all, "omca.db"+suffix)
	}
	return all
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// statesOf returns the certificates of a server, and whether it refuses to list them.
func statesOf(t *testing.T, s *omca.Server) (states map[string]string, refused bool) {
	t.Helper()
	status, text := try(t, s, "GET", "/api/certificate?limit=1000", nil)
	if status != http.StatusOK {
		return nil, true
	}
	var list wire.CertificateList
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	states = make(map[string]string)
	for _, c := range list.Items {
		states[c.Serial] = c.State
	}
	return states, false
}

// TestFlippedBits: one bit of a file of the store is another one. No certificate that was revoked is good, and none is gone without a word
// from doctor, or from the start.
func TestFlippedBits(t *testing.T) {
	closed, killed := newHomes(t)
	random := rand.New(rand.NewPCG(1, 2))
	refused, named, harmless := 0, 0, 0
	for i := range 220 {
		home := closed
		if i%2 == 1 {
			home = killed
		}
		dir := filepath.Join(t.TempDir(), "home")
		copyHome(t, home.dir, dir)
		copyFile(t, home.dir+".mark", dir+".mark")
		what := flip(t, dir, random)
		s, err := omca.Open(t.Context(), omca.Config{Home: dir, NodeName: "node1", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			refused++
			continue
		}
		states, unlisted := statesOf(t, s)
		for serial, state := range home.states {
			if is := states[serial]; state == "revoked" && is != "" && is != state {
				t.Errorf("%s: the revoked certificate %s is %s", what, serial, is)
			}
		}
		switch whole := !unlisted && maps.Equal(states, home.states); {
		case troubled(t, s):
			named++
		case !whole:
			t.Errorf("%s: nobody says that certificates are gone: %d of %d are there", what, len(states), len(home.states))
		default:
			harmless++
		}
		if err := s.Close(); err != nil && !strings.Contains(err.Error(), "damaged") && !strings.Contains(err.Error(), "disk failed") {
			t.Errorf("%s: %v", what, err)
		}
	}
	t.Logf("of 220 bits %d keep the store from being opened, %d are named by doctor, %d are in nothing that is read", refused, named, harmless)
	if refused == 0 || named == 0 {
		t.Errorf("%d refused, %d named", refused, named)
	}
}

// flip changes a bit in what is not zero of the files of the store.
func flip(t *testing.T, dir string, random *rand.Rand) string {
	t.Helper()
	type place struct {
		file string
		at   int
	}
	var places []place
	texts := make(map[string][]byte)
	for _, name := range files() {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = text
		for at, b := range text {
			if b != 0 {
				places = append(places, place{name, at})
			}
		}
	}
	p, bit := places[random.IntN(len(places))], random.IntN(8)
	texts[p.file][p.at] ^= 1 << bit
	if err := os.WriteFile(filepath.Join(dir, p.file), texts[p.file], 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("bit %d of octet %d of %s", bit, p.at, p.file)
}

// troubled reports whether doctor finds an error in the store, or cannot look.
func troubled(t *testing.T, s *omca.Server) bool {
	t.Helper()
	status, text := try(t, s, "GET", "/api/doctor", nil)
	if status != http.StatusOK {
		return true
	}
	var found wire.Diagnosis
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	for _, item := range found.Items {
		if item.Check == "store" && item.Level == "error" {
			return true
		}
	}
	return false
}

// TestCutJournal: a journal that is shorter than it was made is damage, wherever it was cut.
func TestCutJournal(t *testing.T) {
	_, killed := newHomes(t)
	for _, name := range files()[1:] {
		info, err := os.Stat(filepath.Join(killed.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int64{0, 4096, 8192, 20480, info.Size() / 2, info.Size() - 4096, info.Size() - 1} {
			dir := filepath.Join(t.TempDir(), "home")
			copyHome(t, killed.dir, dir)
			if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
				t.Fatal(err)
			}
			if s, err := omca.Open(t.Context(), omca.Config{Home: dir, NodeName: "node1"}); err == nil {
				t.Errorf("%s cut to %d of %d octets: it was opened", name, size, info.Size())
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

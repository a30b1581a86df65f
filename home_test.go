package omca_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"omca"
)

// TestMustExist opens what is no home, or not one yet, and looks whether something
// was made of it.
func TestMustExist(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, home string){
		"absent": func(*testing.T, string) {},
		"empty": func(t *testing.T, home string) {
			if err := os.Mkdir(home, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"cut short": func(t *testing.T, home string) {
			// The passphrase is looked for when the store was made.
			_, err := omca.Open(t.Context(), omca.Config{Home: home, PassphraseFile: filepath.Join(home, "absent")})
			if err == nil {
				t.Fatal("opened without its passphrase")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := filepath.Join(t.TempDir(), "home")
			prepare(t, home)
			before := names(t, home)
			s, err := omca.Open(t.Context(), omca.Config{Home: home, MustExist: true})
			if err == nil {
				t.Errorf("opened: %v", s.Close())
			}
			if !errors.Is(err, omca.ErrNoHome) {
				t.Errorf("error %v, want %v", err, omca.ErrNoHome)
			}
			if after := names(t, home); after != before {
				t.Errorf("the home had %q, and has %q", before, after)
			}
			s, err = omca.Open(t.Context(), omca.Config{Home: home})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = omca.Open(t.Context(), omca.Config{Home: home, MustExist: true})
			if err != nil {
				t.Fatalf("a home that is there: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// names are the files of a directory, less what the store keeps beside its file; none when it is absent.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "omca.db.") {
			all = append(all, e.Name())
		}
	}
	return strings.Join(all, " ")
}

// TestReserve reserves what a first start listens on, and nothing for a home that
// is there.
func TestReserve(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // ends with the test
	held := l.Addr().String()
	home := filepath.Join(t.TempDir(), "home")
	for name, c := range map[string]omca.Config{
		"the listener's":                {Listen: held},
		"the listener's, while joining": {Listen: held, Join: &omca.Join{}, Peer: "127.0.0.1:0"},
		"the members'":                  {Listen: "127.0.0.1:0", Cluster: true, Peer: held},
	} {
		c.Home, c.NodeName = home, "node1"
		if all, err := omca.Reserve(t.Context(), c); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s address: %d sockets, error %v", name, len(all), err)
		}
		if got := names(t, home); got != "" {
			t.Errorf("%s address: made %q", name, got)
		}
	}
	free := omca.Config{Home: home, NodeName: "node1", Listen: "127.0.0.1:0", Cluster: true, Peer: "127.0.0.1:0"}
	all, err := omca.Reserve(t.Context(), free)
	if err != nil || len(all) != 2 || all[0].Name != "peer" || all[1].Name != "tls" {
		t.Fatalf("reserved %v, %v", all, err)
	}
	if err := omca.CloseSockets(all); err != nil {
		t.Fatal(err)
	}
	s, err := omca.Open(t.Context(), omca.Config{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := omca.Reserve(t.Context(), omca.Config{Home: home, Listen: held}); err != nil || len(all) != 0 {
		t.Errorf("a home that is there: %d sockets, error %v", len(all), err)
	}
}

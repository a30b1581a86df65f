package omca

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"omca/ca"
	"omca/internal/object"
)

func freePeer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A conversion that was cut short starts over, from the store as it was, and
// whatever the attempt left in etcd is gone.
func TestConversionStartsOver(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	c := Config{Home: home, ClusterName: "east", NodeName: "n1"}
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := s.leaf(t.Context(), s.authority.ClusterCA)
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	c.Cluster, c.Peer = true, freePeer(t)
	if s, err = Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	stray, err := object.ParsePath("root/cfg/stray")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.create(t.Context(), stray, nil), s.Close()); err != nil {
		t.Fatal(err)
	}
	// As if it had been killed before the home said that it is a member.
	for _, suffix := range []string{"", ".journal-0", ".journal-1"} {
		if err := os.Rename(filepath.Join(home, keptStore+suffix), filepath.Join(home, storeFile+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := readMembership(home)
	if err != nil || m == nil || m.State != stateMember {
		t.Fatalf("the home is %+v, %v", m, err)
	}
	m.State = stateConverting
	if err := m.write(home); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(t.Context(), Config{Home: home}); err != nil { // said or not: it was begun
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	now, err := s.leaf(t.Context(), s.authority.ClusterCA)
	if err != nil || !now.Equal(kept) {
		t.Errorf("the CA is another: %v", err)
	}
	if _, err := s.objects.Get(t.Context(), stray); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("what the attempt had left: %v", err)
	}
	if s.config.NodeName != "n1" || s.db.node == nil {
		t.Errorf("it is node %q, a member: %v", s.config.NodeName, s.db.node != nil)
	}
	if _, err := os.Stat(filepath.Join(home, storeFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the store that was copied is still in place: %v", err)
	}
	if _, err := Open(t.Context(), Config{Home: home}); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}

// Only a fresh home joins, with a token that is one.
func TestJoinNeedsAFreshHome(t *testing.T) {
	home := t.TempDir()
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	c := Config{Home: home, NodeName: "n2", Peer: freePeer(t), Join: &Join{Token: "omcajoin1-nonsense", Address: "127.0.0.1:1"}}
	if _, err := Open(t.Context(), c); err == nil || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a token that is none: %v", err)
	}
	if err := os.WriteFile(filepath.Join(home, storeFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := freshHome(home); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("a home with a store: %v", err)
	}
	for _, bad := range []string{"", "N2", "a/b", "n_2", strings.Repeat("n", 59)} {
		if _, err := nodePath(bad); !errors.Is(err, ca.ErrInvalid) {
			t.Errorf("node %q: %v", bad, err)
		}
	}
}

// Requests to join are counted by the address of the client, also behind a proxy,
// whatever port they come from. The machine's root is not counted.
func TestJoinIsLimited(t *testing.T) {
	const burst = 10
	f := frontOf(t, Config{Cluster: true, Peer: freePeer(t)})
	f.root("PATCH", "/api/cluster/config?set=listener.trusted_proxies%3D192.0.2.10", "")
	body := `{"version":1,"token":"` + strings.Repeat("t", 22) + `","cluster":"c","node":"n2","url":"https://n2:1217","csr":"r","key":"AAAA","proof":"AAAA"}`
	try := func(from string, headers ...string) bool {
		f.said()
		w := f.call(t.Context(), from, "POST", "/api/cluster/join", body, headers...)
		f.want(w, http.StatusForbidden)
		said := f.said()
		if !strings.Contains(said, `"join refused"`) {
			t.Fatalf("the log has no reason: %s", said)
		}
		return strings.Contains(said, "too many attempts")
	}
	through := func(client string) func(int) bool {
		return func(i int) bool { return try(fmt.Sprintf("192.0.2.10:%d", 4000+i), "X-Forwarded-For", client) }
	}
	for name, attempt := range map[string]func(int) bool{
		"its own connections":          func(i int) bool { return try(fmt.Sprintf("203.0.113.1:%d", 4000+i)) },
		"a proxy":                      through("203.0.113.2"),
		"a proxy that tells the port":  func(i int) bool { return through(fmt.Sprintf("203.0.113.3:%d", 4000+i))(i) },
		"a proxy, IPv6":                func(i int) bool { return through(fmt.Sprintf("2001:db8::%x", i))(i) },
		"a proxy whose word is no use": through("nonsense"),
	} {
		for i := range burst {
			if attempt(i) {
				t.Errorf("by %s: try %d is one too many", name, i+1)
			}
		}
		if !attempt(burst) {
			t.Errorf("by %s: try %d is looked at", name, burst+1)
		}
	}
	if through("203.0.113.4")(0) {
		t.Error("another client behind the proxy is locked out too")
	}
	for range burst + 1 {
		f.said()
		f.want(f.asRoot("POST", "/api/cluster/join", body), http.StatusForbidden)
		if said := f.said(); strings.Contains(said, "too many attempts") {
			t.Fatalf("the machine's root is limited: %s", said)
		}
	}
}

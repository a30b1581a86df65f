package omca_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"omca"
	"omca/internal/hint"
	"omca/internal/wire"
)

func open(t *testing.T, c omca.Config) *omca.Server {
	t.Helper()
	c.NodeName = "node1"
	s, err := omca.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func status(t *testing.T, s *omca.Server) wire.Status {
	t.Helper()
	var st wire.Status
	if err := json.Unmarshal(local(t, s, "GET", "/api/daemon/status", nil), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func TestOpenMakesWhatIsMissingOnce(t *testing.T) {
	home := filepath.Join(t.TempDir(), "a", "home")
	s := open(t, omca.Config{Home: home, ClusterName: "testers", Version: "v9"})
	first := status(t, s)
	if first.Cluster != "testers" || first.ClusterID == "" || first.Node != "node1" || first.Version != "v9" || !first.InProcess {
		t.Errorf("status %+v", first)
	}
	if first.Certificates != 2 {
		t.Errorf("%d certificates after the first start, want the CA's and the listener's", first.Certificates)
	}
	if _, err := omca.Open(t.Context(), omca.Config{Home: home}); !errors.Is(err, omca.ErrLocked) {
		t.Errorf("a second Open: %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "omca.db", "seal.key"} {
		info, err := os.Stat(filepath.Join(home, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%q has mode %04o", name, mode)
		}
	}
	if _, err := omca.Open(t.Context(), omca.Config{Home: home, ClusterName: "others"}); err == nil || !strings.Contains(err.Error(), `"testers"`) {
		t.Errorf("another name for a cluster that has one: %v", err)
	}
	again := open(t, omca.Config{Home: home, ClusterName: "testers"})
	defer again.Close()
	if second := status(t, again); second.CASHA256 != first.CASHA256 || second.ListenerSerial != first.ListenerSerial || second.Cluster != "testers" {
		t.Errorf("the second start changed something: %+v, then %+v", first, second)
	}
}

func TestOpenRefuses(t *testing.T) {
	made := func(t *testing.T) string {
		home := filepath.Join(t.TempDir(), "home")
		if err := open(t, omca.Config{Home: home}).Close(); err != nil {
			t.Fatal(err)
		}
		return home
	}
	tests := []struct {
		name  string
		spoil func(t *testing.T, home string) error
		want  string
	}{
		{"others can enter the home", func(_ *testing.T, home string) error { return os.Chmod(home, 0o755) }, "0755"},
		{"the seal key is gone", func(_ *testing.T, home string) error { return os.Remove(filepath.Join(home, "seal.key")) }, "seal.key"},
		{"the seal key is empty", func(_ *testing.T, home string) error { return os.Truncate(filepath.Join(home, "seal.key"), 0) }, "seal.key"},
		{"others can read the seal key", func(_ *testing.T, home string) error { return os.Chmod(filepath.Join(home, "seal.key"), 0o640) }, "0640"},
		{"the seal key is another store's", func(t *testing.T, home string) error {
			return os.Rename(filepath.Join(made(t), "seal.key"), filepath.Join(home, "seal.key"))
		}, "key"},
		{"the store is cut off", func(_ *testing.T, home string) error { return os.Truncate(filepath.Join(home, "omca.db"), 5000) }, "omca.db"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			home := made(t)
			if err := tt.spoil(t, home); err != nil {
				t.Fatal(err)
			}
			s, err := omca.Open(t.Context(), omca.Config{Home: home})
			if err == nil {
				t.Fatal("opened", s.Close())
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q does not name %q (hint: %q)", err, tt.want, hint.Of(err))
			}
		})
	}
}

func TestPassphrase(t *testing.T) {
	home, file := filepath.Join(t.TempDir(), "home"), filepath.Join(t.TempDir(), "passphrase")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("correct horse battery\n", 0o600)
	if err := open(t, omca.Config{Home: home, PassphraseFile: file}).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(home, "seal.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a seal key was made beside the passphrase: %v", err)
	}
	write("correct horse battery", 0o600) // the end of the line does not belong to it
	if err := open(t, omca.Config{Home: home, PassphraseFile: file}).Close(); err != nil {
		t.Fatal(err)
	}
	write("wrong horse battery\n", 0o600)
	if _, err := omca.Open(t.Context(), omca.Config{Home: home, PassphraseFile: file}); err == nil || strings.Contains(err.Error(), "horse") {
		t.Errorf("a wrong passphrase: %v", err)
	}
	write("correct horse battery\n", 0o644)
	if _, err := omca.Open(t.Context(), omca.Config{Home: home, PassphraseFile: file}); err == nil || !strings.Contains(err.Error(), "0644") {
		t.Errorf("a passphrase that others can read: %v", err)
	}
}

// The listener's certificate renews itself at two thirds of its life, and so
// does that of a server of the program that embeds the authority. The clock is
// synctest's.
func TestRenewsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := omca.Open(ctx, omca.Config{Home: filepath.Join(t.TempDir(), "home"), NodeName: "node1"})
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.TLSConfig(ctx, "ns1/sec/web", "web.example.com")
		if err != nil {
			t.Fatal(err)
		}
		first := presented(t, c)
		life := first.NotAfter.Sub(first.NotBefore)
		time.Sleep(life/3*2 - time.Hour)
		synctest.Wait()
		if !presented(t, c).Equal(first) {
			t.Error("renewed an hour early")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		second := presented(t, c)
		if second.Equal(first) || !second.NotAfter.After(first.NotAfter) {
			t.Errorf("not renewed when due: valid until %v", second.NotAfter)
		}
		if st := status(t, s); !st.ListenerNotAfter.After(first.NotAfter) {
			t.Errorf("the listener's was not renewed: valid until %v", st.ListenerNotAfter)
		}
		cancel()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func presented(t *testing.T, c *tls.Config) *x509.Certificate {
	t.Helper()
	pair, err := c.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestCallers(t *testing.T) {
	r := runServer(t, omca.Config{})
	alice := r.client(t, "alice", "guest:ns1")
	ask := func() int {
		t.Helper()
		answer, err := alice.Get("https://" + r.address + "/whoami")
		if err != nil {
			return 0
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	if got := ask(); got != http.StatusOK {
		t.Fatalf("whoami: %d", got)
	}
	path := "/api/object/path/system/usr/alice"
	local(t, r.Server, "PATCH", path+"/config?set=allowed_ips%3D192.0.2.0/24", nil)
	if got := ask(); got != http.StatusUnauthorized {
		t.Errorf("from an address that is not allowed: %d", got)
	}
	local(t, r.Server, "PATCH", path+"/config?set=allowed_ips%3D127.0.0.0/8", nil)
	if got := ask(); got != http.StatusOK {
		t.Errorf("from one that is: %d", got)
	}
	local(t, r.Server, "PATCH", path+"/config?set=disabled%3Dtrue", nil)
	if got := ask(); got == http.StatusOK {
		t.Error("a disabled user was let in")
	}
	local(t, r.Server, "PATCH", path+"/config?unset=disabled", nil)
	if got := ask(); got != http.StatusOK {
		t.Errorf("enabled again: %d", got)
	}
	local(t, r.Server, "POST", path+"/action/delete", nil)
	if got := ask(); got == http.StatusOK {
		t.Error("a deleted user was let in")
	}
	local(t, r.Server, "POST", path, map[string]any{"keywords": []string{"grant=root"}})
	if got := ask(); got == http.StatusOK {
		t.Error("the certificate of a deleted user is taken for that of a new one of the same name")
	}
	nobody := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool, ServerName: "localhost"}}}
	defer nobody.CloseIdleConnections()
	answer, err := nobody.Get("https://" + r.address + "/whoami")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a certificate: %d", answer.StatusCode)
	}
}

// Disabling a user ends its open connections at once, not at its next request.
func TestDisablingEndsConnections(t *testing.T) {
	r := runServer(t, omca.Config{})
	transport, ok := r.client(t, "alice", "guest:ns1").Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	conn, err := tls.Dial("tcp", r.address, transport.TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	if n, err := conn.Read(buffer); err != nil || !strings.HasPrefix(string(buffer[:n]), "HTTP/1.1 200") {
		t.Fatalf("%q, %v", buffer[:n], err)
	}
	local(t, r.Server, "PATCH", "/api/object/path/system/usr/alice/config?set=disabled%3Dtrue", nil)
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := conn.Read(buffer)
		if err == nil {
			continue // the rest of the answer
		}
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			t.Error("the connection of a disabled user stays open")
		}
		break
	}
}

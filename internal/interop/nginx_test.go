package interop_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"omca/internal/interop/lab"
)

// TestNginx has nginx, with the CA and the list that omca publishes, let a user in
// and refuse a revoked one once it has the new list.
func TestNginx(t *testing.T) {
	lab.Require(t, "nginx")
	d := lab.NewHome(t).Start(t)
	plain := plainHTTP(t, d)
	alice, bob := d.User(t, "alice", "guest:ns1"), d.User(t, "bob", "guest:ns1")
	d.Run(t, "ns1/sec/web", "create", "--kw", "cn=localhost", "--kw", "alt_names=localhost")
	d.Run(t, "ns1/sec/web", "certificate", "create")
	before := get(t, plain+"/crl/ca.pem")
	d.File(t, "ca.crl.pem", before)
	n := startNginx(t, d)
	if got := n.status(t, d, alice); got != http.StatusOK {
		t.Errorf("alice: status %d, expected %d", got, http.StatusOK)
	}
	// nginx(8) answers whom it does not trust with a status of its own.
	if got := n.status(t, d, nil); got != http.StatusBadRequest {
		t.Errorf("nobody: status %d, expected %d", got, http.StatusBadRequest)
	}
	d.Run(t, "system/usr/alice", "certificate", "revoke", "--reason", "keyCompromise")
	// The revocation is in force with the daemon at once, and on the list a moment later.
	lab.Until(t, "there is a list with the revocation", func() bool { return get(t, plain+"/crl/ca.pem") != before })
	d.File(t, "ca.crl.pem", get(t, plain+"/crl/ca.pem"))
	n.reload(t, d, alice)
	if got := n.status(t, d, bob); got != http.StatusOK {
		t.Errorf("bob: status %d, expected %d", got, http.StatusOK)
	}
}

// TestOpenSSLAsksOCSP has OpenSSL ask over plain HTTP, and check who answers.
func TestOpenSSLAsksOCSP(t *testing.T) {
	lab.Require(t, "openssl")
	d := lab.NewHome(t).Start(t)
	plain := plainHTTP(t, d)
	d.User(t, "alice", "guest:ns1")
	d.User(t, "bob", "guest:ns1")
	alice, _, ca := d.Files(t, "system/usr/alice")
	bob, _, _ := d.Files(t, "system/usr/bob")
	for _, digest := range []string{"-sha1", "-sha256"} {
		ask := func(want map[string]string) {
			t.Helper()
			r := lab.TryTool(t, "openssl", "ocsp", "-CAfile", ca, "-issuer", ca, digest, "-cert", alice, digest, "-cert", bob, "-url", plain+"/ocsp")
			if r.Status != 0 || !strings.Contains(r.Stderr, "Response verify OK") || strings.Contains(r.Stderr, "nonce") {
				t.Fatalf("%s: exit status %d\n%s%s", digest, r.Status, r.Stdout, r.Stderr)
			}
			for cert, state := range want {
				if !strings.Contains(r.Stdout, cert+": "+state+"\n") {
					t.Errorf("%s: expected %s to be %s\n%s", digest, cert, state, r.Stdout)
				}
			}
		}
		if digest == "-sha1" {
			ask(map[string]string{alice: "good", bob: "good"})
			d.Run(t, "system/usr/alice", "certificate", "revoke", "--reason", "keyCompromise")
		}
		ask(map[string]string{alice: "revoked", bob: "good"})
	}
}

// plainHTTP has the daemon speak plain HTTP, and returns the URL.
func plainHTTP(t *testing.T, d *lab.Daemon) string {
	t.Helper()
	address := "127.0.0.1:" + lab.FreePort(t)
	d.Run(t, "cluster", "config", "update", "--set", "listener.http_addr="+address)
	plain := "http://" + address
	lab.Until(t, "plain HTTP is served", func() bool {
		answer, err := http.Get(plain + "/ca.pem")
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	})
	return plain
}

// get returns the body of a URL, with the status 200.
func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %s, %v", url, answer.Status, err)
	}
	return string(body)
}

// nginx is a server that asks for client certificates.
type nginx struct {
	address string
	command *exec.Cmd
}

// startNginx starts an nginx that has the certificate of ns1/sec/web, and takes
// the CA and the list beside the home of the daemon.
func startNginx(t *testing.T, d *lab.Daemon) *nginx {
	t.Helper()
	cert, key, ca := d.Files(t, "ns1/sec/web")
	dir := filepath.Dir(d.Dir)
	n := &nginx{address: "127.0.0.1:" + lab.FreePort(t)}
	config := d.File(t, "nginx.conf", fmt.Sprintf(`
daemon off; master_process on; worker_processes 1; user root; pid %[1]s/nginx.pid; error_log stderr warn;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
	server {
		listen %[2]s ssl;
		ssl_certificate %[3]s; ssl_certificate_key %[4]s;
		ssl_client_certificate %[5]s; ssl_crl %[1]s/ca.crl.pem; ssl_verify_client on;
		location / { return 200 "$ssl_client_s_dn\n"; }
	}
}
`, dir, n.address, cert, key, ca))
	n.command = exec.Command("nginx", "-c", config, "-p", dir)
	var log strings.Builder
	n.command.Stderr = &log
	if err := n.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := n.command.Process.Signal(syscall.SIGTERM)
		if err = errors.Join(err, n.command.Wait()); err != nil {
			t.Errorf("nginx: %v", err)
		}
		if t.Failed() {
			t.Logf("log of nginx:\n%s", log.String())
		}
	})
	lab.Until(t, "nginx listens", func() bool {
		conn, err := tls.Dial("tcp", n.address, d.TLS(t, nil))
		return err == nil && conn.Close() == nil
	})
	return n
}

// status asks nginx with a new connection, and returns the status.
func (n *nginx) status(t *testing.T, d *lab.Daemon, pair *tls.Certificate) int {
	t.Helper()
	answer, err := d.HTTP(t, pair).Get("https://" + n.address + "/")
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}

// reload has nginx read its files again, and waits until it refuses pair.
func (n *nginx) reload(t *testing.T, d *lab.Daemon, pair *tls.Certificate) {
	t.Helper()
	if err := n.command.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	lab.Until(t, "nginx refuses whom the list names", func() bool { return n.status(t, d, pair) == http.StatusBadRequest })
}

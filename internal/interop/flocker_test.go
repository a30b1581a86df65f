package interop_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"omca/internal/interop/lab"
	"omca/pki/flocker"
	"omca/pki/flocker/flockertest"
)

// flockerCluster is a directory with the files of a cluster.
type flockerCluster struct {
	name, dir string
	files     map[flocker.Role]string // the certificate's and the key's, less .crt and .key
}

func (c flockerCluster) ca() string { return filepath.Join(c.dir, "cluster.crt") }

func (c flockerCluster) credential(t *testing.T, role flocker.Role) flocker.Credential {
	t.Helper()
	credential, err := flocker.Load(c.ca(), c.files[role]+".crt", c.files[role]+".key")
	if err != nil {
		t.Fatal(err)
	}
	return credential
}

func flockerRoles() []flocker.Role {
	return []flocker.Role{flocker.Control, flocker.Node, flocker.User}
}

// madeCluster is what flocker-ca makes, as an operator types it.
func madeCluster(t *testing.T) flockerCluster {
	t.Helper()
	home := lab.NewHome(t)
	c := flockerCluster{"of ours", t.TempDir(), make(map[flocker.Role]string)}
	link := filepath.Join(t.TempDir(), "flocker-ca")
	if err := os.Symlink(lab.Binary(t), link); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		command := home.Command(t.Context(), t, args...)
		command.Path, command.Args[0], command.Dir = link, link, c.dir
		r := lab.Finish(t, command)
		if r.Status != 0 || r.Stderr != "" {
			t.Fatalf("flocker-ca %q: %+v", args, r)
		}
		return filepath.Join(c.dir, strings.TrimSuffix(regexp.MustCompile(`[a-zA-Z0-9.-]+\.(crt|key)`).FindString(r.Stdout), ".crt"))
	}
	run("initialize", "mycluster")
	c.files[flocker.Control] = run("create-control-certificate", "127.0.0.1")
	c.files[flocker.Node] = run("create-node-certificate")
	c.files[flocker.User] = run("create-api-certificate", "alice")
	return c
}

// originalCluster is what Flocker itself made.
func originalCluster(t *testing.T) flockerCluster {
	t.Helper()
	c := flockerCluster{"of Flocker", t.TempDir(), make(map[flocker.Role]string)}
	a := flockertest.New(t, "mycluster", "0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a", time.Now().Add(-time.Hour))
	a.Write(t, c.dir, "cluster")
	for role, h := range map[flocker.Role]flockertest.Holder{
		flocker.Control: a.Control("127.0.0.1"), flocker.Node: a.Node("6f9c2b1e-8a54-4f0d-9b7e-2f1c3d4e5a6b"), flocker.User: a.User("alice"),
	} {
		h.Write(t, c.dir, string(role))
		c.files[role] = filepath.Join(c.dir, string(role))
	}
	return c
}

// TestFlockerFiles has OpenSSL look at every certificate of a cluster: strictly at
// ours, and each is good in its own cluster and for its own purpose only.
func TestFlockerFiles(t *testing.T) {
	lab.Require(t, "openssl")
	ours, theirs := madeCluster(t), originalCluster(t)
	verify := func(args ...string) int {
		return lab.TryTool(t, "openssl", append([]string{"verify"}, args...)...).Status
	}
	files := map[string]string{"cluster": ours.ca()}
	for _, role := range flockerRoles() {
		files[string(role)] = ours.files[role] + ".crt"
		if verify("-CAfile", theirs.ca(), theirs.files[role]+".crt") != 0 {
			t.Errorf("%s of Flocker is refused", role)
		}
		if verify("-x509_strict", "-CAfile", theirs.ca(), theirs.files[role]+".crt") == 0 {
			t.Errorf("%s of Flocker is strictly good: the fixture is not as Flocker made it", role)
		}
	}
	for name, file := range files {
		if out := lab.Tool(t, "openssl", "verify", "-x509_strict", "-CAfile", ours.ca(), file); out != file+": OK\n" {
			t.Errorf("%s: %s", name, out)
		}
		if verify("-CAfile", theirs.ca(), file) == 0 {
			t.Errorf("%s is good in another cluster", name)
		}
	}
	for role, purposes := range map[flocker.Role]map[string]bool{
		flocker.User:    {"sslclient": true, "sslserver": false},
		flocker.Node:    {"sslclient": true, "sslserver": true},
		flocker.Control: {"sslserver": true},
	} {
		for purpose, good := range purposes {
			if got := verify("-purpose", purpose, "-CAfile", ours.ca(), ours.files[role]+".crt") == 0; got != good {
				t.Errorf("%s for %s: %v", role, purpose, got)
			}
		}
	}
	text := lab.Tool(t, "openssl", "x509", "-in", ours.files[flocker.Control]+".crt", "-noout", "-text")
	for _, want := range []string{"Version: 3 (0x2)", "DNS:control-service, IP Address:127.0.0.1", "Signature Algorithm: sha256WithRSAEncryption", "Public-Key: (4096 bit)"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	// The key belongs to the certificate, as OpenSSL sees it.
	for _, role := range flockerRoles() {
		public := lab.Tool(t, "openssl", "pkey", "-in", ours.files[role]+".key", "-pubout")
		if public != lab.Tool(t, "openssl", "x509", "-in", ours.files[role]+".crt", "-noout", "-pubkey") {
			t.Errorf("%s: key and certificate do not belong together", role)
		}
	}
}

// TestFlockerServesOpenSSL has OpenSSL call the control service, with every
// certificate of two clusters, at both ports.
func TestFlockerServesOpenSSL(t *testing.T) {
	lab.Require(t, "openssl")
	clusters := []flockerCluster{madeCluster(t), originalCluster(t)}
	for _, c := range clusters {
		for _, peer := range []flocker.Role{flocker.User, flocker.Node} {
			config, err := flocker.Server(c.credential(t, flocker.Control), peer, nil)
			if err != nil {
				t.Fatal(err)
			}
			address := echo(t, config)
			for _, from := range clusters {
				for _, caller := range flockerRoles() {
					what := fmt.Sprintf("%s %s calls where %s call %s", caller, from.name, peer, c.name)
					got := shout(t, address, c.ca(), from.files[caller])
					if want := from.name == c.name && caller == peer; got != want {
						t.Errorf("%s: accepted %v, want %v", what, got, want)
					}
				}
			}
			if shout(t, address, c.ca(), "") {
				t.Errorf("nobody calls where %s call %s: accepted", peer, c.name)
			}
		}
	}
}

// TestFlockerCallsOpenSSL has OpenSSL pose as the control service, with every
// certificate of two clusters.
func TestFlockerCallsOpenSSL(t *testing.T) {
	lab.Require(t, "openssl")
	clusters := []flockerCluster{madeCluster(t), originalCluster(t)}
	for _, from := range clusters {
		for _, served := range flockerRoles() {
			address := sServer(t, from.files[served])
			for _, c := range clusters {
				for _, caller := range []flocker.Role{flocker.Node, flocker.User} {
					config, err := flocker.Client(c.credential(t, caller), nil)
					if err != nil {
						t.Fatal(err)
					}
					err = reversed(address, config)
					if want := from.name == c.name && served == flocker.Control; (err == nil) != want {
						t.Errorf("%s %s sees %s %s as the control service: %v", caller, c.name, served, from.name, err)
					}
				}
			}
		}
	}
}

// echo serves TLS, and says back what it is told.
func echo(t *testing.T, config *tls.Config) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) // it ends with the test
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				line, err := bufio.NewReader(io.LimitReader(conn, 100)).ReadString('\n')
				if err == nil {
					fmt.Fprint(conn, line) // whoever asked may be gone
				}
			}()
		}
	}()
	return l.Addr().String()
}

// shout has OpenSSL connect and say a word; true when the word comes back.
func shout(t *testing.T, address, ca, pair string) bool {
	t.Helper()
	args := []string{"s_client", "-connect", address, "-CAfile", ca, "-servername", "control-service", "-verify_hostname", "control-service", "-verify_return_error", "-quiet"}
	if pair != "" {
		args = append(args, "-cert", pair+".crt", "-key", pair+".key")
	}
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	c := exec.CommandContext(ctx, "openssl", args...)
	stdin, err := c.StdinPipe() // open until the answer is there: at its end s_client hangs up
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if _, err := fmt.Fprintln(stdin, "flocker"); err != nil {
		t.Fatal(err)
	}
	return strings.Contains(lab.Finish(t, c).Stdout, "flocker")
}

// sServer has OpenSSL serve with a pair of files, and turn round what it is told.
func sServer(t *testing.T, pair string) (address string) {
	t.Helper()
	c := exec.Command("openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", pair+".crt", "-key", pair+".key", "-Verify", "1", "-rev")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill() // it may have ended
		c.Wait()         // by that
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if port, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			go io.Copy(io.Discard, out) // ends with the process
			return port
		}
	}
	t.Fatalf("openssl s_server says no address: %v", lines.Err())
	return ""
}

// reversed connects, says a word, and wants it turned round.
func reversed(address string, config *tls.Config) error {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: lab.Patience}, "tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(conn, "flocker"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "rekcolf\n" {
		err = errors.New("not turned round: " + line)
	}
	return err
}

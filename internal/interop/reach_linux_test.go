package interop_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"omca/internal/interop/lab"
)

// shown returns the blocks of one kind that a page shows.
func shown(t *testing.T, page, kind string) []string {
	t.Helper()
	var all []string
	for _, b := range blocks(read(t, page)) {
		if b.kind == kind {
			all = append(all, b.text)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s shows no %s", page, kind)
	}
	return all
}

// replaced puts other words into a configuration that was shown; each must be there.
func replaced(t *testing.T, text string, words ...string) string {
	t.Helper()
	for i := 0; i < len(words); i += 2 {
		if !strings.Contains(text, words[i]) {
			t.Fatalf("the configuration has no %s", words[i])
		}
		text = strings.ReplaceAll(text, words[i], words[i+1])
	}
	return text
}

// spawn runs a program until the test ends, as the leader of a group of processes.
func spawn(t *testing.T, command *exec.Cmd) {
	t.Helper()
	var log strings.Builder
	command.Stdout, command.Stderr = &log, &log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Kill(-command.Process.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
		_ = command.Wait() // some say that they were ended, some do not
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(command.Args, " "), log.String())
		}
	})
}

// twins starts two nodes with one CA: the second has a copy of the first one's home.
func twins(t *testing.T, start func(h lab.Home, host string) *lab.Daemon) (first, second *lab.Daemon) {
	t.Helper()
	h := lab.NewHome(t)
	d := h.Start(t)
	d.User(t, "alice", "root")
	d.Run(t, "system/sec/cert", "config", "update", "--set", "alt_names+=127.0.0.2", "--set", "alt_names+=127.0.0.3")
	d.Run(t, "certificate", "create")
	d.Stop(t)
	copied := lab.NewHome(t)
	if out, err := exec.Command("cp", "-a", h.Dir, copied.Dir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return start(h, "127.0.0.2"), start(copied, "127.0.0.3")
}

// TestBalancer leads clients to two nodes by the configurations of HAProxy that
// docs/reaching.md shows: by client certificate, past a node that is gone.
func TestBalancer(t *testing.T) {
	t.Parallel()
	lab.Require(t, "haproxy")
	first, second := twins(t, func(h lab.Home, host string) *lab.Daemon { return h.Start(t, "--listen", host+":0") })
	alice := first.TLS(t, first.Pair(t, "system/usr/alice"))
	authority := first.File(t, "omca-ca.pem", first.CA(t))
	for i, text := range shown(t, "docs/reaching.md", "haproxy") {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			address := "127.0.0.1:" + lab.FreePort(t)
			for _, listens := range []string{"192.0.2.10:1215", "bind :1215"} {
				text = strings.Replace(text, listens, strings.Replace(listens, strings.TrimPrefix(listens, "bind "), address, 1), 1)
			}
			text = replaced(t, text, "192.0.2.11:1215", first.Address, "192.0.2.12:1215", second.Address, "/etc/haproxy/omca-ca.pem", authority)
			text = strings.ReplaceAll(text, "192.0.2.13:1215", second.Address)
			config := filepath.Join(t.TempDir(), "haproxy.cfg")
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			spawn(t, exec.Command("haproxy", "-db", "-f", config))
			who := func() string { return whoBehind(alice, address) }
			lab.Until(t, "HAProxy leads somewhere", func() bool { return who() == "x509 alice" })
			for _, node := range []*lab.Daemon{second, first} {
				node.Pause(t) // it does not answer, and does not refuse either
				lab.Until(t, "HAProxy has noticed", func() bool {
					for range 3 { // it takes turns
						if who() != "x509 alice" {
							return false
						}
					}
					return true
				})
				for range 10 {
					if got := who(); got != "x509 alice" {
						t.Errorf("beside a node that hangs: %s", got)
					}
				}
				node.Resume(t)
				lab.Until(t, "HAProxy has it back", func() bool { return who() == "x509 alice" })
			}
		})
	}
}

// whoBehind asks an address who is calling, on a connection of its own.
func whoBehind(config *tls.Config, address string) string {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	r, err := client.Get("https://" + address + "/whoami")
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	if err != nil {
		return err.Error()
	}
	for _, part := range []string{`"auth":"x509"`, `"name":"alice"`} {
		if !strings.Contains(string(body), part) {
			return string(body)
		}
	}
	return "x509 alice"
}

// TestFloatingAddress moves addresses between two nodes by the configurations of
// keepalived that docs/reaching.md shows.
func TestFloatingAddress(t *testing.T) {
	t.Parallel()
	lab.Require(t, "keepalived", "curl")
	machines := lab.Machines(t, "192.0.2.11", "192.0.2.12")
	unused := machines
	first, _ := twins(t, func(h lab.Home, _ string) *lab.Daemon {
		h.Namespace, unused = unused[0].Namespace, unused[1:]
		return h.Start(t, "--listen", ":1215")
	})
	authority := first.File(t, "omca-ca.pem", first.CA(t))
	all := shown(t, "docs/reaching.md", "keepalived")
	for name, c := range map[string]struct {
		shown string
		away  string // at home on the second machine
	}{
		"one":  {all[0], ""},
		"more": {all[1], "192.0.2.20"},
	} {
		t.Run(name, func(t *testing.T) {
			text := replaced(t, c.shown, "/etc/omca/omca-ca.pem", authority)
			keepalived(t, machines[0], text)
			keepalived(t, machines[1], strings.NewReplacer("192.0.2.11", "192.0.2.12", "192.0.2.12", "192.0.2.11",
				"priority 150", "priority 100", "priority 100", "priority 150").Replace(text))
			home := func() bool {
				return machines[0].Has(t, "192.0.2.10") && !machines[1].Has(t, "192.0.2.10") && (c.away == "" || machines[1].Has(t, c.away) && !machines[0].Has(t, c.away))
			}
			lab.Until(t, "every address is at home", home)
			first.Pause(t) // a node that does not answer
			lab.Until(t, "every address is on the other machine", func() bool {
				return machines[1].Has(t, "192.0.2.10") && !machines[0].Has(t, "192.0.2.10") && (c.away == "" || machines[1].Has(t, c.away))
			})
			first.Resume(t)
			lab.Until(t, "every address is at home again", home)
		})
	}
	for _, text := range all {
		checkKeepalived(t, machines[0], text)
	}
}

// keepalived runs one on the machine.
func keepalived(t *testing.T, on lab.Machine, text string) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	spawn(t, on.Command(context.WithoutCancel(t.Context()), "keepalived",
		"-n", "-l", "-D", "-f", config, "-p", dir+"/pid", "-r", dir+"/vrrp.pid", "-c", dir+"/checkers.pid"))
}

// checkKeepalived has one read a configuration, and find nothing wrong with it.
func checkKeepalived(t *testing.T, on lab.Machine, text string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := on.Command(t.Context(), "keepalived", "-t", "-f", config).CombinedOutput(); err != nil {
		t.Errorf("keepalived -t: %v: %s", err, out)
	}
}

package interop_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/interop/lab"
)

// script is a day of an operator: what changes, what looks, what goes wrong.
func script() [][]string {
	const alice, web, cfg = "system/usr/alice", "ns1/sec/web", "ns1/cfg/site"
	return [][]string{
		{alice, "create", "--kw", "grant=admin:ns1", "--kw", "email=alice@example.com"},
		{alice, "create", "--kw", "grant=admin:ns1"},
		{alice, "create", "--kw", "grant+=guest:ns2"},
		{alice, "show"},
		{alice, "key", "list"},
		{alice, "key", "decode", "--name", "certificate_chain"},
		{alice, "key", "decode", "--name", "nothing"},
		{alice, "config", "get", "--kw", "grant"},
		{alice, "config", "update", "--set", "cn=bob"},
		{alice, "config", "update", "--set", "grunt=root"},
		{web, "create", "--kw", "cn=web.example.com", "--kw", "alt_names=192.0.2.1"},
		{web, "certificate", "create", "-o", "json"},
		{web, "certificate", "create"},
		{web, "certificate", "renew", "--rekey"},
		{web, "certificate", "show"},
		{web, "certificate", "verify"},
		{web, "certificate", "signing-request"},
		{web, "key", "add", "--name", "private_key", "--from", os.DevNull},
		{web, "key", "change", "--name", "certificate", "--from", os.DevNull},
		{cfg, "create"},
		{cfg, "certificate", "create"},
		{cfg, "key", "add", "--name", "index.html", "--value", "<h1>ÿ</h1>"},
		{cfg, "key", "add", "--name", "index.html", "--value", "again"},
		{cfg, "key", "rename", "--name", "index.html", "--to", "index.htm"},
		{cfg, "key", "decode", "--name", "index.htm"},
		{cfg, "config", "update", "--set", "env.a=b", "--set", "comment=for the web team"},
		{cfg, "config", "update", "--set", "env.a=b"},
		{cfg, "config", "show"},
		{"ns1/sec/none", "show"},
		{"ns1/*/*", "ls"},
		{"*/usr/*", "ls", "-o", "json"},
		{"ls", "-o", "yaml"},
		{"certificate", "ls", "--owner", web, "-o", "csv"},
		{"certificate", "ls", "--expiring", "30d"},
		{"certificate", "show", "-o", "json"},
		{"certificate", "show", "00"},
		{"cluster", "config", "get", "--kw", "cluster.name"},
		{"cluster", "config", "update", "--set", "listener.port=0"},
		{cfg, "delete", "--yes"},
		{cfg, "delete", "--yes"},
		{"nonsense"},
	}
}

// play runs the script and returns all that it printed, and how each command ended.
func play(t *testing.T, home lab.Home, flags ...string) string {
	t.Helper()
	var all strings.Builder
	statuses := map[int]int{}
	for _, args := range script() {
		r := home.Try(t, append(flags, args...)...)
		statuses[r.Status]++
		fmt.Fprintf(&all, "$ omca %q\n%s%s-- %d\n", args, r.Stdout, r.Stderr, r.Status)
	}
	for status := range 5 {
		if status != 3 && statuses[status] == 0 { // root is refused nothing
			t.Errorf("no command of the script ends with status %d", status)
		}
	}
	return normal(all.String())
}

// normal puts words in the place of what is never the same twice.
func normal(text string) string {
	for _, r := range []struct{ pattern, word string }{
		{`(?s)-----BEGIN ([A-Z ]+)-----.+?-----END`, "-----BEGIN $1-----…-----END"},
		{`\b[0-9a-f]{64}\b`, "HASH"},
		{`\b[0-9a-f]{40}\b`, "SERIAL"},
		{`\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z`, "TIME"},
		{`\b\d+ bytes`, "N bytes"},
		{`"size": \d+`, `"size": N`},
		{`size: \d+`, "size: N"},
		{`\b[A-Z2-7]{26}\b`, "REQUEST"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.word)
	}
	return text
}

// TestSameWithAndWithoutDaemon plays the script three times: in process, through
// a daemon's socket, and through the network with a client certificate. Who
// reads along cannot tell which is which.
func TestSameWithAndWithoutDaemon(t *testing.T) {
	first := lab.NewHome(t)
	d := first.Start(t)
	d.User(t, "admin", "root")
	cert, key, ca := d.Files(t, "system/usr/admin")
	d.Stop(t)
	second, third := copied(t, first), copied(t, first)

	alone := play(t, first)
	second.Start(t)
	if diff := cmp.Diff(alone, play(t, second)); diff != "" {
		t.Errorf("through the daemon's socket (-in process +daemon):\n%s", diff)
	}
	d = third.Start(t)
	nowhere := lab.NewHome(t) // the home of who is at another machine
	remote := play(t, nowhere, "--server", d.URL(""), "--cert", cert, "--key", key, "--ca", ca)
	if diff := cmp.Diff(alone, remote); diff != "" {
		t.Errorf("through the network (-in process +remote):\n%s", diff)
	}
	if _, err := os.Stat(nowhere.Dir); !os.IsNotExist(err) {
		t.Errorf("a command for a server far away has made a home: %v", err)
	}
}

// copied returns a home with what home has.
func copied(t *testing.T, home lab.Home) lab.Home {
	t.Helper()
	other := lab.NewHome(t)
	if err := os.CopyFS(other.Dir, os.DirFS(home.Dir)); err != nil {
		t.Fatal(err)
	}
	lab.Tool(t, "chmod", "-R", "go=", other.Dir)
	return other
}

// TestRemoteRefuses has the command line tell who may not, and whom it does not trust.
func TestRemoteRefuses(t *testing.T) {
	d := lab.NewHome(t).Start(t)
	d.User(t, "guest", "guest:ns1")
	cert, key, ca := d.Files(t, "system/usr/guest")
	other := lab.NewHome(t).Start(t)
	stranger := other.File(t, "other.crt", other.CA(t))
	for name, c := range map[string]struct {
		args   []string
		status int
	}{
		"trusted by name":      {[]string{"--cert", cert, "--key", key, "--ca", ca, "ns1/*/*", "ls", "-o", "json"}, 2},
		"may not":              {[]string{"--cert", cert, "--key", key, "--ca", ca, "system/sec/ca", "key", "decode", "--name", "private_key"}, 3},
		"nobody":               {[]string{"--ca", ca, "ls"}, 3},
		"another CA":           {[]string{"--cert", cert, "--key", key, "--ca", stranger, "ls"}, 1},
		"no CA":                {[]string{"--cert", cert, "--key", key, "ls"}, 1},
		"another fingerprint":  {[]string{"--cert", cert, "--key", key, "--ca-fingerprint", strings.Repeat("00", 32), "ls"}, 1},
		"a key without a cert": {[]string{"--key", key, "--ca", ca, "ls"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := d.Try(t, append([]string{"--server", d.URL("")}, c.args...)...)
			if r.Status != c.status || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "omca: error: ") {
				t.Errorf("%+v, expected status %d and an error", r, c.status)
			}
		})
	}
}

// TestAtOnce starts commands at the same instant, with no daemon: each waits
// for its turn.
func TestAtOnce(t *testing.T) {
	const rounds, together = 20, 4
	home := lab.NewHome(t)
	home.Run(t, "init")
	for round := range rounds {
		var commands sync.WaitGroup
		start := make(chan struct{})
		for i := range together {
			commands.Go(func() {
				<-start
				r := home.Try(t, fmt.Sprintf("ns1/cfg/c%d-%d", round, i), "create")
				if r.Status != 0 || r.Stdout+r.Stderr != "" {
					t.Errorf("round %d, command %d: %+v", round, i, r)
				}
			})
		}
		close(start)
		commands.Wait()
	}
	if n := strings.Count(home.Run(t, "ns1/cfg/*", "ls", "-o", "jsonl"), "\n"); n != rounds*together {
		t.Errorf("%d objects, expected %d", n, rounds*together)
	}
	if n := strings.Count(home.Run(t, "certificate", "ls", "-o", "jsonl"), "\n"); n != 2 {
		t.Errorf("%d certificates, expected one first start's CA and listener", n)
	}
}

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"omca/internal/client"
	"omca/internal/interop/lab"
	"omca/internal/store/etcd/etcdtest"
	"omca/internal/wire"
)

// soon bounds what takes a second or two on a machine that is not busy.
const soon = time.Minute

func eventually(t *testing.T, what string, true_ func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !true_() {
		if time.Since(began) > soon {
			t.Fatalf("%s: not within %s", what, soon)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// node is one daemon of several on one etcd.
type node struct {
	*lab.Daemon
	name string
	args []string
	api  *client.Client
}

// cluster runs nodes on an etcd of its own process.
func cluster(t *testing.T, count int) (*etcdtest.Process, []*node) {
	t.Helper()
	etcd := etcdtest.StartProcess(t)
	var nodes []*node
	for i := range count {
		home := lab.NewHome(t)
		n := &node{name: fmt.Sprintf("n%d", i+1), api: home.Client(t)}
		n.args = []string{"--store", "etcd://" + etcd.Address + "/omca", "--node-name", n.name, "--cluster-name", "faulty"}
		if i > 0 {
			key, err := os.ReadFile(filepath.Join(nodes[0].Dir, "seal.key"))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Mkdir(home.Dir, 0o700), os.WriteFile(filepath.Join(home.Dir, "seal.key"), key, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		n.Daemon = home.Start(t, n.args...)
		nodes = append(nodes, n)
	}
	return etcd, nodes
}

// ledger is what clients were told, whichever node told them.
type ledger struct {
	mu              sync.Mutex
	signed, revoked []string // serial numbers
	refused         int
	unexpected      []error
}

// issuers issue, and revoke every fourth, until the context ends.
func (l *ledger) work(ctx context.Context, nodes []*node, request string) {
	var workers sync.WaitGroup
	for _, n := range nodes {
		workers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				signed, err := n.api.Sign(ctx, wire.SignRequest{CSR: request, Profile: "listener"})
				revoke := err == nil && i%4 == 0
				if revoke {
					_, err = n.api.RevokeSerial(ctx, signed.Serial, "superseded")
				}
				if ctx.Err() == nil {
					l.note(signed.Serial, revoke, err)
				}
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	workers.Wait()
}

func (l *ledger) note(serial string, revoked bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if serial != "" {
		l.signed = append(l.signed, serial)
	}
	answer := new(client.Error)
	switch {
	case err == nil && revoked:
		l.revoked = append(l.revoked, serial)
	case err == nil, errors.Is(err, client.ErrUnreachable): // the daemon was killed
	case errors.As(err, &answer) && answer.Status == http.StatusServiceUnavailable:
		l.refused++
	default:
		l.unexpected = append(l.unexpected, err)
	}
}

// check holds what clients were told against what every node knows.
func (l *ledger) check(t *testing.T, nodes []*node) {
	t.Helper()
	for _, err := range l.unexpected {
		t.Errorf("unexpected: %v", err)
	}
	slices.Sort(l.signed)
	if len(slices.Compact(slices.Clone(l.signed))) != len(l.signed) {
		t.Error("a serial number was given twice")
	}
	for _, n := range nodes {
		known := map[string]string{}
		for record, err := range n.api.Certificates(t.Context(), client.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			known[record.Serial] = record.State
		}
		for _, serial := range l.signed {
			if known[serial] == "" {
				t.Errorf("%s: a client was given %s, which is not in the inventory", n.name, serial)
			}
		}
		for _, serial := range l.revoked {
			if known[serial] != "revoked" {
				t.Errorf("%s: the revocation of %s was confirmed, and its state is %q", n.name, serial, known[serial])
			}
		}
	}
}

// TestStore has the store of three nodes stopped, killed and brought back, and
// the node killed that works for all, while clients issue and revoke on every
// node. Whatever was answered is true on every node afterwards.
func TestStore(t *testing.T) {
	etcd, nodes := cluster(t, 3)
	nodes[0].Run(t, "system/usr/alice", "create", "--kw", "grant=guest:ns1")
	alice := nodes[0].Pair(t, "system/usr/alice")
	numbers := []string{}
	look := func() {
		for _, n := range nodes {
			lists, err := n.api.Lists(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range lists {
				numbers = append(numbers, l.Number)
			}
		}
	}
	whoami := func(n *node) int {
		answer, err := n.HTTP(t, alice).Get(n.URL("/whoami")) // a connection of its own
		if err != nil {
			return 0
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	for _, n := range nodes {
		eventually(t, "alice on "+n.name, func() bool { return whoami(n) == http.StatusOK })
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var l ledger
	done := make(chan struct{})
	go func() { defer close(done); l.work(ctx, nodes, signingRequest(t)) }()

	for name, fault := range map[string]struct{ begin, end func() }{
		"stopped": {etcd.Pause, etcd.Resume},
		"killed":  {etcd.Kill, etcd.Start},
	} {
		fault.begin()
		for _, n := range nodes {
			took := eventually(t, n.name+" notices that etcd is "+name, func() bool {
				st, err := n.api.Status(t.Context())
				return err == nil && st.Store != nil && st.Store.Away != ""
			})
			began := time.Now()
			r := n.Try(t, "ns1/cfg/"+name, "create")
			if r.Status == 0 || !strings.Contains(r.Stderr, etcd.Address) || !strings.Contains(r.Stderr, "nothing was changed") {
				t.Errorf("%s: a change while etcd is %s: exit status %d, %s", n.name, name, r.Status, r.Stderr)
			}
			t.Logf("%s: etcd %s, noticed after %s, a command was refused in %s", n.name, name, took, time.Since(began))
			if got := whoami(n); got != http.StatusOK {
				t.Errorf("%s: alice while etcd is %s: %d", n.name, name, got)
			}
		}
		fault.end()
		for _, n := range nodes {
			took := eventually(t, n.name+" after etcd was "+name, func() bool {
				_, err := n.api.Sign(t.Context(), wire.SignRequest{CSR: signingRequest(t), Profile: "listener"})
				return err == nil
			})
			t.Logf("%s: changes %s after etcd is back", n.name, took)
		}
		look()
	}

	chosen := func(n *node) string {
		st, err := n.api.Status(t.Context())
		if err != nil || st.Store == nil {
			return ""
		}
		return st.Store.Chosen
	}
	eventually(t, "a chosen node", func() bool { return chosen(nodes[0]) != "" })
	was := chosen(nodes[0])
	at := slices.IndexFunc(nodes, func(n *node) bool { return n.name == was })
	if at < 0 {
		t.Fatalf("chosen is %q", was)
	}
	other := nodes[(at+1)%3]
	nodes[at].Kill(t)
	took := eventually(t, "another node chosen", func() bool { now := chosen(other); return now != "" && now != was })
	t.Logf("another node was chosen %s after the first was killed", took)
	nodes[at].Daemon = nodes[at].Home.Start(t, nodes[at].args[2:4]...) // the home remembers the rest
	if got := whoami(nodes[at]); got != http.StatusOK {
		t.Errorf("alice on %s, started again: %d", was, got)
	}

	if r := other.Try(t, "daemon", "restart"); r.Status != 0 {
		t.Errorf("restart of %s: %s", other.name, r.Stderr)
	}
	if got := whoami(other); got != http.StatusOK {
		t.Errorf("alice on %s after its restart: %d", other.name, got)
	}

	stop()
	<-done
	r := nodes[1].Try(t, "system/usr/alice", "certificate", "revoke")
	if r.Status != 0 {
		t.Fatal(r.Stderr)
	}
	for _, n := range nodes {
		eventually(t, "alice refused on "+n.name, func() bool { return whoami(n) != http.StatusOK })
	}
	look()
	l.check(t, nodes)
	t.Logf("%d certificates, %d revocations, %d requests refused; list numbers %s", len(l.signed), len(l.revoked), l.refused, strings.Join(numbers, " "))
}

// TestStartWithoutStore starts a daemon while etcd is away, and one that was
// away for longer than it may be trusted.
func TestStartWithoutStore(t *testing.T) {
	etcd, nodes := cluster(t, 1)
	n := nodes[0]
	n.Run(t, "system/usr/alice", "create", "--kw", "grant=guest:ns1")
	alice := n.Pair(t, "system/usr/alice")
	n.Stop(t)
	etcd.Kill()
	asks := func() int {
		answer, err := n.HTTP(t, alice).Get(n.URL("/whoami"))
		if err != nil {
			return 0
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	n.Daemon = n.Home.Start(t, "--node-name", "n1")
	if got := asks(); got != http.StatusOK {
		t.Errorf("alice at a node that was started without its store: %d", got)
	}
	n.Kill(t)
	note := filepath.Join(n.Dir, "replica.db.note")
	text, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	year := time.Now().Format("2006")
	for what, then := range map[string]string{"of long ago": "2001", "of the future": "2999"} {
		changed := strings.ReplaceAll(string(text), `"word":"`+year, `"word":"`+then)
		if changed == string(text) {
			t.Fatalf("the note says %s", text)
		}
		if err := os.WriteFile(note, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		n.Daemon = n.Home.Start(t, "--node-name", "n1")
		if got := asks(); got != http.StatusServiceUnavailable {
			t.Errorf("alice at a node whose copy is %s: %d, expected 503", what, got)
		}
		if r := n.Try(t, "system/usr/alice", "show"); r.Status != 0 { // over the unix socket
			t.Errorf("the socket of a node whose copy is %s: %s", what, r.Stderr)
		}
		n.Kill(t)
	}
	etcd.Start()
	n.Daemon = n.Home.Start(t, "--node-name", "n1")
	eventually(t, "alice with etcd back", func() bool { return asks() == http.StatusOK })
}

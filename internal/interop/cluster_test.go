package interop_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"omca/internal/client"
	"omca/internal/interop/lab"
)

// peerAt returns a free address for the members, on a host of the loopback.
func peerAt(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// firstNode starts the first node of a cluster.
func firstNode(t *testing.T, h lab.Home) *lab.Daemon {
	t.Helper()
	return h.Start(t, "--log-level", "warn", "--cluster", "--cluster-name", "east", "--node-name", "n1", "--peer", peerAt(t, "127.0.0.1"))
}

// anotherNode has a machine join the cluster of a daemon.
func anotherNode(t *testing.T, of *lab.Daemon, h lab.Home, name, host string) *lab.Daemon {
	t.Helper()
	token := h.File(t, "token", of.Run(t, "cluster", "token"))
	return h.Start(t, "--log-level", "warn", "--join", "https://"+of.Address, "--token-file", token, "--node-name", name, "--listen", host+":0", "--peer", peerAt(t, host))
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * lab.Patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", 2*lab.Patience, what)
		}
		time.Sleep(50 * time.Millisecond) // a poll, with a deadline
	}
}

// memberStates returns the state of each member, by name, as a node knows it.
func memberStates(t *testing.T, h lab.Home) map[string]string {
	t.Helper()
	list, err := h.Client(t).Members(t.Context())
	if err != nil {
		return nil
	}
	states := map[string]string{}
	for _, m := range list {
		states[m.Node] = m.State
	}
	return states
}

func voting(states map[string]string, n int) bool {
	leaders, members := 0, 0
	for _, s := range states {
		switch s {
		case "leader":
			leaders++
		case "member":
			members++
		}
	}
	return leaders == 1 && leaders+members == n && len(states) == n
}

// TestCluster walks through the life of a cluster of three daemons.
func TestCluster(t *testing.T) {
	homes := []lab.Home{lab.NewHome(t), lab.NewHome(t), lab.NewHome(t)}
	// A store of its own becomes that of the cluster.
	alone := homes[0].Start(t, "--log-level", "warn", "--cluster-name", "east", "--node-name", "n1")
	alone.Run(t, "root/sec/kept", "create")
	alone.Run(t, "root/sec/kept", "key", "add", "--name", "word", "--value", "from before")
	fingerprint := alone.CA(t)
	alone.Stop(t)
	n1 := firstNode(t, homes[0])
	if n1.CA(t) != fingerprint || n1.Key(t, "root/sec/kept", "word") != "from before" {
		t.Fatal("the store of the first node was not kept")
	}
	n2 := anotherNode(t, n1, homes[1], "n2", "127.0.0.2")
	n3 := anotherNode(t, n2, homes[2], "n3", "127.0.0.3") // the token of any member is good
	nodes := []*lab.Daemon{n1, n2, n3}
	eventually(t, "three members, each with a vote", func() bool { return voting(memberStates(t, homes[2]), 3) })
	for _, n := range nodes {
		if n.Key(t, "root/sec/kept", "word") != "from before" {
			t.Error("a node does not open what was sealed before it came")
		}
	}
	t.Run("tokens", func(t *testing.T) { clusterTokens(t, n1, homes[1]) })
	t.Run("revocation", func(t *testing.T) { clusterRevocation(t, nodes) })
	t.Run("agreement", func(t *testing.T) { clusterAgrees(t, nodes) })
	t.Run("restart", func(t *testing.T) { clusterRestart(t, nodes) })
	n3.Kill(t) // and the other two go on
	// If it was the leader, the others choose one first.
	eventually(t, "changes are taken without n3", func() bool { return n1.Try(t, "system/usr/meanwhile", "create").Status == 0 })
	nodes[2] = homes[2].Start(t, "--log-level", "warn", "--listen", "127.0.0.3:0")
	nodes[2].Key(t, "system/usr/meanwhile", "certificate")
	eventually(t, "three members again", func() bool { return voting(memberStates(t, homes[2]), 3) })
	t.Run("removed", func(t *testing.T) { clusterRemoval(t, nodes) })
	t.Run("revoked", func(t *testing.T) {
		// Who dials does not ask about revocation: the member goes.
		list, err := n1.Client(t).Members(t.Context())
		if err != nil || len(list) != 2 {
			t.Fatalf("%d members, %v", len(list), err)
		}
		n1.Run(t, "certificate", "revoke", list[1].Serial, "--yes")
		eventually(t, "n2 is no member", func() bool { return len(memberStates(t, homes[0])) == 1 })
		nodes[1].Wait(t)
		if !strings.Contains(nodes[1].Log(), "n2 was removed from cluster east") {
			t.Errorf("n2 does not say why it has ended:\n%s", nodes[1].Log())
		}
		eventually(t, "n1 takes changes alone", func() bool { return n1.Try(t, "system/usr/alone", "create").Status == 0 })
	})
}

// clusterTokens tries what opens nothing.
func clusterTokens(t *testing.T, n1 *lab.Daemon, member lab.Home) {
	word := strings.TrimSpace(n1.Run(t, "cluster", "token", "--duration", "1s"))
	join := func(token string) lab.Result {
		h := lab.NewHome(t)
		return h.Try(t, "daemon", "run", "--node-name", "n9", "--listen", "127.0.0.4:0", "--peer", peerAt(t, "127.0.0.4"), "--join", "https://"+n1.Address, "--token", token)
	}
	over := time.Now().Add(2 * time.Second)
	eventually(t, "the token expires", func() bool { return time.Now().After(over) })
	if r := join(word); r.Status != 1 || !strings.Contains(r.Stderr, "expired") {
		t.Errorf("a token that has expired: %+v", r)
	}
	flipped := strings.Replace(word, word[40:42], "zz", 1)
	if r := join(flipped); r.Status == 0 || !strings.Contains(r.Stderr, "cut off or mistyped") || strings.Contains(r.Stderr, flipped[20:40]) {
		t.Errorf("a token with other letters: %+v", r)
	}
	// A name that is taken costs the token, so that it opens nothing afterwards.
	taken := strings.TrimSpace(n1.Run(t, "cluster", "token"))
	h := lab.NewHome(t)
	args := []string{"daemon", "run", "--listen", "127.0.0.4:0", "--peer", peerAt(t, "127.0.0.4"), "--join", "https://" + n1.Address, "--token", taken, "--node-name"}
	if r := h.Try(t, append(args, "n2")...); r.Status != 1 || !strings.Contains(r.Stderr, `node "n2" is a member at`) {
		t.Errorf("the name of another node: %+v", r)
	}
	if r := join(taken); r.Status != 1 || !strings.Contains(r.Stderr, "does not open this cluster") {
		t.Errorf("a token again: %+v", r)
	}
	if r := member.Try(t, "daemon", "run", "--node-name", "other"); r.Status == 0 || !strings.Contains(r.Stderr, `is node "n2"`) {
		t.Errorf("a member under another name: %+v", r)
	}
	if len(memberStates(t, n1.Home)) != 3 {
		t.Error("somebody got in")
	}
	// On a machine that failed half-way another token works, under the name that it has.
	again := h.File(t, "token", n1.Run(t, "cluster", "token"))
	n4 := h.Start(t, "--log-level", "warn", "--join", "https://"+n1.Address, "--token-file", again, "--node-name", "n4", "--listen", "127.0.0.4:0", "--peer", peerAt(t, "127.0.0.4"))
	eventually(t, "n4 is a member", func() bool { return voting(memberStates(t, n1.Home), 4) })
	n1.Run(t, "cluster", "remove", "n4", "--yes")
	n4.Wait(t)
}

// clusterRevocation has what one node issues count on all, and what another takes
// back on none.
func clusterRevocation(t *testing.T, nodes []*lab.Daemon) {
	pair := nodes[0].User(t, "bob", "guest:ns1")
	var callers []func() error
	for _, n := range nodes {
		c := n.HTTP(t, pair)
		callers = append(callers, func() error { return whoami(t.Context(), c, n.URL("/whoami")) })
	}
	for _, call := range callers {
		eventually(t, "bob is known on every node", func() bool { return call() == nil })
	}
	nodes[1].Run(t, "system/usr/bob", "certificate", "revoke", "--yes")
	for _, call := range callers {
		eventually(t, "bob is refused on every node", func() bool { return call() != nil }) // on a connection that he had
	}
}

// clusterRestart restarts the nodes one after another while two of them, the one
// that is asked among them, have callers: no request fails.
func clusterRestart(t *testing.T, nodes []*lab.Daemon) {
	one, other := begin(t, nodes[0]), begin(t, nodes[1])
	before := map[int]bool{}
	for _, n := range nodes {
		before[pid(t, n)] = true
	}
	r := nodes[0].Try(t, "daemon", "restart", "--node=*")
	if r.Status != 0 || strings.Count(r.Stderr, "serves again") != 3 {
		t.Errorf("restart: %+v", r)
	}
	one.more(t)
	other.more(t)
	for _, err := range append(one.stop(), other.stop()...) {
		t.Error(err)
	}
	for _, n := range nodes {
		if before[pid(t, n)] {
			t.Errorf("%s was not restarted", n.Address)
		}
	}
	nodes[0].Run(t, "daemon", "drain", "--node", "n2")
	if c := nodes[1].HTTP(t, nil); !ready(t, c, nodes[0].URL("/readyz")) || ready(t, c, nodes[1].URL("/readyz")) {
		t.Error("n2 drains: n1 should be ready, and n2 not")
	}
	nodes[1].Run(t, "daemon", "drain", "--off")
	if !ready(t, nodes[1].HTTP(t, nil), nodes[1].URL("/readyz")) {
		t.Error("n2 should be ready again")
	}
}

// clusterRemoval takes n3 out.
func clusterRemoval(t *testing.T, nodes []*lab.Daemon) {
	if r := nodes[0].Try(t, "cluster", "remove", "n9", "--yes"); r.Status != 2 {
		t.Errorf("removing who is no member: %+v", r)
	}
	if r := nodes[0].Try(t, "cluster", "remove", "n1", "--yes"); r.Status != 1 || !strings.Contains(r.Stderr, "cannot remove itself") {
		t.Errorf("removing itself: %+v", r)
	}
	nodes[0].Run(t, "cluster", "remove", "n3", "--yes")
	nodes[2].Wait(t)
	if !strings.Contains(nodes[2].Log(), "n3 was removed from cluster east") {
		t.Errorf("n3 does not say why it has ended:\n%s", nodes[2].Log())
	}
	if r := nodes[2].Home.Try(t, "daemon", "run"); r.Status != 1 || !strings.Contains(r.Stderr, "n3 was removed from cluster east") {
		t.Errorf("n3 again: %+v", r)
	}
	var left []client.Node
	eventually(t, "nobody knows n3 any more", func() bool {
		var err error
		left, err = nodes[1].Client(t).Nodes(t.Context(), "")
		return err == nil && len(left) == 2
	})
	out := nodes[1].Run(t, "certificate", "ls", "--revoked")
	for _, owner := range []string{"system/sec/node-n3", "system/sec/listener-n3"} {
		if !strings.Contains(out, owner) {
			t.Errorf("the certificate of %s is not revoked:\n%s", owner, out)
		}
	}
}

func ready(t *testing.T, c *http.Client, url string) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

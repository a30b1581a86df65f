package lab

import (
	"crypto/tls"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
)

// A Node is one member of a cluster: a daemon on a machine of its own.
type Node struct {
	*Daemon
	Machine Machine
}

// Cluster starts the members of one cluster, each on a machine of its own. The
// first is on the first home, and so on.
func Cluster(t testing.TB, machines []Machine, homes ...Home) []*Node {
	t.Helper()
	var nodes []*Node
	for i, h := range homes {
		n := &Node{Machine: machines[i]}
		h.Namespace = n.Machine.Namespace
		name := "node" + string(rune('1'+i))
		args := []string{"--node-name", name, "--peer", n.Machine.Address + ":1217", "--listen", n.Machine.Address + ":1215"}
		if i == 0 {
			args = append(args, "--cluster", "--cluster-name", "lab")
		} else {
			token := nodes[0].File(t, name+".token", nodes[0].Run(t, "cluster", "token"))
			args = append(args, "--join", "https://"+machines[0].Address+":1215", "--token-file", token)
		}
		n.Daemon = h.Start(t, args...)
		nodes = append(nodes, n)
	}
	return nodes
}

// Again starts the daemon of a node that has ended.
func (n *Node) Again(t testing.TB) {
	t.Helper()
	n.Daemon = n.Home.Start(t, "--listen", n.Machine.Address+":1215")
}

// HTTP returns a client of the node, on its machine's network, with connections
// of its own.
func (n *Node) HTTP(t testing.TB, pool *tls.Config) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: n.Machine.Dial, TLSClientConfig: pool, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: Patience}
}

// Fill takes all room that there is in the directory of the home, and returns
// what gives it back.
func (h Home) Fill(t testing.TB) (free func()) {
	t.Helper()
	name := filepath.Join(filepath.Dir(h.Dir), "ballast")
	_ = exec.Command("dd", "if=/dev/zero", "of="+name, "bs=64k").Run() // it ends when there is no room left, and says so
	return func() {
		if out, err := exec.Command("rm", name).CombinedOutput(); err != nil {
			t.Fatalf("rm: %v: %s", err, out)
		}
	}
}

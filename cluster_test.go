package omca_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"omca"
	"omca/internal/hint"
	"omca/internal/store"
	"omca/internal/store/etcd/etcdtest"
)

// eventually waits for something to become true, and returns how long it took.
func eventually(t testing.TB, what string, true_ func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !true_() {
		if time.Since(began) > time.Minute {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began)
}

// storeURL is that of a store in etcd.
func storeURL(c *etcdtest.Cluster, prefix string) string {
	return "etcd://" + strings.Join(c.Addresses(), ",") + "/" + prefix
}

// join makes the home of one more node, with the seal key of another.
func join(t testing.TB, other, name string, url string) omca.Config {
	t.Helper()
	home := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(other, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "seal.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	return omca.Config{Home: home, NodeName: name, Store: omca.StoreConfig{URL: url}}
}

// runNodes runs a cluster of nodes n1, n2, …
func runNodes(t testing.TB, count int, url string) []*running {
	t.Helper()
	first := omca.Config{Home: filepath.Join(t.TempDir(), "n1"), NodeName: "n1", ClusterName: "testers", Store: omca.StoreConfig{URL: url}}
	nodes := []*running{runServer(t, first)}
	for i := 2; i <= count; i++ {
		nodes = append(nodes, runServer(t, join(t, first.Home, fmt.Sprintf("n%d", i), url)))
	}
	return nodes
}

// at returns a client of another node with the certificate of c.
func (r *running) at(t testing.TB, c *http.Client) *http.Client {
	t.Helper()
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	there := &http.Client{Transport: &http.Transport{TLSClientConfig: transport.TLSClientConfig.Clone(), MaxConnsPerHost: 1}}
	t.Cleanup(there.CloseIdleConnections)
	return there
}

// What is done on one node is in force on the others, open connections included.
func TestNodesAgree(t *testing.T) {
	nodes := runNodes(t, 3, storeURL(etcdtest.Start(t, 1, nil), "omca"))
	one, two, three := nodes[0], nodes[1], nodes[2]
	ids := map[string]bool{}
	for _, n := range nodes {
		st := status(t, n.Server)
		ids[st.ClusterID+st.CASHA256] = true
		if st.Cluster != "testers" {
			t.Errorf("cluster %q", st.Cluster)
		}
	}
	if len(ids) != 1 {
		t.Errorf("the nodes are of %d clusters", len(ids))
	}
	var times []time.Duration
	measure := func(what string, true_ func() bool) {
		t.Helper()
		times = append(times, eventually(t, what, true_))
	}
	for i := range 15 {
		alice := one.client(t, fmt.Sprintf("alice%d", i), "guest:ns1")
		there := two.at(t, alice)
		measure("a new user on another node", func() bool { return asks(there, two.address) == http.StatusOK })
		open := streams(t, there, two.address)
		local(t, three.Server, "POST", "/api/certificate/"+string(serialOf(t, alice))+"/revoke", nil)
		measure("the end of an open connection on another node", func() bool {
			select {
			case <-open:
				return true
			default:
				return false
			}
		})
		measure("a revoked certificate refused on another node", func() bool { return asks(there, two.address) != http.StatusOK })
	}
	slices.Sort(times)
	p99 := times[len(times)*99/100]
	t.Logf("%d changes in force on another node: median %s, p99 %s", len(times), times[len(times)/2], p99)
	if p99 > 10*time.Second {
		t.Errorf("p99 %s: seconds are too many even on a busy machine", p99)
	}
}

// A node that cannot open what is sealed, or looks in the wrong place, says so
// and leaves nothing behind.
func TestNodeRefused(t *testing.T) {
	cluster := etcdtest.Start(t, 1, nil)
	home := filepath.Join(t.TempDir(), "n1")
	good := omca.Config{Home: home, NodeName: "n1", ClusterName: "testers", Store: omca.StoreConfig{URL: storeURL(cluster, "omca")}}
	first, err := omca.Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	stranger := filepath.Join(t.TempDir(), "home")
	s, err := omca.Open(t.Context(), omca.Config{Home: stranger, NodeName: "n9"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	etcd := cluster.Client()
	if _, err := etcd.Put(t.Context(), "kube/pods/x", "1"); err != nil {
		t.Fatal(err)
	}
	before, err := etcd.Get(t.Context(), "\x00")
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*omca.Config)) omca.Config {
		c := join(t, home, "n2", good.Store.URL)
		change(&c)
		return c
	}
	for name, tt := range map[string]struct {
		c    omca.Config
		want string // in the error or its hint
	}{
		"no seal key":         {with(func(c *omca.Config) { c.Home = filepath.Join(t.TempDir(), "none") }), "copy seal.key"},
		"another seal key":    {join(t, stranger, "n2", good.Store.URL), "key"},
		"a mistyped prefix":   {with(func(c *omca.Config) { c.Store.URL = storeURL(cluster, "omac") }), "--cluster-name"},
		"half a prefix":       {with(func(c *omca.Config) { c.Store.URL = storeURL(cluster, "om") }), "--cluster-name"},
		"a prefix of others":  {with(func(c *omca.Config) { c.Store.URL = storeURL(cluster, "kube"); c.ClusterName = "x" }), "not a cluster"},
		"another cluster":     {with(func(c *omca.Config) { c.ClusterName = "others" }), `"testers"`},
		"a home of its own":   {with(func(c *omca.Config) { c.Home = stranger }), "store of its own"},
		"no server":           {with(func(c *omca.Config) { c.Store.URL = "etcd://127.0.0.1:1/omca" }), "no whole copy"},
		"a password in there": {with(func(c *omca.Config) { c.Store.URL = "etcd://me:secret@127.0.0.1:1/omca" }), "--store-password-file"},
	} {
		s, err := omca.Open(t.Context(), tt.c)
		if err == nil {
			t.Errorf("%s: opened, %v", name, s.Close())
			continue
		}
		if text := err.Error() + " " + hint.Of(err); !strings.Contains(text, tt.want) || strings.Contains(text, "secret") {
			t.Errorf("%s: %s, expected %q in it", name, text, tt.want)
		}
	}
	after, err := etcd.Get(t.Context(), "\x00")
	if err != nil || after.Header.Revision != before.Header.Revision {
		t.Errorf("those who were refused wrote to etcd: revision %d, %d before, %v", after.Header.Revision, before.Header.Revision, err)
	}
}

// A home remembers its store: plain commands and restarts need no flags.
func TestHomeRemembersStore(t *testing.T) {
	cluster := etcdtest.Start(t, 1, nil)
	home := filepath.Join(t.TempDir(), "n1")
	s, err := omca.Open(t.Context(), omca.Config{Home: home, NodeName: "n1", ClusterName: "testers", Store: omca.StoreConfig{URL: storeURL(cluster, "omca")}})
	if err != nil {
		t.Fatal(err)
	}
	before := status(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = omca.Open(t.Context(), omca.Config{Home: home, NodeName: "n1"}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if after := status(t, s); after.CASHA256 != before.CASHA256 {
		t.Errorf("CA %s, %s before", after.CASHA256, before.CASHA256)
	}
	if _, err := omca.Open(t.Context(), omca.Config{Home: home, NodeName: "n1"}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second Open: %v, expected ErrLocked", err)
	}
}

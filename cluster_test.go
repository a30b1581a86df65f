package omca_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"omca"
	"omca/internal/hint"
	"omca/internal/store"
	"omca/internal/store/etcd/etcdtest"
	"omca/pki"
)

// patience is for a machine that is busy with other things.
const patience = 10 * time.Second

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
	return omca.Config{Home: home, NodeName: name, Store: omca.StoreConfig{URL: url, Patience: patience}}
}

// runNodes runs a cluster of nodes n1, n2, …
func runNodes(t testing.TB, count int, url string) []*running {
	t.Helper()
	first := omca.Config{Home: filepath.Join(t.TempDir(), "n1"), NodeName: "n1", ClusterName: "testers", Store: omca.StoreConfig{URL: url, Patience: patience}}
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
	other := newOtherPKI(t)
	local(t, one.Server, "POST", "/api/object/path/system/usr/carol", map[string]any{})
	local(t, one.Server, "POST", "/api/object/path/system/sec/ca-external", map[string]any{})
	local(t, one.Server, "PATCH", "/api/object/path/system/sec/ca-external/data", []map[string]string{{"action": "add", "name": "certificate_chain", "string": string(pki.EncodeCertificates(other.cert))}})
	carol, _ := other.client(t, two, "carol")
	believed := func() bool { carol.CloseIdleConnections(); return asks(carol, two.address) == http.StatusOK }
	for i := range 40 {
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
		config := fmt.Sprintf("/api/object/path/system/usr/alice%d/config", i)
		local(t, three.Server, "PATCH", config+"?set=grant%3Dadmin:ns1", nil)
		measure("a grant on another node", func() bool {
			_, body := try(t, two.Server, "GET", config+"?kw=grant", nil)
			return strings.Contains(string(body), "admin:ns1")
		})
		if i%2 == 0 {
			local(t, three.Server, "PATCH", "/api/cluster/config?set=cluster.ca%3Dsystem/sec/ca-external", nil)
			measure("the trust in a CA on another node", believed)
		} else {
			local(t, three.Server, "PATCH", "/api/cluster/config?unset=cluster.ca", nil)
			measure("the end of the trust in a CA on another node", func() bool { return !believed() })
		}
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
	good := omca.Config{Home: home, NodeName: "n1", ClusterName: "testers", Store: omca.StoreConfig{URL: storeURL(cluster, "omca"), Patience: patience}}
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
	s, err := omca.Open(t.Context(), omca.Config{Home: home, NodeName: "n1", ClusterName: "testers", Store: omca.StoreConfig{URL: storeURL(cluster, "omca"), Patience: patience}})
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

// Every node answers with the same revocation list of a number, and a number
// that was seen on one node is never followed by a lower one on another.
func TestNodesPublishOneList(t *testing.T) {
	nodes := runNodes(t, 3, storeURL(etcdtest.Start(t, 1, nil), "omca"))
	list := func(n *running) *x509.RevocationList {
		code, der := try(t, n.Server, "GET", "/crl/ca.crl", nil)
		if code != http.StatusOK {
			return nil
		}
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	serials := func(l *x509.RevocationList) string {
		var all []string
		for _, e := range l.RevokedCertificateEntries {
			all = append(all, e.SerialNumber.Text(16))
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	seen := make(map[string]string) // number → serials
	look := func(most int) bool {
		done := true
		for _, n := range nodes {
			l := list(n)
			if l == nil {
				return false
			}
			if is, was := serials(l), seen[l.Number.String()]; was == "" {
				seen[l.Number.String()] = is
			} else if is != was {
				t.Fatalf("list %s is %q on one node and %q on another", l.Number, is, was)
			}
			done = done && len(l.RevokedCertificateEntries) >= most
		}
		return done
	}
	const count = 12
	for i := range count {
		c := nodes[i%3].client(t, fmt.Sprintf("u%d", i), "guest:ns1")
		local(t, nodes[(i+1)%3].Server, "POST", "/api/certificate/"+string(serialOf(t, c))+"/revoke", nil)
		look(0)
	}
	eventually(t, "every revocation on the list of every node", func() bool { return look(count) })
	var numbers []string
	for _, n := range nodes {
		numbers = append(numbers, list(n).Number.String())
	}
	eventually(t, "one number", func() bool {
		for i, n := range nodes {
			numbers[i] = list(n).Number.String()
		}
		return numbers[0] == numbers[1] && numbers[1] == numbers[2]
	})
	// Whoever is chosen next goes on from there.
	before := list(nodes[0]).Number
	chosen := status(t, nodes[0].Server).Store.Chosen
	at := slices.IndexFunc(nodes, func(n *running) bool { return status(t, n.Server).Node == chosen })
	if at < 0 {
		t.Fatalf("the chosen node is %q", chosen)
	}
	nodes[at].stop()
	nodes = slices.Delete(nodes, at, at+1)
	took := eventually(t, "another node chosen", func() bool {
		now := status(t, nodes[0].Server).Store.Chosen
		return now != "" && now != chosen
	})
	t.Logf("another node was chosen %s after the end of the first", took)
	c := nodes[0].client(t, "last", "guest:ns1")
	local(t, nodes[1].Server, "POST", "/api/certificate/"+string(serialOf(t, c))+"/revoke", nil)
	eventually(t, "the revocation on the lists", func() bool { return look(count + 1) })
	for _, n := range nodes {
		if l := list(n); l.Number.Cmp(before) <= 0 {
			t.Errorf("number %s after %s", l.Number, before)
		}
	}
}

// Each node is there by its name, with a certificate for it.
func TestNodesHaveNames(t *testing.T) {
	url := storeURL(etcdtest.Start(t, 1, nil), "omca")
	nodes := runNodes(t, 3, url)
	for i, n := range nodes {
		state := &tls.Config{RootCAs: n.pool, ServerName: fmt.Sprintf("n%d", i+1)}
		conn, err := tls.Dial("tcp", n.address, state)
		if err != nil {
			t.Errorf("node n%d by its name: %v", i+1, err)
			continue
		}
		conn.Close()
	}
	names := func(n *running) string {
		var list struct {
			Items []struct {
				Meta struct{ Node string }
				Data struct{ Status *struct{ Agent string } }
			}
		}
		if err := json.Unmarshal(local(t, n.Server, "GET", "/api/node", nil), &list); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, item := range list.Items {
			if item.Data.Status != nil {
				all = append(all, item.Meta.Node)
			}
		}
		return strings.Join(all, " ")
	}
	for _, n := range nodes {
		eventually(t, "three nodes there", func() bool { return names(n) == "n1 n2 n3" })
	}
	nodes[2].stop()
	for _, n := range nodes[:2] {
		eventually(t, "two nodes left", func() bool { return names(n) == "n1 n2" })
	}
	// A name that is taken, and not by a process that was killed in this home.
	s, err := omca.Open(t.Context(), join(t, nodes[0].home, "n2", url))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Run(t.Context(), func(omca.Ready) {}); err == nil || !strings.Contains(err.Error()+hint.Of(err), "--node-name") {
		t.Errorf("a second n2: %v", err)
	}
}

// While etcd is away a node reads and lets in by what it knew, for so long, and
// says why nothing can be changed. When etcd is back, nothing is lost.
func TestNodeWithoutStore(t *testing.T) {
	cluster := etcdtest.Start(t, 1, nil)
	var later atomic.Int64
	n := runServer(t, omca.Config{
		Home: filepath.Join(t.TempDir(), "n1"), NodeName: "n1", ClusterName: "testers", Store: omca.StoreConfig{URL: storeURL(cluster, "omca"), Patience: patience},
		Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
	})
	alice := n.client(t, "alice", "guest:ns1")
	if got := asks(alice, n.address); got != http.StatusOK {
		t.Fatalf("alice: %d", got)
	}
	create := func(name string) (int, string) {
		code, answer := try(t, n.Server, "POST", "/api/object/path/ns1/cfg/"+name, map[string]any{})
		return code, string(answer)
	}
	cluster.Stop(0)
	eventually(t, "the absence noticed", func() bool { return status(t, n.Server).Store.Away != "" })
	began := time.Now()
	code, answer := create("lost")
	if code != http.StatusServiceUnavailable || !strings.Contains(answer, "127.0.0.1") || !strings.Contains(answer, "nothing was changed") {
		t.Errorf("a change while etcd is away: %d %s", code, answer)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it was refused after %s", took)
	}
	fresh := n.at(t, alice)
	if a, b := asks(alice, n.address), asks(fresh, n.address); a != http.StatusOK || b != http.StatusOK {
		t.Errorf("alice while etcd is away: %d over the old connection, %d over a new one", a, b)
	}
	if code, _ := try(t, n.Server, "GET", "/readyz", nil); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
	later.Store(int64(9 * time.Minute))
	if got := asks(alice, n.address); got != http.StatusOK {
		t.Errorf("alice within the bound: %d", got)
	}
	later.Store(int64(11 * time.Minute))
	fresh = n.at(t, alice)
	if a, b := asks(alice, n.address), asks(fresh, n.address); a != http.StatusServiceUnavailable || b != http.StatusServiceUnavailable {
		t.Errorf("alice after the bound: %d over the old connection, %d over a new one, expected 503", a, b)
	}
	if st := status(t, n.Server); st.Store == nil || !st.Store.Ended { // as the unix socket is
		t.Errorf("status %+v", st.Store)
	}
	if code, _ := try(t, n.Server, "GET", "/readyz", nil); code != http.StatusServiceUnavailable {
		t.Errorf("ready after the bound: %d", code)
	}
	if text := string(local(t, n.Server, "GET", "/api/doctor", nil)); !strings.Contains(text, `"store"`) {
		t.Errorf("the doctor finds nothing: %s", text)
	}
	cluster.Run(0)
	eventually(t, "alice let in again", func() bool { return asks(alice, n.address) == http.StatusOK })
	eventually(t, "a change", func() bool {
		code, _ := create("found")
		return code == http.StatusCreated || code == http.StatusConflict
	})
}

// A backup of a cluster does not know what was revoked since; the home of any of
// its nodes does.
func TestRestoreBesideANode(t *testing.T) {
	nodes := runNodes(t, 2, storeURL(etcdtest.Start(t, 1, nil), "omca"))
	alice := nodes[0].client(t, "alice", "guest:ns1")
	serial := string(serialOf(t, alice))
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	backup := local(t, nodes[1].Server, "POST", "/api/backup", map[string]string{"recipient": identity.Recipient().String()})
	local(t, nodes[0].Server, "POST", "/api/certificate/"+serial+"/revoke", nil)
	eventually(t, "the revocation on the other node", func() bool {
		_, body := try(t, nodes[1].Server, "GET", "/api/certificate/"+serial, nil)
		return strings.Contains(string(body), `"state":"revoked"`)
	})
	old := filepath.Join(t.TempDir(), "old")
	if out, err := exec.Command("cp", "-a", nodes[1].home, old).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	for replaces, want := range map[string]int{"": 0, old: 1} {
		plain, err := age.Decrypt(bytes.NewReader(backup), identity)
		if err != nil {
			t.Fatal(err)
		}
		done, err := omca.Restore(t.Context(), omca.RestoreConfig{Home: filepath.Join(t.TempDir(), "new"), From: plain, Replaces: replaces})
		if err != nil || len(done.Revoked) != want {
			t.Errorf("beside %q: %d revocations that the backup did not know, expected %d; %v", replaces, len(done.Revoked), want, err)
		}
	}
}

package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
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
	"omca/internal/wire"
)

// members are three nodes under load, and what its clients were told.
type members struct {
	t       *testing.T // of the whole: what is started lives as long
	nodes   []*lab.Node
	request string
	trust   *x509.CertPool

	mu      sync.Mutex
	signed  map[string]bool             // serials that a client got
	revoked map[string]*tls.Certificate // users whose revocation was acknowledged
	numbers map[string]int64            // of each list, the highest that was seen
	users   int
	rows    []string // of the table in docs/failures.md
}

func newMembers(t *testing.T, homes ...lab.Home) *members {
	machines := lab.Machines(t, "198.51.100.1", "198.51.100.2", "198.51.100.3")
	c := &members{t: t, request: signingRequest(t), signed: map[string]bool{}, revoked: map[string]*tls.Certificate{}, numbers: map[string]int64{}}
	c.nodes = lab.Cluster(t, machines, homes...)
	c.trust = c.nodes[0].Roots(t)
	lab.Until(t, "every node is a member with a vote", func() bool {
		all, err := c.api(t, 0).Members(t.Context())
		return err == nil && len(all) == len(homes) && !slices.ContainsFunc(all, func(m wire.ClusterMember) bool { return m.State != "member" && m.State != "leader" })
	})
	return c
}

func (c *members) api(t *testing.T, node int) *client.Client { return c.nodes[node].Client(t) }

// issue has a node sign something, and notes what came of it.
func (c *members) issue(ctx context.Context, api *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, lab.Patience)
	defer cancel()
	s, err := api.Sign(ctx, wire.SignRequest{CSR: c.request, Profile: "listener", Validity: "24h"})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.signed[s.Serial] {
		return fmt.Errorf("serial %s was used before", s.Serial)
	}
	c.signed[s.Serial] = true
	return nil
}

// user makes a user on a node, with its certificate.
func (c *members) user(t *testing.T, node int) (string, *tls.Certificate) {
	t.Helper()
	c.mu.Lock()
	c.users++
	name := fmt.Sprintf("user%d", c.users)
	c.mu.Unlock()
	return name, c.nodes[node].User(t, name, "guest")
}

// who asks a node, over TLS on its network, who a certificate is.
func (c *members) who(t *testing.T, node int, pair *tls.Certificate) string {
	t.Helper()
	config := &tls.Config{RootCAs: c.trust, ServerName: "localhost", Certificates: []tls.Certificate{*pair}}
	h := c.nodes[node].HTTP(t, config)
	h.Timeout = 5 * time.Second
	defer h.CloseIdleConnections()
	r, err := h.Get("https://" + c.nodes[node].Machine.Address + ":1215/whoami")
	if err != nil {
		return "refused"
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return "refused"
	}
	return "known"
}

// revoke takes a user's certificate back, at a node.
func (c *members) revoke(t *testing.T, node int, name string, pair *tls.Certificate) {
	t.Helper()
	p, err := client.ParsePath("system/usr/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.api(t, node).Revoke(t.Context(), p, "keyCompromise"); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked[name] = pair
}

// under has every node that is named sign, as long as during runs. It returns how
// many were signed, and what was refused.
func (c *members) under(t *testing.T, nodes []int, during func()) (signed int, refused []error) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	var mu sync.Mutex
	for _, n := range nodes {
		api := c.api(t, n)
		wait.Go(func() {
			for ctx.Err() == nil {
				err := c.issue(context.WithoutCancel(ctx), api)
				mu.Lock()
				if err == nil {
					signed++
				} else {
					refused = append(refused, fmt.Errorf("node%d: %w", n+1, err))
				}
				mu.Unlock()
				if err != nil {
					pause(ctx, 50*time.Millisecond)
				}
			}
		})
	}
	during()
	end()
	wait.Wait()
	return signed, refused
}

// pause lets a client that was refused wait, as clients do.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// writes waits until every node signs.
func (c *members) writes(t *testing.T, nodes ...int) {
	t.Helper()
	for _, n := range nodes {
		var last error
		lab.Until(t, fmt.Sprintf("node%d signs", n+1), func() bool {
			last = c.issue(t.Context(), c.api(t, n))
			return last == nil
		})
	}
}

// agree holds every node against what its clients were told: one history.
func (c *members) agree(t *testing.T) {
	t.Helper()
	c.writes(t, 0, 1, 2)
	var first []string
	for n := range c.nodes {
		var missing []string
		lab.Until(t, fmt.Sprintf("node%d has every certificate that a client has", n+1), func() bool {
			have := map[string]bool{}
			for r, err := range c.api(t, n).Certificates(t.Context(), client.Filter{}) {
				if err != nil {
					return false
				}
				if have[r.Serial] {
					t.Fatalf("node%d has serial %s twice", n+1, r.Serial)
				}
				have[r.Serial] = true
			}
			missing = slices.DeleteFunc(slices.Sorted(maps.Keys(c.signed)), func(s string) bool { return have[s] })
			if len(missing) > 0 {
				return false
			}
			all := slices.Sorted(maps.Keys(have))
			if first == nil || n == 0 {
				first = all
			}
			return slices.Equal(all, first)
		})
		for name, pair := range c.revoked {
			lab.Until(t, fmt.Sprintf("node%d refuses %s", n+1, name), func() bool { return c.who(t, n, pair) == "refused" })
		}
		c.rising(t, n)
	}
}

func TestCluster(t *testing.T) {
	lab.Require(t, "ip")
	c := newMembers(t, lab.NewHome(t), lab.NewHome(t), lab.Tmpfs(t, "400m"))
	name, pair := c.user(t, 0)
	for n := range c.nodes {
		lab.Until(t, fmt.Sprintf("node%d knows %s", n+1, name), func() bool { return c.who(t, n, pair) == "known" })
	}
	for _, fault := range []struct {
		name string
		run  func(*testing.T, *members)
	}{
		{"one node killed", oneKilled},
		{"the leader paused", leaderPaused},
		{"two of three killed", majorityKilled},
		{"one node cut off", oneCutOff},
		{"the disk of one node full", oneFull},
	} {
		t.Run(fault.name, func(t *testing.T) {
			fault.run(t, c)
			c.agree(t)
		})
		if t.Failed() {
			t.FailNow()
		}
	}
	documented(t, "docs/failures.md", c.rows)
}

// documented holds a table in the documentation against what was seen, or writes
// it there.
func documented(t *testing.T, page string, rows []string) {
	t.Helper()
	const begin, end = "<!-- seen by internal/faults -->\n", "<!-- end of what was seen -->\n"
	name := filepath.Join("../..", page)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the table", page)
	}
	table := "\n| what happened | the node asked | reads | knows a certificate | refuses a revoked one | signs |\n|---|---|---|---|---|---|\n" + strings.Join(rows, "") + "\n"
	want := before + begin + table + end + after
	if want == string(text) {
		return
	}
	if os.Getenv("OMCA_TEST_UPDATE") == "" {
		t.Fatalf("%s does not say what was seen; OMCA_TEST_UPDATE=1 writes it:\n%s", page, table)
	}
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// observe notes what a node does during a fault, as a row of the table. The pair
// is of a user that every node had heard of.
func (c *members) observe(t *testing.T, fault, asked string, node int, pair *tls.Certificate, revoked *tls.Certificate) {
	t.Helper()
	answer := func(ok bool, no string) string {
		if ok {
			return "yes"
		}
		return no
	}
	reads := true
	for _, err := range c.api(t, node).Certificates(t.Context(), client.Filter{}) {
		reads = reads && err == nil
	}
	signs := "yes"
	if err := c.issue(t.Context(), c.api(t, node)); err != nil {
		signs = "no: " + err.Error()
		var refused *client.Error
		if errors.As(err, &refused) {
			signs = fmt.Sprintf("no: %d", refused.Status)
		}
	}
	c.rows = append(c.rows, fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", fault, asked, answer(reads, "no"),
		answer(c.who(t, node, pair) == "known", "no"), answer(c.who(t, node, revoked) == "refused", "no"), signs))
}

// oneKilled kills each node in turn: the others go on.
func oneKilled(t *testing.T, c *members) {
	for n := range c.nodes {
		others := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == n })
		_, stays := c.user(t, n)
		name, pair := c.user(t, n)
		signed, _ := c.under(t, []int{0, 1, 2}, func() {
			c.nodes[n].Kill(t)
			c.writes(t, others...)
			c.revoke(t, others[1], name, pair)
		})
		if n == 2 {
			lab.Until(t, "the other has heard of it", func() bool { return c.who(t, others[0], pair) == "refused" })
			c.observe(t, "one node of three is gone", "one of the others", others[0], stays, pair)
		}
		t.Logf("node%d killed: %d signed meanwhile", n+1, signed)
		c.nodes[n].Again(c.t)
		c.writes(t, n)
	}
}

// leader is which node leads, as another one says.
func (c *members) leader(t *testing.T) int {
	t.Helper()
	found := -1
	lab.Until(t, "somebody leads", func() bool {
		all, err := c.api(t, 0).Members(t.Context())
		if err != nil {
			return false
		}
		found = slices.IndexFunc(all, func(m wire.ClusterMember) bool { return m.State == "leader" })
		return found >= 0
	})
	return found
}

func leaderPaused(t *testing.T, c *members) {
	n := c.leader(t)
	others := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == n })
	name, pair := c.user(t, others[0])
	lab.Until(t, "it is known", func() bool { return c.who(t, n, pair) == "known" })
	signed, _ := c.under(t, others, func() {
		c.nodes[n].Pause(t)
		c.writes(t, others...)
		c.revoke(t, others[0], name, pair)
		c.nodes[n].Resume(t)
	})
	t.Logf("node%d paused: %d signed meanwhile", n+1, signed)
}

// majorityKilled leaves one node alone: it goes on from what it knows, and
// changes nothing.
func majorityKilled(t *testing.T, c *members) {
	_, pair := c.user(t, 0)
	name, revoked := c.user(t, 0)
	lab.Until(t, "it is known", func() bool { return c.who(t, 2, pair) == "known" })
	c.revoke(t, 0, name, revoked)
	lab.Until(t, "the other is refused", func() bool { return c.who(t, 2, revoked) == "refused" })
	c.nodes[0].Kill(t)
	c.nodes[1].Kill(t)
	lab.Until(t, "node3 refuses changes", func() bool { return c.issue(t.Context(), c.api(t, 2)) != nil })
	begin := time.Now()
	err := c.issue(t.Context(), c.api(t, 2))
	took := time.Since(begin)
	var problem *client.Error
	if !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable {
		t.Errorf("a change without the majority: %v", err)
	} else if text := problem.Error(); !strings.Contains(text, "majority") && !strings.Contains(text, "leader") && !strings.Contains(text, "store") {
		t.Errorf("the refusal names nothing: %s", text)
	}
	t.Logf("a change is refused after %v: %v", took.Round(time.Millisecond), err)
	c.observe(t, "two of three are gone", "the one that is left", 2, pair, revoked)
	c.nodes[0].Again(c.t)
	c.writes(t, 2)
	c.nodes[1].Again(c.t)
}

// oneCutOff takes a node off the network: what is revoked elsewhere it learns when
// it is back, at once.
func oneCutOff(t *testing.T, c *members) {
	_, stays := c.user(t, 0)
	name, pair := c.user(t, 0)
	lab.Until(t, "both are known", func() bool { return c.who(t, 2, stays) == "known" && c.who(t, 2, pair) == "known" })
	c.nodes[2].Machine.Cut(t)
	c.writes(t, 0, 1)
	c.revoke(t, 0, name, pair)
	lab.Until(t, "node3 refuses changes", func() bool { return c.issue(t.Context(), c.api(t, 2)) != nil })
	c.observe(t, "one node is cut off, and the certificate is revoked elsewhere", "the one that is cut off", 2, stays, pair)
	c.observe(t, "one node is cut off, and the certificate is revoked elsewhere", "one of the others", 1, stays, pair)
	c.nodes[2].Machine.Heal(t)
	begin := time.Now()
	lab.Until(t, "node3 has heard of it", func() bool { return c.who(t, 2, pair) == "refused" })
	t.Logf("refused %v after the network was back", time.Since(begin).Round(time.Millisecond))
}

// oneFull takes the room of the third node's disk: the others go on, and it comes
// back with what it had once there is room.
func oneFull(t *testing.T, c *members) {
	_, stays := c.user(t, 0)
	name, pair := c.user(t, 0)
	lab.Until(t, "both are known", func() bool { return c.who(t, 2, stays) == "known" && c.who(t, 2, pair) == "known" })
	free := c.nodes[2].Fill(t)
	signed, refused := c.under(t, []int{0, 1, 2}, func() {
		c.writes(t, 0, 1)
		c.revoke(t, 0, name, pair)
		for range 300 {
			if err := c.issue(t.Context(), c.api(t, 0)); err != nil {
				t.Error(err)
			}
		}
	})
	c.observe(t, "the disk of one node is full", "one of the others", 0, stays, pair)
	t.Logf("%d signed beside a full disk, %d refused", signed, len(refused))
	if len(refused) > 0 {
		t.Logf("node3 said: %v", refused[len(refused)-1])
	}
	ended := c.nodes[2].Ended()
	t.Logf("node3 ended: %t", ended)
	free()
	if ended {
		c.nodes[2].Again(c.t)
	}
	lab.Until(t, "it is refused at node3", func() bool { return c.who(t, 2, pair) == "refused" })
}

// rising waits until a node publishes every list with the highest number that
// was seen of it anywhere, and notes higher ones: none may go back.
func (c *members) rising(t *testing.T, node int) {
	t.Helper()
	lab.Until(t, fmt.Sprintf("node%d publishes what the others do", node+1), func() bool {
		lists, err := c.api(t, node).Lists(t.Context())
		if err != nil {
			return false
		}
		for _, l := range lists {
			var number int64
			if _, err := fmt.Sscan(l.Number, &number); err != nil {
				return false
			}
			if number < c.numbers[l.LastingURL] {
				return false
			}
			c.numbers[l.LastingURL] = number
		}
		return len(lists) > 0
	})
}

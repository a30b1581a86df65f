package faults

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"omca/internal/interop/lab"
)

// TestMembersSetBack puts the homes of members back from copies. No node panics, and every node
// that noticed says how to go on.
func TestMembersSetBack(t *testing.T) {
	lab.Require(t, "ip")
	c := newMembers(t, lab.NewHome(t), lab.NewHome(t), lab.NewHome(t))
	t.Run("one of three", func(t *testing.T) { oneSetBack(t, c) })
	if t.Failed() {
		t.FailNow()
	}
	t.Run("two of three", func(t *testing.T) { twoSetBack(t, c) })
}

// copyOf copies the home of a node that is stopped for it, and returns what puts it back.
func (c *members) copyOf(t *testing.T, node int) (back func()) {
	t.Helper()
	dir, kept := c.nodes[node].Dir, filepath.Join(t.TempDir(), "home")
	copyAll := func(from, to string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
	}
	copyAll(dir, kept)
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		copyAll(kept, dir)
	}
}

// ends starts a node that cannot take part, and returns what it says.
func (c *members) ends(t *testing.T, node int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*lab.Patience)
	defer cancel()
	n := c.nodes[node]
	r := lab.Finish(t, n.Home.Command(ctx, t, "daemon", "run", "--listen", n.Machine.Address+":1215"))
	if r.Status != 1 {
		t.Errorf("exit status %d, expected 1", r.Status)
	}
	for _, bad := range []string{"panic", "goroutine ", ".go:"} {
		if strings.Contains(r.Stderr, bad) {
			t.Errorf("%q in %s", bad, lab.Tail(r.Stderr))
		}
	}
	return r.Stderr
}

func says(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in %s", w, lab.Tail(text))
		}
	}
}

func oneSetBack(t *testing.T, c *members) {
	const back = 2
	if c.leader(t) == back {
		c.nodes[back].Stop(t)
		c.nodes[back].Again(c.t)
	}
	c.nodes[back].Stop(t)
	putBack := c.copyOf(t, back)
	c.nodes[back].Again(c.t)
	name, pair := c.user(t, 0)
	lab.Until(t, "node3 knows it", func() bool { return c.who(t, back, pair) == "known" })
	c.revoke(t, 0, name, pair)
	lab.Until(t, "node3 has heard of it", func() bool { return c.who(t, back, pair) == "refused" })
	c.nodes[back].Stop(t)
	putBack()
	says(t, c.ends(t, back), "node node3: the home was put back from an earlier copy", "hint: on another member: omca cluster remove node3")

	// The way on that it says.
	c.writes(t, 0, 1)
	c.nodes[0].Run(t, "cluster", "remove", "node3", "--yes")
	old := c.nodes[back]
	if err := os.RemoveAll(old.Dir); err != nil {
		t.Fatal(err)
	}
	token := c.nodes[0].File(t, "again.token", c.nodes[0].Run(t, "cluster", "token"))
	old.Daemon = old.Home.Start(c.t, "--node-name", "node3", "--peer", old.Machine.Address+":1217", "--listen", old.Machine.Address+":1215",
		"--join", "https://"+c.nodes[0].Machine.Address+":1215", "--token-file", token)
	lab.Until(t, "node3 has a vote", func() bool {
		all, err := c.api(t, 0).Members(t.Context())
		return err == nil && len(all) == 3 && all[2].State == "member"
	})
	lab.Until(t, "node3 refuses who was revoked", func() bool { return c.who(t, back, pair) == "refused" })
}

func twoSetBack(t *testing.T, c *members) {
	var putBack []func()
	for n := range 2 {
		c.nodes[n].Stop(t)
		putBack = append(putBack, c.copyOf(t, n))
		c.nodes[n].Again(c.t)
	}
	name, pair := c.user(t, 0)
	c.revoke(t, 0, name, pair)
	lab.Until(t, "node3 has heard of it", func() bool { return c.who(t, 2, pair) == "refused" })
	for n := range c.nodes {
		c.nodes[n].Stop(t)
	}
	for n := range 2 {
		putBack[n]()
	}
	var both sync.WaitGroup
	for n := range 2 {
		both.Go(func() { c.nodes[n].Again(c.t) })
	}
	both.Wait()
	if t.Failed() {
		return
	}
	for n := range 2 {
		says(t, c.nodes[n].Try(t, "doctor").Stdout, "the store was set back")
		r := c.nodes[n].Try(t, "system/usr/late", "create")
		if r.Status != 1 {
			t.Errorf("node%d: exit status %d, expected 1", n+1, r.Status)
		}
		says(t, r.Stderr, "the store was set back", "omca daemon accept-rollback")
	}
	says(t, c.ends(t, 2), "node node3: the homes of most other members were put back", "hint: keep this home")

	// What the two have is accepted on one. The certificate of the user
	// may not be there: then it was issued since, and is not accepted.
	says(t, c.nodes[0].Run(t, "daemon", "accept-rollback", "--yes"), "accepted: ")
	c.nodes[0].Run(t, "cluster", "remove", "node3", "--yes")
	lab.Until(t, "both sign again", func() bool {
		return c.issue(t.Context(), c.api(t, 0)) == nil && c.issue(t.Context(), c.api(t, 1)) == nil
	})
	for n := range 2 {
		if got := c.who(t, n, pair); got != "refused" {
			t.Errorf("node%d: who was revoked is %s", n+1, got)
		}
	}
	all, err := c.api(t, 1).Members(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("members: %v, %v", all, err)
	}
}

package omca_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca"
	"omca/internal/store/etcd/etcdtest"
)

// timed is a node whose clock can be set, with what it logs.
type timed struct {
	*running
	off atomic.Int64 // what its clock is ahead of the machine's

	mu  sync.Mutex
	log bytes.Buffer
}

func (n *timed) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(p)
}

// lines returns how many lines of the log have a text.
func (n *timed) lines(text string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Count(n.log.String(), text)
}

func (n *timed) set(off time.Duration) { n.off.Store(int64(off)) }

// timedNode runs c as a node whose clock is off by so much from the start.
func timedNode(t *testing.T, c omca.Config, off time.Duration) *timed {
	t.Helper()
	n := &timed{}
	n.set(off)
	c.Now = func() time.Time { return time.Now().Add(time.Duration(n.off.Load())) }
	c.Log = slog.New(slog.NewTextHandler(n, nil))
	n.running = runServer(t, c)
	return n
}

// clock is how the clock of a node stands, as it says itself.
func (n *timed) clock(t *testing.T) (off bool, seconds int64, others int) {
	t.Helper()
	c := status(t, n.Server).Clock
	return c.Off, c.Offset, len(c.Others)
}

// list returns the current list of the cluster's CA, as a node has it; nil for none.
func (n *timed) list(t *testing.T) *x509.RevocationList {
	t.Helper()
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

// revoke makes a user on a node, and takes the certificate back.
func (n *timed) revoke(t *testing.T, name string) {
	t.Helper()
	c := n.client(t, name, "guest:ns1")
	local(t, n.Server, "POST", "/api/certificate/"+string(serialOf(t, c))+"/revoke", nil)
}

// TestClockOff: a node whose clock leaps ahead does nothing any more of what one does
// for all, from that moment on, and says so; another one does it, and no list is dated
// ahead. When the clock is right again the node takes part.
func TestClockOff(t *testing.T) {
	url := storeURL(etcdtest.Start(t, 1, nil), "omca")
	first := omca.Config{Home: filepath.Join(t.TempDir(), "n1"), NodeName: "n1", ClusterName: "testers", Store: omca.StoreConfig{URL: url, Patience: patience}}
	one := timedNode(t, first, 0)
	two := timedNode(t, join(t, first.Home, "n2", url), 0)
	three := timedNode(t, join(t, first.Home, "n3", url), 0)
	nodes := []*timed{one, two, three}
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("n%d compares its clock with two", i+1), func() bool { _, _, others := n.clock(t); return others == 2 })
		if off, seconds, _ := n.clock(t); off || seconds != 0 {
			t.Errorf("n%d: off is %v, by %d s", i+1, off, seconds)
		}
	}
	if chosen := status(t, one.Server).Store.Chosen; chosen != "n1" {
		t.Fatalf("the chosen node is %q", chosen)
	}
	one.revoke(t, "before")
	dated := func(what string) {
		t.Helper()
		for i, n := range nodes {
			if l := n.list(t); l != nil && l.ThisUpdate.After(time.Now()) {
				t.Fatalf("%s: list %s of n%d is dated %s ahead", what, l.Number, i+1, time.Until(l.ThisUpdate))
			}
		}
	}
	var listed int
	everywhere := func(what string, count int) {
		t.Helper()
		listed = count
		eventually(t, what, func() bool {
			for _, n := range nodes {
				if l := n.list(t); l == nil || len(l.RevokedCertificateEntries) < count {
					return false
				}
			}
			return true
		})
		dated(what)
	}
	everywhere("the first revocation on all lists", 1)

	// The clock of the chosen node leaps, and it is asked to revoke at the same moment.
	meanwhile := string(serialOf(t, one.client(t, "meanwhile", "guest:ns1")))
	one.set(2 * time.Hour)
	local(t, one.Server, "POST", "/api/certificate/"+meanwhile+"/revoke", nil)
	eventually(t, "another node chosen", func() bool {
		dated("before another node is chosen")
		now := status(t, two.Server).Store.Chosen
		return now != "" && now != "n1"
	})
	two.revoke(t, "after")
	everywhere("the revocations on all lists", listed+2)
	eventually(t, "the node says so", func() bool { off, seconds, _ := one.clock(t); return off && seconds > 7190 && seconds < 7210 })
	for i, n := range nodes {
		_, diagnosis := try(t, n.Server, "GET", "/api/doctor", nil)
		if text := string(diagnosis); !strings.Contains(text, "the clock of node n1 is 2h0m0s ahead of the clocks of the other nodes") || strings.Contains(text, "clock of node n2") {
			t.Errorf("the doctor of n%d: %s", i+1, text)
		}
	}
	_, metrics := try(t, one.Server, "GET", "/metrics", nil)
	if text := string(metrics); !strings.Contains(text, "omca_clock_offset_seconds 7") {
		t.Errorf("metrics: %s", text)
	}
	_, list := try(t, two.Server, "GET", "/api/node", nil)
	if text := string(list); strings.Count(text, `"clock_off":true`) != 1 || strings.Count(text, `"clock_off":false`) != 2 {
		t.Errorf("nodes: %s", text)
	}
	if n := one.lines("clock off"); n != 1 {
		t.Errorf("%d lines about the clock", n)
	}

	// Right again, it is chosen when the others are gone.
	one.set(0)
	eventually(t, "the clock is right again", func() bool { off, _, _ := one.clock(t); return !off })
	eventually(t, "the node says that too", func() bool { return one.lines("clock right again") == 1 })
	for _, n := range []*timed{two, three} {
		if n.lines("clock off") != 0 {
			t.Error("a node whose clock is right says that it is off")
		}
		n.stop()
	}
	nodes = nodes[:1]
	eventually(t, "the node chosen again", func() bool { return status(t, one.Server).Store.Chosen == "n1" })
	one.revoke(t, "again")
	everywhere("the last revocation on the list", listed+1)
}

// TestStartWithClockOff: of two nodes that disagree the one that is behind goes on,
// whichever was chosen, and one that comes with a clock ahead is not chosen at all.
func TestStartWithClockOff(t *testing.T) {
	url := storeURL(etcdtest.Start(t, 1, nil), "omca")
	first := omca.Config{Home: filepath.Join(t.TempDir(), "n1"), NodeName: "n1", ClusterName: "testers", Store: omca.StoreConfig{URL: url, Patience: patience}}
	ahead := timedNode(t, first, 2*time.Hour) // alone, its clock is never off
	eventually(t, "a node alone chosen", func() bool { return status(t, ahead.Server).Store.Chosen == "n1" })
	if off, _, others := ahead.clock(t); off || others != 0 {
		t.Errorf("a node alone: off is %v, beside %d others", off, others)
	}
	behind := timedNode(t, join(t, first.Home, "n2", url), 0)
	eventually(t, "the node that is behind chosen", func() bool { return status(t, ahead.Server).Store.Chosen == "n2" })
	if off, seconds, _ := ahead.clock(t); !off || seconds < 7190 {
		t.Errorf("the one ahead: off is %v, by %d s", off, seconds)
	}
	if off, _, _ := behind.clock(t); off {
		t.Error("the one behind is off")
	}
	if n := behind.lines("clock off"); n != 0 {
		t.Errorf("%d lines of the one behind", n)
	}
	// It goes, and the other is alone again.
	behind.stop()
	eventually(t, "the node that is left chosen", func() bool { return status(t, ahead.Server).Store.Chosen == "n1" })
}

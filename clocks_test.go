package omca

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/internal/registry"
)

// moments is what the clocks of a test go by: a time that goes on, and how far each
// node's clock is from it.
type moments struct {
	at      time.Duration
	offsets map[string]time.Duration
	nodes   map[string]*clocks
}

func newMoments(offsets map[string]time.Duration) *moments {
	m := &moments{offsets: offsets, nodes: make(map[string]*clocks)}
	for name := range offsets {
		m.nodes[name] = &clocks{
			now: func() time.Time { return m.shows(name) }, elapsed: func() time.Duration { return m.at },
			shown: make(map[string]shownClock), met: make(map[string]time.Time),
		}
	}
	return m
}

func (m *moments) shows(name string) time.Time {
	return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC).Add(m.at + m.offsets[name])
}

// exchange has every node see the clocks of all others.
func (m *moments) exchange() {
	for name, c := range m.nodes {
		for other := range m.nodes {
			if other != name {
				c.see(other, m.shows(other))
			}
		}
	}
}

// wrong are the nodes that find their own clock off.
func (m *moments) wrong() string {
	var all []string
	for name, c := range m.nodes {
		if c.isWrong() {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestWhoseClockIsOff: the clock that differs from those of most is off; of two halves
// that of the half that is ahead; and where no two agree, all but the one in the middle.
func TestWhoseClockIsOff(t *testing.T) {
	const h, far, near = time.Hour, 31 * time.Second, 29 * time.Second
	for _, c := range []struct {
		offsets []time.Duration // of a, b, c, …
		want    string
	}{
		{[]time.Duration{h}, ""},
		{[]time.Duration{0, 0}, ""},
		{[]time.Duration{0, near}, ""},
		{[]time.Duration{0, far}, "b"},
		{[]time.Duration{0, -far}, "a"},
		{[]time.Duration{0, 0, near}, ""},
		{[]time.Duration{0, 0, far}, "c"},
		{[]time.Duration{0, 0, -far}, "c"},
		{[]time.Duration{h, h, 0}, "c"},
		{[]time.Duration{-h, 0, h}, "a c"},
		{[]time.Duration{0, 0, h, h}, "c d"},
		{[]time.Duration{0, h, 0, -h}, "b d"},
		{[]time.Duration{0, h, h, h}, "a"},
		{[]time.Duration{0, 10 * time.Second, -10 * time.Second, h, -h}, "d e"},
		{[]time.Duration{-200 * 365 * 24 * h, 0, 200 * 365 * 24 * h}, "a c"}, // further apart than a duration reaches
	} {
		t.Run(fmt.Sprint(c.offsets), func(t *testing.T) {
			offsets := make(map[string]time.Duration)
			for i, o := range c.offsets {
				offsets[string(rune('a'+i))] = o
			}
			m := newMoments(offsets)
			if got := m.wrong(); got != "" {
				t.Errorf("before any has seen another: %q", got)
			}
			m.exchange()
			m.at += 9 * time.Second
			if got := m.wrong(); got != c.want {
				t.Errorf("off are %q, want %q", got, c.want)
			}
		})
	}
}

// TestClockIsSet: a clock that is set is off from that moment on, as far as its own
// node goes, and right as soon as it is set back, with a margin.
func TestClockIsSet(t *testing.T) {
	m := newMoments(map[string]time.Duration{"a": 0, "b": 0, "c": 0})
	m.exchange()
	turns := func() int { _, n := m.nodes["a"].state(); return n }
	m.offsets["a"] = 2 * time.Minute
	own, others := m.nodes["a"].offsets()
	if own != 2*time.Minute || len(others) != 2 || others[0] != (offset{"b", 0}) || others[1] != (offset{"c", 0}) {
		t.Errorf("%s, others %v", own, others)
	}
	if got := m.wrong(); got != "a" || turns() != 1 {
		t.Errorf("off are %q after %d turns", got, turns())
	}
	for _, c := range []struct {
		by   time.Duration
		want string
	}{{28 * time.Second, "a"}, {24 * time.Second, ""}, {28 * time.Second, ""}, {-28 * time.Second, ""}, {-31 * time.Second, "a"}} {
		m.offsets["a"] = c.by
		if got := m.wrong(); got != c.want {
			t.Errorf("set to %s: off are %q, want %q", c.by, got, c.want)
		}
	}
	if turns() != 3 {
		t.Errorf("%d turns", turns())
	}
	if got := []string{apart(130 * time.Second), apart(-time.Hour)}; !slices.Equal(got, []string{"2m10s ahead", "1h0m0s behind"}) {
		t.Errorf("in words: %q", got)
	}
}

// TestClockIsForgotten: what a clock showed counts for a minute, and as long as its
// node is there.
func TestClockIsForgotten(t *testing.T) {
	m := newMoments(map[string]time.Duration{"a": time.Hour, "b": 0})
	a := m.nodes["a"]
	b := registry.Node{Name: "b", StartedAt: m.shows("b")}
	if a.meet([]registry.Node{b}) {
		t.Error("the clock of a node that has shown none is known")
	}
	m.exchange()
	if !a.meet([]registry.Node{b}) || !a.isWrong() {
		t.Errorf("its clock was seen, and off is %v", a.isWrong())
	}
	m.at += clockLife
	if !a.isWrong() {
		t.Error("forgotten within a minute")
	}
	m.at++
	if a.isWrong() || a.meet([]registry.Node{b}) {
		t.Error("a clock that was not seen for more than a minute counts")
	}
	m.exchange()
	if !a.isWrong() {
		t.Error("seen again, and it does not count")
	}
	a.meet(nil)
	if a.isWrong() {
		t.Error("the clock of a node that is gone counts")
	}
}

// lately is a copy of a store that was current at a time.
type lately struct {
	word time.Time
	away error
}

func (l lately) Word() time.Time        { return l.word }
func (l lately) Away() error            { return l.away }
func (l lately) Latest(context.Context) {}

// TestLateClock: a clock that this node may have learned of late tells nothing, nor does
// its own.
func TestLateClock(t *testing.T) {
	for name, c := range map[string]struct {
		node string
		age  time.Duration // of the copy
		away error
		want bool
	}{
		"current":                 {"b", time.Second, nil, true},
		"old":                     {"b", clockFresh + time.Second, nil, false},
		"away":                    {"b", time.Second, errStale, false},
		"current, of another day": {"b", -time.Hour, nil, false}, // the clock was set back meanwhile
		"its own":                 {"a", time.Second, nil, false},
	} {
		m := newMoments(map[string]time.Duration{"a": time.Hour})
		now := m.shows("a")
		s := &Server{config: Config{NodeName: "a", Now: func() time.Time { return now }}, clocks: m.nodes["a"], look: make(chan struct{}, 1)}
		s.db.follows = lately{now.Add(-c.age), c.away}
		s.clockShown(registry.NodeClock{Node: c.node, Shows: now.Add(-time.Hour)})
		if got := s.clocks.isWrong(); got != c.want || (len(s.look) == 1) != c.want {
			t.Errorf("%s: off is %v, and looked at is %v", name, got, len(s.look) == 1)
		}
	}
}

// TestClockIsDue: a node shows its clock each ten seconds, at once when it was set, and
// when another node has come.
func TestClockIsDue(t *testing.T) {
	m := newMoments(map[string]time.Duration{"a": 0})
	a := m.nodes["a"]
	others := []registry.Node{{Name: "b", StartedAt: m.shows("a")}}
	due := func(what string, want bool) {
		t.Helper()
		if a.due() != want {
			t.Errorf("%s: due is %v", what, !want)
		}
		if want {
			a.wrote(a.wall())
		}
	}
	due("it was never shown", true)
	due("it was shown now", false)
	m.at += clockEvery - 1
	due("it was shown lately", false)
	m.at++
	due("it was shown ten seconds ago", true)
	m.offsets["a"] = -2 * time.Second
	due("it was set back", true)
	m.offsets["a"] -= time.Second / 2
	due("it was set a little", false)
	a.meet(others)
	due("a node has come", true)
	a.meet(others)
	due("it is still there", false)
	others[0].StartedAt = m.shows("a").Add(time.Hour)
	a.meet(others)
	due("it was started again", true)
	a.wrote(time.Time{})
	due("what was shown is gone", true)
}

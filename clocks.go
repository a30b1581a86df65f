package omca

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"omca/internal/registry"
	"omca/internal/store/etcd"
	"omca/internal/wire"
)

// Bounds of the comparison of clocks. A node sees the time of another clock some
// moments late, on a busy machine seconds: the tolerance is many times that.
const (
	clockEvery     = 10 * time.Second // a node shows its clock at least so often
	clockStep      = time.Second      // and at once when it was set by more than this
	clockLook      = time.Second      // between two looks at that
	clockWait      = 2 * time.Second  // the longest wait for the store to take a clock: the end of the session must be noticed
	clockLife      = time.Minute      // how long the time of a clock counts after it was seen
	clockTolerance = 30 * time.Second // a clock further from the median is off
	clockRight     = 25 * time.Second // and right again when it is no further than this
	clockHearing   = 12 * time.Second // the longest wait of a new node for the clocks of the others
	clockFresh     = 10 * time.Second // a copy of the store that is older shows clocks too late
	clockMost      = 100 * 365 * 24 * time.Hour
)

// clocks compares the clock of this node with those of the others. Each node writes
// the time of its clock into the store, and the others read it moments later. They
// carry it forward by the monotonic clock, which is never set. So when the clock of
// this node is set, the difference shows at once.
type clocks struct {
	now     func() time.Time     // the clock of this node
	elapsed func() time.Duration // time since a fixed moment, by the monotonic clock

	mu      sync.Mutex
	shown   map[string]shownClock // of the other nodes, by name
	met     map[string]time.Time  // start of each other node that was there at the last look
	written shownClock            // of this node, as it is in the store; zero: it is not
	asked   bool                  // another node has started, and has not seen the clock of this one
	wrong   bool                  // result of the last comparison
	turns   int                   // number of changes of wrong
}

// shownClock is the time of a clock, and the moment at which it was seen.
type shownClock struct {
	shows time.Time
	at    time.Duration
}

// goneOn is the time of the clock at a later moment, unless it was set meanwhile.
func (c shownClock) goneOn(at time.Duration) time.Time { return c.shows.Add(at - c.at) }

func newClocks(now func() time.Time) *clocks {
	began := time.Now() // for its monotonic reading
	return &clocks{
		now: now, elapsed: func() time.Duration { return time.Since(began) },
		shown: make(map[string]shownClock), met: make(map[string]time.Time),
	}
}

// wall is the time of this node's clock, without the monotonic reading: Go would
// subtract by that.
func (c *clocks) wall() time.Time { return c.now().Round(0).UTC() }

// see records the present time of another node's clock.
func (c *clocks) see(node string, shows time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown[node] = shownClock{shows.Round(0), c.elapsed()}
}

// meet records the other nodes that are there, and reports whether the clocks of all
// of them are known.
func (c *clocks) meet(others []registry.Node) (all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	there := make(map[string]bool)
	all = true
	for _, n := range others {
		there[n.Name] = true
		if known, ok := c.met[n.Name]; !ok || !known.Equal(n.StartedAt) {
			c.met[n.Name], c.asked = n.StartedAt, true
		}
		shown, ok := c.shown[n.Name]
		all = all && ok && c.elapsed()-shown.at <= clockLife
	}
	maps.DeleteFunc(c.met, func(node string, _ time.Time) bool { return !there[node] })
	maps.DeleteFunc(c.shown, func(node string, _ shownClock) bool { return !there[node] })
	return all
}

// due reports whether this node has to write its clock into the store.
func (c *clocks) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.elapsed()
	set := c.wall().Sub(c.written.goneOn(at)).Abs()
	return c.asked || c.written.shows.IsZero() || at-c.written.at >= clockEvery || set > clockStep
}

// wrote records that this node has written its clock. The zero time means that it is
// in the store no longer.
func (c *clocks) wrote(shows time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = shownClock{shows, c.elapsed()}
	c.asked = c.asked && shows.IsZero()
}

// An offset is the time by which a clock is ahead of the median; negative: behind.
type offset struct {
	node string
	by   time.Duration
}

// offsets compares the clock of this node and the clocks of the others that were seen
// lately with the median of all. Where most clocks agree, the median is among them.
// Of two halves it is in the one that is behind.
func (c *clocks) offsets() (own time.Duration, others []offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.compare()
}

// compare is offsets. It wants mu.
func (c *clocks) compare() (own time.Duration, others []offset) {
	wall, at := c.wall(), c.elapsed()
	all := []time.Duration{0}
	for node, shown := range c.shown {
		if at-shown.at > clockLife {
			continue
		}
		by := min(max(shown.goneOn(at).Sub(wall), -clockMost), clockMost)
		others, all = append(others, offset{node, by}), append(all, by)
	}
	slices.Sort(all)
	median := all[(len(all)-1)/2]
	for i := range others {
		others[i].by -= median
	}
	slices.SortFunc(others, func(a, b offset) int { return strings.Compare(a.node, b.node) })
	return -median, others
}

// isWrong reports whether the clock of this node is off.
func (c *clocks) isWrong() bool {
	wrong, _ := c.state()
	return wrong
}

// state is isWrong, with the number of its changes.
func (c *clocks) state() (wrong bool, turns int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := clockTolerance
	if c.wrong {
		limit = clockRight
	}
	own, _ := c.compare()
	if wrong := own.Abs() > limit; wrong != c.wrong {
		c.wrong = wrong
		c.turns++
	}
	return c.wrong, c.turns
}

// apart says an offset in words.
func apart(by time.Duration) string {
	if by < 0 {
		return (-by).Round(time.Second).String() + " behind"
	}
	return by.Round(time.Second).String() + " ahead"
}

func seconds(by time.Duration) int64 { return int64(by.Round(time.Second) / time.Second) }

// clockShown records the clock of another node. The time of a clock that this node's
// copy of the store may have received late means nothing.
func (s *Server) clockShown(c registry.NodeClock) {
	age := s.config.Now().Sub(s.db.follows.Word())
	if c.Node == s.config.NodeName || s.db.follows.Away() != nil || age < 0 || age > clockFresh {
		return
	}
	s.clocks.see(c.Node, c.Shows)
	signal(s.look)
}

// showClock writes the clock of this node into the store, when that is due.
func (a *attendance) showClock(ctx context.Context, x *etcd.Session) {
	if !a.clocks.due() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, clockWait)
	defer cancel()
	shows := a.clocks.wall()
	put, err := registry.NodeClock{Node: a.config.NodeName, Shows: shows}.Put()
	if err == nil {
		err = x.Put(ctx, put.Key, put.Value)
	}
	if err == nil {
		a.clocks.wrote(shows)
	} else if !a.unshown {
		a.config.Log.WarnContext(ctx, "clock not shown to the other nodes", "error", err)
	}
	a.unshown = err != nil
}

// judgeClock logs when the clock of this node is off, or right again. A chosen node
// whose clock is off resigns, so that another can be chosen.
func (a *attendance) judgeClock(ctx context.Context, x *etcd.Session) error {
	wrong, turns := a.clocks.state()
	if wrong != a.wrong {
		own, others := a.clocks.offsets()
		if wrong {
			a.config.Log.ErrorContext(ctx, "clock off", "node", a.config.NodeName, "clock", apart(own), "compared_with", len(others))
		} else {
			a.config.Log.InfoContext(ctx, "clock right again", "node", a.config.NodeName, "compared_with", len(others))
		}
	}
	turned := turns != a.turns
	a.wrong, a.turns = wrong, turns
	switch {
	case wrong && a.isChosen.Load():
		a.resign(ctx)
		return x.Release(ctx, a.asNode().Chosen().Key)
	case turned && a.isChosen.Load():
		a.takeUp() // for a moment chosen has returned false: work may have been left
	}
	return nil
}

// nodeClocks is the comparison of the clocks that are known, by node.
func (s *Server) nodeClocks() map[string]wire.NodeClock {
	own, others := s.clocks.offsets()
	all := map[string]wire.NodeClock{s.config.NodeName: {Node: s.config.NodeName, Offset: seconds(own), Off: s.clocks.isWrong()}}
	for _, o := range others {
		all[o.node] = wire.NodeClock{Node: o.node, Offset: seconds(o.by), Off: o.by.Abs() > clockTolerance}
	}
	return all
}

// clockStatus is the comparison of clocks for the status; nil for a node alone.
func (s *Server) clockStatus() *wire.ClockStatus {
	if s.db.session == nil {
		return nil
	}
	all := s.nodeClocks()
	own := all[s.config.NodeName]
	delete(all, s.config.NodeName)
	st := &wire.ClockStatus{Offset: own.Offset, Off: own.Off}
	for _, node := range slices.Sorted(maps.Keys(all)) {
		st.Others = append(st.Others, all[node])
	}
	return st
}

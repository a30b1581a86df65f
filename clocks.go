package omca

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"omca/internal/api"
	"omca/internal/object"
	"omca/internal/store/etcd"
)

// How the clocks of nodes are compared. What a clock showed is seen some moments
// later, on a busy machine seconds: the tolerance is many times that.
const (
	clockEvery     = 10 * time.Second // a node shows its clock at least so often
	clockStep      = time.Second      // and at once when it was set by more than this
	clockLook      = time.Second      // between two looks at that
	clockLife      = time.Minute      // how long counts what a clock showed
	clockTolerance = 30 * time.Second // a clock further from the others is off
	clockRight     = 25 * time.Second // and right again when it is no further than this
	clockHearing   = 12 * time.Second // a node that has come waits so long at most for the clocks of the others
	clockFresh     = 10 * time.Second // older than this, a copy of the store shows clocks too late
	clockMost      = 100 * 365 * 24 * time.Hour
)

// clocks compares the clock of this node with those of the others. Each node writes
// down what its clock shows, and the others read it moments later. From then on it
// goes on by a clock that is never set: when this node's is, it differs at once.
type clocks struct {
	now     func() time.Time     // the clock that is compared
	elapsed func() time.Duration // since some moment, by a clock that is never set

	mu      sync.Mutex
	shown   map[string]shownClock // by node; of others
	met     map[string]time.Time  // nodes that have had an occasion to see this one's clock, with their start
	written shownClock            // of this node, as the others know it; zero: not at all
	asked   bool                  // another node has just come: it does not know this one's clock
	wrong   bool                  // as it was found last
	turns   int                   // how often that has changed
}

// shownClock is what a clock showed, and when that was seen.
type shownClock struct {
	shows time.Time
	at    time.Duration
}

// goneOn is what the clock shows at a later time, unless it was set meanwhile.
func (c shownClock) goneOn(at time.Duration) time.Time { return c.shows.Add(at - c.at) }

func newClocks(now func() time.Time) *clocks {
	began := time.Now() // whose monotonic reading is meant
	return &clocks{
		now: now, elapsed: func() time.Duration { return time.Since(began) },
		shown: make(map[string]shownClock), met: make(map[string]time.Time),
	}
}

// wall is what the clock of this node shows, without the reading by which Go would
// go on when it is set.
func (c *clocks) wall() time.Time { return c.now().Round(0).UTC() }

// see takes note of what the clock of another node shows now.
func (c *clocks) see(node string, shows time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown[node] = shownClock{shows.Round(0), c.elapsed()}
}

// meet takes note of which other nodes are there, and reports whether the clocks of
// all of them are known.
func (c *clocks) meet(others []object.Node) (all bool) {
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

// due reports whether this node is to show its clock to the others.
func (c *clocks) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.elapsed()
	set := c.wall().Sub(c.written.goneOn(at)).Abs()
	return c.asked || c.written.shows.IsZero() || at-c.written.at >= clockEvery || set > clockStep
}

// wrote takes note that this node has shown its clock; the zero time: the others do
// not know it any more.
func (c *clocks) wrote(shows time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = shownClock{shows, c.elapsed()}
	c.asked = c.asked && shows.IsZero()
}

// An offset is how far a clock is ahead of what the nodes agree on, negative when it
// is behind.
type offset struct {
	node string
	by   time.Duration
}

// offsets returns how far the clock of this node and those of the others that showed
// theirs lately are off. What they agree on is the median: where most are within the
// tolerance of each other, that is among them, and with two halves it is in the one
// that is behind.
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
	agreed := all[(len(all)-1)/2]
	for i := range others {
		others[i].by -= agreed
	}
	slices.SortFunc(others, func(a, b offset) int { return strings.Compare(a.node, b.node) })
	return -agreed, others
}

// isWrong reports whether the clock of this node is off.
func (c *clocks) isWrong() bool {
	wrong, _ := c.state()
	return wrong
}

// state is isWrong, with how often that has changed.
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

// clockShown takes note of a clock that a node shows. One that this node's copy of
// the store may have learned of late tells nothing.
func (s *Server) clockShown(c object.NodeClock) {
	age := s.config.Now().Sub(s.db.follows.Word())
	if c.Node == s.config.NodeName || s.db.follows.Away() != nil || age < 0 || age > clockFresh {
		return
	}
	s.clocks.see(c.Node, c.Shows)
	signal(s.look)
}

// showClock shows the clock of this node to the others, when it is time to.
func (a *attendance) showClock(ctx context.Context, x *etcd.Session) {
	if !a.clocks.due() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sessionWait)
	defer cancel()
	shows := a.clocks.wall()
	put, err := object.NodeClock{Node: a.config.NodeName, Shows: shows}.Put()
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

// judgeClock says when the clock of this node turns out to be off, or right again,
// and has another node chosen when this one was.
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
		a.takeUp() // what was asked meanwhile whether this node is chosen heard that it is not
	}
	return nil
}

// nodeClocks is how the clocks of the nodes that are known stand, by node.
func (s *Server) nodeClocks() map[string]api.NodeClock {
	own, others := s.clocks.offsets()
	all := map[string]api.NodeClock{s.config.NodeName: {Node: s.config.NodeName, Offset: seconds(own), Off: s.clocks.isWrong()}}
	for _, o := range others {
		all[o.node] = api.NodeClock{Node: o.node, Offset: seconds(o.by), Off: o.by.Abs() > clockTolerance}
	}
	return all
}

// clockStatus is how the clocks of the nodes stand to each other; nil for a node alone.
func (s *Server) clockStatus() *api.ClockStatus {
	if s.db.session == nil {
		return nil
	}
	all := s.nodeClocks()
	own := all[s.config.NodeName]
	delete(all, s.config.NodeName)
	st := &api.ClockStatus{Offset: own.Offset, Off: own.Off}
	for _, node := range slices.Sorted(maps.Keys(all)) {
		st.Others = append(st.Others, all[node])
	}
	return st
}

package omca

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store/etcd"
)

const (
	sessionLife = 5 * time.Second // after which a node that is gone is gone for all
	sessionWait = time.Second     // between two attempts to begin a session
)

// chosen reports whether this node does what one node does for all of them:
// renew, number revocation lists, fetch those of others, sweep. A node alone does.
// A node whose clock is off does not, from the moment on that it is.
//
// For a moment two nodes may think so, or none. Whatever is done is a commit
// with expectations, so that the second finds it done.
func (s *Server) chosen() bool {
	return s.db.session == nil || s.isChosen.Load() && !s.clocks.isWrong()
}

// attendance keeps this node known to the others.
type attendance struct {
	*Server
	wrong   bool // that the clock is off is in the log
	turns   int  // of the clock's state, as they were seen last
	unshown bool // that the others do not see the clock is in the log
}

// attend follows the other nodes, and makes this one known to them.
func (s *Server) attend() {
	if s.db.session == nil {
		return
	}
	s.run("nodes", func(ctx context.Context) {
		err := s.objects.FollowNodes(ctx, func() { signal(s.look) }, s.clockShown)
		if err != nil && ctx.Err() == nil {
			s.config.Log.ErrorContext(ctx, "nodes no longer followed", "error", err)
		}
	})
	a := &attendance{Server: s}
	s.run("attendance", a.run)
}

// run keeps this node known to the others, and stands for election, until ctx is done.
func (a *attendance) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := a.once(ctx); err != nil && ctx.Err() == nil {
			a.config.Log.WarnContext(ctx, "node not known to the others", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(sessionWait):
		}
	}
}

// signal wakes who waits on a channel of one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// once is one session.
func (a *attendance) once(ctx context.Context) (err error) {
	x, err := a.db.session(ctx, sessionLife)
	if err != nil {
		return err
	}
	defer func() { // after a panic too
		a.resign(ctx)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if left := x.Close(bounded); left != nil && ctx.Err() == nil {
			err = errors.Join(err, left)
		}
	}()
	if err := a.appear(ctx, x); err != nil {
		return err
	}
	a.clocks.wrote(time.Time{}) // the last session took the clock with it
	began := a.clocks.elapsed()
	tick := time.NewTicker(clockLook)
	defer tick.Stop()
	for {
		others, err := a.others(ctx)
		if err != nil {
			return err
		}
		heard := a.clocks.meet(others) || a.clocks.elapsed()-began > clockHearing
		a.showClock(ctx, x)
		if err := a.judgeClock(ctx, x); err != nil {
			return err
		}
		if heard && !a.wrong {
			err = a.stand(ctx, x)
		}
		if err != nil {
			return err
		}
		select {
		case <-a.look:
		case <-tick.C:
		case <-a.moved:
			if err := a.appear(ctx, x); err != nil {
				return err
			}
		case <-x.Lost():
			return errSessionLost
		case <-ctx.Done():
			return nil
		}
	}
}

// others are the other nodes that are there.
func (s *Server) others(ctx context.Context) ([]registry.Node, error) {
	all, err := s.objects.Nodes(ctx)
	return slices.DeleteFunc(all, func(n registry.Node) bool { return n.Name == s.config.NodeName }), err
}

var errSessionLost = errors.New("the store has not heard of this node for too long")

// appear writes down that this node is there. One of the same name may be
// there: this one's own, whose process was killed, or another's.
func (s *Server) appear(ctx context.Context, x *etcd.Session) error {
	put, err := s.asNode().Put()
	if err != nil {
		return err
	}
	first, err := x.Claim(ctx, put.Key, put.Value)
	if first || err != nil {
		return err
	}
	other, err := s.objects.Node(ctx, s.config.NodeName)
	if err == nil && other.Home != s.db.home {
		return namesake(other)
	}
	if err != nil && !errors.Is(err, ca.ErrNotFound) {
		return err
	}
	return x.Put(ctx, put.Key, put.Value) // the home is locked by this process: nobody else can be it
}

func namesake(other registry.Node) error {
	return hint.With(fmt.Errorf("another node is called %q: it runs since %s, at %s", other.Name, other.StartedAt.Format(time.RFC3339), strings.Join(other.Addresses, ", ")),
		"name this one with --node-name")
}

// asNode is what this node says of itself.
func (s *Server) asNode() registry.Node {
	n := registry.Node{Name: s.config.NodeName, Home: s.db.home, Version: s.config.Version, Addresses: []string{}, StartedAt: s.started.UTC(), Reads: seal.Reads}
	if heard := s.heard.Load(); heard != nil {
		n.Addresses = *heard
	}
	return n
}

// stand makes this node the chosen one, if there is none.
func (s *Server) stand(ctx context.Context, x *etcd.Session) error {
	name, err := s.objects.ChosenNode(ctx)
	if err != nil || name != "" {
		return err
	}
	put := s.asNode().Chosen()
	won, err := x.Claim(ctx, put.Key, put.Value)
	if err != nil || !won {
		return err
	}
	s.isChosen.Store(true)
	s.config.Log.InfoContext(ctx, "node chosen", "node", s.config.NodeName)
	s.takeUp()
	return nil
}

// takeUp wakes the work that the chosen node does.
func (s *Server) takeUp() {
	signal(s.wake)
	s.publisher.Reload()
	s.feeds.Brought()
}

// resign ends that this node is the chosen one.
func (s *Server) resign(ctx context.Context) {
	if s.isChosen.Swap(false) {
		s.config.Log.InfoContext(ctx, "node no longer chosen", "node", s.config.NodeName)
	}
}

// alone refuses to start beside another node of the same name. One that was
// killed is forgotten within seconds, and is waited for.
func (s *Server) alone(ctx context.Context) error {
	if s.db.session == nil {
		return nil
	}
	for end := time.Now().Add(sessionLife + 2*time.Second); ; {
		other, err := s.objects.Node(ctx, s.config.NodeName)
		switch {
		case errors.Is(err, ca.ErrNotFound):
			return nil
		case err != nil:
			return err
		case other.Home == s.db.home, s.db.follows.Away() != nil:
			return nil
		case time.Now().After(end):
			return namesake(other)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

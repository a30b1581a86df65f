package omca

import (
	"context"
	"errors"
	"slices"
	"time"

	"omca/ca"
	"omca/internal/member"
	"omca/internal/seal"
	"omca/internal/store"
)

// bringPause is how long after a failure, or a look that found a node with an older
// build, the store is looked at again.
const bringPause = 10 * time.Second

// readyStore prepares a store that an older build has written. One of this node alone
// is brought over at once. In one that nodes share, the CAs that objects hold are put on
// record, and the rest waits until no older build can be running: see bringing.
func (s *Server) readyStore(ctx context.Context) error {
	if s.db.follows == nil {
		return s.bringOver(ctx)
	}
	if s.objects.Format() >= seal.Reads {
		return nil
	}
	err := s.authority.RecordAuthorities(ctx, true)
	if errors.Is(err, store.ErrAway) || errors.Is(err, ca.ErrConflict) {
		s.config.Log.WarnContext(ctx, "CAs not put on record yet", "error", err)
		err = nil // bringing does it again
	}
	s.run("bringing the store over", s.bringing)
	return err
}

// bringOver brings the store to the format of this build.
func (s *Server) bringOver(ctx context.Context) error {
	if s.objects.Format() < seal.Reads {
		if err := s.authority.RecordAuthorities(ctx, true); err != nil {
			return err
		}
	}
	brought, err := s.objects.BringOver(ctx)
	if brought && err == nil {
		s.config.Log.InfoContext(ctx, "store brought over", "format", seal.Reads)
		s.authority.Changed("")
		s.publisher.Reload()
	}
	return err
}

// bringing brings a shared store over once every node runs a build that reads the new
// format, and puts the CAs on record that older builds make until then.
func (s *Server) bringing(ctx context.Context) {
	for s.objects.Format() < seal.Reads {
		err := s.authority.RecordAuthorities(ctx, false)
		if err == nil && s.chosen() {
			var ready bool
			if ready, err = s.allRead(ctx); ready && err == nil {
				err = s.bringOver(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			s.config.Log.WarnContext(ctx, "store not brought over yet", "error", err)
		}
		timer := time.NewTimer(bringPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.bring:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// allRead reports whether every node, and every member of the cluster, is there and says
// that its build reads the format of this one. A member that is down keeps the store as it
// is: its build is not known.
func (s *Server) allRead(ctx context.Context) (bool, error) {
	nodes, err := s.objects.Nodes(ctx)
	if err != nil {
		return false, err
	}
	reads := make(map[string]bool)
	for _, n := range nodes {
		reads[n.Name] = n.Reads >= seal.Reads
		if !reads[n.Name] {
			return false, nil
		}
	}
	if s.db.node == nil {
		return len(nodes) > 0, nil
	}
	missing := func(m member.Info) bool { return !reads[m.Name] }
	return !slices.ContainsFunc(s.db.node.Members(), missing), nil
}

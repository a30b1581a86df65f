package replica

import (
	"context"
	"sync/atomic"
)

// questions are those of Latest: one at a time, for all who wait.
type questions struct {
	turn  chan struct{} // holds one token while somebody asks
	clock atomic.Int64  // counts arrivals and questions, in one order
	known atomic.Int64  // when the last question began that was answered
}

// Latest waits until the copy has what the source had when it was called: what
// another node was told is done, this one sees. Many who come at once share a
// question. It waits as long as a commit may at most, and not at all while the
// source is away: whoever goes on to change something hears of that from Commit.
func (s *Store) Latest(ctx context.Context) {
	came := s.latest.clock.Add(1)
	select {
	case s.latest.turn <- struct{}{}:
		defer func() { <-s.latest.turn }()
	case <-ctx.Done():
		return
	}
	if s.latest.known.Load() > came || s.Away() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.pace.Commit)
	defer cancel()
	began := s.latest.clock.Add(1)
	_, rev, err := s.source.Origin(ctx)
	if err == nil && s.upTo() < rev {
		if err = s.source.Ask(ctx); err == nil {
			err = s.wait(ctx, rev)
		}
	}
	if err != nil {
		s.doubt()
		return
	}
	s.latest.known.Store(began)
}

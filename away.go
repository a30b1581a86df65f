package omca

import (
	"context"
	"errors"
	"fmt"
	"time"

	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/replica"
	"omca/internal/wire"
)

// leastAway is what the keyword cluster.away_limit is at least: a node hears from
// the store every second, and less often on a busy machine.
const leastAway = 10 * time.Second

// errStale refuses callers when nobody knows any more who may call.
var errStale = errors.New("the store has been away for too long")

// current returns errStale when this node has not heard from the store that it
// shares for longer than cluster.away_limit: whom others have revoked, disabled
// or deleted meanwhile is not known here.
func (s *Server) current(ctx context.Context) error {
	if s.db.follows == nil {
		return nil
	}
	age := s.config.Now().Sub(s.db.follows.Word())
	if age >= 0 && age < leastAway {
		return nil
	}
	limit, err := s.awayLimit(ctx)
	if err != nil {
		return err
	}
	// A word of the future is of a clock that was set back meanwhile: it tells nothing.
	if age >= 0 && age < limit {
		return nil
	}
	return errStale
}

func (s *Server) awayLimit(ctx context.Context) (time.Duration, error) {
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return 0, err
	}
	limit, err := cluster.Config.Duration("cluster.away_limit")
	return max(limit, leastAway), err
}

// storeStatus is nil for a store of this node alone.
func (s *Server) storeStatus(ctx context.Context) (*wire.StoreStatus, error) {
	if s.db.follows == nil {
		return nil, nil
	}
	st := &wire.StoreStatus{Name: s.db.name, Word: s.db.follows.Word().UTC()}
	var err error
	if st.Chosen, err = s.objects.ChosenNode(ctx); err != nil {
		return nil, err
	}
	away := s.db.follows.Away()
	if away == nil {
		return st, nil
	}
	limit, err := s.awayLimit(ctx)
	if err != nil {
		return nil, err
	}
	st.Away, st.Until, st.Ended = away.Error(), st.Word.Add(limit), s.current(ctx) != nil
	return st, nil
}

// explain says what callers are told of an error of the store.
func (s *Server) explain(err error) (detail, way string) {
	if refusal := s.objects.Refusal(); refusal != nil && errors.Is(err, registry.ErrSetBack) {
		return refusal.Error(), hint.Of(refusal)
	}
	if errors.Is(err, registry.ErrForged) { // which one is named to root alone
		return "the store has a value that omca has not written there: it is refused", "\"omca doctor\" names all such values to root"
	}
	if s.db.follows == nil {
		return "", ""
	}
	word := s.db.follows.Word().UTC().Format(time.RFC3339)
	switch {
	case errors.Is(err, errStale):
		return fmt.Sprintf("this node has not heard from the store %s since %s: it does not know any more who may call", s.db.name, word),
			"another node may; here the unix socket is served. \"omca daemon status\" on this node says what is wrong"
	case errors.As(err, new(*replica.OriginError)):
		return fmt.Sprintf("the store %s is not the one any more that this node has followed: nothing was changed", s.db.name),
			"docs/cluster.md says what to do when etcd was brought back from a backup"
	case errors.Is(err, store.ErrAway):
		return fmt.Sprintf("the store %s does not answer, or has no majority (heard of last at %s): nothing was changed", s.db.name, word),
			"see that etcd runs and is reached from this node, then repeat the command; reading and logging in go on meanwhile"
	case errors.Is(err, store.ErrUncertain):
		return fmt.Sprintf("the store %s has not answered in time: the change may have happened, or not", s.db.name),
			"look whether it has before you repeat the command"
	}
	return "", ""
}

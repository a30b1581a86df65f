package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"omca/internal/store"
	"omca/usr/session"
)

const (
	prefixSession   = "session/"   // session/<id> → session
	prefixSessionOf = "sessionof/" // sessionof/<user>/<id> → nothing
)

func sessionOfKey(user, id string) string { return prefixSessionOf + user + "/" + id }

// AddSession implements [session.Store].
func (s *Store) AddSession(ctx context.Context, one session.Session) error {
	value, err := json.Marshal(one)
	if err != nil {
		return err
	}
	key := prefixSession + one.ID
	return s.commit(ctx, store.Tx{
		Expect: []store.Expect{{Key: key}},
		Puts:   []store.Put{{Key: key, Value: value}, {Key: sessionOfKey(one.User, one.ID)}},
	})
}

// Session implements [session.Store]. It asks the store each time: what another
// node has ended is over here too. The decision of ctx notes the session.
func (s *Store) Session(ctx context.Context, id string) (session.Session, error) {
	one, rev, err := s.session(ctx, id)
	if err == nil || errors.Is(err, session.ErrNone) {
		decidingOf(ctx).note(prefixSession+id, rev)
	}
	return one, err
}

func (s *Store) session(ctx context.Context, id string) (one session.Session, rev int64, err error) {
	e, err := s.db.Get(ctx, prefixSession+id)
	if errors.Is(err, store.ErrNotFound) {
		return session.Session{}, 0, session.ErrNone
	}
	if err != nil {
		return session.Session{}, 0, err
	}
	if err := json.Unmarshal(e.Value, &one); err != nil {
		return session.Session{}, 0, fmt.Errorf("store key %q: %w", e.Key, err)
	}
	one.ID = id
	return one, e.Rev, nil
}

// TouchSession implements [session.Store].
func (s *Store) TouchSession(ctx context.Context, id string, used time.Time) error {
	one, rev, err := s.session(ctx, id)
	if errors.Is(err, session.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	one.Used = used
	value, err := json.Marshal(one)
	if err != nil {
		return err
	}
	key := prefixSession + id
	_, err = s.write(having(ctx, beside), store.Tx{Expect: []store.Expect{{Key: key, Rev: rev}}, Puts: []store.Put{{Key: key, Value: value}}})
	if errors.Is(err, store.ErrConflict) {
		return nil // ended meanwhile, or touched: either way there is nothing to add
	}
	return fromStore(err)
}

// EndSessions implements [session.Store].
func (s *Store) EndSessions(ctx context.Context, sessions ...session.Session) error {
	for some := range slices.Chunk(sessions, store.MaxOps/2) {
		tx := store.Tx{}
		for _, one := range some {
			tx.Deletes = append(tx.Deletes, prefixSession+one.ID, sessionOfKey(one.User, one.ID))
		}
		if err := s.commit(Repeatable(ctx), tx); err != nil {
			return err
		}
	}
	return nil
}

// Sessions implements [session.Store].
func (s *Store) Sessions(ctx context.Context, user string) iter.Seq2[session.Session, error] {
	return func(yield func(session.Session, error) bool) {
		prefix := prefixSession
		if user != "" {
			prefix = sessionOfKey(user, "")
		}
		for e, err := range entries(ctx, s.db, prefix) {
			if err != nil {
				yield(session.Session{}, err)
				return
			}
			one, _, err := s.session(ctx, strings.TrimPrefix(e.Key, prefix))
			if errors.Is(err, session.ErrNone) {
				continue // ended meanwhile
			}
			if !yield(one, err) || err != nil {
				return
			}
		}
	}
}

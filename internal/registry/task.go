package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"omca/ca"
	"omca/internal/store"
)

// prefixTask is where what nodes are to do lies: task/<node> → task.
const prefixTask = "task/"

// The states of a Task.
const (
	TaskAsked  = "asked"  // nobody has seen it yet
	TaskTaken  = "taken"  // the node is at it
	TaskDone   = "done"   // it is
	TaskFailed = "failed" // it is not, and Error says why
)

// What a node is asked to do.
const (
	DoRestart = "restart"
	DoStop    = "stop"
	DoDrain   = "drain"  // it says that it is not ready, and serves
	DoResume  = "resume" // it says that it is ready again
)

// A Task is what one node is to do, or did last. Whoever asks writes it into the
// store, and the node follows the store: a node needs no other way to another.
type Task struct {
	Node    string    `json:"-"`
	Do      string    `json:"do"`    // restart, stop, drain or resume
	State   string    `json:"state"` // one of those above
	Error   string    `json:"error,omitempty"`
	By      string    `json:"by"` // who asked
	AskedAt time.Time `json:"asked_at"`

	rev int64
}

// Pending reports whether the node has not done it, and not failed to.
func (t Task) Pending() bool { return t.State == TaskAsked || t.State == TaskTaken }

// Same reports whether t is o as it was written then.
func (t Task) Same(o Task) bool { return t.Node == o.Node && t.rev == o.rev }

// Task returns what a node is to do, or did last. Errors: ca.ErrNotFound.
func (s *Store) Task(ctx context.Context, node string) (Task, error) {
	e, err := s.db.Get(ctx, prefixTask+node)
	if errors.Is(err, store.ErrNotFound) {
		return Task{}, fmt.Errorf("%w: node %q was not asked to do anything", ca.ErrNotFound, node)
	}
	if err != nil {
		return Task{}, err
	}
	return readTask(e.Key, e.Value, e.Rev)
}

func readTask(key string, value []byte, rev int64) (Task, error) {
	a := Task{Node: strings.TrimPrefix(key, prefixTask), rev: rev}
	if err := json.Unmarshal(value, &a); err != nil {
		return Task{}, fmt.Errorf("store key %q: %w", key, err)
	}
	return a, nil
}

// Ask asks a node to do something. What it was asked before and has not begun is
// replaced; while it is at something else, it is ca.ErrConflict, unless that was
// asked longer than a minute ago: it has died over it.
func (s *Store) Ask(ctx context.Context, a Task) error {
	last, err := s.Task(ctx, a.Node)
	if err != nil && !errors.Is(err, ca.ErrNotFound) {
		return err
	}
	// The clock of who asked may be another: what lies ahead is no reason to wait for it.
	if since := s.now().Sub(last.AskedAt); last.State == TaskTaken && since >= 0 && since < time.Minute {
		return fmt.Errorf("%w: node %q is at something: %s", ca.ErrConflict, a.Node, last.Do)
	}
	a.State, a.AskedAt, a.rev = TaskAsked, s.now().UTC(), last.rev
	_, err = s.Move(ctx, a)
	return err
}

// Move writes a task as it is now, if it is still as it was read. Errors:
// ca.ErrConflict.
func (s *Store) Move(ctx context.Context, a Task) (Task, error) {
	value, err := json.Marshal(a)
	if err != nil {
		return a, err
	}
	key := prefixTask + a.Node
	rev, err := s.write(ctx, store.Tx{Expect: []store.Expect{{Key: key, Rev: a.rev}}, Puts: []store.Put{{Key: key, Value: value}}})
	a.rev = rev
	return a, fromStore(err)
}

// ForgetNode removes what is kept of a node that is none any more: that it is there,
// and what it was to do.
func (s *Store) ForgetNode(ctx context.Context, node string) error {
	_, err := s.db.Commit(ctx, store.Tx{Deletes: []string{prefixNode + node, prefixClock + node, prefixTask + node}})
	return fromStore(err)
}

// FollowTasks calls act with each task for a node, those that are there first,
// until ctx is done. What act returns is logged.
func (s *Store) FollowTasks(ctx context.Context, node string, act func(Task) error) error {
	for ctx.Err() == nil {
		if err := s.followTasks(ctx, node, act); !errors.Is(err, store.ErrCompacted) {
			return err
		}
	}
	return ctx.Err()
}

func (s *Store) followTasks(ctx context.Context, node string, act func(Task) error) error {
	do := func(a Task, err error) {
		if err == nil {
			err = act(a)
		}
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "task of a node", "node", node, "do", a.Do, "error", err)
		}
	}
	page, err := s.db.Scan(ctx, store.Range{Prefix: prefixTask})
	if err != nil {
		return err
	}
	key := prefixTask + node
	for _, e := range page.Entries {
		if e.Key == key {
			do(readTask(e.Key, e.Value, e.Rev))
		}
	}
	for change, err := range s.db.Watch(ctx, key, page.Rev) {
		if err != nil {
			return err
		}
		for _, e := range change.Events {
			if e.Key == key && !e.Deleted {
				do(readTask(e.Key, e.Value, change.Rev))
			}
		}
	}
	return ctx.Err()
}

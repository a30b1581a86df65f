package omca

import (
	"context"
	"errors"
	"fmt"

	"omca/internal/registry"
)

// errDraining means that this node is to be left alone.
var errDraining = errors.New("the node drains: its daemon serves, and wants no more callers")

// tasks does what this node is asked to through the store.
type tasks struct {
	*Server
	begun registry.Task // by this process
}

// followTasks does so while the daemon serves.
func (s *Server) followTasks() {
	t := &tasks{Server: s}
	s.run(taskTasks, func(ctx context.Context) {
		err := s.objects.FollowTasks(ctx, s.config.NodeName, t.do)
		if err != nil && ctx.Err() == nil {
			s.config.Log.ErrorContext(ctx, "this node does not hear what it is asked to do", "error", err)
		}
	})
}

// do does one thing. It is taken before it is done: a node that ends over it
// does not begin again when it is back.
func (s *tasks) do(t registry.Task) error {
	ctx := s.background
	if t.State == registry.TaskTaken && !t.Same(s.begun) {
		return s.end(ctx, t)
	}
	if t.State != registry.TaskAsked {
		return nil
	}
	t.State = registry.TaskTaken
	t, err := s.objects.Move(ctx, t)
	if err != nil {
		return err
	}
	s.begun = t
	s.config.Log.InfoContext(ctx, "asked through the store", "do", t.Do, "by", t.By)
	// A panic is an answer too: the node that asked waits for one.
	err = s.panics.Guard(taskTasks, func() error { return s.perform(t.Do) })
	switch {
	case err != nil:
	case t.Do == registry.DoRestart:
		return nil // who serves next says that it is done
	case t.Do == registry.DoStop:
		defer s.requestStop()
	}
	return s.finish(ctx, t, err)
}

// perform does the part of a task that comes before the answer.
func (s *tasks) perform(do string) error {
	switch do {
	case registry.DoRestart:
		if s.config.Restart == nil {
			return errors.New("no daemon is running here")
		}
		return s.config.Restart()
	case registry.DoDrain:
		s.draining.Store(true)
	case registry.DoResume:
		s.draining.Store(false)
	case registry.DoStop:
	default:
		return fmt.Errorf("%q is nothing that this version does", do)
	}
	return nil
}

// end says of what was begun before this process served how it went.
func (s *tasks) end(ctx context.Context, t registry.Task) error {
	switch {
	case t.Do != registry.DoRestart:
		return s.finish(ctx, t, errors.New("the daemon ended over it"))
	case s.config.RestartError != "":
		return s.finish(ctx, t, errors.New(s.config.RestartError))
	}
	return s.finish(ctx, t, nil)
}

func (s *tasks) finish(ctx context.Context, t registry.Task, failed error) error {
	t.State, t.Error = registry.TaskDone, ""
	if failed != nil {
		t.State, t.Error = registry.TaskFailed, failed.Error()
	}
	_, err := s.objects.Move(ctx, t)
	return err
}

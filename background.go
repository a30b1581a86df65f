package omca

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"omca/internal/background"
	"omca/internal/hint"
	"omca/internal/wire"
)

// run keeps work going beside the requests until it returns or the server ends. A
// panic in it is logged and counted, and the work begins again after a pause. State
// that the next run needs is kept outside of work.
//
// Every goroutine of this package that lives longer than a call is started here.
func (s *Server) run(task string, work func(context.Context)) {
	s.work.Go(func() {
		err := s.panics.Keep(s.background, task, func(ctx context.Context) error {
			work(ctx)
			return nil
		})
		if err != nil && s.background.Err() == nil { // work itself has no error
			s.config.Log.ErrorContext(s.background, "background work ended", "task", task, "error", err)
		}
	})
}

// serve serves a socket, and sends the reason when that ends. A panic is an error: the
// daemon drains and ends with it.
func (s *Server) serve(ended chan<- error, task string, work func() error) {
	go func() { ended <- s.panics.Guard(task, work) }()
}

// followStore applies the changes of the store. Commits wait for it; revocations and
// the listener's certificate depend on it. After a panic it goes on with the change
// that was not applied, so that none is missed. When that panics again and again the
// daemon ends: its next start reads everything anew. When the store itself takes no
// more work the daemon goes on with the state that it has.
func (s *Server) followStore() {
	s.work.Go(func() {
		err := s.panics.Keep(s.background, taskWatch, s.objects.Run)
		if s.background.Err() != nil {
			return
		}
		s.config.Log.ErrorContext(s.background, "watch ended", "error", err)
		if !down(err) {
			s.fail(hint.With(fmt.Errorf("the changes of the store are not followed any more: %w", err),
				"start the daemon again: it reads everything anew. If it panicked, report the stack that is in its log"))
		}
	})
}

// stapleNow does work on the staples during a call. A panic in it does not end the
// call, which serves without a staple.
func (s *Server) stapleNow(ctx context.Context, work func()) {
	err := s.panics.Guard(taskStaples, func() error {
		work()
		return nil
	})
	if err != nil {
		s.config.Log.ErrorContext(ctx, "no OCSP staple", "error", err)
	}
}

// fail ends the daemon for a reason; the first one counts.
func (s *Server) fail(why error) {
	select {
	case s.failure <- why:
	default:
	}
}

// The tasks whose panics are counted by other packages under these names.
const (
	taskWatch    = "watch"
	taskListener = "listener"
	taskStaples  = "staples"
	taskTasks    = "tasks"
	taskRemoval  = "revoked member"
)

// panicMeasure is how often tasks panicked since the start, by task.
type panicMeasure struct{ counts func() []background.Count }

func (panicMeasure) desc() *prometheus.Desc {
	return prometheus.NewDesc("omca_background_panics_total", "Panics of work beside the requests, by task; the log has their stacks.", []string{"task"}, nil)
}

// Describe is prometheus.Collector.Describe.
func (p panicMeasure) Describe(out chan<- *prometheus.Desc) { out <- p.desc() }

// Collect is prometheus.Collector.Collect.
func (p panicMeasure) Collect(out chan<- prometheus.Metric) {
	for _, c := range p.counts() {
		out <- prometheus.MustNewConstMetric(p.desc(), prometheus.CounterValue, float64(c.Count), c.Task)
	}
}

// panicStatus is the same for the status.
func (s *Server) panicStatus() []wire.TaskPanics {
	var all []wire.TaskPanics
	for _, c := range s.panics.Counts() {
		all = append(all, wire.TaskPanics{Task: c.Task, Count: c.Count, Last: c.Last.UTC()})
	}
	return all
}

package background

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// The pause before work begins again: it doubles with each panic, and is the least
// one again after the work ran well for so long.
const (
	leastPause = time.Second
	mostPause  = time.Minute
	wellTime   = time.Minute
)

// An Error is a panic of a task. The log has its stack.
type Error struct {
	Task  string
	Value any // the argument of panic
}

func (e *Error) Error() string { return fmt.Sprintf("task %q panicked: %v", e.Task, e.Value) }

// Panicked reports whether an error comes from a panic.
func Panicked(err error) bool { return errors.As(err, new(*Error)) }

// A Count says how often a task panicked.
type Count struct {
	Task  string
	Count uint64
	Last  time.Time
}

// Panics runs work that may panic, and counts its panics. It is safe for concurrent
// use. A nil Panics runs work, and lets its panics be.
type Panics struct {
	now func() time.Time
	log *slog.Logger

	mu     sync.Mutex
	counts map[string]Count
}

// New returns Panics that logs to log, with no panic so far.
func New(now func() time.Time, log *slog.Logger) *Panics {
	return &Panics{now: now, log: log, counts: make(map[string]Count)}
}

// Guard runs a piece of work once. A panic is logged and counted, and returned as an *Error.
func (p *Panics) Guard(task string, work func() error) (err error) {
	if p == nil {
		return work()
	}
	defer func() {
		if value := recover(); value != nil {
			err = p.caught(task, value, debug.Stack())
		}
	}()
	return work()
}

// caught takes note of a panic.
func (p *Panics) caught(task string, value any, stack []byte) error {
	at := p.now()
	p.mu.Lock()
	p.counts[task] = Count{Task: task, Count: p.counts[task].Count + 1, Last: at}
	p.mu.Unlock()
	p.log.Error("panic in the background", "task", task, "panic", fmt.Sprint(value), "stack", string(stack))
	return &Error{Task: task, Value: value}
}

// Keep runs work until it returns, and again, after a pause, each time that it
// panics, or returns an error of a panic that [Panics.Guard] caught inside it. It
// returns any other error, and nil when ctx is done.
func (p *Panics) Keep(ctx context.Context, task string, work func(context.Context) error) error {
	if p == nil {
		return work(ctx)
	}
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		well := time.NewTimer(wellTime)
		err := p.Guard(task, func() error { return work(ctx) })
		select {
		case <-well.C:
			pause = leastPause
		default:
			well.Stop()
		}
		if ctx.Err() != nil || !Panicked(err) {
			return err
		}
		p.log.Warn("background work begins again", "task", task, "in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Counts returns the tasks that panicked, by name.
func (p *Panics) Counts() []Count {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.counts), func(a, b Count) int { return strings.Compare(a.Task, b.Task) })
}

package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"omca/internal/background"
	"omca/internal/hint"
	"omca/pki"
)

// longest is how long Run sleeps at most: the wall clock may be set meanwhile.
const longest = time.Minute

// Run keeps the lists fresh until ctx is done, and returns nil then. What fails is in Status and in the log.
func (f *Feeds) Run(ctx context.Context) error {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	for {
		due, wait := f.due()
		for _, t := range due {
			attempts.Go(func() {
				defer f.rouse()
				defer f.rest(t.source)
				// finish has taken note of the error, unless it panicked itself.
				if err := f.guard(func() error { return f.attempt(ctx, t.source, t.mode, f.limits.Whole) }); background.Panicked(err) {
					f.putOff(t.source)
				}
			})
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-f.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// guard runs work on a source. It reads data of others: a panic over that is an error of this source.
func (f *Feeds) guard(work func() error) error { return f.cfg.Panics.Guard("lists of others", work) }

// doubt makes s treat the next answer as new: its lists may not have been handed on. It wants settle.
func (f *Feeds) doubt(s *source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.sum, s.etag, s.modified = digest{}, "", ""
}

// putOff delays the next attempt of a source whose last one was not finished.
func (f *Feeds) putOff(s *source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.again, s.due = false, f.now().Add(f.limits.Slow)
}

// rouse makes Run look again at what is due.
func (f *Feeds) rouse() {
	select {
	case f.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// now is the time of the wall clock, in UTC, that can be held against what lists say.
func (f *Feeds) now() time.Time { return f.cfg.Now().UTC().Round(0) }

// task is an attempt to be made.
type task struct {
	source *source
	mode   mode
}

// due returns the attempts to be made now, marked as running, and how long to wait for the next.
func (f *Feeds) due() (tasks []task, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, wait := f.now(), longest
	for _, s := range slices.Concat(f.sources, f.deltas) {
		if s.running {
			continue
		}
		next, m := s.next(now, f.limits)
		if next.After(now) {
			wait = min(wait, next.Sub(now))
			continue
		}
		s.running = true
		tasks = append(tasks, task{s, m})
	}
	return tasks, wait
}

// next says when s is to be fetched, and how.
func (s *source) next(now time.Time, limits Limits) (time.Time, mode) {
	switch {
	case s.again:
		return now, ifChanged
	case s.due.After(now.Add(max(limits.Seldom, limits.Slow))):
		return now, anew // the clock went back
	case s.kind != file:
		return s.due, ifChanged
	case !s.due.After(now):
		return s.due, anew
	}
	poll := s.polled.Add(limits.Poll)
	if poll.Before(s.due) && !s.polled.After(now) {
		return poll, ifChanged
	}
	return s.due, anew
}

// rest marks that Run has no attempt under way any more.
func (f *Feeds) rest(s *source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.running = false
}

// attempt fetches s once, one attempt at a time, and takes note of what came of it.
func (f *Feeds) attempt(ctx context.Context, s *source, m mode, within time.Duration) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("it did not come whole within %s", within))
	defer cancel()
	var p parcel
	err := f.guard(func() (err error) {
		p, err = f.fetch(bounded, s, m)
		return err
	})
	if err != nil && bounded.Err() != nil {
		err = context.Cause(bounded)
	}
	f.settle.Lock()
	defer f.settle.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx) // nobody waits for it
	}
	if !slices.Contains(f.all(), s) {
		return fmt.Errorf("%q: %w", s.shown, ErrUnknown)
	}
	if err == nil && p.outcome == whole {
		if err = f.guard(func() error { return f.accept(ctx, s, p) }); background.Panicked(err) {
			f.doubt(s)
		}
	}
	if err == nil && p.outcome == confirmed {
		f.leaveOut(ctx, s, p, s.aside, nil) // the source has again what it had before
	}
	f.finish(ctx, s, p, err)
	return err
}

// finish takes note of an attempt, says when the next is due, and logs what is new. It wants settle.
func (f *Feeds) finish(ctx context.Context, s *source, p parcel, err error) {
	if s.unsaved != nil {
		f.save(ctx, s, *s.unsaved)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	s.polled = now
	if err != nil || p.outcome != untouched {
		s.seen, s.err = p.info, err
		if err == nil {
			s.fetched = now
		}
		if s.failures++; err == nil && f.state(s, now) == Fresh {
			s.failures = 0
		}
		s.due = now.Add(f.wait(s, now))
	}
	f.note(ctx, s, now)
}

// wait returns how long to wait for the next attempt. It wants mu.
func (f *Feeds) wait(s *source, now time.Time) time.Duration {
	var left time.Duration // until the first of the lists lapses, 0 if it has
	if s.current(now) {
		left = s.nextUpdate().Sub(now)
	}
	if s.failures > 0 {
		d := min(f.limits.Retry<<min(s.failures-1, 16), f.limits.Slow)
		d = d/2 + time.Duration(f.cfg.Rand()*float64(d/2))
		if left > 0 {
			d = min(d, left+time.Second) // to try, and to say so, the moment that it lapses
		}
		return d
	}
	d := min(left/4*3, f.limits.Seldom)
	d = d/3*2 + time.Duration(f.cfg.Rand()*float64(d/3))
	return max(d, f.limits.Often)
}

// condition is what the log tells changes of.
type condition struct {
	state   State
	trouble string // kind of trouble; "" for none
}

// note logs the state of s, if it is another than the log said last. It wants mu.
func (f *Feeds) note(ctx context.Context, s *source, now time.Time) {
	c := condition{f.state(s, now), ""}
	trouble := f.trouble(s)
	switch err := trouble; {
	case errors.Is(err, pki.ErrInvalid):
		c.trouble = "refused"
	case err != nil:
		c.trouble = "failed"
	}
	if c == s.logged {
		return
	}
	s.logged = c
	level, attrs := slog.LevelInfo, []slog.Attr{slog.String("source", s.shown), slog.String("state", string(c.state))}
	if c.state != Fresh || c.trouble != "" {
		level = slog.LevelWarn
	}
	if len(s.lists) > 0 {
		entries := 0
		for _, v := range s.lists {
			entries += v.Len()
		}
		attrs = append(attrs, slog.Int("lists", len(s.lists)), slog.Int("entries", entries), slog.Time("next_update", s.nextUpdate()))
	}
	if c.trouble != "" {
		attrs = append(attrs, slog.String("trouble", c.trouble), slog.Any("error", trouble))
	}
	if h := hint.Of(trouble); h != "" {
		attrs = append(attrs, slog.String("hint", h))
	}
	f.cfg.Log.LogAttrs(ctx, level, "crl source", attrs...)
}

package ring

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"omca/internal/store"
)

func change(rev int64, size int) store.Change {
	return store.Change{Rev: rev, Events: []store.Event{{Key: fmt.Sprint(rev), Value: make([]byte, size)}}}
}

// TestBound publishes changes of many sizes: memory stays bounded, and what is
// kept is always the latest without a hole.
func TestBound(t *testing.T) {
	for _, size := range []int{0, 100, 10_000, limit / 3, limit, 3 * limit} {
		r := New(100)
		const n = 20_000
		last := int64(100)
		for total := 0; total < 4*limit && last < n; total += size + eventOverhead {
			last++
			r.Publish(change(last, size))
			if r.bytes > limit && len(r.changes) > 1 {
				t.Fatalf("size %d: %d bytes in %d changes", size, r.bytes, len(r.changes))
			}
		}
		if r.Rev() != last {
			t.Errorf("size %d: revision %d, expected %d", size, r.Rev(), last)
		}
		sum := 0
		for i, c := range r.changes {
			sum += size + len(c.Events[0].Key) + eventOverhead
			if want := r.floor + int64(i) + 1; c.Rev != want {
				t.Fatalf("size %d: change %d has revision %d, expected %d", size, i, c.Rev, want)
			}
		}
		if sum != r.bytes || len(r.changes) == 0 || r.changes[len(r.changes)-1].Rev != last {
			t.Errorf("size %d: %d changes of %d bytes, counted %d", size, len(r.changes), sum, r.bytes)
		}
		if _, _, err := r.next(r.floor); err != nil {
			t.Errorf("size %d: the oldest change kept: %v", size, err)
		}
		if _, _, err := r.next(r.floor - 1); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("size %d: a change no longer kept: %v, expected ErrCompacted", size, err)
		}
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(5)
		if err := r.Wait(t.Context(), 5); err != nil {
			t.Errorf("waiting for the current revision: %v", err)
		}
		got := make(chan error, 1)
		go func() { got <- r.Wait(t.Context(), 7) }()
		r.Publish(change(6, 0))
		synctest.Wait()
		if len(got) != 0 {
			t.Errorf("waiting for 7 ended at 6: %v", <-got)
		}
		r.Publish(change(7, 0), change(8, 0))
		if err := <-got; err != nil {
			t.Errorf("waiting for 7: %v", err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Wait(ctx, 9); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting with a deadline: %v", err)
		}
		go func() { got <- r.Wait(t.Context(), 9) }()
		synctest.Wait()
		r.End(store.ErrBroken)
		r.End(store.ErrClosed)
		if err := <-got; !errors.Is(err, store.ErrBroken) {
			t.Errorf("waiting when it ends: %v, expected the first reason", err)
		}
		if err := r.Wait(t.Context(), 8); err != nil {
			t.Errorf("what was published stays so: %v", err)
		}
	})
}

// TestPrefix checks that a watcher is not woken by what it did not ask for.
func TestPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(0)
		ctx, cancel := context.WithCancel(t.Context())
		var got []store.Change
		var end error
		go func() {
			for c, err := range r.Watch(ctx, "2", 0) {
				if end = err; err == nil {
					got = append(got, c)
				}
			}
		}()
		for rev := range int64(30) {
			r.Publish(change(rev+1, 0))
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		if len(got) != 11 || !errors.Is(end, context.Canceled) {
			t.Errorf("%d changes, %v, expected those of 2 and 20 to 29", len(got), end)
		}
	})
}

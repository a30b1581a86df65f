package ring

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

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

// TestEnd checks that a watcher ends with the first reason.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(5)
		got := make(chan error, 1)
		go func() {
			for _, err := range r.Watch(t.Context(), "", 5) {
				got <- err
			}
		}()
		synctest.Wait()
		r.End(store.ErrBroken)
		r.End(store.ErrClosed)
		if err := <-got; !errors.Is(err, store.ErrBroken) {
			t.Errorf("a watcher ends with %v, expected the first reason", err)
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

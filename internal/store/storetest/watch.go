package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/store"
)

// watched returns the first n changes after a revision.
func watched(t *testing.T, s store.Store, prefix string, after int64, n int) []store.Change {
	t.Helper()
	var out []store.Change
	for c, err := range s.Watch(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("watch: %v after %d of %d changes", err, len(out), n)
		}
		if out = append(out, c); len(out) == n {
			break
		}
	}
	return out
}

func testWatch(t *testing.T, s store.Store) {
	rev := current(t, s)
	one := commit(t, s, puts("p/a", "p/b", "q"))
	commit(t, s, puts("q"))
	two := commit(t, s, store.Tx{Deletes: []string{"p/a", "q", "p/no"}, Puts: []store.Put{{Key: "p/c"}}})
	three := commit(t, s, store.Tx{DeletePrefixes: []string{"p/"}})
	want := []store.Change{
		{Rev: one, Events: []store.Event{{Key: "p/a", Value: []byte("p/a")}, {Key: "p/b", Value: []byte("p/b")}}},
		{Rev: two, Events: []store.Event{{Key: "p/a", Deleted: true}, {Key: "p/c"}}},
		{Rev: three, Events: []store.Event{{Key: "p/b", Deleted: true}, {Key: "p/c", Deleted: true}}},
	}
	seq := s.Watch(t.Context(), "p/", rev)
	for range 2 { // a sequence can be ranged over again, and begins anew
		var got []store.Change
		for c, err := range seq {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, c); len(got) == len(want) {
				break
			}
		}
		if diff := cmp.Diff(want, got, sameEvents); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	}
	if all := watched(t, s, "", rev, 4); len(all[1].Events) != 1 || all[1].Events[0].Key != "q" {
		t.Errorf("the second change of all keys is %+v", all[1])
	}
}

func testWatchResumes(t *testing.T, s store.Store) {
	start := current(t, s)
	var revs []int64
	for i := range 10 {
		revs = append(revs, commit(t, s, puts(fmt.Sprint(i))))
	}
	for i, after := range append([]int64{start}, revs[:9]...) {
		for j, c := range watched(t, s, "", after, 10-i) {
			if c.Rev != revs[i+j] {
				t.Errorf("change %d after revision %d is %d, expected %d", j, after, c.Rev, revs[i+j])
			}
		}
	}
}

// testWatchWaits takes changes as they happen.
func testWatchWaits(t *testing.T, s store.Store) {
	next, stop := iter.Pull2(s.Watch(t.Context(), "p/", current(t, s)))
	defer stop()
	for i := range 20 {
		type answer struct {
			c   store.Change
			err error
		}
		got := make(chan answer)
		go func() {
			c, err, _ := next()
			got <- answer{c, err}
		}()
		commit(t, s, puts("elsewhere"))
		rev := commit(t, s, puts(fmt.Sprintf("p/%d", i)))
		if a := <-got; a.err != nil || a.c.Rev != rev {
			t.Fatalf("change %d: revision %d, %v, expected %d", i, a.c.Rev, a.err, rev)
		}
	}
}

func testWatchEnds(t *testing.T, s store.Store) {
	rev := current(t, s)
	commit(t, s, puts("a"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan []error, 1)
	go func() {
		var errs []error
		for _, err := range s.Watch(ctx, "", rev) {
			errs = append(errs, err)
			cancel() // in the loop, and then while it waits
		}
		ended <- errs
	}()
	errs := <-ended
	if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], context.Canceled) {
		t.Errorf("a watch whose context ends gives %v, expected a change and then context.Canceled, once", errs)
	}
	for range s.Watch(t.Context(), "", rev) {
		break // leaves nothing behind
	}
}

// testSlowWatch lets a watcher sleep over three megabytes of changes. It may
// get all of them or be told; it must not miss some silently, nor hold up the
// commits.
func testSlowWatch(t *testing.T, s store.Store) {
	next, stop := iter.Pull2(s.Watch(t.Context(), "", current(t, s)))
	defer stop()
	first := commit(t, s, puts("first"))
	if c, err, _ := next(); err != nil || c.Rev != first {
		t.Fatalf("first change: %+v, %v", c, err)
	}
	var revs []int64
	for i := range 60 {
		revs = append(revs, commit(t, s, store.Tx{Puts: []store.Put{{Key: fmt.Sprint(i), Value: make([]byte, 50_000)}}}))
	}
	for _, rev := range revs {
		c, err, ok := next()
		if errors.Is(err, store.ErrCompacted) {
			if _, _, ok := next(); ok {
				t.Error("the watch goes on after ErrCompacted")
			}
			return
		}
		if err != nil || !ok || c.Rev != rev {
			t.Fatalf("revision %d, %v, expected %d or ErrCompacted", c.Rev, err, rev)
		}
	}
}

// testScanThenWatch keeps a copy of the store by one scan in small pages and
// the watch from its first page on, while others write.
func testScanThenWatch(t *testing.T, s store.Store) {
	const writers, each = 4, 30
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				tx := puts(fmt.Sprintf("%d/%d", w, i%7), fmt.Sprintf("%d/last", w))
				if i%5 == 4 {
					tx = store.Tx{DeletePrefixes: []string{fmt.Sprintf("%d/", w)}}
				}
				if _, err := s.Commit(t.Context(), tx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	held := map[string]string{}
	from := int64(-1)
	for r, more := (store.Range{Limit: 3}), true; more; {
		page, err := s.Scan(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if from < 0 {
			from = page.Rev
		}
		for _, e := range page.Entries {
			held[e.Key] = string(e.Value)
			r.After = e.Key
		}
		more = page.More
	}
	all.Wait()
	last := commit(t, s, puts("end"))
	for c, err := range s.Watch(t.Context(), "", from) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range c.Events {
			if e.Deleted {
				delete(held, e.Key)
			} else {
				held[e.Key] = string(e.Value)
			}
		}
		if c.Rev == last {
			break
		}
	}
	want := map[string]string{}
	for _, e := range scan(t, s, store.Range{}) {
		want[e.Key] = string(e.Value)
	}
	if diff := cmp.Diff(want, held); diff != "" {
		t.Errorf("scan and watch (-store +copy):\n%s", diff)
	}
}

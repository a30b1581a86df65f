package bolt

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/store"
)

// FuzzTable does to a table and to maps, one for each revision, what the bytes
// say, and compares every revision.
func FuzzTable(f *testing.F) {
	f.Add([]byte("abcabc"))
	f.Add([]byte{0, 255, 0, 128, 1, 129, 3, 2, 1, 0})
	f.Add([]byte("the quick brown fox jumps over the lazy dog"))
	f.Fuzz(func(t *testing.T, steps []byte) {
		steps = steps[:min(len(steps), 300)]
		tab := new(table)
		was := []map[string]string{{}} // by revision; "" is deleted
		for i, b := range steps {
			rev := int64(i + 1)
			e := store.Event{Key: fmt.Sprint(b & 0x7f), Deleted: b >= 0x80}
			if !e.Deleted {
				e.Value = fmt.Append(nil, rev)
			}
			tab.add(store.Change{Rev: rev, Events: []store.Event{e}})
			next := maps.Clone(was[i])
			next[e.Key] = string(e.Value)
			was = append(was, next)
		}
		for rev, want := range was {
			got := map[string]string{}
			var keys []string
			for n := tab.from(""); n != nil; n = n.next[0].Load() {
				keys = append(keys, n.key)
				v := n.at(int64(rev))
				if v != tab.get(n.key, int64(rev)) {
					t.Fatalf("revision %d: get of %q finds another version", rev, n.key)
				}
				if v == nil {
					continue
				}
				if v.deleted != (v.value == nil) {
					t.Fatalf("revision %d: %q is %+v", rev, n.key, v)
				}
				got[n.key] = string(v.value)
			}
			if !slices.IsSorted(keys) {
				t.Fatalf("keys out of order: %q", keys)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("revision %d (-map +table):\n%s", rev, diff)
			}
		}
	})
}

// TestTableSeek asks for keys between those that are there.
func TestTableSeek(t *testing.T) {
	tab := new(table)
	for i, key := range []string{"d", "b", "f"} {
		tab.add(store.Change{Rev: int64(i), Events: []store.Event{{Key: key}}})
	}
	for from, want := range map[string]string{"": "b", "b": "b", "b\x00": "d", "e": "f", "f": "f"} {
		if n := tab.from(from); n == nil || n.key != want {
			t.Errorf("from %q: %+v, expected %q", from, n, want)
		}
	}
	if n := tab.from("g"); n != nil {
		t.Errorf("from %q: %q, expected nothing", "g", n.key)
	}
	if v := tab.get("c", 9); v != nil {
		t.Errorf("a key that is not there: %+v", v)
	}
}

// TestTableReaders reads one revision over and over while others are added.
func TestTableReaders(t *testing.T) {
	tab := new(table)
	add := func(rev int) {
		for i := range 50 {
			tab.add(store.Change{Rev: int64(rev), Events: []store.Event{
				{Key: fmt.Sprintf("%02d", i), Value: fmt.Append(nil, rev)},
				{Key: fmt.Sprintf("%02d/%d", i, rev), Value: []byte{}},
			}})
		}
	}
	add(1)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				seen := 0
				for n := tab.from(""); n != nil; n = n.next[0].Load() {
					if v := n.at(1); v != nil {
						seen++
					}
				}
				if v := tab.get("07", 1); seen != 100 || v == nil || string(v.value) != "1" {
					t.Errorf("%d keys at revision 1, expected 100, and %+v", seen, v)
					return
				}
			}
		})
	}
	for rev := range 40 {
		add(rev + 2)
	}
	close(done)
	readers.Wait()
}

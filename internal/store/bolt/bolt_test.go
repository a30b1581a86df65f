package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openIn(t, t.TempDir()) })
	storetest.Durable(t, func(t *testing.T, dir string) store.Store { return openIn(t, dir) })
}

func openIn(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func put(key string, value string) store.Tx {
	return store.Tx{Puts: []store.Put{{Key: key, Value: []byte(value)}}}
}

func mustCommit(t *testing.T, s store.Store, tx store.Tx) int64 {
	t.Helper()
	rev, err := s.Commit(t.Context(), tx)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func contents(t *testing.T, s store.Store) []store.Entry {
	t.Helper()
	var all []store.Entry
	for r, more := (store.Range{}), true; more; {
		page, err := s.Scan(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		all, more = append(all, page.Entries...), page.More
		if more {
			r.After = all[len(all)-1].Key
		}
	}
	return all
}

// TestGroup has the committer write one group of transactions that depend on
// each other and fail each in its own way.
func TestGroup(t *testing.T) {
	s := openIn(t, t.TempDir())
	base := mustCommit(t, s, put("a", "0"))
	expect := func(key string, rev int64, tx store.Tx) *request {
		tx.Expect = []store.Expect{{Key: key, Rev: rev}}
		return &request{tx: tx, answer: make(chan verdict, 1)}
	}
	got, err := s.write([]*request{
		expect("a", base, put("a", "1")),
		expect("a", base, put("a", "lost")), // the one before has changed it
		expect("a", base+1, put("b", "2")),
		expect("b", 0, put("c", "lost")), // the one before has made it
		expect("b", base+2, store.Tx{}),
		expect("no", 0, store.Tx{Deletes: []string{"a"}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []verdict{
		{base + 1, nil}, {0, store.ErrConflict}, {base + 2, nil}, {0, store.ErrConflict}, {base + 2, nil}, {base + 3, nil},
	} {
		if got[i].rev != want.rev || !errors.Is(got[i].err, want.err) {
			t.Errorf("transaction %d: %+v, expected %+v", i, got[i], want)
		}
	}
	want := []store.Entry{{Key: "b", Value: []byte("2"), Rev: base + 2}}
	if diff := cmp.Diff(want, contents(t, s)); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Stats{Commits: 4, Conflicts: 2, Groups: 2, Syncs: 4}, s.Stats(), cmp.FilterPath(
		func(p cmp.Path) bool { return p.Last().String() == ".Bytes" }, cmp.Ignore())); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
	if n := s.Stats().Bytes; n <= 0 || n > 64<<10 {
		t.Errorf("two small groups wrote %d bytes", n)
	}
}

// TestShare checks that committers who come together share syncs: the first
// holds the committer until all others wait.
func TestShare(t *testing.T) {
	s := openIn(t, t.TempDir())
	const others = 2 * groupTxs
	begun, release := make(chan struct{}), make(chan struct{})
	s.disk.sync = func(f *os.File) error {
		s.journal.disk.sync = datasync
		close(begun)
		<-release
		return datasync(f)
	}
	var all sync.WaitGroup
	commit := func(i int) {
		if _, err := s.Commit(t.Context(), put(fmt.Sprint(i), "")); err != nil {
			t.Error(err)
		}
	}
	all.Go(func() { commit(0) })
	<-begun
	for i := range others {
		all.Go(func() { commit(i + 1) })
	}
	// Not every goroutine need have come to the queue by now: what is asked
	// for is far less than one group each.
	for range 100 {
		if _, err := s.Get(t.Context(), "0"); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	}
	close(release)
	all.Wait()
	if st := s.Stats(); st.Commits != others+1 || st.Groups > others/4 || st.Syncs != st.Groups+2 {
		t.Errorf("%d commits took %d groups and %d syncs", st.Commits, st.Groups, st.Syncs)
	}
}

// TestWithdraw gives up a commit that waits for another one, which it does not
// disturb, by its context and by Close.
func TestWithdraw(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	begun, release := make(chan struct{}), make(chan struct{})
	s.disk.sync = func(f *os.File) error {
		close(begun)
		<-release
		return datasync(f)
	}
	results := map[string]chan error{}
	commit := func(ctx context.Context, key string) {
		done := make(chan error, 1)
		results[key] = done
		go func() {
			_, err := s.Commit(ctx, put(key, ""))
			done <- err
		}()
	}
	commit(t.Context(), "first")
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	commit(ctx, "cancelled")
	commit(t.Context(), "closed")
	for waiting := 0; waiting < 2; {
		s.mu.Lock()
		waiting = len(s.waiting)
		s.mu.Unlock()
	}
	cancel()
	if err := <-results["cancelled"]; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled commit: %v", err)
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if err := <-results["closed"]; !errors.Is(err, store.ErrClosed) {
		t.Errorf("a commit when the store was closed: %v", err)
	}
	close(release)
	if err := errors.Join(<-results["first"], <-closed); err != nil {
		t.Error(err)
	}
	if got := contents(t, openIn(t, dir)); len(got) != 1 || got[0].Key != "first" {
		t.Errorf("%v, expected what was not withdrawn", got)
	}
}

// TestReadsAreDurable reads while a commit is in the journal and not yet synced.
func TestReadsAreDurable(t *testing.T) {
	s := openIn(t, t.TempDir())
	written, release := make(chan struct{}), make(chan struct{})
	s.disk.sync = func(f *os.File) error {
		close(written)
		<-release
		return datasync(f)
	}
	done := make(chan error)
	go func() {
		_, err := s.Commit(t.Context(), put("a", "1"))
		done <- err
	}()
	<-written
	if e, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get before the sync: %q, %v", e.Value, err)
	}
	if page, err := s.Scan(t.Context(), store.Range{}); err != nil || len(page.Entries) != 0 || page.Rev != 0 {
		t.Errorf("scan before the sync: %+v, %v", page, err)
	}
	if rev, err := s.Rev(t.Context()); err != nil || rev != 0 {
		t.Errorf("revision before the sync: %d, %v", rev, err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != "1" {
		t.Errorf("get after the sync: %q, %v", e.Value, err)
	}
}

// TestHistory checks where the memory of changes ends.
func TestHistory(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	first := mustCommit(t, s, put("a", ""))
	ends := func(s store.Store, after int64, want error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		for c, err := range s.Watch(ctx, "", after) {
			if !errors.Is(err, want) {
				t.Errorf("watch after %d: %d, %v, expected %v", after, c.Rev, err, want)
			}
		}
	}
	var last int64
	for range 40 {
		last = mustCommit(t, s, store.Tx{Puts: []store.Put{{Key: "a", Value: make([]byte, 100_000)}}})
	}
	ends(s, first, store.ErrCompacted)
	ends(s, last, context.DeadlineExceeded)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openIn(t, dir)
	ends(s, last-1, store.ErrCompacted)
	ends(s, last, context.DeadlineExceeded)
}

// TestLikeMem does the same at random to a bolt and to a mem store. Now and
// then the bolt one is closed and opened again, or goes on as it would after a
// power failure.
func TestLikeMem(t *testing.T) {
	dir := t.TempDir()
	b, m := openIn(t, dir), mem.New()
	r := rand.New(rand.NewPCG(1, 2))
	key := func() string { return fmt.Sprintf("%d/%d", r.IntN(8), r.IntN(40)) }
	for step := range 1200 {
		tx := store.Tx{Puts: []store.Put{{Key: key(), Value: bytes.Repeat([]byte{byte(step)}, r.IntN(3000))}}}
		switch r.IntN(10) {
		case 0:
			tx.DeletePrefixes = []string{fmt.Sprintf("%d/", r.IntN(8))}
		case 1, 2:
			tx.Deletes = []string{key()}
		case 3, 4:
			tx.Expect = []store.Expect{{Key: key()}}
		}
		gotRev, gotErr := b.Commit(t.Context(), tx)
		wantRev, wantErr := m.Commit(t.Context(), tx)
		if gotRev != wantRev || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Fatalf("step %d, %+v: bolt %d, %v; mem %d, %v", step, tx, gotRev, gotErr, wantRev, wantErr)
		}
		likeMem(t, b, m, key(), store.Range{Prefix: key()[:r.IntN(3)], After: key(), Limit: r.IntN(30)})
		switch step % 200 {
		case 99:
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = openIn(t, dir)
		case 199:
			if err := b.settle(); err != nil { // nothing writes to the copied files
				t.Fatal(err)
			}
			dir = copyOf(t, b)
			b = openIn(t, dir)
		default:
			continue
		}
		if diff := cmp.Diff(contents(t, m), contents(t, b), quick); diff != "" {
			t.Fatalf("step %d (-mem +bolt):\n%s", step, diff)
		}
	}
}

// quick has cmp compare values as a whole.
var quick = cmp.Comparer(bytes.Equal)

// likeMem compares one read of each kind.
func likeMem(t *testing.T, b *Store, m *mem.Store, key string, r store.Range) {
	t.Helper()
	got, gotErr := b.Get(t.Context(), key)
	want, wantErr := m.Get(t.Context(), key)
	if diff := cmp.Diff(want, got, quick); diff != "" || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		t.Fatalf("get %q: bolt %v, mem %v (-mem +bolt):\n%s", key, gotErr, wantErr, diff)
	}
	page, gotErr := b.Scan(t.Context(), r)
	like, wantErr := m.Scan(t.Context(), r)
	if diff := cmp.Diff(like, page, quick); diff != "" || gotErr != nil || wantErr != nil {
		t.Fatalf("scan %+v: bolt %v, mem %v (-mem +bolt):\n%s", r, gotErr, wantErr, diff)
	}
}

// TestReadsAcrossCheckpoints reads while tables go to bbolt under way: every
// page is of one revision, and no read goes back behind an earlier one.
func TestReadsAcrossCheckpoints(t *testing.T) {
	s := openIn(t, t.TempDir())
	both := func(i int) store.Tx {
		v := fmt.Appendf(nil, "%06d%s", i, strings.Repeat("x", 10_000))
		return store.Tx{Puts: []store.Put{{Key: "a", Value: v}, {Key: fmt.Sprint("b/", i), Value: v}, {Key: "c", Value: v}}}
	}
	mustCommit(t, s, both(0))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for last, got := int64(0), int64(0); ; {
				page, err := s.Scan(t.Context(), store.Range{})
				if err != nil {
					t.Error(err)
					return
				}
				a, c := page.Entries[0], page.Entries[len(page.Entries)-1]
				if a.Rev != c.Rev || !bytes.Equal(a.Value, c.Value) || page.Rev != a.Rev || len(page.Entries) != int(a.Rev)+2 {
					t.Errorf("a page of revision %d has %d entries, and revisions %d and %d", page.Rev, len(page.Entries), a.Rev, c.Rev)
					return
				}
				e, err := s.Get(t.Context(), "c")
				if err != nil || e.Rev < page.Rev || page.Rev < last || last < got {
					t.Errorf("revision %d, %v after %d, %d and %d", e.Rev, err, page.Rev, last, got)
					return
				}
				got, last = page.Rev, e.Rev
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 150 {
		mustCommit(t, s, both(i+1))
	}
	close(done)
	readers.Wait()
	if s.journal.gen < 5 {
		t.Errorf("only %d checkpoints", s.journal.gen)
	}
}

// TestClose closes under load: what was acknowledged is there afterwards, and
// the rest was told.
func TestClose(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	acked := make(chan string, 10_000)
	var all sync.WaitGroup
	for w := range 16 {
		all.Go(func() {
			for i := range 500 {
				key := fmt.Sprintf("%d/%d", w, i)
				if _, err := s.Commit(t.Context(), put(key, "")); err != nil {
					if !errors.Is(err, store.ErrClosed) {
						t.Error(err)
					}
					return
				}
				acked <- key
			}
		})
	}
	for range 200 {
		<-acked
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	close(acked)
	s = openIn(t, dir)
	for key := range acked {
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

// TestDamagedValue reads a value too short to hold its revision.
func TestDamagedValue(t *testing.T) {
	s := openIn(t, t.TempDir())
	if err := s.db.Update(func(tx txn) error { return tx.Bucket([]byte(storeName)).Put([]byte("a"), []byte("1234567")) }); err != nil {
		t.Fatal(err)
	}
	_, get := s.Get(t.Context(), "a")
	_, scan := s.Scan(t.Context(), store.Range{})
	_, commit := s.Commit(t.Context(), store.Tx{Expect: []store.Expect{{Key: "a"}}})
	for name, err := range map[string]error{"get": get, "scan": scan, "commit": commit} {
		if err == nil || !strings.Contains(err.Error(), `damaged: "a" has 7 bytes`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package replica_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"omca/internal/background"
	"omca/internal/store"
	"omca/internal/store/etcd"
	"omca/internal/store/etcd/etcdtest"
	"omca/internal/store/replica"
	"omca/internal/store/storetest"
)

// calm is a pace for a machine that is busy with other things, and quick for
// tests that wait for what does not come.
var (
	calm  = replica.Pace{Answer: 30 * time.Second, Commit: time.Minute}
	quick = replica.Pace{Beat: 50 * time.Millisecond, Answer: 3 * time.Second, Commit: time.Minute}
)

func source(t *testing.T, c *clientv3.Client, prefix string) *etcd.Source {
	t.Helper()
	s, err := etcd.New(etcd.Config{Client: c, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryOpen(t *testing.T, s replica.Source, path string, pace replica.Pace) (*replica.Store, error) {
	t.Helper()
	return replica.Open(t.Context(), replica.Config{Source: s, Path: path, Now: time.Now, Log: slog.New(slog.DiscardHandler), Pace: pace})
}

func open(t *testing.T, s replica.Source, path string, pace replica.Pace) *replica.Store {
	t.Helper()
	r, err := tryOpen(t, s, path, pace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func put(t *testing.T, s store.Store, key, value string) int64 {
	t.Helper()
	rev, err := s.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: key, Value: []byte(value)}}})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// until waits for something to become true.
func until(t *testing.T, what string, true_ func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !true_(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func shows(s store.Store, key, value string) func() bool {
	return func() bool {
		e, err := s.Get(context.Background(), key)
		return err == nil && string(e.Value) == value
	}
}

func TestStore(t *testing.T) {
	client := etcdtest.Start(t, 1, nil).Client()
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, source(t, client, fmt.Sprintf("run%d/", n.Add(1))), filepath.Join(t.TempDir(), "copy.db"), calm)
	})
	storetest.Durable(t, func(t *testing.T, dir string) store.Store {
		return open(t, source(t, client, dir+"/"), filepath.Join(dir, "copy.db"), calm)
	})
}

// Whoever asks first sees what another node was told is done, however far behind
// this one is; and many ask together.
func TestLatest(t *testing.T) {
	client, dir := etcdtest.Start(t, 1, nil).Client(), t.TempDir()
	one := open(t, source(t, client, "p/"), filepath.Join(dir, "one.db"), replica.Pace{})
	two := open(t, source(t, client, "p/"), filepath.Join(dir, "two.db"), replica.Pace{})
	for i := range 200 {
		put(t, one, "k", fmt.Sprint(i))
		two.Latest(t.Context())
		if !shows(two, "k", fmt.Sprint(i))() {
			t.Fatalf("change %d is not seen", i)
		}
	}
	put(t, one, "k", "many")
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			two.Latest(t.Context())
			if !shows(two, "k", "many")() {
				t.Error("somebody does not see the change")
			}
		})
	}
	wait.Wait()
}

// What one node commits the other shows, expectations of either are judged by
// what both have done, and nobody else can read the files.
func TestTwoNodes(t *testing.T) {
	client, dir := etcdtest.Start(t, 1, nil).Client(), t.TempDir()
	one := open(t, source(t, client, "p/"), filepath.Join(dir, "one.db"), calm)
	two := open(t, source(t, client, "p/"), filepath.Join(dir, "two.db"), calm)
	rev := put(t, one, "k", "1")
	until(t, "the other node's copy", shows(two, "k", "1"))
	if e, err := two.Get(t.Context(), "k"); err != nil || e.Rev != rev {
		t.Errorf("revision %d, %v, expected %d", e.Rev, err, rev)
	}
	later := put(t, two, "k", "2")
	_, err := one.Commit(t.Context(), store.Tx{Expect: []store.Expect{{Key: "k", Rev: rev}}, Puts: []store.Put{{Key: "k", Value: []byte("3")}}})
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("an expectation of what was: %v", err)
	}
	if e, err := one.Get(t.Context(), "k"); err != nil || e.Rev != later {
		t.Errorf("after the conflict the copy shows revision %d, %v, expected %d", e.Rev, err, later)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 4 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, expected 0600", f, info.Mode(), err)
		}
	}
}

// While etcd is away reads go on and commits are refused at once, also in a node
// that starts then; when it is back, what others did is there, once and in order.
func TestAway(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 1, nil)
	dir := t.TempDir()
	one := open(t, source(t, cluster.Client(), "p/"), filepath.Join(dir, "one.db"), quick)
	two := open(t, source(t, cluster.Client(), "p/"), filepath.Join(dir, "two.db"), quick)
	before := put(t, one, "k", "before")
	until(t, "the other node's copy", shows(two, "k", "before"))
	until(t, "a word", func() bool { return !two.Word().IsZero() })
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	cluster.Stop(0)
	stopped := time.Now()

	until(t, "the absence noticed", func() bool { return one.Away() != nil })
	word := one.Word()
	began := time.Now()
	if _, err := one.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: "k", Value: []byte("lost")}}}); !errors.Is(err, store.ErrAway) {
		t.Errorf("a commit while away: %v, expected ErrAway", err)
	}
	if took := time.Since(began); took > quick.Commit/2 {
		t.Errorf("the refusal took %s, and was to come at once", took)
	}
	two = open(t, source(t, cluster.Client(), "p/"), filepath.Join(dir, "two.db"), quick)
	for _, s := range []*replica.Store{one, two} {
		if !shows(s, "k", "before")() {
			t.Error("a copy cannot be read while the store is away")
		}
	}
	if two.Away() == nil || two.Word().IsZero() || two.Word().After(stopped) {
		t.Errorf("a node started meanwhile: away %v, word of %s, and the store was stopped at %s", two.Away(), two.Word(), stopped)
	}
	if _, err := tryOpen(t, source(t, cluster.Client(), "p/"), filepath.Join(dir, "three.db"), quick); !errors.Is(err, store.ErrAway) {
		t.Errorf("a node without a copy: %v, expected ErrAway", err)
	}
	if one.Word() != word {
		t.Error("the time of the last word moves while the store is away")
	}

	cluster.Run(0)
	until(t, "the return noticed", func() bool { return one.Away() == nil && two.Away() == nil })
	var want []int64
	for i := range 5 {
		want = append(want, put(t, []*replica.Store{one, two}[i%2], "k", fmt.Sprint(i)))
	}
	var got []int64
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for c, err := range one.Watch(ctx, "", before) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, c.Rev); len(got) == len(want) {
			break
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the watch gave revisions %d, expected %d", got, want)
	}
	if !one.Word().After(word) {
		t.Error("no word after the return")
	}
}

// What happened while a node was away was compacted: its copy is as if it had
// seen it, what was deleted included, and whoever watches is told.
func TestCompacted(t *testing.T) {
	t.Parallel()
	client, dir := etcdtest.Start(t, 1, nil).Client(), t.TempDir()
	other := open(t, source(t, client, "p/"), filepath.Join(dir, "other.db"), quick)
	path := filepath.Join(dir, "copy.db")
	s := open(t, source(t, client, "p/"), path, quick)
	for i := range 1500 {
		if i < 100 || i%500 == 0 {
			put(t, other, fmt.Sprintf("k/%04d", i), "old")
		}
	}
	kept := put(t, other, "kept", "old")
	until(t, "the copy", shows(s, "kept", "old"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		put(t, other, fmt.Sprintf("k/%04d", i), fmt.Sprintf("new %d", i))
	}
	put(t, other, "fresh", "new")
	last, err := other.Commit(t.Context(), store.Tx{Deletes: []string{"k/0099", "k/0001"}, DeletePrefixes: []string{"k/1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	s = open(t, source(t, client, "p/"), path, quick)
	want, err := other.Scan(t.Context(), store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Scan(t.Context(), store.Range{})
	if err != nil || fmt.Sprint(got.Entries) != fmt.Sprint(want.Entries) {
		t.Errorf("%d entries, %v, expected %d", len(got.Entries), err, len(want.Entries))
	}
	for _, err := range s.Watch(t.Context(), "", kept) {
		if !errors.Is(err, store.ErrCompacted) {
			t.Errorf("a watch from before: %v, expected ErrCompacted", err)
		}
		break
	}
	rev := put(t, s, "k/0000", "newer")
	if e, err := other.Get(t.Context(), "k/0000"); err != nil || e.Rev > rev {
		t.Errorf("%+v, %v", e, err)
	}
}

// A store that has lost what a copy has is not followed, nor is another one.
func TestAnotherStore(t *testing.T) {
	t.Parallel()
	first, dir := etcdtest.Start(t, 1, nil), t.TempDir()
	path := filepath.Join(dir, "copy.db")
	s := open(t, source(t, first.Client(), "p/"), path, quick)
	put(t, s, "k", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refused := new(replica.OriginError)
	if _, err := tryOpen(t, source(t, first.Client(), "q/"), path, quick); !errors.As(err, &refused) {
		t.Errorf("another prefix: %v", err)
	}
	second := etcdtest.Start(t, 1, nil)
	if _, err := tryOpen(t, source(t, second.Client(), "p/"), path, quick); !errors.As(err, &refused) {
		t.Errorf("another etcd: %v", err)
	}
	s = open(t, source(t, first.Client(), "p/"), path, quick)
	if !shows(s, "k", "1")() {
		t.Error("the copy did not survive the refusals")
	}
}

// One of three servers that stops is left for another; with two gone there is
// no majority, and no word.
func TestThreeServers(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, 3, nil)
	s := open(t, source(t, cluster.Client(), "p/"), filepath.Join(t.TempDir(), "copy.db"), quick)
	put(t, s, "k", "3")
	commits := func(value string) func() bool {
		return func() bool {
			_, err := s.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: "k", Value: []byte(value)}}})
			return err == nil
		}
	}
	cluster.Stop(0)
	until(t, "a commit with two of three", commits("2"))
	cluster.Stop(1)
	until(t, "the loss of the majority noticed", func() bool { return s.Away() != nil })
	if _, err := s.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: "k", Value: []byte("1")}}}); !errors.Is(err, store.ErrAway) {
		t.Errorf("a commit without a majority: %v, expected ErrAway", err)
	}
	if !shows(s, "k", "2")() {
		t.Error("the copy cannot be read without a majority")
	}
	cluster.Run(1)
	until(t, "a commit with the majority back", commits("4"))
}

// panicky is a source over whose changes the copy panics, so many times.
type panicky struct {
	replica.Source
	left atomic.Int64
}

func (p *panicky) Changes(ctx context.Context, after int64) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		for c, err := range p.Source.Changes(ctx, after) {
			if len(c.Events) > 0 && p.left.Add(-1) >= 0 {
				panic("a change nobody thought of")
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// TestPanicOverAChange: the copy goes on with the change over which it panicked.
func TestPanicOverAChange(t *testing.T) {
	client := etcdtest.Start(t, 1, nil).Client()
	panics := background.New(time.Now, slog.New(slog.DiscardHandler))
	from := &panicky{Source: source(t, client, "p/")}
	s, err := replica.Open(t.Context(), replica.Config{
		Source: from, Path: filepath.Join(t.TempDir(), "copy.db"), Now: time.Now, Log: slog.New(slog.DiscardHandler), Pace: calm, Panics: panics,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	put(t, s, "before", "1")
	from.left.Store(1)
	put(t, s, "k", "v") // it returns when the copy shows it
	if !shows(s, "k", "v")() || !shows(s, "before", "1")() {
		t.Error("the copy lacks something")
	}
	if c := panics.Counts(); len(c) != 1 || c[0].Count != 1 {
		t.Errorf("counts %v", c)
	}
}

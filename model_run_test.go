package omca

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestModel: see model_test.go. OMCA_TEST_MODEL is how many sequences to try, and
// OMCA_TEST_MODEL_SEED the first seed.
func TestModel(t *testing.T) {
	const length, connected = 20, 40 // steps of a sequence; one in so many ends with connections
	sequences, first := 2000, uint64(1)
	if testing.Short() {
		sequences = 100
	}
	if text := os.Getenv("OMCA_TEST_MODEL"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		sequences = n
	}
	if text := os.Getenv("OMCA_TEST_MODEL_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first = n
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // each sequence is garbage as a whole
	base := newModelWorld(t)
	defer func() {
		if err := base.s.Close(); err != nil {
			t.Error(err)
		}
	}()
	seeds := make(chan uint64)
	var failed sync.Once
	var workers sync.WaitGroup
	var connections atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := range seeds {
				steps := draw(seed, length)
				counter := &connections
				if seed%connected > 0 {
					counter = nil
				}
				if _, err := base.try(steps, counter); err != nil {
					failed.Do(func() {
						steps, log, err := base.shrunk(steps, counter, err)
						t.Errorf("seed %d: %v\nafter these %d steps of %d:\n%s", seed, err, len(steps), length, strings.Join(log, "\n"))
					})
				}
			}
		})
	}
	for seed := first; seed < first+uint64(sequences) && !t.Failed(); seed++ {
		seeds <- seed
	}
	close(seeds)
	workers.Wait()
	if !t.Failed() && sequences >= connected && connections.Load() == 0 {
		t.Error("no connections were made")
	}
}

// try takes steps in a fork of the world, and returns its log. At the end it makes
// real connections, if there is a counter for them.
func (w *modelWorld) try(steps []step, connections *atomic.Int64) (log []string, err error) {
	f, err := w.fork()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.s.Close()) }()
	last := 0
	for _, s := range steps {
		last = s.c
		if err := f.do(s); err != nil {
			return f.log, err
		}
	}
	if err := f.hold(last); err != nil || connections == nil {
		return f.log, err
	}
	return f.log, f.connect(connections)
}

// Bounds of the search for a shorter sequence.
const (
	mostTries = 300
	mostTime  = 30 * time.Second
)

// shrunk leaves steps out of a sequence that failed, for as long as it still fails in
// the same way, and returns what is left (delta debugging).
func (w *modelWorld) shrunk(steps []step, connections *atomic.Int64, failure error) ([]step, []string, error) {
	log, began, tries := []string(nil), time.Now(), 0
	kind, _, _ := strings.Cut(failure.Error(), ":")
	for size := len(steps) / 2; size > 0; {
		shorter := false
		for at := 0; at < len(steps) && tries < mostTries && time.Since(began) < mostTime; {
			less := slices.Delete(slices.Clone(steps), at, min(at+size, len(steps)))
			tries++
			if l, err := w.try(less, connections); err != nil && strings.HasPrefix(err.Error(), kind) {
				steps, failure, log, shorter = less, err, l, true
				continue
			}
			at += size
		}
		if !shorter || size > 1 {
			size /= 2
		}
	}
	if log == nil {
		log, _ = w.try(steps, connections)
	}
	return steps, log, failure
}

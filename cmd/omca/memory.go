package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// A daemon has a few megabytes that live, and leaves a tenth of one behind with each certificate. Collecting seldom saves
// a tenth of the processor; a bound keeps what is waiting to be collected from making a small daemon a large one. The pages of the
// program that are not in use are given back at each look, which is where that memory comes from.
const (
	collectAt   = 250      // percent of what lives that may wait
	smallMemory = 34 << 20 // bytes that Go takes while little lives
	lookAtHeap  = 2 * time.Second
)

// memoryLimit is how much memory Go may take before it collects harder: well above what lives, or it would do nothing else.
func memoryLimit(live uint64) int64 { return max(smallMemory, 3*int64(min(live, 1<<40))) }

// pacer keeps the limit of the collector where it should be.
type pacer struct {
	mu     sync.Mutex
	live   uint64 // bytes, when last looked at
	lately int64  // bytes taken for a moment, by the hashes of passwords
	set    func(limit int64) int64
}

// sees notes what lives.
func (p *pacer) sees(live uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live = live
	p.set(memoryLimit(p.live) + p.lately)
}

// takes notes what is taken for a moment: it comes on top. Above its limit the collector does nothing but collect, and would take half of
// the processor for as long as somebody logs in with a password.
func (p *pacer) takes(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lately += bytes
	p.set(memoryLimit(p.live) + p.lately)
}

// paceCollector sets the collector for a daemon until ctx is done, unless the operator has (GOGC, GOMEMLIMIT). It returns who is to be
// told what memory is taken for a moment, nil when nobody is.
func (c *call) paceCollector(ctx context.Context) func(bytes int64) {
	if c.getenv("GOGC") != "" || c.getenv("GOMEMLIMIT") != "" {
		return nil
	}
	debug.SetGCPercent(collectAt)
	p := &pacer{set: debug.SetMemoryLimit}
	p.sees(0)
	go func() {
		tick := time.NewTicker(lookAtHeap)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
				metrics.Read(live)
				p.sees(live[0].Value.Uint64())
				releaseProgram()
			}
		}
	}()
	return p.takes
}

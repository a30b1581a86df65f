package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A daemon has a few megabytes that live, and leaves a tenth of one behind with each certificate. Collecting seldom saves
// a tenth of the processor; a bound keeps what is waiting to be collected from making a small daemon a large one.
const (
	collectAt   = 250      // percent of what lives that may wait
	smallMemory = 25 << 20 // bytes that Go takes while little lives
	lookAtHeap  = 10 * time.Second
)

// memoryLimit is how much memory Go may take before it collects harder: well above what lives, or it would do nothing else.
func memoryLimit(live uint64) int64 { return max(smallMemory, 3*int64(min(live, 1<<40))) }

// paceCollector sets the collector for a daemon until ctx is done, unless the operator has (GOGC, GOMEMLIMIT).
func (c *call) paceCollector(ctx context.Context) {
	if c.getenv("GOGC") != "" || c.getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(collectAt)
	debug.SetMemoryLimit(smallMemory)
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
				debug.SetMemoryLimit(memoryLimit(live[0].Value.Uint64()))
			}
		}
	}()
}

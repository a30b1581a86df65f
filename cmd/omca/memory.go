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
//
// The hash of a password takes more than all that lives, for a moment, and would have the collector run when it begins and again when it
// has ended, while others wait. So while passwords come it runs when several hashes wait to be collected.
const (
	collectAt   = 250      // percent of what lives that may wait
	smallMemory = 34 << 20 // bytes that Go takes while little lives
	hashesWait  = 4        // hashes that may wait
	lookAtHeap  = 2 * time.Second
)

// memoryLimit is how much memory Go may take before it collects harder: well above what lives, or it would do nothing else.
func memoryLimit(live uint64) int64 { return max(smallMemory, 3*int64(min(live, 1<<40))) }

// pacer keeps the limits of the collector where they should be.
type pacer struct {
	mu         sync.Mutex
	live       uint64 // bytes, when last looked at
	hashes     int64  // bytes that the hashes of passwords may take; 0 while there are none
	lately     bool   // there was a hash since the last look
	percent    int    // as last set; 0 before
	setLimit   func(bytes int64) int64
	setPercent func(percent int) int
	free       func() // collects, and gives back what is free
}

// sees notes what lives, and whether passwords still come.
func (p *pacer) sees(live uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live = live
	over := p.hashes > 0 && !p.lately
	if over {
		p.hashes = 0
	}
	if p.hashes == 0 {
		p.collect(collectAt)
	}
	p.lately = false
	p.setLimit(memoryLimit(p.live) + p.hashes)
	if over {
		p.free() // nobody may call for hours, and then nothing is collected
	}
}

// takes notes that a hash takes so many bytes.
func (p *pacer) takes(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lately = true
	if room := hashesWait * bytes; room > p.hashes {
		p.hashes = room
		p.setLimit(memoryLimit(p.live) + p.hashes)
		p.collect(-1) // the limit alone
	}
}

// collect sets how much may wait, in percent of what lives. Setting it off waits for the collector, also when it is off already.
func (p *pacer) collect(percent int) {
	if percent != p.percent {
		p.percent = percent
		p.setPercent(percent)
	}
}

// paceCollector sets the collector for a daemon until ctx is done, unless the operator has (GOGC, GOMEMLIMIT). It returns who is to be
// told what memory a hash takes, nil when nobody is.
func (c *call) paceCollector(ctx context.Context) func(bytes int64) {
	if c.getenv("GOGC") != "" || c.getenv("GOMEMLIMIT") != "" {
		return nil
	}
	p := &pacer{setLimit: debug.SetMemoryLimit, setPercent: debug.SetGCPercent, free: debug.FreeOSMemory}
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

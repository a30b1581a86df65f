package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// A daemon has a few megabytes that live, and leaves a tenth of one behind with each certificate. Collecting seldom saves a tenth of the
// processor, and a page that was given back costs some of that to have again. So a small daemon stays small, with a bound on what waits to
// be collected; one with much work takes more for as long as that lasts. The pages of the program that are not in use are given back at each
// look, but when there is much work: they would be wanted again at once.
//
// The hash of a password takes more than all that lives, for a moment, and would have the collector run when it begins and again when it
// has ended, while others wait. So while passwords come it runs when several hashes wait to be collected.
const (
	collectAt   = 250       // percent of what lives that may wait
	smallMemory = 34 << 20  // bytes that Go takes while little lives
	busyMemory  = 64 << 20  // the same, with much work: that fills it between two looks, and is over when it does not fill a quarter
	idleBytes   = 128 << 10 // made between two looks: with less nobody has called, and no page of the program came back
	hashesWait  = 4         // hashes that may wait
	lookAtHeap  = time.Second
)

// The percentage of waste that Go allows by itself.
const collectUsual = 100

// collectAfter sets how many percent of what lives may wait to be collected. GOGC and GOMEMLIMIT are the operator's.
//
// A command begins with collectAt: the first collection comes when the heap has ten megabytes, which
// few commands reach. With the four of Go it came just before most of them ended. A command that opens
// a store in this process may need much, and takes collectUsual.
func collectAfter(percent int, getenv func(string) string) {
	if getenv("GOGC") == "" && getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(percent)
	}
}

// memoryLimit is how much memory Go may take before it collects harder: well above what lives, or it would do nothing else.
func memoryLimit(live uint64, busy bool) int64 {
	least := int64(smallMemory)
	if busy {
		least = busyMemory
	}
	return max(least, 3*int64(min(live, 1<<40)))
}

// pacer keeps the limits of the collector where they should be.
type pacer struct {
	mu         sync.Mutex
	live       uint64 // bytes, when last looked at
	made       uint64 // bytes, until then
	since      uint64 // of them, bytes since the look before
	busy       bool   // there is much work
	hashes     int64  // bytes that the hashes of passwords may take; 0 while there are none
	lately     bool   // there was a hash since the last look
	percent    int    // as last set; 0 before
	setLimit   func(bytes int64) int64
	setPercent func(percent int) int
	free       func() // collects, and gives back what is free
}

// sees notes what lives and what was made since the start, in bytes. When there is no longer much work, or no password comes any more, what was
// taken for it is given back. It reports whether pages of the program may have come back that are not wanted again at once.
func (p *pacer) sees(live, made uint64) (program bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took, since := p.busy || p.hashes > 0, made-p.made
	if !p.lately {
		p.hashes = 0
	}
	p.busy = p.hashes == 0 && (since >= busyMemory || p.busy && since >= busyMemory/4) // hashes count as made
	program = !p.busy && max(since, p.since) >= idleBytes
	p.live, p.made, p.since, p.lately = live, made, since, false
	p.set()
	if took && !p.busy && p.hashes == 0 {
		p.free()
	}
	return program
}

// takes notes that a hash takes so many bytes.
func (p *pacer) takes(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lately = true
	if room := hashesWait * bytes; room > p.hashes {
		p.hashes = room
		p.set()
	}
}

// set sets the limit, and whether it alone has the collector run. Setting the percentage off waits for the collector, also when it is off.
func (p *pacer) set() {
	p.setLimit(memoryLimit(p.live, p.busy) + p.hashes)
	percent := collectAt
	if p.busy || p.hashes > 0 {
		percent = -1
	}
	if percent != p.percent {
		p.percent = percent
		p.setPercent(percent)
	}
}

// paceCollector sets the collector for a daemon until ctx is done, unless the operator has (GOGC, GOMEMLIMIT). It returns who is to be
// told what memory a hash takes, nil when nobody is.
func (c *call) paceCollector(ctx context.Context, log *slog.Logger) func(bytes int64) {
	if c.getenv("GOGC") != "" || c.getenv("GOMEMLIMIT") != "" {
		return nil
	}
	p := &pacer{setLimit: debug.SetMemoryLimit, setPercent: debug.SetGCPercent, free: debug.FreeOSMemory}
	p.set()
	go func() {
		tick := time.NewTicker(lookAtHeap)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.look(log)
			}
		}
	}()
	return p.takes
}

// look looks at the heap once. A panic is logged, and does not end the daemon.
func (p *pacer) look(log *slog.Logger) {
	defer func() {
		if said := recover(); said != nil {
			log.Error("panic in the background", "task", "memory", "panic", fmt.Sprint(said), "stack", string(debug.Stack()))
		}
	}()
	now := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(now)
	if p.sees(now[0].Value.Uint64(), now[1].Value.Uint64()) {
		releaseProgram()
	}
}

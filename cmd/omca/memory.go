package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// A daemon has a few megabytes that live, and leaves a tenth of one behind with each certificate. While there is work, collecting seldom
// saves a tenth of the processor; when there is none, what was taken is given back. So the collector runs at a limit and at nothing else.
// The pages of the program that are not in use are given back at each look.
//
// The hash of a password takes more than all that lives, for a moment, and would have the collector run when it begins and again when it
// has ended, while others wait. So while passwords come it runs when several hashes wait to be collected.
const (
	busyMemory = 48 << 20 // bytes that Go takes while little lives
	quietBytes = 1 << 20  // made between two looks: with less there is no work
	worthBytes = 16 << 20 // and a quarter of what was kept: with less to win, nothing is given back
	hashesWait = 4        // hashes that may wait
	lookAtHeap = time.Second

	sampleEvery, goSamplesEvery = 4 << 20, 512 << 10 // bytes
)

// sampleMemory has the profiles of memory tell of one allocation in so many bytes, unless the operator chose (GODEBUG=memprofilerate). For
// each the stack is walked: as often as Go does it by itself, that is a fiftieth of issuing.
func sampleMemory() {
	if runtime.MemProfileRate == goSamplesEvery {
		runtime.MemProfileRate = sampleEvery
	}
}

// memoryLimit is how much memory Go may take before it collects: well above what lives, or it would do nothing else.
func memoryLimit(live uint64) int64 { return max(busyMemory, 3*int64(min(live, 1<<40))) }

// pacer keeps the limit of the collector where it should be.
type pacer struct {
	mu       sync.Mutex
	live     uint64 // bytes, when last looked at
	made     uint64 // bytes, since the start
	kept     uint64 // bytes, when some were given back last
	hashes   int64  // bytes that the hashes of passwords may take; 0 while there are none
	lately   bool   // there was a hash since the last look
	setLimit func(bytes int64) int64
	free     func() // collects, and gives back what is free
	look     func() heap
}

// heap is what there is to see of the memory that Go has, in bytes.
type heap struct{ live, made, held uint64 }

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(s)
	return heap{live: s[0].Value.Uint64(), made: s[1].Value.Uint64(), held: s[2].Value.Uint64() - s[3].Value.Uint64()}
}

// looks sets the limit by what lives, and gives memory back when passwords no longer come, or nothing does.
func (p *pacer) looks() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.look()
	over := p.hashes > 0 && !p.lately
	if over {
		p.hashes = 0
	}
	quiet := p.hashes == 0 && now.made-p.made < quietBytes && now.held > p.kept*5/4+worthBytes
	p.live, p.made, p.lately = now.live, now.made, false
	p.setLimit(memoryLimit(p.live) + p.hashes)
	if over || quiet {
		p.free()
		p.kept = p.look().held
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
	}
}

// paceCollector sets the collector for a daemon until ctx is done, unless the operator has (GOGC, GOMEMLIMIT). It returns who is to be
// told what memory a hash takes, nil when nobody is.
func (c *call) paceCollector(ctx context.Context) func(bytes int64) {
	if c.getenv("GOGC") != "" || c.getenv("GOMEMLIMIT") != "" {
		return nil
	}
	p := &pacer{setLimit: debug.SetMemoryLimit, free: debug.FreeOSMemory, look: readHeap}
	p.setLimit(memoryLimit(0))
	debug.SetGCPercent(-1) // the limit alone
	go func() {
		tick := time.NewTicker(lookAtHeap)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.looks()
				releaseProgram()
			}
		}
	}()
	return p.takes
}

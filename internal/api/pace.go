package api

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"omca/usr"
)

// What one caller without root is answered on the routes that issue something.
const (
	paceEach  = 50              // a second
	paceBurst = 20              // at once
	mostDelay = 2 * time.Second // of one answer
	mostPaced = 4096            // callers that are told apart
)

// pace spreads the answers to a caller who asks for certificates and tokens as fast as it is
// answered, so that others notice little. A quota bounds what there is in the end; until then, and
// for the refusals after it, this bounds how fast. What was decided stands: only the answer waits.
type pace struct {
	mu sync.Mutex
	of map[string]*rate.Limiter // by name; "" for callers beyond mostPaced
}

// wait returns when the next answer to a caller may leave, or ctx has ended.
func (p *pace) wait(ctx context.Context, who usr.Caller) {
	if !who.Authenticated() || who.May(usr.Root()) == nil {
		return
	}
	r := p.limiter(who.Name).Reserve()
	delay := r.Delay()
	if delay > mostDelay {
		r.Cancel()
		delay = mostDelay
	}
	if delay <= 0 {
		return
	}
	due := time.NewTimer(delay)
	defer due.Stop()
	select {
	case <-due.C:
	case <-ctx.Done():
	}
}

func (p *pace) limiter(name string) *rate.Limiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.of[name]; ok {
		return l
	}
	if len(p.of) >= mostPaced {
		for name, l := range p.of {
			if l.Tokens() >= paceBurst { // not heard of for a while
				delete(p.of, name)
			}
		}
	}
	if len(p.of) >= mostPaced {
		name = ""
	}
	if p.of == nil {
		p.of = make(map[string]*rate.Limiter)
	}
	if p.of[name] == nil {
		p.of[name] = rate.NewLimiter(paceEach, paceBurst)
	}
	return p.of[name]
}

package openid

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"omca/internal/hint"
)

const (
	patience = 3 * time.Second  // how long a request waits for the issuer at most
	whole    = 10 * time.Second // how long an attempt takes at most
	between  = 10 * time.Second // between two attempts that tokens ask for, in the long run
	burst    = 3                // of such attempts
	retry    = time.Second      // the first wait after a failure; it doubles
	slow     = time.Minute      // the longest wait after failures
	often    = 10 * time.Minute // how long keys are not asked for again, at most: one that the issuer took back is gone then
	keep     = 24 * time.Hour   // how long keys are good when the issuer is away
)

// provider is one issuer under one configuration. All that may change is guarded by the verifier's mu.
type provider struct {
	Settings
	v      *Verifier
	ctx    context.Context
	cancel context.CancelFunc

	found   *oidc.Provider // nil before discovery
	jwks    string         // URL of the keys
	algs    []jose.SignatureAlgorithm
	keys    []jose.JSONWebKey
	fetched time.Time // when keys came

	running  chan struct{} // closed when the attempt under way has ended; nil: there is none
	paid     time.Time     // until when the attempts that tokens asked for are paid for, at one in between
	next     time.Time     // when Run makes one
	failures int           // in a row

	reachable bool
	since     time.Time // of reachable
	trouble   string    // of the last attempt
	advice    string    // what to try about it; "" for nothing known
	logged    string    // state that the log was told last
	strange   map[string]bool
}

func newProvider(v *Verifier, s Settings) *provider {
	p := &provider{Settings: s, v: v, strange: map[string]bool{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// usable tells whether tokens can be verified. It wants mu.
func (p *provider) usable(now time.Time) bool {
	return len(p.keys) > 0 && now.Sub(p.fetched) < keep
}

// start begins an attempt. It wants mu, and that none is under way.
func (p *provider) start() {
	if p.v.closed {
		return
	}
	p.running = make(chan struct{})
	p.v.counts.Attempts++
	known := p.discovery()
	p.v.work.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, whole)
		defer cancel()
		var f fetched
		failed := p.v.guard(func() (err error) {
			f, err = p.v.fetch(ctx, p.Settings, known)
			return err
		})
		_ = p.v.guard(func() error { p.settle(f, failed); return nil }) // the attempt has ended all the same
	})
}

// guard runs work on the answers of an issuer. A panic over them is an error of the attempt.
func (v *Verifier) guard(work func() error) error { return v.cfg.Panics.Guard("openid", work) }

// discovery returns what is known of the issuer beside its keys, if that need not be asked for again. It wants mu.
func (p *provider) discovery() discovery {
	if p.failures > 0 || p.found == nil {
		return discovery{}
	}
	return discovery{p.found, p.jwks, p.algs}
}

// settle takes note of an attempt that ended.
func (p *provider) settle(f fetched, err error) {
	p.v.mu.Lock()
	defer p.v.mu.Unlock()
	now := p.v.cfg.Now()
	p.next = now.Add(slow) // if the rest panics
	close(p.running)
	p.running = nil
	p.v.rouse()
	if p.ctx.Err() != nil {
		return // another issuer is configured meanwhile
	}
	if reachable := err == nil; reachable != p.reachable || p.since.IsZero() {
		p.reachable, p.since = reachable, now
	}
	if err != nil {
		p.v.counts.Failures++
		p.trouble, p.advice = Printable(err.Error()), hint.Of(err)
		wait := min(retry<<min(p.failures, 16), slow)
		p.failures++
		p.next = now.Add(wait/2 + time.Duration(p.v.cfg.Rand()*float64(wait/2)))
	} else {
		p.failures, p.trouble, p.advice = 0, "", ""
		p.found, p.jwks, p.algs, p.keys, p.fetched = f.found, f.jwks, f.algs, f.keys, now
		p.next = now.Add(often/3*2 + time.Duration(p.v.cfg.Rand()*float64(often/3)))
	}
	p.note(now)
}

// note logs the state of the issuer, if it is another than the log said last. It wants mu.
func (p *provider) note(now time.Time) {
	state, level := "reachable", slog.LevelInfo
	switch {
	case p.reachable:
	case p.usable(now):
		state, level = "away, its last keys are used", slog.LevelWarn
	default:
		state, level = "away", slog.LevelWarn
	}
	if state == p.logged {
		return
	}
	p.logged = state
	attrs := []slog.Attr{slog.String("issuer", p.Issuer), slog.String("state", state), slog.Int("keys", len(p.keys))}
	if p.trouble != "" {
		attrs = append(attrs, slog.String("error", p.trouble))
	}
	if p.advice != "" {
		attrs = append(attrs, slog.String("hint", p.advice))
	}
	p.v.cfg.Log.LogAttrs(p.ctx, level, "openid issuer", attrs...)
}

// learn waits for the attempt under way, or for one that it begins, if the issuer may be asked again: not for as long as one can think,
// and not at all when the issuer was asked often enough. A flood of tokens with made-up keys costs the issuer one request in ten seconds.
func (p *provider) learn(ctx context.Context) {
	running := p.underWay()
	if running == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-running:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// underWay returns the end of the attempt under way, begun now if it may be; nil: there is none.
func (p *provider) underWay() <-chan struct{} {
	p.v.mu.Lock()
	defer p.v.mu.Unlock()
	if now := p.v.cfg.Now(); p.running == nil && p.mayAsk(now) {
		p.start()
	}
	return p.running
}

// mayAsk tells whether a token may make the issuer be asked, and counts it: a few times at once, and one time in ten seconds in the long
// run. It wants mu.
func (p *provider) mayAsk(now time.Time) bool {
	if p.failures > 0 {
		return !p.next.After(now)
	}
	paid := p.paid
	if paid.Before(now) {
		paid = now
	}
	if paid = paid.Add(between); paid.Sub(now) > burst*between {
		return false
	}
	p.paid = paid
	return true
}

// snapshot returns the discovery and the keys in use, and false when there are none.
func (p *provider) snapshot() (discovery, []jose.JSONWebKey, bool) {
	p.v.mu.Lock()
	defer p.v.mu.Unlock()
	return discovery{p.found, p.jwks, p.algs}, p.keys, p.usable(p.v.cfg.Now())
}

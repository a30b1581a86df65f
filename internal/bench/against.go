package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// againstRounds is how often each of two programs is measured.
const againstRounds = 15

// A rival is a daemon of one of two programs, with its load.
type rival struct {
	*daemon
	issuing, asking *load
}

// against compares two programs in turns: what a certificate costs the server, and what /whoami
// costs it. It returns the ratio of the medians for each; the program of this tree stands above.
func (b *bench) against(ctx context.Context, program string) (ratios []float64, err error) {
	const each, asked, askers = 1000, 4000, 8
	program, err = filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, err
	}
	requests, err := makeRequests(each)
	if err != nil {
		return nil, err
	}
	var rivals [2]*rival
	for i, of := range []*bench{b, {dir: b.dir, binary: program}} {
		r, err := of.rival(ctx, fmt.Sprintf("rival%d", i), askers)
		if err != nil {
			return nil, err
		}
		defer r.close()
		// A daemon at work, whose metrics have counted the inventory once.
		if _, err := r.usage(); err != nil {
			return nil, err
		}
		for range 3 {
			if err := r.issuing.issue(ctx, requests); err != nil {
				return nil, err
			}
		}
		rivals[i] = r
	}
	issuing := func(r *rival) (time.Duration, error) {
		u, _, err := r.issuing.perCertificate(ctx, requests)
		return u.cpu, err
	}
	how := fmt.Sprintf("two daemons in turns, %d rounds each of %d distinct P-256 requests over %d connections after three to warm up", againstRounds, each, connections)
	ratio, err := b.turns(rivals, "issuing: server CPU per certificate", how, issuing)
	if err != nil {
		return nil, err
	}
	ratios = append(ratios, ratio)
	asking := func(r *rival) (time.Duration, error) { return r.perAnswer(ctx, asked) }
	how = fmt.Sprintf("two daemons in turns, %d rounds each of %d requests over %d keep-alive mTLS connections", againstRounds, asked, askers)
	ratio, err = b.turns(rivals, "whoami: server CPU per request", how, asking)
	return append(ratios, ratio), err
}

// rival starts a daemon and connects its clients.
func (b *bench) rival(ctx context.Context, name string, askers int) (*rival, error) {
	d, _, err := b.start(ctx, name)
	if err != nil {
		return nil, err
	}
	r := &rival{daemon: d}
	if r.issuing, err = d.newLoad(connections); err != nil {
		return nil, err
	}
	r.asking, err = d.newLoad(askers)
	return r, err
}

func (r *rival) close() {
	r.issuing.close()
	r.asking.close()
	_ = r.stop() // the figures are what counts
}

// perAnswer asks /whoami n times, and returns the processor time of the server for each.
func (r *rival) perAnswer(ctx context.Context, n int) (time.Duration, error) {
	before, err := processClock(r.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	err = r.asking.each(ctx, n, func(c *http.Client, _ int) error { return get(c, "https://"+r.address+"/whoami") })
	if err != nil {
		return 0, err
	}
	after, err := processClock(r.cmd.Process.Pid)
	return (after - before) / time.Duration(n), err
}

// turns measures both in turns, the one that begins changing each round, and reports the medians.
func (b *bench) turns(rivals [2]*rival, what, how string, measure func(*rival) (time.Duration, error)) (float64, error) {
	var all [2][]time.Duration
	for round := range againstRounds {
		for i := range rivals {
			i = (i + round) % 2
			one, err := measure(rivals[i])
			if err != nil {
				return 0, err
			}
			all[i] = append(all[i], one)
		}
	}
	here, there := median(all[0]), median(all[1])
	ratio := float64(here) / float64(there)
	b.report.add(what+" / that of the other program", "at most 1.05", how+", ratio of the medians", "%.3f (%.1f us / %.1f us)", ratio, micros(here), micros(there))
	return ratio, nil
}

func micros(t time.Duration) float64 { return float64(t.Nanoseconds()) / 1000 }

// runAgainst compares the program of this tree with another one, and prints a table. With a limit it
// is an error when a ratio is above, or a chain costs too much.
func (b *bench) runAgainst(ctx context.Context, program string, limit float64) error {
	ratios, err := b.against(ctx, program)
	if err != nil {
		return err
	}
	extra, err := b.chain(ctx)
	if err != nil {
		return err
	}
	fmt.Print(b.report.markdown(machine(), time.Now()))
	if limit == 0 {
		return nil
	}
	for i, ratio := range ratios {
		if ratio > limit {
			return fmt.Errorf("%s: %.3f, limit %.3f", b.report.figures[i].what, ratio, limit)
		}
	}
	if extra > chainLimit {
		return fmt.Errorf("a chain of three costs %v more than a leaf alone, limit %v", extra, chainLimit)
	}
	return nil
}

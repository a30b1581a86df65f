package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Each of two programs is measured so often, in so many parts: a part of the one is beside a part of
// the other, so that what else the machine does falls on both.
const againstRounds, againstParts = 15, 10

// A rival is a daemon of one of two programs, with its load.
type rival struct {
	*daemon
	issuing, asking *load
}

// against compares two programs in turns: what a certificate costs the server, and what /whoami
// costs it. It returns the ratio for each; the program of this tree stands above.
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
	const part = each / againstParts
	issuing := func(r *rival, n int) (time.Duration, error) {
		return r.spent(func() error { return r.issuing.issue(ctx, requests[n*part:(n+1)*part]) })
	}
	how := fmt.Sprintf("%d distinct P-256 requests over %d connections after three to warm up", each, connections)
	ratio, err := b.turns(rivals, comparison{"issuing: server CPU per certificate", how, each}, issuing)
	if err != nil {
		return nil, err
	}
	ratios = append(ratios, ratio)
	asking := func(r *rival, _ int) (time.Duration, error) {
		return r.spent(func() error {
			return r.asking.each(ctx, asked/againstParts, func(c *http.Client, _ int) error { return get(c, "https://"+r.address+"/whoami") })
		})
	}
	how = fmt.Sprintf("%d requests over %d keep-alive mTLS connections", asked, askers)
	ratio, err = b.turns(rivals, comparison{"whoami: server CPU per request", how, asked}, asking)
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

// spent returns the processor time of the server while something is done.
func (r *rival) spent(do func() error) (time.Duration, error) {
	before, err := processClock(r.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := processClock(r.cmd.Process.Pid)
	return after - before, err
}

// comparison is what two programs are compared by.
type comparison struct {
	what, how string
	each      int // requests of a round
}

// turns measures both in turns, part by part, and reports the median for each and that of the ratios of
// the rounds.
func (b *bench) turns(rivals [2]*rival, by comparison, measure func(r *rival, part int) (time.Duration, error)) (float64, error) {
	var all [2][]time.Duration
	var ratios []float64
	for range againstRounds {
		var round [2]time.Duration
		for turn := range 2 * againstParts {
			part := turn / 2
			which := (turn + part) % 2 // A B, B A, A B, …
			spent, err := measure(rivals[which], part)
			if err != nil {
				return 0, err
			}
			round[which] += spent
		}
		for i, spent := range round {
			all[i] = append(all[i], spent/time.Duration(by.each))
		}
		ratios = append(ratios, float64(round[0])/float64(round[1]))
	}
	ratio := median(ratios)
	how := fmt.Sprintf("two daemons in turns, %d rounds each of %s, median of the ratios (of the rounds)", againstRounds, by.how)
	b.report.add(by.what+" / that of the other program", "at most 1.05", how, "%.3f (%.1f us / %.1f us)", ratio, micros(median(all[0])), micros(median(all[1])))
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

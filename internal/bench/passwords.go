package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	floodRate    = 200 // wrong passwords a second
	floodTime    = 8 * time.Second
	floodClients = 48 // connections that they come over
	probeEvery   = 4 * time.Millisecond
)

// passwords is what callers with a certificate notice of a flood of wrong
// passwords: with the limits on guessing, which let few of them be looked at,
// and without any, where all that holds them back is that few are looked at at once.
func (b *bench) passwords(ctx context.Context) error {
	d, _, err := b.start(ctx, "passwords")
	if err != nil {
		return err
	}
	defer d.stop() // the figures are what counts
	for _, tt := range []struct{ what, rate, bound string }{
		{"limits as they are", "1/s", "at most 3"},
		{"no limits", "0", "at most 3"},
	} {
		if _, err := d.omca(ctx, "cluster", "config", "update", "--set", "listener.rate_limiter_rate="+tt.rate); err != nil {
			return err
		}
		idle, err := d.probe(ctx, floodTime)
		if err != nil {
			return err
		}
		stop, flooded := d.flood(ctx)
		busy, probeErr := d.probe(ctx, floodTime)
		u, usageErr := d.usage()
		stop()
		seen, err := flooded()
		if err := errors.Join(probeErr, usageErr, err); err != nil {
			return err
		}
		how := fmt.Sprintf("whoami over one mTLS connection every %s, for %s idle and %s under the flood; %s", probeEvery, floodTime, floodTime, seen)
		p99 := func(all []time.Duration) time.Duration { return all[len(all)*99/100] }
		b.report.add(fmt.Sprintf("%d wrong passwords/s, %s: p99 by certificate / idle", floodRate, tt.what), tt.bound, how,
			"%.2f (%.1f / %.1f ms; p50 %.2f / %.2f ms; %.0f MB resident)", float64(p99(busy))/float64(p99(idle)),
			p99(busy).Seconds()*1000, p99(idle).Seconds()*1000, busy[len(busy)/2].Seconds()*1000, idle[len(idle)/2].Seconds()*1000, float64(u.rss)/1e6)
	}
	return nil
}

// probe calls with a certificate, evenly, and returns how long each call took,
// shortest first. A call that begins late because the one before took long
// counts from when it should have begun.
func (d *daemon) probe(ctx context.Context, long time.Duration) ([]time.Duration, error) {
	c := d.http()
	defer c.CloseIdleConnections()
	target := "https://" + d.address + "/whoami"
	if err := get(c, target); err != nil { // the handshake is not what is measured
		return nil, err
	}
	var took []time.Duration
	begin := time.Now()
	for due := begin; due.Sub(begin) < long; due = due.Add(probeEvery) {
		time.Sleep(time.Until(due))
		if err := errors.Join(get(c, target), ctx.Err()); err != nil {
			return nil, err
		}
		took = append(took, time.Since(due))
	}
	slices.Sort(took)
	return took, nil
}

// flood sends wrong passwords until it is stopped. What comes of them is told
// once it has been.
func (d *daemon) flood(ctx context.Context) (stop func(), outcome func() (string, error)) {
	ctx, stop = context.WithCancel(ctx)
	attempts := make(chan int)
	var sent, looked, limited, skipped atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, floodClients)
	for i := range floodClients {
		c := d.as(tls.Certificate{})
		wait.Go(func() {
			defer c.CloseIdleConnections()
			for n := range attempts {
				status, err := d.guess(c, fmt.Sprintf("user%d", n%1000), fmt.Sprintf("wrong %d", n))
				sent.Add(1)
				switch {
				case err != nil:
					errs[i] = err
				case status == http.StatusUnauthorized:
					looked.Add(1)
				case status == http.StatusTooManyRequests:
					limited.Add(1)
				default:
					errs[i] = fmt.Errorf("a wrong password: status %d", status)
				}
			}
		})
	}
	wait.Go(func() {
		defer close(attempts)
		tick := time.NewTicker(time.Second / floodRate)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case attempts <- n:
			default: // all connections wait
				skipped.Add(1)
			}
		}
	})
	return stop, func() (string, error) {
		wait.Wait()
		return fmt.Sprintf("%d sent, %d looked at, %d limited, %d not sent because every connection waited",
			sent.Load(), looked.Load(), limited.Load(), skipped.Load()), errors.Join(errs...)
	}
}

// guess tries one password.
func (d *daemon) guess(c *http.Client, name, password string) (int, error) {
	req, err := http.NewRequest(http.MethodGet, "https://"+d.address+"/whoami", strings.NewReader(""))
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth(name, password)
	r, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	return r.StatusCode, errors.Join(err, r.Body.Close())
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	greedTime    = 10 * time.Second
	greedClients = 4 // connections of each of the two
)

// quotas is what other callers notice of a guest who asks for tokens, and of a user who asks
// for certificates, as fast as they are answered.
func (b *bench) quotas(ctx context.Context) error {
	d, _, err := b.start(ctx, "quotas")
	if err != nil {
		return err
	}
	defer d.stop() // the figures are what counts
	guest, err := d.user(ctx, "greedy-guest", "guest")
	if err != nil {
		return err
	}
	plain, err := d.user(ctx, "greedy", "guest:ns1")
	if err != nil {
		return err
	}
	if _, err := d.omca(ctx, "system/usr/greedy", "config", "update", "--set", "names=*.bench.example"); err != nil {
		return err
	}
	// So few that most of the time they are refused.
	if _, err := d.omca(ctx, "cluster", "config", "update", "--set", "cluster.max_tokens=200", "--set", "cluster.max_certificates=200"); err != nil {
		return err
	}
	requests, err := makeRequests(1)
	if err != nil {
		return err
	}
	body, err := issueBody(requests[0])
	if err != nil {
		return err
	}
	idle, err := d.probe(ctx, greedTime)
	if err != nil {
		return err
	}
	busy, stop := context.WithCancel(ctx)
	defer stop()
	tokens := d.greed(busy, d.as(guest), "/api/auth/token", nil)
	certificates := d.greed(busy, d.as(plain), "/api/certificate", body)
	during, probeErr := d.probe(ctx, greedTime)
	stop()
	got, tokenErr := tokens()
	signed, certificateErr := certificates()
	if err := errors.Join(probeErr, tokenErr, certificateErr); err != nil {
		return err
	}
	p99 := func(all []time.Duration) float64 { return all[len(all)*99/100].Seconds() * 1000 }
	b.report.add("a guest and a user at full speed: p99 of others / idle", "at most 3",
		fmt.Sprintf("whoami over one mTLS connection every %s, for %s idle, and for %s while a guest asks for tokens (%s) and a user for certificates (%s), each over %d connections",
			probeEvery, greedTime, greedTime, got, signed, greedClients),
		"%.2f (%.1f / %.1f ms; p50 %.2f / %.2f ms)", p99(during)/p99(idle), p99(during), p99(idle),
		during[len(during)/2].Seconds()*1000, idle[len(idle)/2].Seconds()*1000)
	return nil
}

// greed asks as fast as it is answered until ctx ends. What came of it is told then: an error
// where an answer is neither what was asked for nor a refusal for now.
func (d *daemon) greed(ctx context.Context, c *http.Client, path string, body []byte) (outcome func() (string, error)) {
	var given, refused atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, greedClients)
	for i := range greedClients {
		own := *c // its transport has one connection
		if t, ok := c.Transport.(*http.Transport); ok {
			own.Transport = t.Clone()
		}
		wait.Go(func() {
			defer own.CloseIdleConnections()
			for ctx.Err() == nil && errs[i] == nil {
				status, err := d.ask(&own, path, body)
				switch {
				case err != nil:
					errs[i] = err
				case status == http.StatusTooManyRequests:
					refused.Add(1)
				case status/100 == 2:
					given.Add(1)
				default:
					errs[i] = fmt.Errorf("%s: status %d", path, status)
				}
			}
		})
	}
	return func() (string, error) {
		wait.Wait()
		return fmt.Sprintf("%d given, %d refused", given.Load(), refused.Load()), errors.Join(errs...)
	}
}

// ask posts a body, and returns the status of the answer.
func (d *daemon) ask(c *http.Client, path string, body []byte) (int, error) {
	r, err := c.Post("https://"+d.address+path, "application/json", strings.NewReader(string(body)))
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	return r.StatusCode, errors.Join(err, r.Body.Close())
}

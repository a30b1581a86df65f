package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const connections = 32

// post asks the daemon for something, and returns its answer to what went well.
func (d *daemon) post(c *http.Client, path string, body []byte) ([]byte, error) {
	r, err := c.Post("https://"+d.address+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("%s: %s: %s", path, r.Status, answer)
	}
	return answer, nil
}

// issue asks the daemon for one certificate, and returns its answer.
func (d *daemon) issue(c *http.Client, request []byte) ([]byte, error) {
	body, err := issueBody(request)
	if err != nil {
		return nil, err
	}
	return d.post(c, "/api/certificate", body)
}

func issueBody(request []byte) ([]byte, error) {
	return json.Marshal(map[string]string{"csr": string(request), "profile": "listener", "validity": "24h"})
}

// load is so many clients, each with one keep-alive connection.
type load struct {
	d       *daemon
	clients []*http.Client
}

// newLoad connects the clients: handshakes are not what is measured.
func (d *daemon) newLoad(connections int) (*load, error) {
	l := &load{d: d}
	for range connections {
		c := d.http()
		l.clients = append(l.clients, c)
		if err := get(c, "https://"+d.address+"/whoami"); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *load) close() {
	for _, c := range l.clients {
		c.CloseIdleConnections()
	}
}

// each has the clients do a piece of work for every number below n.
func (l *load) each(ctx context.Context, n int, work func(c *http.Client, i int) error) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, len(l.clients))
	for w, c := range l.clients {
		wait.Go(func() {
			for ctx.Err() == nil && errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				errs[w] = work(c, i)
			}
		})
	}
	wait.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// issue has every request signed.
func (l *load) issue(ctx context.Context, requests [][]byte) error {
	return l.each(ctx, len(requests), func(c *http.Client, i int) error {
		_, err := l.d.issue(c, requests[i])
		return err
	})
}

// perCertificate issues the requests and returns what the daemon used for each.
func (l *load) perCertificate(ctx context.Context, requests [][]byte) (each usage, took time.Duration, err error) {
	before, err := l.d.usage()
	if err != nil {
		return usage{}, 0, err
	}
	begin := time.Now()
	if err := l.issue(ctx, requests); err != nil {
		return usage{}, 0, err
	}
	took = time.Since(begin)
	after, err := l.d.usage()
	n := len(requests)
	return usage{
		cpu:     (after.cpu - before.cpu) / time.Duration(n),
		written: (after.written - before.written) / int64(n),
		syncs:   (after.syncs - before.syncs) / float64(n),
	}, took, err
}

// startBeside starts a daemon, makes the bare pipeline to hold it against, and n
// requests for both.
func (b *bench) startBeside(ctx context.Context, name string, n int) (*daemon, *bare, [][]byte, error) {
	floor, err := newBare()
	if err != nil {
		return nil, nil, nil, err
	}
	requests, err := makeRequests(n)
	if err != nil {
		return nil, nil, nil, err
	}
	d, _, err := b.start(ctx, name)
	return d, floor, requests, err
}

// issueParallel is the load of many clients: what a certificate costs the server.
func (b *bench) issueParallel(ctx context.Context) error {
	const rounds, each = 15, 1000
	d, floor, requests, err := b.startBeside(ctx, "parallel", each)
	if err != nil {
		return err
	}
	defer d.stop() // the figures are what counts
	l, err := d.newLoad(connections)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.issue(ctx, slices.Concat(requests, requests, requests)); err != nil { // a daemon at work
		return err
	}
	if b.profile != "" {
		watched := make(chan error, 1)
		go func() { watched <- d.watch(8, b.profile) }()
		if err := errors.Join(l.issue(ctx, slices.Concat(requests, requests, requests)), <-watched); err != nil {
			return err
		}
	}
	var ratios, syncs []float64
	var written []int64
	var rates []float64
	for range rounds {
		bare, err := floor.cpu(requests)
		if err != nil {
			return err
		}
		u, took, err := l.perCertificate(ctx, requests)
		if err != nil {
			return err
		}
		ratios = append(ratios, float64(u.cpu)/float64(bare))
		syncs, written = append(syncs, u.syncs), append(written, u.written)
		rates = append(rates, each/took.Seconds())
	}
	how := fmt.Sprintf("%d keep-alive mTLS connections, %d rounds of %d distinct P-256 requests after three to warm up, median", connections, rounds, each)
	b.report.add("issuing: server CPU / bare pipeline's CPU", "at most 2.5", how, "%.2f", median(ratios))
	b.report.add("issuing: fsyncs per certificate", "at most 0.25", how, "%.3f", median(syncs))
	b.report.add("issuing: bytes written per certificate", "at most 20 kB", how, "%.1f kB", float64(median(written))/1000)
	b.report.add("issuing: certificates per second, client on the same machine", "", how, "%.0f", median(rates))
	return nil
}

// issueAlone is one client: what it waits for. Beside each request stands what
// it cannot do without, in this process (the bare pipeline, one sync) and behind
// a server that does only that.
func (b *bench) issueAlone(ctx context.Context) error {
	const n = 400
	d, floor, requests, err := b.startBeside(ctx, "alone", n)
	if err != nil {
		return err
	}
	defer d.stop() // the figures are what counts
	least, err := d.startEmpty(ctx)
	if err != nil {
		return err
	}
	defer least.stop()
	disk, err := newSyncer(b.dir, "alone")
	if err != nil {
		return err
	}
	defer disk.close()
	own, err := d.dial(d.address)
	if err != nil {
		return err
	}
	defer own.conn.Close()
	other, err := d.dial(least.address)
	if err != nil {
		return err
	}
	defer other.conn.Close()
	var waits, bares, syncs, served []time.Duration
	for _, r := range requests {
		body, err := issueBody(r)
		if err != nil {
			return err
		}
		bare, err := timed(func() error { _, err := floor.issue(r); return err })
		if err != nil {
			return err
		}
		sync, err := disk.sync()
		if err != nil {
			return err
		}
		wait, err := timed(func() error { return own.post("/api/certificate", "application/json", body) })
		if err != nil {
			return err
		}
		behind, err := timed(func() error { return other.post("/bare", "application/octet-stream", r) })
		if err != nil {
			return err
		}
		bares, syncs, waits, served = append(bares, bare), append(syncs, sync), append(waits, wait), append(served, behind)
	}
	how := fmt.Sprintf("%d requests one after another, each beside the others", n)
	wait, behind := median(waits), median(served)
	sum := median(bares) + median(syncs)
	b.report.add("one connection: p50 / (one fsync + bare pipeline)", "at most 1.5", how,
		"%.2f (%d us / (%d + %d us))", float64(wait)/float64(sum), wait.Microseconds(), median(syncs).Microseconds(), median(bares).Microseconds())
	b.report.add("one connection: the same pipeline and fsync behind a bare Go handler", "", how,
		"%.2f (%d us); omca is %.2f of that", float64(behind)/float64(sum), behind.Microseconds(), float64(wait)/float64(behind))
	return nil
}

func timed(do func() error) (time.Duration, error) {
	begin := time.Now()
	err := do()
	return time.Since(begin), err
}

// whoami holds the cheapest authenticated request against an empty handler.
func (b *bench) whoami(ctx context.Context) error {
	const rounds, each, clients = 7, 4000, 8
	d, _, err := b.start(ctx, "whoami")
	if err != nil {
		return err
	}
	defer d.stop() // the figures are what counts
	empty, err := d.startEmpty(ctx)
	if err != nil {
		return err
	}
	defer empty.stop()
	if b.profile != "" {
		watched := make(chan error, 1)
		go func() { watched <- d.watch(8, b.profile) }()
		if _, err := d.rate(d.address, "/whoami", clients, 10*each); err != nil {
			return err
		}
		if err := <-watched; err != nil {
			return err
		}
	}
	var ratios []float64
	for range rounds {
		nothing, err := d.rate(empty.address, "/", clients, each)
		if err != nil {
			return err
		}
		whoami, err := d.rate(d.address, "/whoami", clients, each)
		if err != nil {
			return err
		}
		ratios = append(ratios, whoami/nothing)
	}
	b.report.add("whoami: rate / rate of an empty Go handler", "at least 0.7",
		fmt.Sprintf("%d keep-alive mTLS connections, %d rounds of %d requests each in turn, median", clients, rounds, each), "%.2f", median(ratios))
	return nil
}

// rate is how many requests per second a server answers.
func (d *daemon) rate(address, path string, clients, n int) (float64, error) {
	all := make([]*http.Client, clients)
	for i := range all {
		all[i] = d.http()
		defer all[i].CloseIdleConnections()
	}
	return rateOf(all, "https://"+address+path, n)
}

// rateOf is how many requests per second these clients get answered.
func rateOf(all []*http.Client, url string, n int) (float64, error) {
	var wait sync.WaitGroup
	errs := make([]error, len(all))
	for i, c := range all {
		if errs[i] = get(c, url); errs[i] != nil { // the handshake is not counted
			return 0, errs[i]
		}
	}
	begin := time.Now()
	for i, c := range all {
		wait.Go(func() {
			for range n / len(all) {
				if errs[i] = get(c, url); errs[i] != nil {
					return
				}
			}
		})
	}
	wait.Wait()
	return float64(n) / time.Since(begin).Seconds(), errors.Join(errs...)
}

func get(c *http.Client, url string) error {
	r, err := c.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	return nil
}

// starts measures how soon a daemon answers.
func (b *bench) starts(ctx context.Context) error {
	const n = 9
	var first, again []time.Duration
	for i := range n {
		for _, times := range []*[]time.Duration{&first, &again} {
			d, took, err := b.start(ctx, fmt.Sprintf("start%d", i))
			if err != nil {
				return err
			}
			*times = append(*times, took)
			if err := d.stop(); err != nil {
				return err
			}
		}
	}
	b.report.add("start until it answers: existing store", "at most 150 ms", fmt.Sprintf("median of %d, polled every millisecond", n), "%d ms", median(again).Milliseconds())
	b.report.add("start until it answers: first start", "at most 500 ms", fmt.Sprintf("median of %d", n), "%d ms", median(first).Milliseconds())
	return nil
}

// resident is the memory of a daemon that has issued a lot.
func (b *bench) resident(ctx context.Context) error {
	const n, distinct = 20_000, 1000
	d, _, err := b.start(ctx, "resident")
	if err != nil {
		return err
	}
	defer d.stop() // the figures are what counts
	requests, err := makeRequests(distinct)
	if err != nil {
		return err
	}
	l, err := d.newLoad(connections)
	if err != nil {
		return err
	}
	defer l.close()
	for range n / distinct {
		if err := l.issue(ctx, requests); err != nil {
			return err
		}
	}
	busy, err := d.usage()
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // what goes on in the background ends
	u, err := d.usage()
	if err != nil {
		return err
	}
	b.report.add("resident memory after 20,000 certificates", "at most 45 MB", "VmRSS of the daemon that issued them, two seconds later", "%.1f MB, %.1f MB of it pages of files; %.1f MB at the end of the work", float64(u.rss)/1e6, float64(u.file)/1e6, float64(busy.rss)/1e6)
	return nil
}

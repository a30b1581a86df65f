package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	costFew, costMany       = 10, 10000 // objects with certificates
	costManyAtMembers       = 3000      // the same, where three processes share the machine
	costRounds, costEach    = 7, 150    // after one round to warm up
	costConnections         = 8
	costSettles             = 3 * time.Second
	costWanted              = "at most 1.2"
	costNamespace, costUser = "/api/object/path/shop/sec/", "/api/object/path/system/usr/"
)

// A work is something that is done to one object, by its number.
type work struct {
	what  string
	steps func(i int) []step
}

type step struct {
	method, path, media, body string
}

// works are done one after another in each round: what one makes, the next ones change.
func works() []work {
	sec := func(i int) string { return fmt.Sprintf("%snew%d", costNamespace, i) }
	user := func(i int) string { return fmt.Sprintf("%sn%d", costUser, i) }
	one := func(method, path string) []step { return []step{{method, path, "", ""}} }
	return []work{
		{"config update", func(i int) []step {
			return one(http.MethodPatch, fmt.Sprintf("%ss%d/config?set=comment%%3Dc%d", costNamespace, i%costFew, i))
		}},
		{"certificate create", func(i int) []step { return withCertificate(sec(i), i) }},
		{"renew", func(i int) []step { return one(http.MethodPost, sec(i)+"/certificate/renew") }},
		{"revoke", func(i int) []step { return one(http.MethodPost, sec(i)+"/certificate/revoke") }},
		{"delete", func(i int) []step { return one(http.MethodPost, sec(i)+"/action/delete") }},
		{"user create", func(i int) []step { return one(http.MethodPost, user(i)) }},
		{"user delete", func(i int) []step { return one(http.MethodPost, user(i)+"/action/delete") }},
	}
}

// withCertificate are the steps to a sec that holds a certificate.
func withCertificate(path string, i int) []step {
	return []step{
		{http.MethodPost, path + "/config/file", "text/plain", fmt.Sprintf("[DEFAULT]\ncn = s%d.lan\n", i)},
		{http.MethodPost, path + "/certificate", "application/json", "{}"},
	}
}

// do asks the daemon for the steps of one work.
func (d *daemon) do(ctx context.Context, c *http.Client, steps []step) error {
	for _, s := range steps {
		req, err := http.NewRequestWithContext(ctx, s.method, "https://"+d.address+s.path, bytes.NewReader([]byte(s.body)))
		if err != nil {
			return err
		}
		if s.media != "" {
			req.Header.Set("Content-Type", s.media)
		}
		r, err := c.Do(req)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return err
		}
		if r.StatusCode/100 != 2 {
			return fmt.Errorf("%s %s: %s: %s", s.method, s.path, r.Status, answer)
		}
	}
	return nil
}

// A site is one daemon or the members of a cluster, with so many objects.
type site struct {
	nodes []*daemon
	load  *load // on the first
}

func (b *bench) newSite(ctx context.Context, nodes []*daemon, objects int) (*site, error) {
	l, err := nodes[0].newLoad(costConnections)
	if err != nil {
		return nil, err
	}
	s := &site{nodes, l}
	return s, l.each(ctx, objects, func(c *http.Client, i int) error {
		return nodes[0].do(ctx, c, withCertificate(fmt.Sprintf("%ss%d", costNamespace, i), i))
	})
}

func (s *site) stop() {
	s.load.close()
	for _, d := range s.nodes {
		d.stop() // the figures are what counts
	}
}

// clock is the processor time that all nodes have used.
func (s *site) clock() (all time.Duration, err error) {
	for _, d := range s.nodes {
		used, err := processClock(d.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		all += used
	}
	return all, nil
}

// cost does a work to the objects from one number on, and returns the processor time for each.
func (s *site) cost(ctx context.Context, w work, from int) (time.Duration, error) {
	before, err := s.clock()
	if err != nil {
		return 0, err
	}
	if err := s.load.each(ctx, costEach, func(c *http.Client, i int) error { return s.nodes[0].do(ctx, c, w.steps(from+i)) }); err != nil {
		return 0, fmt.Errorf("%s: %w", w.what, err)
	}
	after, err := s.clock()
	return (after - before) / costEach, err
}

// costs are what a change costs beside many objects, against what it costs beside few.
func (b *bench) costs(ctx context.Context) error {
	var sites []*site
	for _, n := range []int{costFew, costMany} {
		d, _, err := b.start(ctx, fmt.Sprintf("costs%d", n))
		if err != nil {
			return err
		}
		s, err := b.newSite(ctx, []*daemon{d}, n)
		if err != nil {
			return errors.Join(err, d.stop())
		}
		defer s.stop()
		sites = append(sites, s)
	}
	return b.compareCosts(ctx, "", costMany, sites[0], sites[1])
}

// memberCosts are the same in a cluster of three nodes, all of whose processor time counts.
func (b *bench) memberCosts(ctx context.Context) error {
	var sites []*site
	for _, n := range []int{costFew, costManyAtMembers} {
		members, err := b.startMembers(ctx, 3, fmt.Sprintf("costs%d-", n))
		if err != nil {
			for _, d := range members {
				err = errors.Join(err, d.stop())
			}
			return err
		}
		s, err := b.newSite(ctx, members, n)
		if err != nil {
			return err
		}
		defer s.stop()
		sites = append(sites, s)
	}
	return b.compareCosts(ctx, "three nodes, ", costManyAtMembers, sites[0], sites[1])
}

func (b *bench) compareCosts(ctx context.Context, where string, objects int, few, many *site) error {
	time.Sleep(costSettles) // the daemon gives memory back, and writes its mark, behind the work that filled it
	all := works()
	ratios := make([][]float64, len(all))
	atFew, atMany := make([][]time.Duration, len(all)), make([][]time.Duration, len(all))
	for round := range costRounds + 1 {
		for k, w := range all {
			less, err := few.cost(ctx, w, round*costEach)
			if err != nil {
				return err
			}
			more, err := many.cost(ctx, w, round*costEach)
			if err != nil {
				return err
			}
			if round > 0 {
				ratios[k], atFew[k], atMany[k] = append(ratios[k], float64(more)/float64(less)), append(atFew[k], less), append(atMany[k], more)
			}
		}
	}
	how := fmt.Sprintf("%d rounds, the two in turn, of %d changes over %d connections after one to warm up; each object holds a certificate; median", costRounds, costEach, costConnections)
	for k, w := range all {
		b.report.add(fmt.Sprintf("%s%s: server CPU beside %d objects / beside %d", where, w.what, objects, costFew), costWanted, how,
			"%.2f (%.2f / %.2f ms)", median(ratios[k]), median(atMany[k]).Seconds()*1000, median(atFew[k]).Seconds()*1000)
	}
	return nil
}

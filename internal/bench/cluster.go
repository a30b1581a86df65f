package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// cluster compares three nodes with a node on its own store: as many
// certificates, from as many connections, in turn. All are on this machine, so
// that three processes share the processors that one has to itself.
func (b *bench) cluster(ctx context.Context) error {
	const rounds, each = 5, 600
	requests, err := makeRequests(each)
	if err != nil {
		return err
	}
	alone, _, err := b.start(ctx, "node")
	if err != nil {
		return err
	}
	defer alone.stop() // the figures are what counts
	members, err := b.startMembers(ctx, 3, "member")
	defer func() {
		for _, d := range members {
			d.stop()
		}
	}()
	if err != nil {
		return err
	}
	one, err := alone.newLoad(connections)
	if err != nil {
		return err
	}
	defer one.close()
	var spread []*load
	for _, d := range members {
		l, err := d.newLoad(connections / len(members))
		if err != nil {
			return err
		}
		defer l.close()
		spread = append(spread, l)
	}
	var ratios, rates []float64
	for range rounds {
		before, err := timed(func() error { return one.issue(ctx, requests) })
		if err != nil {
			return err
		}
		took, err := timed(func() error { return issueAt(ctx, spread, requests) })
		if err != nil {
			return err
		}
		ratios, rates = append(ratios, float64(took)/float64(before)), append(rates, each/took.Seconds())
	}
	how := fmt.Sprintf("%d connections, %d rounds of %d requests, the two in turn, median; all nodes on this machine and disk", connections, rounds, each)
	b.report.add("through three nodes / one node on its own store: time for as many certificates", "", how, "%.2f (%.0f certificates a second)", median(ratios), median(rates))
	return nil
}

// issueAt has each load do its share of the requests, at once.
func issueAt(ctx context.Context, loads []*load, requests [][]byte) error {
	var wait sync.WaitGroup
	errs := make([]error, len(loads))
	share := len(requests) / len(loads)
	for i, l := range loads {
		wait.Go(func() { errs[i] = l.issue(ctx, requests[i*share:(i+1)*share]) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// startMembers makes a cluster of so many nodes, whose names begin with prefix.
func (b *bench) startMembers(ctx context.Context, count int, prefix string) ([]*daemon, error) {
	var members []*daemon
	for i := range count {
		peer, err := freeAddress()
		if err != nil {
			return members, err
		}
		args := []string{"--peer", peer, "--cluster"}
		if i > 0 {
			token, err := members[0].omca(ctx, "cluster", "token")
			if err != nil {
				return members, err
			}
			file := filepath.Join(b.dir, fmt.Sprintf("%stoken%d", prefix, i))
			if err := os.WriteFile(file, token, 0o600); err != nil {
				return members, err
			}
			args = []string{"--peer", peer, "--join", "https://" + members[0].address, "--token-file", file}
		}
		name := fmt.Sprintf("%s%d", prefix, i)
		d, _, err := b.start(ctx, name, append(args, "--node-name", name)...)
		if err != nil {
			return members, err
		}
		members = append(members, d)
	}
	return members, members[0].allVote(ctx)
}

// allVote waits until every member has caught up and has a vote.
func (d *daemon) allVote(ctx context.Context) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		list, err := d.omca(ctx, "cluster", "members", "-o", "json")
		if err != nil {
			return err
		}
		if !bytes.Contains(list, []byte(`"learning"`)) && !bytes.Contains(list, []byte(`"awaited"`)) {
			return nil
		}
	}
	return errors.New("not every member has a vote within 30 seconds")
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

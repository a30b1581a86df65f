package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// shared compares a node on an etcd of one member with a node on its own store,
// on the same disk and asked in turn.
func (b *bench) shared(ctx context.Context) error {
	const rounds, each, alone = 5, 500, 200
	store, stop, err := b.startEtcd(ctx)
	if err != nil {
		return err
	}
	defer stop()
	requests, err := makeRequests(each)
	if err != nil {
		return err
	}
	var nodes [2]*daemon
	var loads [2]*load
	for i, args := range [][]string{nil, {"--store", "etcd://" + store + "/omca", "--cluster-name", "bench"}} {
		if nodes[i], _, err = b.start(ctx, fmt.Sprintf("shared%d", i), args...); err != nil {
			return err
		}
		defer nodes[i].stop() // the figures are what counts
		if loads[i], err = nodes[i].newLoad(connections); err != nil {
			return err
		}
		defer loads[i].close()
		if err := loads[i].issue(ctx, requests[:100]); err != nil { // warm
			return err
		}
	}
	var many, one, cpu []float64
	for range rounds {
		var took [2]time.Duration
		var used [2]time.Duration
		for i, l := range loads {
			u, t, err := l.perCertificate(ctx, requests)
			if err != nil {
				return err
			}
			took[i], used[i] = t, u.cpu
		}
		many, cpu = append(many, float64(took[1])/float64(took[0])), append(cpu, float64(used[1])/float64(used[0]))
	}
	var waits [2][]time.Duration
	for i, n := range nodes {
		c := n.http()
		defer c.CloseIdleConnections()
		for _, r := range requests[:alone] {
			t, err := timed(func() error { _, err := n.issue(c, r); return err })
			if err != nil {
				return err
			}
			waits[i] = append(waits[i], t)
		}
	}
	one = append(one, float64(median(waits[1]))/float64(median(waits[0])))
	how := fmt.Sprintf("%d connections, %d rounds of %d requests, the two in turn, median", connections, rounds, each)
	b.report.add("through etcd (one member, same disk) / a store of its own: time for as many certificates", "", how, "%.2f", median(many))
	b.report.add("through etcd / a store of its own: the node's CPU per certificate", "", how, "%.2f", median(cpu))
	b.report.add("through etcd / a store of its own: one connection, p50", "", fmt.Sprintf("%d requests each, one after another", alone),
		"%.2f (%d us / %d us)", median(one), median(waits[1]).Microseconds(), median(waits[0]).Microseconds())
	return b.sharedMemory(ctx, nodes[1], loads[1], requests, 20_000-rounds*each-alone-100)
}

// sharedMemory is the memory of a node that has issued a lot through etcd.
func (b *bench) sharedMemory(ctx context.Context, d *daemon, l *load, requests [][]byte, rest int) error {
	for ; rest > 0; rest -= len(requests) {
		if err := l.issue(ctx, requests[:min(rest, len(requests))]); err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second) // what goes on in the background ends
	u, err := d.usage()
	if err != nil {
		return err
	}
	b.report.add("resident memory after 20,000 certificates through etcd", "", "VmRSS of the node that issued them, two seconds later", "%.1f MB, %.1f MB of it pages of files", float64(u.rss)/1e6, float64(u.file)/1e6)
	return nil
}

// startEtcd runs an etcd in a process of its own, with its data beside the homes,
// and returns its address.
func (b *bench) startEtcd(ctx context.Context) (address string, stop func(), err error) {
	var free [2]string
	for i := range free {
		probe, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		free[i] = probe.Addr().String()
		if err := probe.Close(); err != nil {
			return "", nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, "etcd-server", filepath.Join(b.dir, "etcd"), free[0], free[1])
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = input.Close() // it ends then
		_ = cmd.Wait()    // the figures are what counts
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{free[0]}, Logger: zap.NewNop()})
	if err != nil {
		stop()
		return "", nil, err
	}
	defer client.Close()
	bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := client.Get(bounded, "k"); err != nil {
		stop()
		return "", nil, fmt.Errorf("etcd does not answer: %w", err)
	}
	return free[0], stop, nil
}

// serveEtcd is an etcd until the standard input ends.
func serveEtcd(dir, client, peer string) error {
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.ZapLoggerBuilder = dir, "error", embed.NewZapLoggerBuilder(zap.NewNop())
	clientURL, peerURL := url.URL{Scheme: "http", Host: client}, url.URL{Scheme: "http", Host: peer}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{clientURL}, []url.URL{clientURL}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peerURL}, []url.URL{peerURL}
	c.InitialCluster = c.Name + "=" + peerURL.String()
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		return errors.New("etcd is not ready")
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

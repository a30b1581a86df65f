package etcdtest

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// startTime is how long servers may take to be ready on a busy machine.
const startTime = 60 * time.Second

// A Cluster is a number of servers that know each other.
type Cluster struct {
	t       testing.TB
	dir     string
	change  func(*embed.Config)
	servers []*server
}

type server struct {
	name         string
	client, peer url.URL
	running      *embed.Etcd // nil when it is stopped
}

// Start starts n servers on loopback, and stops them when the test ends. change
// has the last word about how each is configured; nil changes nothing.
func Start(t testing.TB, n int, change func(*embed.Config)) *Cluster {
	t.Helper()
	c := &Cluster{t: t, dir: t.TempDir(), change: change}
	for i := range n {
		c.servers = append(c.servers, &server{name: fmt.Sprintf("s%d", i), client: address(t), peer: address(t)})
	}
	t.Cleanup(func() {
		for i := range n {
			c.Stop(i)
		}
	})
	all := make([]int, n)
	for i := range n {
		all[i] = i
	}
	c.Run(all...)
	return c
}

// address returns a free address: the members of a cluster know those of each
// other before they listen.
func address(t testing.TB) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

// Run starts servers that are stopped, and waits until they are ready.
func (c *Cluster) Run(which ...int) {
	c.t.Helper()
	var peers []string
	for _, s := range c.servers {
		peers = append(peers, s.name+"="+s.peer.String())
	}
	for _, i := range which {
		s := c.servers[i]
		config := configure(s.name, filepath.Join(c.dir, s.name), s.client, s.peer, strings.Join(peers, ","))
		if c.change != nil {
			c.change(config)
		}
		e, err := embed.StartEtcd(config)
		if err != nil {
			c.t.Fatal(err)
		}
		s.running = e
	}
	for _, i := range which {
		select {
		case <-c.servers[i].running.Server.ReadyNotify():
		case <-time.After(startTime):
			c.t.Fatalf("etcd is not ready within %s", startTime)
		}
	}
}

func configure(name, dir string, client, peer url.URL, all string) *embed.Config {
	c := embed.NewConfig()
	c.Name, c.Dir = name, dir
	c.Logger, c.LogLevel, c.ZapLoggerBuilder = "zap", "error", embed.NewZapLoggerBuilder(zap.NewNop())
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = all
	return c
}

// Stop stops a server, if it runs.
func (c *Cluster) Stop(which int) {
	if s := c.servers[which]; s.running != nil {
		s.running.Close()
		s.running = nil
	}
}

// Addresses are those of the servers for clients, host:port.
func (c *Cluster) Addresses() []string {
	var all []string
	for _, s := range c.servers {
		all = append(all, s.client.Host)
	}
	return all
}

// Client returns a client of some servers, of all unless any is named.
func (c *Cluster) Client(which ...int) *clientv3.Client {
	c.t.Helper()
	addresses := c.Addresses()
	if len(which) > 0 {
		addresses = nil
		for _, i := range which {
			addresses = append(addresses, c.servers[i].client.Host)
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: addresses, Logger: zap.NewNop(), BackoffWaitBetween: 10 * time.Millisecond})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

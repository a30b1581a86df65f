package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"omca/internal/store"
	"omca/internal/store/etcd"
	"omca/internal/store/storetest"
)

// server is one etcd in this process. It keeps its addresses when it is started again.
type server struct {
	dir          string
	client, peer url.URL
	quota        int64 // 0 is etcd's own

	*embed.Etcd // nil when it does not run
}

func start(t *testing.T, quota int64) *server {
	t.Helper()
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	s := &server{dir: t.TempDir(), client: nowhere, peer: nowhere, quota: quota}
	s.run(t)
	s.client.Host, s.peer.Host = s.Clients[0].Addr().String(), s.Peers[0].Addr().String()
	t.Cleanup(s.stop)
	return s
}

// stop stops the server, if it runs.
func (s *server) stop() {
	if s.Etcd != nil {
		s.Close()
		s.Etcd = nil
	}
}

func (s *server) run(t *testing.T) {
	t.Helper()
	c := embed.NewConfig()
	c.Dir, c.Logger, c.LogLevel, c.ZapLoggerBuilder = s.dir, "zap", "error", embed.NewZapLoggerBuilder(zap.NewNop())
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{s.client}, []url.URL{s.client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{s.peer}, []url.URL{s.peer}
	c.InitialCluster = c.Name + "=" + s.peer.String()
	c.QuotaBackendBytes = s.quota
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(20 * time.Second):
		e.Close()
		t.Fatal("etcd is not ready within 20 s")
	}
	s.Etcd = e
}

func dial(t *testing.T, s *server) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.client.Host}, Logger: zap.NewNop(), BackoffWaitBetween: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func open(t *testing.T, c *clientv3.Client, prefix string) *etcd.Store {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Config{Client: c, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s store.Store, key, value string) int64 {
	t.Helper()
	rev, err := s.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: key, Value: []byte(value)}}})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// next returns the next change that a watch yields.
func next(t *testing.T, s store.Store, after int64) (store.Change, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for c, err := range s.Watch(ctx, "", after) {
		return c, err
	}
	return store.Change{}, errors.New("the watch ended without a word")
}

func TestStore(t *testing.T) {
	client := dial(t, start(t, 0))
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, client, fmt.Sprintf("run%d/", n.Add(1)))
	})
	storetest.Durable(t, func(t *testing.T, dir string) store.Store { return open(t, client, dir+"/") })
}

func TestPrefixesAreApart(t *testing.T) {
	client := dial(t, start(t, 0))
	one, two := open(t, client, "one/"), open(t, client, "two/")
	put(t, two, "k", "2")
	after, err := one.Rev(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Get(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a key of another prefix: %v", err)
	}
	put(t, two, "k", "22")
	rev := put(t, one, "k", "1")
	if c, err := next(t, one, after); err != nil || c.Rev != rev || string(c.Events[0].Value) != "1" {
		t.Errorf("the watch gives %+v, %v, expected revision %d", c, err, rev)
	}
	if _, err := one.Commit(t.Context(), store.Tx{DeletePrefixes: []string{"k"}}); err != nil {
		t.Fatal(err)
	}
	if e, err := two.Get(t.Context(), "k"); err != nil || string(e.Value) != "22" {
		t.Errorf("a prefix deleted what is under another: %+v, %v", e, err)
	}
}

// The server goes away and comes back: a watch misses nothing, and a call that
// could not be made says so within its time.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	server := start(t, 0)
	s := open(t, dial(t, server), "p/")
	before := put(t, s, "k", "before")
	server.stop()

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Commit(ctx, store.Tx{Puts: []store.Put{{Key: "k", Value: []byte("lost")}}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a commit without a server: %v, expected the deadline", err)
	}
	server.run(t)
	other := open(t, dial(t, server), "p/") // writes before the watch may be back
	rev := put(t, other, "k", "after")
	if c, err := next(t, s, before); err != nil || c.Rev != rev {
		t.Errorf("after the restart the watch gives %+v, %v, expected revision %d", c, err, rev)
	}
	if e, err := s.Get(t.Context(), "k"); err != nil || string(e.Value) != "after" {
		t.Errorf("get after the restart: %+v, %v", e, err)
	}
}

// What happened and was compacted while the watch was cut off is gone: whoever
// waits for it is told, and what comes next is seen.
func TestCompactedWhileAway(t *testing.T) {
	t.Parallel()
	server := start(t, 0)
	s := open(t, dial(t, server), "p/")
	before := put(t, s, "k", "before")
	if _, err := next(t, s, before-1); err != nil {
		t.Fatal(err)
	}
	server.stop()

	home := server.client
	server.client.Host = "127.0.0.1:0" // where the store does not look
	server.run(t)
	server.client.Host = server.Clients[0].Addr().String()
	other := dial(t, server)
	var last int64
	for range 5 {
		r, err := other.Put(t.Context(), "p/k", "unseen")
		if err != nil {
			t.Fatal(err)
		}
		last = r.Header.Revision
	}
	if _, err := other.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	server.stop()
	server.client = home
	server.run(t)

	if c, err := next(t, s, before); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("after a compaction the watch gives %+v, %v, expected ErrCompacted", c, err)
	}
	rev := put(t, s, "k", "seen")
	if c, err := next(t, s, rev-1); err != nil || c.Rev != rev {
		t.Errorf("after that the watch gives %+v, %v, expected revision %d", c, err, rev)
	}
}

// A full etcd says ErrFull, and takes commits again when there is room.
func TestFull(t *testing.T) {
	t.Parallel()
	server := start(t, 4<<20)
	client := dial(t, server)
	s := open(t, client, "p/")
	var err error
	for i := range 30 {
		if _, err = s.Commit(t.Context(), store.Tx{Puts: []store.Put{{Key: fmt.Sprintf("v/%d", i), Value: make([]byte, 1_000_000)}}}); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("a full store: %v, expected ErrFull", err)
	}
	if _, err := s.Get(t.Context(), "v/0"); err != nil {
		t.Errorf("reading a full store: %v", err)
	}
	if _, err := s.Commit(t.Context(), store.Tx{DeletePrefixes: []string{"v/"}}); err != nil {
		t.Fatalf("making room: %v", err)
	}
	rev, err := s.Rev(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), rev, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Defragment(t.Context(), server.client.Host); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", "room again")
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	server := start(t, 0)
	client := dial(t, server)
	server.stop()
	_, err := etcd.Open(t.Context(), etcd.Config{Client: client, Prefix: "p/", Wait: 200 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("opening without a server: %v, expected the deadline", err)
	}
}

// TestRelease: a session gives back what it claimed, and nothing of another's.
func TestRelease(t *testing.T) {
	s := open(t, dial(t, start(t, 0)), "p/")
	session := func() *etcd.Session {
		x, err := s.Session(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := x.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		return x
	}
	claim := func(x *etcd.Session, want bool) {
		t.Helper()
		if got, err := x.Claim(t.Context(), "elected", []byte("me")); err != nil || got != want {
			t.Errorf("claimed %v, %v, want %v", got, err, want)
		}
	}
	one, two := session(), session()
	claim(one, true)
	if err := two.Release(t.Context(), "elected"); err != nil {
		t.Error(err)
	}
	claim(two, false)
	for range 2 { // the second time it is not there
		if err := one.Release(t.Context(), "elected"); err != nil {
			t.Error(err)
		}
	}
	claim(two, true)
}

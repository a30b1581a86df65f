package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/tlsutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"

	"omca/internal/background"
	"omca/internal/hint"
)

// ErrInvalid is a Config, a name or a URL that can never be right.
var ErrInvalid = errors.New("invalid")

// ErrNotFound is a name that is no member's.
var ErrNotFound = errors.New("no such member")

// ErrSetBack is a member whose home was put back from a copy: what it acknowledged to the
// others is not there any more.
var ErrSetBack = errors.New("the home was put back from an earlier copy, or its disk has lost what it wrote")

// ErrOthersSetBack is a member whose leader does not have what was committed before it led: it
// and most of the others go on from an earlier state, and this member cannot follow them.
var ErrOthersSetBack = errors.New("the homes of most other members were put back from earlier copies, or their disks have lost what they wrote")

// ErrUnwell is a change of the membership that is refused while members are not in
// touch or one catches up: it can be made later.
var ErrUnwell = errors.New("not all members are well")

// A Peer is a member as the others reach it.
type Peer struct {
	Name string // of the node, as in its SPIFFE ID
	URL  string // https://HOST:PORT
}

// Files are what etcd shows and trusts when it connects to another member, PEM.
// Certificate and Key are read for each handshake and may be replaced, by a
// rename, at any time; CA is read when the member starts and must have signed
// nothing but certificates of members.
type Files struct{ Certificate, Key, CA string }

// Config says which member this is. Only the pointers and functions may be
// used by others at the same time.
type Config struct {
	Dir     string // of etcd's files, made with mode 0700
	Name    string // of this node
	Cluster string // trust domain of the SPIFFE IDs: the name of the cluster
	Token   string // id of the cluster: keeps two clusters apart that know each other's addresses
	URL     string // https://HOST:PORT, as the other members reach this one
	// Listener takes the other members' connections; Start owns it, closes it
	// with the member and whenever it fails. Plain TCP: TLS is done here.
	Listener net.Listener

	// Peers are all members that the cluster begins with, this one included, or,
	// with Join, all that it has. Read until etcd knows its members by itself.
	Peers []Peer
	Join  bool // the cluster exists and has had this member added

	Identity func() (Identity, error) // what to show and whom to trust who connects, now; called for each handshake
	Files    Files                    // the same for the connections that etcd makes
	Refused  func(Chain) error        // nil: nothing is; an error refuses a verified chain (revoked)
	Log      *slog.Logger             // nil discards
	Now      func() time.Time         // required
	Panics   *background.Panics       // of the work beside etcd; nil: they end the process

	// Proxy is what etcd asks for a way to the other members; nil is
	// http.ProxyFromEnvironment, which it does ask. A member that would be reached
	// through a proxy is refused.
	Proxy func(*http.Request) (*url.URL, error)

	Tick  time.Duration // between two heartbeats of the leader; 100 ms unless given, an election takes ten
	Quota int64         // bytes that etcd may fill; 2 GB unless given
	Keep  time.Duration // of history; 30 minutes unless given
	Watch time.Duration // between two rounds of housekeeping; 30 s unless given
}

// check fills in what was left out.
func (c *Config) check() error {
	if c.Dir == "" || c.Cluster == "" || c.Token == "" || c.Listener == nil || c.Identity == nil || c.Now == nil {
		return fmt.Errorf("%w: a member needs Dir, Cluster, Token, Listener, Identity and Now", ErrInvalid)
	}
	if c.Files.Certificate == "" || c.Files.Key == "" || c.Files.CA == "" {
		return fmt.Errorf("%w: a member needs the files of its certificate, its key and the CA", ErrInvalid) // etcd would trust the roots of the system
	}
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	for _, p := range append([]Peer{{Name: c.Name, URL: c.URL}}, c.Peers...) {
		if err := errors.Join(p.check(), c.direct(p)); err != nil {
			return err
		}
	}
	if !slices.Contains(c.Peers, Peer{Name: c.Name, URL: c.URL}) {
		return fmt.Errorf("%w: %q at %s is not among the members that the cluster has", ErrInvalid, c.Name, c.URL)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Refused == nil {
		c.Refused = func(Chain) error { return nil }
	}
	for _, d := range []struct {
		value   *time.Duration
		instead time.Duration
	}{{&c.Tick, 100 * time.Millisecond}, {&c.Keep, 30 * time.Minute}, {&c.Watch, 30 * time.Second}} {
		if *d.value <= 0 {
			*d.value = d.instead
		}
	}
	if c.Quota <= 0 {
		c.Quota = 2 << 30
	}
	return nil
}

// check holds a name against what a SPIFFE ID and a key can carry, and a URL
// against what etcd takes.
func (p Peer) check() error {
	if p.Name == "" || len(p.Name) > 253 || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "" {
		return fmt.Errorf("%w: name of a node %q: expected a-z, 0-9, \".\", \"-\" and \"_\"", ErrInvalid, p.Name)
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || p.URL != "https://"+u.Host {
		return fmt.Errorf("%w: URL %q of node %q: expected https://HOST:PORT", ErrInvalid, p.URL, p.Name)
	}
	return nil
}

// direct refuses a member that etcd would reach through a proxy of the
// environment: raft does not live with what such a thing does to its connections.
func (c *Config) direct(p Peer) error {
	if p.Name == c.Name {
		return nil
	}
	r, err := http.NewRequest(http.MethodGet, p.URL, nil)
	if err != nil {
		return fmt.Errorf("%w: URL %q of node %q: %w", ErrInvalid, p.URL, p.Name, err)
	}
	through, err := c.Proxy(r)
	if err != nil {
		return fmt.Errorf("%w: proxies of the environment: %w", ErrInvalid, err)
	}
	if through != nil {
		return hint.With(fmt.Errorf("%w: the environment has a proxy, %s, between this node and node %q at %s", ErrInvalid, through.Host, p.Name, p.URL),
			"name the hosts of all nodes in NO_PROXY, and start again")
	}
	return nil
}

// A Member is a running member. Use Start.
type Member struct {
	config Config
	etcd   *embed.Etcd
	client *clientv3.Client
	peers  *peers
	server *http.Server

	ready   chan struct{} // closed once, by found
	found   sync.Once
	ended   context.Context // done when the member stops
	end     context.CancelFunc
	work    sync.WaitGroup
	stop    sync.Once
	atWork  sync.Mutex // one change of the membership at a time, from here
	loading sync.Mutex
	space   atomic.Bool
	why     atomic.Pointer[error] // etcd has ended
	broken  atomic.Bool           // etcd cannot stop any more: one of its goroutines has ended
	halted  chan struct{}         // closed by halting when etcd cannot go on: why says more
	halting func()
	done    chan struct{} // closed when etcd has ended, or cannot go on
}

// Start starts the member and returns before it has found the others: wait for
// Ready. With Join it asks the other members about the cluster first, which
// fails when none answers. Errors: ErrInvalid.
func Start(c Config) (*Member, error) {
	m, err := start(c)
	if err != nil && c.Listener != nil {
		err = errors.Join(err, c.Listener.Close())
	}
	return m, err
}

func start(c Config) (*Member, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	m := &Member{config: c, ready: make(chan struct{}), halted: make(chan struct{}), done: make(chan struct{}), peers: newPeers(c)}
	m.halting = sync.OnceFunc(func() { close(m.halted) })
	if _, _, err := m.peers.own(); err != nil {
		return nil, err
	}
	if err := m.ahead(); err != nil {
		return nil, err
	}
	started, err := m.startEtcd()
	if err != nil {
		err = fmt.Errorf("etcd in %s: %w", c.Dir, err)
		if known := others(c); hint.Of(err) == "" && len(known) > 0 {
			err = hint.With(err, "it joins when one of %s answers and knows this node", strings.Join(known, ", "))
		}
		return nil, err
	}
	m.etcd = started
	m.client = newClient(started.Server)
	m.ended, m.end = context.WithCancel(context.Background())
	m.keep("etcd", func() {
		defer close(m.done)
		select {
		case <-started.Server.StopNotify():
		case <-m.halted:
		}
	})
	m.load() // what was known when it stopped: those members may connect
	m.server = m.peers.server(m.peers.onlyMembers(m.withRevision(etcdhttp.NewPeerHandler(started.GetLogger(), started.Server)), started.Server.IsIDRemoved))
	m.keep("peers", func() {
		if err := m.server.Serve(m.peers.listen(c.Listener)); !errors.Is(err, http.ErrServerClosed) {
			c.Log.Error("peers cannot connect any more", "error", err)
		}
	})
	m.keep("members", m.follow)
	m.keep("comparison with the leader", m.agree)
	m.keep("housekeeping", m.keepHouse)
	return m, nil
}

// startEtcd starts etcd in a goroutine of its own, which ends where etcd would panic.
func (m *Member) startEtcd() (*embed.Etcd, error) {
	type outcome struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan outcome, 1)
	m.work.Go(func() {
		var o outcome
		err := m.config.Panics.Guard("the start of etcd", func() (err error) {
			o.etcd, err = embed.StartEtcd(m.etcdConfig())
			return err
		})
		started <- outcome{o.etcd, err}
	})
	select {
	case o := <-started:
		return o.etcd, o.err
	case <-m.halted:
	}
	err := *m.why.Load()
	if hint.Of(err) == "" {
		err = hint.With(err, "the home is damaged: on another member omca cluster remove %s, then remove this home, and join anew; alone, restore the last backup", m.config.Name)
	}
	return nil, err
}

// halt notes why etcd cannot go on. Only the first reason counts.
func (m *Member) halt(why error) {
	m.why.CompareAndSwap(nil, &why)
	m.halting()
}

// setBack is what etcd says of a log that ends before what its member acknowledged.
const setBack = "Was the raft log corrupted, truncated, or lost?"

// breaks notes that a goroutine of etcd has ended where etcd would have panicked.
func (m *Member) breaks(why error) {
	m.broken.Store(true)
	if strings.Contains(why.Error(), setBack) {
		why = hint.With(fmt.Errorf("%w: it acknowledged to the other members what it does not have any more", ErrSetBack),
			"on another member: omca cluster remove %s; then remove the home of this one, and join anew", m.config.Name)
	}
	m.halt(why)
}

// keep keeps work going beside etcd until the member stops, or it ends by itself.
func (m *Member) keep(task string, work func()) {
	m.work.Go(func() {
		err := m.config.Panics.Keep(m.ended, task, func(context.Context) error {
			work()
			return nil
		})
		if err != nil && m.ended.Err() == nil { // work itself has no error
			m.config.Log.Error("background work ended", "task", task, "error", err)
		}
	})
}

// others are the URLs of the other members that c knows.
func others(c Config) []string {
	var list []string
	for _, p := range c.Peers {
		if p.Name != c.Name {
			list = append(list, p.URL)
		}
	}
	return list
}

func (m *Member) etcdConfig() *embed.Config {
	c, e := m.config, embed.NewConfig()
	own, _ := url.Parse(c.URL) // checked
	e.Dir, e.Name, e.InitialClusterToken = c.Dir, c.Name, c.Token
	e.ListenPeerUrls, e.AdvertisePeerUrls = nil, []url.URL{*own}
	e.ListenClientUrls, e.ListenClientHttpUrls, e.AdvertiseClientUrls = nil, nil, nil
	e.PeerTLSInfo = transport.TLSInfo{CertFile: c.Files.Certificate, KeyFile: c.Files.Key, TrustedCAFile: c.Files.CA}
	e.TlsMinVersion = string(tlsutil.TLSVersion13)
	var all []string
	for _, p := range c.Peers {
		all = append(all, p.Name+"="+p.URL)
	}
	e.InitialCluster, e.ClusterState = strings.Join(all, ","), embed.ClusterStateFlagNew
	if c.Join {
		e.ClusterState = embed.ClusterStateFlagExisting
	}
	e.TickMs, e.ElectionMs = uint(c.Tick.Milliseconds()), uint(10*c.Tick.Milliseconds())
	e.QuotaBackendBytes = c.Quota
	e.AutoCompactionMode, e.AutoCompactionRetention = embed.CompactorModePeriodic, c.Keep.String()
	e.StrictReconfigCheck, e.PreVote = true, true
	e.WatchProgressNotifyInterval = time.Minute
	e.LogLevel, e.ZapLoggerBuilder = "warn", embed.NewZapLoggerBuilder(zapTo(c.Log, func(err error) { m.why.CompareAndSwap(nil, &err) }, m.breaks))
	return e
}

// Ready is closed once the cluster has a leader, this member knows it and has
// published its name: reads and writes can begin.
func (m *Member) Ready() <-chan struct{} { return m.ready }

// Done is closed when etcd has stopped: after Stop, or because this member was
// removed from the cluster, its disk failed, or its home was put back from a copy.
func (m *Member) Done() <-chan struct{} { return m.done }

// Err says why etcd has stopped by itself; nil when it has not, or did not say.
func (m *Member) Err() error {
	if m.Removed() {
		return fmt.Errorf("node %q: %w: it was removed", m.config.Name, ErrNotFound)
	}
	if err := m.why.Load(); err != nil {
		if errors.Is(*err, ErrSetBack) || errors.Is(*err, ErrOthersSetBack) {
			return *err
		}
		return fmt.Errorf("etcd has stopped: %w", *err)
	}
	return nil
}

// Removed reports whether etcd has stopped because this is no member any more.
func (m *Member) Removed() bool {
	select {
	case <-m.Done():
	default:
		return false
	}
	err := m.why.Load()
	return m.etcd.Server.IsIDRemoved(uint64(m.etcd.Server.MemberID())) || err != nil && strings.Contains((*err).Error(), "permanently removed")
}

// Client returns a client of this very member. It needs no network and lives as
// long as the member. Do not close it.
func (m *Member) Client() *clientv3.Client { return m.client }

// Check holds every open connection against the rules anew and closes those
// that do not pass. Call it when certificates were revoked or trust has changed.
func (m *Member) Check() { m.peers.check() }

// Stop hands leadership over, if it is here and somebody can take it, and stops.
// It takes at most some seconds. Stopping again does nothing.
func (m *Member) Stop() {
	m.stop.Do(func() {
		m.end()
		if !m.broken.Load() { // it would wait for its goroutine that has ended
			m.etcd.Close() // it hands leadership over first: the peers are still listened to
		}
		m.closePeers()
		m.work.Wait()
	})
}

// closePeers ends all connections with others. The listener's error is that it
// was closed before, which is what is wanted.
func (m *Member) closePeers() {
	if err := m.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		m.config.Log.Warn("closing the listener of the peers", "error", err)
	}
	m.peers.close()
}

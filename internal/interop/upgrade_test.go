package interop_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"omca/internal/client"
	"omca/internal/interop/lab"
	"omca/internal/wire"
)

// elsewhere is how long another node than the one that acknowledged a revocation may let the
// revoked in; starved is the same for one user in twenty, when the machine has other work.
const elsewhere, starved = time.Second, 5 * time.Second

// TestRollingUpgrade replaces the program of three nodes, one after another and under load, and
// goes back once. What was acknowledged holds at every moment, on every node.
func TestRollingUpgrade(t *testing.T) {
	u := newUpgrade(t)
	u.load(t)
	u.works(t, "three nodes of the earlier build")
	u.replace(t, 0, "")
	u.works(t, "one of three is new")
	u.replace(t, 1, "")
	u.works(t, "two of three are new")
	u.fells(t, 0) // a new node
	u.fells(t, 2) // an old one
	u.works(t, "two CAs are revoked")
	u.readsEarlier(t, true, "two of three are new")

	// A member that is away has not said what it runs, however long it is away.
	u.stop(t, 2)
	lab.Until(t, "n3 is not there any more", func() bool {
		nodes, err := u.api[0].Nodes(t.Context(), "")
		return err == nil && slices.ContainsFunc(nodes, func(n client.Node) bool { return n.Node == "n3" && n.StartedAt.IsZero() })
	})
	u.works(t, "the third is away")
	u.readsEarlier(t, true, "the third is away")
	u.start(t, 2, u.earlier)
	u.works(t, "the third came back with the earlier build")
	u.readsEarlier(t, true, "the third came back with the earlier build")

	u.replace(t, 2, "")
	u.works(t, "all are new")
	lab.Until(t, "the store is brought over", func() bool { return !u.backupOpens(t) })
	u.works(t, "the store is brought over")
	u.stop(t, 0)
	t.Run("an earlier build is no member", u.refusesMember)
	u.start(t, 0, "") // of the whole test: a subtest ends the daemons that it started
	t.Run("an earlier build does not join", u.refusesJoin)
	u.works(t, "after the earlier build was refused")
	u.end()
	t.Run("agreement", u.agree)
	if u.let.Load() < 100 || u.refused.Load() < 100 {
		t.Errorf("%d answers to users that live, and %d to revoked ones", u.let.Load(), u.refused.Load())
	}
	revoked, late := 0, 0
	for _, p := range u.all() {
		if p.revoked.Load() != 0 {
			revoked++
		}
		if p.late.Load() {
			late++
		}
	}
	if late > revoked/20 {
		t.Errorf("%d of %d revoked users were let in elsewhere more than %v after the acknowledgement", late, revoked, elsewhere)
	}
	t.Logf("%d certificates signed, %d users; %d times one that lives was let in, %d times a revoked one was refused; the last time that a revoked one got in elsewhere: %v after the acknowledgement",
		len(u.signed), len(u.all()), u.let.Load(), u.refused.Load(), time.Duration(u.lag.Load()).Round(time.Millisecond))
}

// upgrade is a cluster of three nodes under load, and what its clients were told.
type upgrade struct {
	earlier string // the program before
	homes   []lab.Home
	hosts   []string
	api     []*client.Client // of each node, as root
	nodes   [3]atomic.Pointer[lab.Daemon]
	moving  [3]atomic.Bool // the node is being stopped or started
	began   [3]atomic.Int64
	roots   *x509.CertPool
	request string
	end     func() // ends the load

	signedBy, revokedBy [3]atomic.Int64
	let, refused        atomic.Int64 // answers about users that live, and about revoked ones
	lag                 atomic.Int64 // longest that a revoked certificate got in after the acknowledgement

	mu      sync.Mutex
	people  []*person
	signed  map[string]bool
	content map[string]string // of each list, by issuer and number
	told    int               // errors that were reported
}

// person is a user with a certificate.
type person struct {
	name    string
	holder  string // path of the object whose certificate is revoked: the user, or the CA above
	pair    *tls.Certificate
	made    time.Time
	asked   atomic.Bool  // a node was asked for the revocation
	revoked atomic.Int64 // when that was acknowledged; 0: it was not
	on      atomic.Int64 // the node that did
	late    atomic.Bool  // another node let the user in for longer than elsewhere
}

// newUpgrade starts three nodes of the earlier build, and puts something in.
func newUpgrade(t *testing.T) *upgrade {
	t.Helper()
	u := &upgrade{earlier: lab.Earlier(t), hosts: []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}, signed: map[string]bool{}, content: map[string]string{}}
	for i, host := range u.hosts {
		h := lab.NewHome(t)
		h.Program = u.earlier
		u.homes = append(u.homes, h)
		u.api = append(u.api, h.Client(t))
		if i == 0 {
			u.nodes[i].Store(firstNode(t, h))
		} else {
			u.nodes[i].Store(anotherNode(t, u.nodes[0].Load(), h, fmt.Sprintf("n%d", i+1), host))
		}
		u.began[i].Store(time.Now().UnixNano())
	}
	lab.Until(t, "three members, each with a vote", func() bool { return voting(memberStates(t, u.homes[2]), 3) })
	first := u.nodes[0].Load()
	u.roots = first.Roots(t)
	u.request = request(t)
	for _, name := range []string{"sub", "fallen1", "fallen3"} {
		first.Run(t, "ns1/sec/"+name, "create", "--kw", "profile=ca", "--kw", "ca=system/sec/ca", "--kw", "cn="+name+" CA")
		first.Run(t, "ns1/sec/"+name, "certificate", "create")
	}
	for i := range 8 {
		p, err := u.person(t.Context(), i%3, fmt.Sprintf("user%d", i), caOf(i))
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := u.revoke(t.Context(), p, (i+1)%3); err != nil {
				t.Fatal(err)
			}
		}
	}
	return u
}

// request returns a signing request, PEM.
func request(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "load.example.com"}, DNSNames: []string{"load.example.com"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// caOf returns the CA of a user: every other one has that below the cluster's.
func caOf(number int) string {
	if number%2 == 1 {
		return "ns1/sec/sub"
	}
	return "system/sec/ca"
}

// person makes a user on a node, with a certificate of a CA.
func (u *upgrade) person(ctx context.Context, node int, name, authority string) (*person, error) {
	p := &person{name: name, holder: "system/usr/" + name}
	at, err := client.ParsePath(p.holder)
	if err != nil {
		return nil, err
	}
	api := u.api[node]
	if _, err := api.Create(ctx, at, wire.CreateRequest{Keywords: []string{"grant=guest:ns1", "ca=" + authority}}); err != nil {
		return nil, err
	}
	chain, err := api.Key(ctx, at, "certificate_chain")
	if err != nil {
		return nil, err
	}
	key, err := api.Key(ctx, at, "private_key")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	p.pair, p.made = &pair, time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.people = append(u.people, p)
	return p, err
}

// fells has a node revoke a CA, and with it the user below.
func (u *upgrade) fells(t *testing.T, node int) {
	t.Helper()
	name := fmt.Sprintf("fallen%d", node+1)
	p, err := u.person(t.Context(), 1, name, "ns1/sec/"+name)
	if err != nil {
		t.Fatal(err)
	}
	p.holder = "ns1/sec/" + name
	for i := range u.nodes {
		lab.Until(t, fmt.Sprintf("n%d knows %s", i+1, name), func() bool { return u.lets(t.Context(), i, p) })
	}
	if err := u.revoke(t.Context(), p, node); err != nil {
		t.Fatal(err)
	}
}

// lets reports whether a node lets a user in, on a new connection.
func (u *upgrade) lets(ctx context.Context, node int, p *person) bool {
	w := &watcher{u: u, node: node, daemon: u.nodes[node].Load(), clients: map[*person]*http.Client{}}
	defer w.close()
	return w.whoami(ctx, p) == nil
}

// revoke has a node revoke the certificate of a user, or of the CA above.
func (u *upgrade) revoke(ctx context.Context, p *person, node int) error {
	p.asked.Store(true)
	at, err := client.ParsePath(p.holder)
	if err != nil {
		return err
	}
	if _, err := u.api[node].Revoke(ctx, at, "keyCompromise"); err != nil {
		return err
	}
	p.on.Store(int64(node))
	p.revoked.Store(time.Now().UnixNano())
	u.revokedBy[node].Add(1)
	return nil
}

// all returns the users that there are.
func (u *upgrade) all() []*person {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.people)
}

// wrong reports an error of the load. The first ones are enough.
func (u *upgrade) wrong(t *testing.T, format string, args ...any) {
	u.mu.Lock()
	u.told++
	told := u.told
	u.mu.Unlock()
	if told <= 20 {
		t.Errorf(format, args...)
	}
}

// stop stops a node.
func (u *upgrade) stop(t *testing.T, node int) {
	t.Helper()
	u.moving[node].Store(true)
	u.nodes[node].Swap(nil).Stop(t)
}

// start starts a node with a program; "" is that of this tree.
func (u *upgrade) start(t *testing.T, node int, program string) {
	t.Helper()
	h := u.homes[node]
	h.Program = program
	d := h.Start(t, "--log-level", "warn", "--listen", u.hosts[node]+":0")
	u.began[node].Store(time.Now().UnixNano())
	u.nodes[node].Store(d)
	u.moving[node].Store(false)
}

// replace stops a node and starts it with a program.
func (u *upgrade) replace(t *testing.T, node int, program string) {
	t.Helper()
	u.stop(t, node)
	u.start(t, node, program)
}

// running reports whether a node is there and stays for now.
func (u *upgrade) running(node int) bool {
	return u.nodes[node].Load() != nil && !u.moving[node].Load()
}

// works waits until every running node has signed and revoked a few more.
func (u *upgrade) works(t *testing.T, when string) {
	t.Helper()
	const signed, revoked = 10, 2
	begin := time.Now()
	for i := range u.nodes {
		if !u.running(i) {
			continue
		}
		s, r := u.signedBy[i].Load()+signed, u.revokedBy[i].Load()+revoked
		lab.Until(t, fmt.Sprintf("n%d signs and revokes: %s", i+1, when), func() bool { return u.signedBy[i].Load() >= s && u.revokedBy[i].Load() >= r })
	}
	t.Logf("%s: %v", when, time.Since(begin).Round(10*time.Millisecond))
	if t.Failed() {
		t.Fatalf("while %s", when)
	}
}

// load begins the load: every node signs, answers /whoami and serves lists, and users are made on one
// node and revoked on another.
func (u *upgrade) load(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for i := range u.nodes {
		work.Go(func() { u.sign(ctx, t, i) })
		work.Go(func() { u.ask(ctx, t, i) })
		work.Go(func() { u.fetch(ctx, t, i) })
	}
	work.Go(func() { u.turnOver(ctx, t) })
	u.end = sync.OnceFunc(func() { cancel(); work.Wait() })
	t.Cleanup(u.end)
}

// pause waits for a moment, or until the end of the load.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// expected reports whether a change may have failed so: the node is being replaced, or the members
// choose a leader.
func (u *upgrade) expected(ctx context.Context, node int, err error) bool {
	var answer *client.Error
	return ctx.Err() != nil || !u.running(node) || errors.Is(err, client.ErrUnreachable) ||
		errors.As(err, &answer) && answer.Status == http.StatusServiceUnavailable
}

// sign has a node sign requests.
func (u *upgrade) sign(ctx context.Context, t *testing.T, node int) {
	for ctx.Err() == nil {
		if u.running(node) {
			s, err := u.api[node].Sign(ctx, wire.SignRequest{CSR: u.request, Profile: "listener", Validity: "24h"})
			if err == nil {
				u.signedBy[node].Add(1)
				u.mu.Lock()
				again := u.signed[s.Serial]
				u.signed[s.Serial] = true
				u.mu.Unlock()
				if again {
					u.wrong(t, "serial %s was used twice", s.Serial)
				}
			} else if !u.expected(ctx, node, err) {
				u.wrong(t, "n%d signs: %v", node+1, err)
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// turnOver makes users on one node and has another revoke them a moment later.
func (u *upgrade) turnOver(ctx context.Context, t *testing.T) {
	next := func(after int) int {
		for i := after + 1; i < after+4; i++ {
			if u.running(i % 3) {
				return i % 3
			}
		}
		return after
	}
	var old *person
	node := 0
	for number := 100; ctx.Err() == nil; number++ {
		node = next(node)
		p, err := u.person(ctx, node, fmt.Sprintf("user%d", number), caOf(number))
		if err != nil && !u.expected(ctx, node, err) {
			u.wrong(t, "n%d makes a user: %v", node+1, err)
		}
		pause(ctx, 100*time.Millisecond)
		for at := node; old != nil && ctx.Err() == nil; { // until a node acknowledges it
			at = next(at)
			err := u.revoke(ctx, old, at)
			if err == nil {
				break
			}
			if !u.expected(ctx, at, err) {
				u.wrong(t, "n%d revokes: %v", at+1, err)
			}
			pause(ctx, 50*time.Millisecond)
		}
		old = p
	}
}

// A watcher has a client for each user at one daemon, with connections that stay open.
type watcher struct {
	u       *upgrade
	node    int
	daemon  *lab.Daemon
	clients map[*person]*http.Client
}

func (w *watcher) close() {
	for _, c := range w.clients {
		c.CloseIdleConnections()
	}
}

// ask asks a node for /whoami as the users, all the time: as those of the last seconds each time, and
// as the others in turn.
func (u *upgrade) ask(ctx context.Context, t *testing.T, node int) {
	const recent, others = 4 * time.Second, 10
	a := &watcher{u: u, node: node}
	defer func() { a.close() }()
	turn := 0
	for ctx.Err() == nil {
		d := u.nodes[node].Load()
		if d == nil {
			pause(ctx, 10*time.Millisecond)
			continue
		}
		if d != a.daemon {
			a.close()
			a = &watcher{u: u, node: node, daemon: d, clients: map[*person]*http.Client{}}
		}
		all := u.all()
		for range min(others, len(all)) {
			turn = (turn + 1) % len(all)
			a.look(ctx, t, all[turn])
		}
		for _, p := range all {
			if at := p.revoked.Load(); time.Since(p.made) < recent || at != 0 && time.Since(time.Unix(0, at)) < recent {
				a.look(ctx, t, p)
			}
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// whoami asks as a user, on the connection that it has, by the ticket that it has, or anew.
func (w *watcher) whoami(ctx context.Context, p *person) error {
	c := w.clients[p]
	if c == nil {
		pair := p.pair
		c = &http.Client{Timeout: lab.Patience, Transport: &http.Transport{ForceAttemptHTTP2: len(w.clients)%2 == 0, TLSClientConfig: &tls.Config{
			RootCAs: w.u.roots, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil },
		}}}
		w.clients[p] = c
	}
	return whoami(ctx, c, w.daemon.URL("/whoami"))
}

// look asks as one user, and holds the answer against what is known of the user.
func (w *watcher) look(ctx context.Context, t *testing.T, p *person) {
	begin, revoked := time.Now(), p.revoked.Load()
	err := w.whoami(ctx, p)
	u := w.u
	moving := u.nodes[w.node].Load() != w.daemon || u.moving[w.node].Load()
	switch {
	case ctx.Err() != nil:
	case err == nil && revoked != 0:
		late := begin.Sub(time.Unix(0, revoked))
		own := p.on.Load() == int64(w.node)
		if !own && late > elsewhere {
			p.late.Store(true)
		}
		if own && late >= 0 || late > starved {
			u.wrong(t, "n%d lets %s in %v after n%d acknowledged the revocation", w.node+1, p.name, late, p.on.Load()+1)
		}
		for was := u.lag.Load(); !own && int64(late) > was && !u.lag.CompareAndSwap(was, int64(late)); was = u.lag.Load() {
		}
	case err == nil:
		u.let.Add(1)
	case revoked != 0 && !moving:
		u.refused.Add(1)
	case !moving && !p.asked.Load() && time.Since(p.made) > elsewhere && time.Since(time.Unix(0, u.began[w.node].Load())) > elsewhere:
		u.wrong(t, "n%d refuses %s, which is not revoked: %v", w.node+1, p.name, err)
	}
}

// fetch fetches the revocation lists of a node: numbers do not fall, and one number has one
// content, on whichever node.
func (u *upgrade) fetch(ctx context.Context, t *testing.T, node int) {
	last := map[string]*x509.RevocationList{}
	from := map[string]*lab.Daemon{} // that list: one that has just begun may have none yet
	for ; ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
		d := u.nodes[node].Load()
		if d == nil {
			continue
		}
		for _, name := range []string{"ca", "ns1.sub"} {
			list, err := u.list(ctx, d, name)
			if err != nil {
				if from[name] == d && u.nodes[node].Load() == d && u.running(node) && ctx.Err() == nil {
					u.wrong(t, "n%d: list %s: %v", node+1, name, err)
				}
				continue
			}
			if was := last[name]; was != nil && list.Number.Cmp(was.Number) < 0 {
				u.wrong(t, "n%d: list %s has number %d after %d", node+1, name, list.Number, was.Number)
			}
			last[name], from[name] = list, d
			key, content := fmt.Sprintf("%s %d", name, list.Number), contentOf(list)
			u.mu.Lock()
			was, known := u.content[key]
			u.content[key] = content
			u.mu.Unlock()
			if known && was != content {
				u.wrong(t, "list %s has two contents, the second at n%d (-first +second):\n%s", key, node+1, cmp.Diff(was, content))
			}
		}
	}
}

// list fetches one list.
func (u *upgrade) list(ctx context.Context, d *lab.Daemon, name string) (*x509.RevocationList, error) {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: u.roots, ServerName: "localhost"}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL("/crl/"+name+".crl"), nil)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: transport, Timeout: lab.Patience}).Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	der, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	return x509.ParseRevocationList(der)
}

// contentOf is what a list says, without its signature.
func contentOf(list *x509.RevocationList) string {
	var all []string
	for _, e := range list.RevokedCertificateEntries {
		all = append(all, fmt.Sprintf("%x %d %s", e.SerialNumber, e.ReasonCode, e.RevocationTime.Format(time.TimeOnly)))
	}
	slices.Sort(all)
	return fmt.Sprintf("%s to %s\n%s\n", list.ThisUpdate.Format(time.RFC3339), list.NextUpdate.Format(time.RFC3339), strings.Join(all, "\n"))
}

// backupOpens reports whether the earlier build reads the store: it restores a backup that n1 made.
func (u *upgrade) backupOpens(t *testing.T) bool {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	target := lab.NewHome(t)
	target.Program = u.earlier
	key, backup := target.File(t, "identity", identity.String()+"\n"), filepath.Join(filepath.Dir(target.Dir), "backup.omca")
	u.nodes[0].Load().Run(t, "backup", backup, "--recipient", identity.Recipient().String())
	r := target.Try(t, "restore", backup, "--identity", key)
	switch {
	case r.Status == 0:
		return true
	case !strings.Contains(r.Stderr, lab.EarlierRefusesStore):
		t.Fatalf("the earlier build does not restore a backup: %s", r.Stderr)
	}
	return false
}

// readsEarlier checks whether the earlier build reads the store.
func (u *upgrade) readsEarlier(t *testing.T, want bool, when string) {
	t.Helper()
	if got := u.backupOpens(t); got != want {
		t.Fatalf("the earlier build reads the store: %t, expected %t: %s", got, want, when)
	}
}

// refusesMember starts the earlier build on the home of a member that was stopped: it ends with one
// sentence.
func (u *upgrade) refusesMember(t *testing.T) {
	h := u.homes[0]
	h.Program = u.earlier
	r := h.Try(t, "daemon", "run", "--log-level", "warn", "--listen", "127.0.0.1:0")
	if r.Status != 1 || !strings.Contains(r.Stderr, lab.EarlierRefusesStore) || strings.Count(r.Stderr, "omca: error: ") != 1 {
		t.Errorf("exit status %d, expected 1 and %q in one sentence:\n%s", r.Status, lab.EarlierRefusesStore, r.Stderr)
	}
}

// refusesJoin has the earlier build join: it ends with one sentence, and there are three members as
// before.
func (u *upgrade) refusesJoin(t *testing.T) {
	first := u.nodes[0].Load()
	h := lab.NewHome(t)
	h.Program = u.earlier
	token := h.File(t, "token", first.Run(t, "cluster", "token"))
	r := h.Try(t, "daemon", "run", "--log-level", "warn", "--node-name", "n4", "--listen", "127.0.0.4:0", "--peer", peerAt(t, "127.0.0.4"),
		"--join", "https://"+first.Address, "--token-file", token)
	if r.Status != 1 || !strings.Contains(r.Stderr, lab.EarlierJoins) || strings.Count(r.Stderr, "omca: error: ") != 1 {
		t.Errorf("exit status %d, expected 1 and %q in one sentence:\n%s", r.Status, lab.EarlierJoins, r.Stderr)
	}
	if states := memberStates(t, first.Home); !voting(states, 3) {
		t.Errorf("members %v, expected n1, n2 and n3", states)
	}
}

// agree holds every node against what its clients were told.
func (u *upgrade) agree(t *testing.T) {
	for i, api := range u.api {
		u.lists(t, i)
		known := map[string]string{}
		for r, err := range api.Certificates(t.Context(), client.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			known[r.Serial] = r.State
		}
		for serial := range u.signed {
			if known[serial] != "valid" {
				t.Errorf("n%d: a client was given %s, whose state is %q", i+1, serial, known[serial])
			}
		}
		for _, p := range u.all() {
			want, own := "valid", strings.HasPrefix(p.holder, "system/usr/")
			revoked := p.revoked.Load() != 0
			if revoked && own {
				want = "revoked"
			} else if !revoked && p.asked.Load() {
				continue // it may be either
			}
			if got := known[p.pair.Leaf.SerialNumber.Text(16)]; got != want {
				t.Errorf("n%d: the certificate of %s is %q, expected %q", i+1, p.name, got, want)
			}
			at, err := client.ParsePath("system/usr/" + p.name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := api.Object(t.Context(), at); err != nil {
				t.Errorf("n%d: %s: %v", i+1, p.name, err)
			}
			if in := u.lets(t.Context(), i, p); in == revoked {
				t.Errorf("n%d lets %s in: %t, revoked: %t", i+1, p.name, in, revoked)
			}
		}
	}
}

// lists waits until the list of each CA at a node has all that was revoked.
func (u *upgrade) lists(t *testing.T, node int) {
	t.Helper()
	for name, path := range map[string]string{"ca": "system/sec/ca", "ns1.sub": "ns1/sec/sub"} {
		var revoked []string
		for r, err := range u.api[node].Certificates(t.Context(), client.Filter{Issuer: path, Revoked: "true"}) {
			if err != nil {
				t.Fatal(err)
			}
			revoked = append(revoked, r.Serial)
		}
		lab.Until(t, fmt.Sprintf("n%d: list %s has all %d", node+1, name, len(revoked)), func() bool {
			list, err := u.list(t.Context(), u.nodes[node].Load(), name)
			if err != nil {
				t.Fatal(err)
			}
			on := map[string]bool{}
			for _, e := range list.RevokedCertificateEntries {
				on[e.SerialNumber.Text(16)] = true
			}
			return !slices.ContainsFunc(revoked, func(serial string) bool { return !on[serial] })
		})
	}
}

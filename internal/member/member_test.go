package member_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"omca/internal/background"
	"omca/internal/member"
	"omca/internal/store"
	"omca/internal/store/etcd"
	"omca/internal/store/storetest"
	"omca/pki"
	"omca/pki/lint"
)

const cluster = "east"

// authority is a CA that makes certificates for tests.
type authority struct {
	issuer *pki.Issuer
	now    time.Time
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{now: time.Now()}
	key := must[crypto.Signer](t)(pki.GenerateKey(""))
	root := must[*pki.Issuer](t)(pki.NewRoot(key, lint.New()))
	cert := a.sign(t, root, key, "ca", "", "ca")
	a.issuer = must[*pki.Issuer](t)(pki.NewIssuer([]*x509.Certificate{cert}, key, lint.New()))
	return a
}

func (a *authority) sign(t *testing.T, by *pki.Issuer, key crypto.Signer, profile, id, cn string, hosts ...string) *x509.Certificate {
	t.Helper()
	p := must[pki.Profile](t)(pki.LookupProfile(profile))
	r := must[pki.Request](t)(pki.NewRequest(key.Public(), pki.Subject{CommonName: cn}, must[pki.Names](t)(pki.ParseNames(hosts))))
	terms := pki.Terms{Profile: p, Serial: must[pki.Serial](t)(pki.NewSerial(time.Now()))}
	terms.NotBefore, terms.NotAfter = pki.Period(a.now.Add(-time.Hour), 24*time.Hour)
	if id != "" {
		terms.ID = must[*url.URL](t)(url.Parse(id))
	}
	return must[*x509.Certificate](t)(by.Sign(must[pki.Draft](t)(by.Draft(r, terms))))
}

// certificate makes one of a profile, marked for what.
func (a *authority) certificate(t *testing.T, profile, id string) tls.Certificate {
	t.Helper()
	return a.at(t, profile, id, "127.0.0.1")
}

// at makes one for a host.
func (a *authority) at(t *testing.T, profile, id, host string) tls.Certificate {
	t.Helper()
	key := must[crypto.Signer](t)(pki.GenerateKey(""))
	leaf := a.sign(t, a.issuer, key, profile, id, "someone", host)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) node(t *testing.T, name string) tls.Certificate {
	return a.certificate(t, "node", "spiffe://"+cluster+"/node/"+name)
}

// node is one member with what it runs on.
type node struct {
	*member.Member
	config   member.Config
	identity atomic.Pointer[member.Identity]
	refused  *sync.Map // serials
}

func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.issuer.Certificate())
	return pool
}

// is gives a node an identity, for both directions.
func (n *node) is(t *testing.T, a *authority, c tls.Certificate) {
	t.Helper()
	n.identity.Store(&member.Identity{Certificate: c, Roots: a.roots()})
	key := must[[]byte](t)(pki.EncodePrivateKey(c.PrivateKey.(crypto.Signer)))
	for name, text := range map[string][]byte{
		n.config.Files.Key: append(key, pki.EncodeCertificates(c.Leaf)...), n.config.Files.CA: pki.EncodeCertificates(a.issuer.Certificate()),
	} {
		if err := os.WriteFile(name+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
}

// log writes to the test as long as it runs.
type output struct {
	mu sync.Mutex
	bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Buffer.Write(p)
}

func (o *output) Text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Buffer.String()
}

func (a *authority) prepare(t *testing.T, name string, refused *sync.Map) *node {
	t.Helper()
	n := &node{refused: refused}
	files := t.TempDir()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	n.config = member.Config{
		Dir: t.TempDir(), Name: name, Proxy: noProxy, Files: member.Files{Certificate: filepath.Join(files, "pair.pem"), Key: filepath.Join(files, "pair.pem"), CA: filepath.Join(files, "ca.pem")}, Cluster: cluster, Token: "t-" + cluster, URL: "https://" + l.Addr().String(), Listener: l,
		Identity: func() (member.Identity, error) { return *n.identity.Load(), nil },
		Refused: func(chain member.Chain) error {
			if _, there := refused.Load(chain[0].SerialNumber.String()); there {
				return errors.New("revoked")
			}
			return nil
		},
		Now: func() time.Time { return a.now }, Tick: 20 * time.Millisecond, Watch: time.Hour, // the rounds are the test's
	}
	n.is(t, a, a.node(t, name))
	return n
}

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

func (n *node) peer() member.Peer { return member.Peer{Name: n.config.Name, URL: n.config.URL} }

func (n *node) run(t *testing.T) {
	t.Helper()
	n.Member = must[*member.Member](t)(member.Start(n.config))
	t.Cleanup(n.Stop)
}

// again starts a stopped member where it was.
func (n *node) again(t *testing.T) {
	t.Helper()
	n.config.Listener = must[net.Listener](t)(net.Listen("tcp", strings.TrimPrefix(n.config.URL, "https://")))
	n.run(t)
}

func (n *node) ready(t *testing.T) {
	t.Helper()
	select {
	case <-n.Ready():
	case <-n.Done():
		t.Fatalf("%s has stopped", n.config.Name)
	case <-time.After(20 * time.Second):
		t.Fatalf("%s is not ready within 20 s", n.config.Name)
	}
}

// form starts a cluster of nodes with these names.
func (a *authority) form(t *testing.T, names ...string) []*node {
	t.Helper()
	var nodes []*node
	var all []member.Peer
	refused := &sync.Map{}
	for _, name := range names {
		n := a.prepare(t, name, refused)
		nodes, all = append(nodes, n), append(all, n.peer())
	}
	for _, n := range nodes {
		n.config.Peers = all
		n.run(t)
	}
	for _, n := range nodes {
		n.ready(t)
	}
	return nodes
}

func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", d, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func put(t *testing.T, n *node, key, value string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := n.Client().Put(ctx, key, value)
	return err
}

func get(t *testing.T, n *node, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := n.Client().Get(ctx, key)
	if err != nil || len(r.Kvs) == 0 {
		return fmt.Sprint("nothing, ", err)
	}
	return string(r.Kvs[0].Value)
}

func leader(nodes []*node) *node {
	for _, n := range nodes {
		if n.Status().Leader == n.config.Name {
			return n
		}
	}
	return nil
}

// lead has n lead, whoever does now.
func lead(t *testing.T, nodes []*node, n *node) {
	t.Helper()
	within(t, 10*time.Second, n.config.Name+" leads", func() bool {
		now := leader(nodes)
		return now == n || now != nil && now.Lead(t.Context(), n.Member) == nil
	})
}

func TestStore(t *testing.T) {
	t.Parallel()
	nodes := newAuthority(t).form(t, "n1", "n2", "n3")
	var count atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		n := count.Add(1)
		s := must[*etcd.Store](t)(etcd.Open(t.Context(), etcd.Config{Client: nodes[n%3].Client(), Prefix: fmt.Sprintf("run%d/", n)}))
		t.Cleanup(func() { s.Close() })
		return s
	})
}

// A fourth node joins and gets a vote, the leader is removed and is out at once,
// the next one dies and the rest goes on.
func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	nodes := a.form(t, "n1", "n2", "n3")
	if err := put(t, nodes[0], "k", "1"); err != nil {
		t.Fatal(err)
	}
	fourth := a.prepare(t, "n4", nodes[0].refused)
	if err := nodes[1].Add(t.Context(), fourth.peer()); err != nil {
		t.Fatal(err)
	}
	fourth.config.Join = true
	for _, i := range nodes[0].Members() {
		fourth.config.Peers = append(fourth.config.Peers, i.Peer)
	}
	fourth.run(t)
	fourth.ready(t)
	within(t, 20*time.Second, "n4 has a vote", func() bool { return !fourth.Status().Learner })
	if got := get(t, fourth, "k"); got != "1" {
		t.Errorf("n4 reads %s", got)
	}

	gone := nodes[2]
	// A connection that n3 holds on to: nobody but the listener can close it.
	held := must[net.Conn](t)(dial(nodes[0], gone.identity.Load().Certificate))
	defer held.Close()
	if err := ask(held, "keep-alive"); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "connections with n3", func() bool { return nodes[0].Connections("n3") > 0 })
	lead(t, nodes, gone)
	if err := nodes[0].Remove(t.Context(), "n3"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{nodes[0], nodes[1], fourth} {
		within(t, 2*time.Second, "n3 is cut off by "+n.config.Name, func() bool { return n.Connections("n3") == 0 })
		if err := speak(n, gone.identity.Load().Certificate); err == nil {
			t.Errorf("%s still listens to n3", n.config.Name)
		}
	}
	if err := ask(held, "keep-alive"); err == nil {
		t.Error("n3 is listened to on a connection that it had")
	}
	select {
	case <-gone.Done():
		if err := gone.Err(); !errors.Is(err, member.ErrNotFound) || !gone.Removed() {
			t.Errorf("n3 has stopped, and says %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("n3 goes on after it was removed")
	}
	if err := nodes[0].Remove(t.Context(), "n3"); !errors.Is(err, member.ErrNotFound) {
		t.Errorf("removing it again: %v", err)
	}

	rest := []*node{nodes[0], nodes[1], fourth}
	within(t, 10*time.Second, "a leader", func() bool { return leader(rest) != nil })
	dead := leader(rest)
	dead.Kill()
	for _, n := range rest {
		if n != dead {
			within(t, 10*time.Second, n.config.Name+" writes without "+dead.config.Name, func() bool { return put(t, n, "k", "2") == nil })
		}
	}
}

// TestMembersAtOnce: who was admitted, or is not any more, is listed so by the time
// that the change is done, whenever the watch tells the peers: a node that joins is
// told all members, itself among them.
func TestMembersAtOnce(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	n := a.form(t, "n1")[0]
	for range 50 {
		if err := put(t, n, member.Keys+"n2", "https://127.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
		if list := n.Members(); len(list) != 2 || list[1].Name != "n2" {
			t.Fatalf("with one admitted the members are %+v", list)
		}
		must[*clientv3.DeleteResponse](t)(n.Client().Delete(t.Context(), member.Keys+"n2"))
		if list := n.Members(); len(list) != 1 {
			t.Fatalf("without it the members are %+v", list)
		}
	}
}

// dial connects to n as a member would.
func dial(n *node, as tls.Certificate) (net.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{as}}}
	if as.Certificate == nil {
		d.Config.Certificates = nil
	}
	return d.Dial("tcp", strings.TrimPrefix(n.config.URL, "https://"))
}

// ask asks something on a connection and reads all of a short answer.
func ask(c net.Conn, connection string) error { return askFor(c, "GET /version", connection) }

func askFor(c net.Conn, request, connection string) error {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: %s\r\n\r\n", request, connection); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil) // with TLS 1.3 a refusal comes here
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// speak tries to ask n something as a member would.
func speak(n *node, as tls.Certificate) error {
	c, err := dial(n, as)
	if err != nil {
		return err
	}
	defer c.Close()
	return ask(c, "close")
}

func TestWhoMaySpeak(t *testing.T) {
	t.Parallel()
	a, foreign := newAuthority(t), newAuthority(t)
	n := a.form(t, "n1")[0]
	if err := speak(n, a.node(t, "n1")); err != nil {
		t.Fatalf("a certificate of a member: %v", err)
	}
	revoked := a.node(t, "n1")
	n.refused.Store(revoked.Leaf.SerialNumber.String(), true)
	for what, certificate := range map[string]tls.Certificate{
		"no certificate":              {},
		"a user's":                    a.certificate(t, "usr", "spiffe://east/usr/n1"),
		"a user's, marked as node":    a.certificate(t, "usr", "spiffe://east/node/n1"),
		"a listener's":                a.certificate(t, "listener", "spiffe://east/listener/n1"),
		"one without a SPIFFE ID":     a.certificate(t, "node", ""),
		"of another cluster":          a.certificate(t, "node", "spiffe://west/node/n1"),
		"with a longer path":          a.certificate(t, "node", "spiffe://east/node/n1/x"),
		"of a node that is no member": a.node(t, "n9"),
		"of a foreign CA":             foreign.node(t, "n1"),
		"revoked":                     revoked,
	} {
		if err := speak(n, certificate); err == nil {
			t.Errorf("%s: may speak", what)
		}
	}
}

// A member that is revoked is cut off at once, and back with a new certificate. While
// it does not lead, nothing is lost by that.
func TestRevokedMember(t *testing.T) {
	t.Run("leads", func(t *testing.T) { revoked(t, 2, 15*time.Second) })
	t.Run("follows", func(t *testing.T) { revoked(t, 0, 0) })
}

// revoked has a node lead and n3 revoked. What is on the way to a leader that is cut
// off is lost: then who writes does so again, as long as patience allows.
func revoked(t *testing.T, leads int, patience time.Duration) {
	t.Parallel()
	a := newAuthority(t)
	nodes := a.form(t, "n1", "n2", "n3")
	if err := put(t, nodes[0], "k", "1"); err != nil {
		t.Fatal(err)
	}
	lead(t, nodes, nodes[leads])
	other := *nodes[2].identity.Load()
	nodes[0].refused.Store(other.Certificate.Leaf.SerialNumber.String(), true)
	for _, n := range nodes {
		n.Check()
	}
	for _, n := range nodes[:2] {
		within(t, 2*time.Second, "n3 is cut off", func() bool { return n.Connections("n3") == 0 })
	}
	within(t, patience, "written without n3", func() bool { return put(t, nodes[0], "k", "2") == nil })
	// With a new certificate it is back.
	nodes[2].is(t, a, a.node(t, "n3"))
	within(t, 10*time.Second, "n3 is back", func() bool { return nodes[0].Connections("n3") > 0 && get(t, nodes[2], "k") == "2" })
}

// Who dials trusts the CA of the members alone: where n3 should be, somebody else
// answers, and is told nothing.
func TestWhoIsSpokenTo(t *testing.T) {
	t.Parallel()
	a, internal := newAuthority(t), newAuthority(t)
	nodes := a.form(t, "n1", "n2", "n3")
	nodes[2].Kill()
	for what, certificate := range map[string]tls.Certificate{
		"a user of the internal CA":     internal.certificate(t, "usr", "spiffe://east/usr/n3"),
		"a listener of the internal CA": internal.certificate(t, "listener", "spiffe://east/listener/n3"),
		"a node of the internal CA":     internal.node(t, "n3"),
		"a member of another host":      a.at(t, "node", "spiffe://east/node/n2", "192.0.2.7"),
		"a client":                      a.certificate(t, "usr", "spiffe://east/node/n3"),
	} {
		if heard(t, nodes[2].config.URL, certificate) {
			t.Errorf("%s is spoken to", what)
		}
	}
	if !heard(t, nodes[2].config.URL, a.node(t, "n3")) {
		t.Error("n3 is not spoken to")
	}
}

// heard reports whether a member that dials url goes through with a handshake and
// says something to who answers with that certificate.
func heard(t *testing.T, url string, as tls.Certificate) bool {
	t.Helper()
	raw := must[net.Listener](t)(net.Listen("tcp", strings.TrimPrefix(url, "https://")))
	defer raw.Close()
	for range 4 {
		if err := raw.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		plain, err := raw.Accept()
		if err != nil {
			t.Fatal("nobody dials: ", err)
		}
		c := tls.Server(plain, &tls.Config{Certificates: []tls.Certificate{as}, ClientAuth: tls.RequireAnyClientCert})
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _ := c.Read(make([]byte, 1)) // the error is the member's refusal
		c.Close()
		if n > 0 {
			return true
		}
	}
	return false
}

// etcd takes a proxy from the environment: a member that would be reached through
// one is refused before anything is sent to it.
func TestProxy(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	n := a.prepare(t, "n1", &sync.Map{})
	n.config.Proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.Hostname() == "n2.example" {
			return url.Parse("http://proxy.example:3128")
		}
		return nil, nil
	}
	n.config.Peers = []member.Peer{n.peer()}
	beyond := member.Peer{Name: "n2", URL: "https://n2.example:1217"}
	c := n.config
	c.Peers = append(c.Peers, beyond)
	if _, err := member.Start(c); !errors.Is(err, member.ErrInvalid) || !strings.Contains(err.Error(), "proxy.example:3128") {
		t.Errorf("starting: %v", err)
	}
	n.config.Listener = must[net.Listener](t)(net.Listen("tcp", strings.TrimPrefix(n.config.URL, "https://")))
	n.run(t)
	n.ready(t)
	if err := n.Add(t.Context(), beyond); !errors.Is(err, member.ErrInvalid) || len(n.Members()) != 1 {
		t.Errorf("adding: %v, %d members", err, len(n.Members()))
	}
}

// All certificates change while writes go on, and the old ones are revoked: none
// fails.
func TestSwapUnderLoad(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	nodes := a.form(t, "n1", "n2", "n3")
	ctx, cancel := context.WithCancel(t.Context())
	var writes sync.WaitGroup
	var done atomic.Int64
	for _, n := range nodes {
		writes.Go(func() {
			for ctx.Err() == nil {
				if err := put(t, n, "load/"+n.config.Name, "x"); err != nil && ctx.Err() == nil {
					t.Errorf("%s during the swap: %v", n.config.Name, err)
					return
				}
				done.Add(1)
			}
		})
	}
	goOn := func() {
		t.Helper()
		so := done.Load()
		within(t, 20*time.Second, "writes go on", func() bool { return done.Load() > so+20 })
	}
	goOn()
	old := nodes[0].identity.Load().Certificate
	var serials []string
	for _, n := range nodes {
		serials = append(serials, n.identity.Load().Certificate.Leaf.SerialNumber.String())
		n.is(t, a, a.node(t, n.config.Name))
		n.Check()
	}
	goOn()
	for _, serial := range serials {
		nodes[0].refused.Store(serial, true)
	}
	for _, n := range nodes {
		n.Check() // closes what was opened with the old ones: made anew with the new ones
		goOn()
	}
	cancel()
	writes.Wait()
	for _, n := range nodes {
		if err := speak(n, old); err == nil {
			t.Errorf("%s still takes the old certificate", n.config.Name)
		}
	}
}

// Without a majority changes are refused and what is there is read; nothing is
// lost when it comes back.
func TestMajorityLost(t *testing.T) {
	t.Parallel()
	nodes := newAuthority(t).form(t, "n1", "n2", "n3")
	if err := put(t, nodes[0], "k", "1"); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "n1 has it", func() bool { return get(t, nodes[0], "k") == "1" })
	nodes[1].Kill()
	nodes[2].Kill()
	within(t, 10*time.Second, "n1 knows that there is no leader", func() bool { return nodes[0].Status().Leader == "" })
	if w := nodes[0].Status().Warnings; len(w) == 0 || !strings.Contains(w[0], "no leader") {
		t.Errorf("the status warns of %q", w)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := nodes[0].Client().Put(ctx, "k", "2"); err == nil {
		t.Error("a change without a majority is taken")
	}
	if n := len(nodes[0].Members()); n != 3 {
		t.Errorf("%d members are known, expected 3", n)
	}
	nodes[1].again(t)
	nodes[1].ready(t)
	within(t, 10*time.Second, "changes are taken again", func() bool { return put(t, nodes[0], "k", "3") == nil })
	if got := get(t, nodes[1], "k"); got != "3" {
		t.Errorf("n2 reads %s", got)
	}
}

// A member that stops hands leadership over first: there is no election to wait for.
func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	nodes := newAuthority(t).form(t, "n1", "n2", "n3")
	first := leader(nodes)
	if first == nil {
		t.Fatal("nobody leads")
	}
	first.Stop()
	rest := []*node{}
	for _, n := range nodes {
		if n != first {
			rest = append(rest, n)
		}
	}
	if leader(rest) == nil {
		t.Error("nobody leads after the leader has stopped")
	}
	first.again(t)
	first.ready(t)
	if err := put(t, first, "k", "back"); err != nil {
		t.Error(err)
	}
}

// Who reads while the member stops gets an answer or an error: etcd would end the
// process, by reading what it has closed.
func TestReadsWhileStopping(t *testing.T) {
	t.Parallel()
	for range 5 {
		n := newAuthority(t).form(t, "n1")[0]
		if err := put(t, n, "k", "v"); err != nil {
			t.Fatal(err)
		}
		var readers sync.WaitGroup
		for i := range 8 {
			how := []clientv3.OpOption{clientv3.WithSerializable()}[:i%2]
			readers.Go(func() {
				for deadline := time.Now().Add(20 * time.Second); ; {
					if time.Now().After(deadline) {
						t.Error("a stopped member is read")
						return
					}
					r, err := n.Client().Get(t.Context(), "k", how...)
					if err != nil {
						if !errors.Is(err, rpctypes.ErrStopped) {
							t.Errorf("the last read: %v, want that etcd has stopped", err)
						}
						return
					}
					if len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "v" {
						t.Errorf("read %v", r.Kvs)
						return
					}
				}
			})
		}
		n.Stop()
		readers.Wait()
		if t.Failed() {
			return // the next one would take as long
		}
	}
}

// A file that is closed is not made smaller: etcd would end the process when it
// finds it so.
func TestShrinkAfterTheStop(t *testing.T) {
	t.Parallel()
	n := newAuthority(t).form(t, "n1")[0]
	if err := n.Shrink(t.Context()); err != nil {
		t.Error(err)
	}
	n.Stop()
	if err := n.Shrink(t.Context()); rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCStopped) {
		t.Errorf("%v, want that etcd has stopped", err)
	}
}

func TestSpace(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	n := a.prepare(t, "n1", &sync.Map{})
	said := &output{}
	n.config.Log = slog.New(slog.NewTextHandler(said, nil))
	n.config.Peers, n.config.Quota = []member.Peer{n.peer()}, 8<<20
	n.run(t)
	n.ready(t)
	warned := false
	var err error
	for i := range 30 {
		if err = put(t, n, fmt.Sprintf("v/%d", i), strings.Repeat("x", 500_000)); err != nil {
			break
		}
		n.Round(t.Context())
		warned = warned || len(n.Status().Warnings) > 0
	}
	if err == nil || !warned {
		t.Fatalf("full: %v, warned before: %v", err, warned)
	}
	if !strings.Contains(said.Text(), "nearly full") {
		t.Error("the log does not tell that the store is nearly full")
	}
	if s := n.Status(); len(s.Alarms) == 0 || s.Alarms[0] != "NOSPACE" {
		t.Errorf("alarms %q", s.Alarms)
	}
	// Whoever makes room gets it: the file becomes smaller, the alarm ends.
	for i := range 30 {
		if _, err := n.Client().Delete(t.Context(), fmt.Sprintf("v/%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := n.Client().Get(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Client().Compact(t.Context(), r.Header.Revision); err != nil {
		t.Fatal(err)
	}
	full := n.Status().Size
	within(t, 10*time.Second, "there is room", func() bool {
		n.Round(t.Context())
		return put(t, n, "k", "again") == nil && n.Status().Size < full/2
	})
	if w := n.Status().Warnings; len(w) != 0 {
		t.Errorf("it still warns: %q", w)
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for what, edit := range map[string]func(*member.Config){
		"no directory":            func(c *member.Config) { c.Dir = "" },
		"a name with a slash":     func(c *member.Config) { c.Name = "a/b" },
		"http":                    func(c *member.Config) { c.URL = strings.Replace(c.URL, "https", "http", 1) },
		"not among the members":   func(c *member.Config) { c.Peers = nil },
		"no CA for what it dials": func(c *member.Config) { c.Files.CA = "" },
		"nobody is trusted": func(c *member.Config) {
			c.Identity = func() (member.Identity, error) { return member.Identity{Certificate: a.node(t, "n1")}, nil }
		},
		"somebody's certificate": func(c *member.Config) {
			c.Identity = func() (member.Identity, error) {
				return member.Identity{Certificate: a.node(t, "n2"), Roots: a.roots()}, nil
			}
		},
	} {
		n := a.prepare(t, "n1", &sync.Map{})
		n.config.Peers = []member.Peer{n.peer()}
		edit(&n.config)
		if m, err := member.Start(n.config); !errors.Is(err, member.ErrInvalid) {
			t.Errorf("%s: %v, expected ErrInvalid", what, err)
			if err == nil {
				m.Stop()
			}
		}
	}
}

// A member that has not heard yet that another was added, or that has just started
// from what it knew long ago, must not tell that one that it was removed: it would
// stop for good.
func TestUnknownIsNotRemoved(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	nodes := a.form(t, "n1", "n2", "n3")
	nodes[0].Forget("n2", "n3") // what n1 knows is old
	// A member asks for its stream, and posts messages: 410 and 403 stop it.
	for _, request := range []string{"GET /raft/stream/message/1", "POST /raft"} {
		c := must[net.Conn](t)(dial(nodes[0], nodes[1].identity.Load().Certificate))
		defer c.Close()
		if err := askFor(c, request, "close"); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("%s: it hears %v, expected 404", request, err)
		}
	}
	nodes[0].Kill()
	nodes[0].config.Peers = []member.Peer{nodes[0].peer()} // as the first member of all knew them
	nodes[0].again(t)
	if err := speak(nodes[0], nodes[1].identity.Load().Certificate); err != nil {
		t.Errorf("n1 has just started, and has to know n2 from its own data: %v", err)
	}
	nodes[0].Forget("n2", "n3")
	within(t, 20*time.Second, "n1 knows the others again", func() bool { return speak(nodes[0], nodes[1].identity.Load().Certificate) == nil })
	for _, n := range nodes {
		if err := put(t, n, "k", "v"); err != nil {
			t.Errorf("%s: %v", n.config.Name, err)
		}
	}
}

// TestPanicInARound: housekeeping that panics begins again, and the member goes on.
func TestPanicInARound(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	nodes := []*node{a.prepare(t, "n1", &sync.Map{}), a.prepare(t, "n2", &sync.Map{})}
	panics := background.New(time.Now, slog.New(slog.DiscardHandler))
	var left, rounds atomic.Int64
	refused := nodes[0].config.Refused
	nodes[0].config.Panics, nodes[0].config.Watch = panics, 20*time.Millisecond
	nodes[0].config.Refused = func(c member.Chain) error {
		rounds.Add(1)
		if left.Add(-1) >= 0 {
			panic("a chain nobody thought of")
		}
		return refused(c)
	}
	for _, n := range nodes {
		n.config.Peers = []member.Peer{nodes[0].peer(), nodes[1].peer()}
		n.run(t)
	}
	for _, n := range nodes {
		n.ready(t)
	}
	within(t, 10*time.Second, "a connection with n2", func() bool { return nodes[0].Connections("n2") > 0 })
	left.Store(1)
	within(t, 10*time.Second, "a panic", func() bool { return len(panics.Counts()) > 0 })
	after := rounds.Load()
	within(t, 10*time.Second, "rounds after it", func() bool { return rounds.Load() > after+2 })
	if err := put(t, nodes[0], "k", "v"); err != nil || get(t, nodes[1], "k") != "v" {
		t.Errorf("after it: %v", err)
	}
	if c := panics.Counts(); c[0].Task != "housekeeping" || c[0].Count != 1 {
		t.Errorf("counts %v", c)
	}
}

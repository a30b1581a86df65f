package faults

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca/internal/client"
	"omca/internal/interop/lab"
	"omca/internal/store/etcd/etcdtest"
	"omca/internal/wire"
)

func TestMain(m *testing.M) {
	if etcdtest.Main() {
		return
	}
	os.Exit(lab.Main(m))
}

const (
	startTime = 5 * time.Second // bounds a start of the daemon; it takes a hundredth of that
	holder    = "ns1/sec/web"   // the object whose certificate changes all the time
)

// received is a certificate that a client has in its hands.
type received struct{ serial, text string }

// TestKill kills the daemon in the middle of issuing, round after round. What a
// client has received is in the inventory, whatever happened next.
func TestKill(t *testing.T) {
	const rounds, clients = 50, 12
	home := lab.NewHome(t)
	home.Run(t, "init")
	home.Run(t, holder, "create", "--kw", "cn=web.example.com")
	home.Run(t, holder, "certificate", "create")
	request := signingRequest(t)
	api := home.Client(t)
	all := map[string]bool{}
	var starts []time.Duration
	for round := range rounds {
		d := home.Start(t, "--log-level", "error")
		starts = append(starts, d.Took)
		l := &load{api: api, request: request, kill: int64(1 + mrand.IntN(200))}
		if round%10 == 9 {
			l.kill += 1500 // far enough for the store to have tidied up meanwhile
		}
		l.run(t, clients, func() { d.Kill(t) })

		d = home.Start(t, "--log-level", "error")
		starts = append(starts, d.Took)
		for _, r := range slices.Concat(l.signed, l.held) {
			if all[r.serial] {
				t.Errorf("round %d: serial %s was used before", round, r.serial)
			}
			all[r.serial] = true
			record, err := api.CertificateBySerial(t.Context(), r.serial)
			if err != nil {
				t.Errorf("round %d: a client has %s: %v", round, r.serial, err)
			} else if record.Certificate != r.text {
				t.Errorf("round %d: a client has %s, the inventory another one with that serial", round, r.serial)
			}
		}
		checkHolder(t, api, l)
		d.Kill(t) // when it is idle, as well
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	checkInventory(t, api, home, all)
	slices.Sort(starts)
	t.Logf("%d certificates received; starts: median %v, longest %v", len(all), starts[len(starts)/2], starts[len(starts)-1])
	if longest := starts[len(starts)-1]; longest > startTime {
		t.Errorf("a start took %v, expected at most %v", longest, startTime)
	}
}

// load is one round: many clients, until the daemon is gone.
type load struct {
	api     *client.Client
	request string
	kill    int64 // how many certificates are received before the kill

	count  atomic.Int64
	killed atomic.Bool
	mu     sync.Mutex
	signed []received // for requests
	held   []received // for the object, in order
}

// run runs the clients; it returns when all have noticed that the daemon is gone.
func (l *load) run(t *testing.T, clients int, kill func()) {
	t.Helper()
	path, err := client.ParsePath(holder)
	if err != nil {
		t.Fatal(err)
	}
	enough := make(chan struct{})
	var workers sync.WaitGroup
	for i := range clients {
		workers.Go(func() {
			for {
				var r received
				var err error
				if i == 0 {
					var issued wire.Issued
					issued, err = l.api.CreateCertificate(t.Context(), path, wire.Renewal{})
					r = received{issued.Serial, issued.Certificate}
				} else {
					var signed wire.Signed
					signed, err = l.api.Sign(t.Context(), wire.SignRequest{CSR: l.request, Profile: "listener"})
					r = received{signed.Serial, signed.Certificate}
				}
				if err != nil {
					if !l.killed.Load() {
						t.Errorf("client %d, before the kill: %v", i, err)
					}
					return
				}
				l.keep(r, i == 0)
				if l.count.Add(1) == l.kill {
					close(enough)
				}
			}
		})
	}
	gone := make(chan struct{})
	go func() { workers.Wait(); close(gone) }()
	select {
	case <-enough:
	case <-gone: // they have all failed
	}
	l.killed.Store(true)
	kill()
	<-gone
}

func (l *load) keep(r received, forHolder bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if forHolder {
		l.held = append(l.held, r)
	} else {
		l.signed = append(l.signed, r)
	}
}

// checkHolder looks at the object whose certificate changed all the time: it has
// the last one that the client received, or a later one whose answer was lost;
// whole, and in the inventory.
func checkHolder(t *testing.T, api *client.Client, l *load) {
	t.Helper()
	path, err := client.ParsePath(holder)
	if err != nil {
		t.Fatal(err)
	}
	state, err := api.Certificate(t.Context(), path)
	if err != nil || state.State != "valid" {
		t.Fatalf("%s: state %q, %v", holder, state.State, err)
	}
	if i := slices.IndexFunc(l.held, func(r received) bool { return r.serial == state.Serial }); i >= 0 && i != len(l.held)-1 {
		t.Errorf("%s is back at certificate %d of %d", holder, i+1, len(l.held))
	}
	if record, err := api.CertificateBySerial(t.Context(), state.Serial); err != nil || record.Certificate != state.Certificate {
		t.Errorf("%s has certificate %s, which the inventory has not: %v", holder, state.Serial, err)
	}
	key, err := api.Key(t.Context(), path, "private_key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair([]byte(state.CertificateChain), key); err != nil {
		t.Errorf("%s: %v", holder, err)
	}
}

// checkInventory reads the whole inventory: all that was received, and nothing twice.
func checkInventory(t *testing.T, api *client.Client, home lab.Home, received map[string]bool) {
	t.Helper()
	home.Start(t, "--log-level", "error")
	seen := map[string]bool{}
	for record, err := range api.Certificates(context.WithoutCancel(t.Context()), client.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[record.Serial] {
			t.Errorf("serial %s is in the inventory twice", record.Serial)
		}
		seen[record.Serial] = true
	}
	for serial := range received {
		if !seen[serial] {
			t.Errorf("serial %s is not in the list", serial)
		}
	}
}

// signingRequest returns a request for a server, PEM.
func signingRequest(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("n%d.example.com", mrand.IntN(1000))
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

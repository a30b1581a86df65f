package interop_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca/internal/client"
	"omca/internal/interop/lab"
	"omca/internal/wire"
)

// TestImportUnderLoad brings six CAs over the cluster's own, one after the other,
// each in another order of its parts, and has the listener's certificate made
// again. Clients who trust them all notice nothing.
func TestImportUnderLoad(t *testing.T) {
	d := lab.NewHome(t).Start(t)
	roots := d.Roots(t)
	var orders [][]string
	var authorities []*company
	names := []string{"private_key", "certificate", "certificate_chain"}
	for i := range names {
		for j := range names {
			if i == j {
				continue
			}
			orders = append(orders, []string{names[i], names[j], names[3-i-j]})
			// Of three levels, so that a CA without its chain is of no use to who trusts the root.
			cn := fmt.Sprintf("MyCorp %d", len(orders))
			above := newCompany(t, cn+" Root", nil)
			authorities = append(authorities, newCompany(t, cn+" Issuing", newCompany(t, cn+" Policy", above)))
			roots.AddCert(above.cert)
		}
	}
	stop := load(t, 16, func(i int) *http.Client {
		config := d.TLS(t, nil)
		config.RootCAs = roots
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: i%2 == 1, DisableKeepAlives: i >= 8}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: lab.Patience}
	}, d.URL("/healthz"))
	for i, order := range orders {
		t.Run(strings.Join(order, ", "), func(t *testing.T) { importCA(t, d, authorities[i], order) })
	}
	if total := stop(); !t.Failed() {
		t.Logf("%d requests during %d changes of the CA", total, len(orders))
	}
}

// importCA imports the parts of a CA in an order and has the listener use it. The
// CA and the listener's certificate must change once each.
func importCA(t *testing.T, d *lab.Daemon, authority *company, order []string) {
	api, parts := d.Client(t), authority.parts(t)
	path, err := client.ParsePath("system/sec/ca")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := client.ParsePath("system/sec/cert")
	if err != nil {
		t.Fatal(err)
	}
	dial := d.TLS(t, nil)
	dial.InsecureSkipVerify = true // this looks at serial numbers; the clients of the load verify
	live, serial := d.Key(t, "system/sec/ca", "certificate_chain")+d.Key(t, "system/sec/ca", "private_key"), presented(t, d, dial)
	switches := 0
	for _, name := range order {
		if err := api.ChangeKey(t.Context(), path, name, []byte(parts[name])); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if now := d.Key(t, "system/sec/ca", "certificate_chain") + d.Key(t, "system/sec/ca", "private_key"); now != live {
			live = now
			switches++
		}
		if got := presented(t, d, dial); got != serial {
			t.Errorf("%s: the listener shows serial %s, and nobody asked for another than %s", name, got, serial)
		}
	}
	if switches != 1 || d.CA(t) != parts["certificate"] {
		t.Errorf("the CA changed %d times, expected once", switches)
	}
	issued, err := api.CreateCertificate(t.Context(), listener, wire.Renewal{})
	if err != nil {
		t.Fatal(err)
	}
	if got := presented(t, d, dial); got != issued.Serial || got == serial {
		t.Errorf("the listener shows serial %s, expected %s", got, issued.Serial)
	}
}

// load makes requests from n clients until stop, which returns how many there
// were. Each must be answered 200.
func load(t *testing.T, n int, newClient func(i int) *http.Client, url string) (stop func() int64) {
	t.Helper()
	const pause = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	counts := make([]atomic.Int64, n)
	for i := range n {
		c := newClient(i)
		clients.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for ctx.Err() == nil {
				if err := whoami(ctx, c, url); err != nil {
					if ctx.Err() == nil {
						t.Errorf("client %d, request %d: %v", i, counts[i].Load()+1, err)
					}
					return
				}
				counts[i].Add(1)
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); clients.Wait() })
	return func() (total int64) {
		cancel()
		clients.Wait()
		for i := range counts {
			if counts[i].Load() < 2 {
				t.Errorf("client %d had %d answers: it was not there", i, counts[i].Load())
			}
			total += counts[i].Load()
		}
		return total
	}
}

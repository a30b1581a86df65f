package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"omca/crl"
	"omca/pki"
)

// revocations measures what lists cost: package crl alone, then a daemon with
// many certificates taken back.
func (b *bench) revocations(ctx context.Context) error {
	var all []listCost
	for _, entries := range []int{1000, 100_000, 1_000_000} {
		one, err := b.listCost(ctx, entries)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	b.reportLists(all)
	return b.revokeLive(ctx)
}

// listCost is what package crl takes for a list of one length.
type listCost struct {
	load, floor   time.Duration // of reading, verifying and indexing it; of reading and hashing its bytes
	resident      int64         // bytes of heap that stay
	good, revoked time.Duration // of one lookup
	rebuild       time.Duration // of adding an entry and signing the next list
	with, worst   time.Duration // of Set.With
}

func (b *bench) reportLists(all []listCost) {
	row := func(what, bound, how string, show func(listCost) string) {
		var values []string
		for _, one := range all {
			values = append(values, show(one))
		}
		b.report.add("revocation list: "+what, bound, "in process, lists of 1,000; 100,000; 1,000,000 entries; "+how, "%s", strings.Join(values, "; "))
	}
	row("load and verify", "", "file to index, median of 7", func(c listCost) string { return milliseconds(c.load) })
	row("load and verify / reading and one SHA-256", "", "each load beside a bare one, ratio of the medians", func(c listCost) string {
		return fmt.Sprintf("%.1f", float64(c.load)/float64(c.floor))
	})
	row("resident", "under 60 MB at 1,000,000", "growth of HeapInuse, DER dropped", func(c listCost) string {
		return fmt.Sprintf("%.1f MB", float64(c.resident)/1e6)
	})
	row("lookup, not revoked / revoked", "under 300 ns", "mean of 200,000 over up to 4,096 certificates", func(c listCost) string {
		return fmt.Sprintf("%d / %d ns", c.good.Nanoseconds(), c.revoked.Nanoseconds())
	})
	row("rebuilt with one entry more", "under 250 ms at 100,000", "merged, signed, read back; median of 7", func(c listCost) string { return milliseconds(c.rebuild) })
	row("one revocation in force, p50 / worst", "under 5 ms", "Ledger.With, 10,000 one after another", func(c listCost) string {
		return fmt.Sprintf("%.1f / %d us", float64(c.with.Nanoseconds())/1000, c.worst.Microseconds())
	})
}

func milliseconds(t time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(t.Microseconds())/1000)
}

// listRounds is how often what takes long is measured.
const listRounds = 7

// listCost measures a list of so many entries.
func (b *bench) listCost(ctx context.Context, entries int) (c listCost, err error) {
	issuer, err := newBare()
	if err != nil {
		return c, err
	}
	const lookups = 4096 // certificates to ask about
	now := time.Now()
	from, err := issuer.listBuilder(entries, now)
	if err != nil {
		return c, err
	}
	published, err := from.Build(from.Next(), now, now.AddDate(0, 0, 7))
	if err != nil {
		return c, err
	}
	file := filepath.Join(b.dir, "list.crl")
	if err := os.WriteFile(file, published.DER, 0o600); err != nil {
		return c, err
	}
	published = nil // not to be counted
	before := heapInUse()
	set, err := loadList(file, issuer.ca)
	if err != nil {
		return c, err
	}
	c.resident = heapInUse() - before
	if err := c.loads(file, issuer.ca); err != nil {
		return c, err
	}
	if c.good, err = lookup(set, issuer.ca, entries, entries+lookups, crl.Good); err != nil {
		return c, err
	}
	if c.revoked, err = lookup(set, issuer.ca, 0, min(entries, lookups), crl.Revoked); err != nil {
		return c, err
	}
	if err := c.enforces(issuer.ca, entries); err != nil {
		return c, err
	}
	return c, errors.Join(c.rebuilds(from, entries, now), ctx.Err())
}

// listBuilder returns a builder of lists of the bare CA.
func (b *bare) listBuilder(entries int, now time.Time) (*crl.Builder, error) {
	from, err := crl.NewBuilder(crl.BuilderConfig{Issuer: b.ca, Key: b.key})
	if err != nil {
		return nil, err
	}
	all := make([]crl.Revocation, entries)
	for n := range all {
		all[n] = revocation(n, now)
	}
	return from, from.Add(all...)
}

// revocation is of serial number n, of a certificate that has a year to go.
func revocation(n int, at time.Time) crl.Revocation {
	return crl.Revocation{
		Entry:    crl.Entry{Serial: pki.Serial(spread(n).Text(16)), At: at, Reason: crl.Superseded},
		NotAfter: at.AddDate(1, 0, 0),
	}
}

// spread returns serial number n of 16 octets, far from the others.
func spread(n int) *big.Int {
	const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(n+1)*golden|1<<63)
	binary.BigEndian.PutUint64(b[8:], uint64(n))
	return new(big.Int).SetBytes(b[:])
}

// heapInUse returns the bytes of heap that live objects need.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// loadList goes from a file to what answers.
func loadList(file string, issuer *x509.Certificate) (*crl.Set, error) {
	der, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := crl.Parse(der, crl.DefaultLimits())
	if err != nil {
		return nil, err
	}
	verified, err := list.Verify(issuer)
	if err != nil {
		return nil, err
	}
	return crl.NewSet(crl.Sources{Lists: []*crl.Verified{verified}}), nil
}

// loads holds loading a list against reading and hashing its bytes.
func (c *listCost) loads(file string, issuer *x509.Certificate) error {
	var loads, floors []time.Duration
	for range listRounds {
		begin := time.Now()
		der, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		_ = sha256.Sum256(der)
		floors = append(floors, time.Since(begin))
		begin = time.Now()
		if _, err := loadList(file, issuer); err != nil {
			return err
		}
		loads = append(loads, time.Since(begin))
	}
	c.load, c.floor = median(loads), median(floors)
	return nil
}

// lookup asks about the certificates with the numbers from first to before,
// which all have the same answer, and returns how long one takes.
func lookup(set *crl.Set, issuer *x509.Certificate, first, before int, want crl.Status) (time.Duration, error) {
	const n = 200_000
	var certs []*x509.Certificate
	for number := first; number < before; number++ {
		certs = append(certs, &x509.Certificate{RawIssuer: issuer.RawSubject, SerialNumber: spread(number)})
	}
	begin := time.Now()
	for i := range n {
		if v := set.Check(certs[i%len(certs)], issuer, begin); v.Status != want {
			return 0, fmt.Errorf("a certificate is %s (%s), not %s", v.Status, v.Why, want)
		}
	}
	return time.Since(begin) / n, nil
}

// enforces puts revocations in force beside those that there are.
func (c *listCost) enforces(issuer *x509.Certificate, entries int) error {
	times := make([]time.Duration, 10_000)
	now, id := time.Now(), pki.AuthorityOf(issuer)
	ledger, err := crl.NewLedger().WithAll(id, func(yield func(crl.Entry, error) bool) {
		for n := range entries {
			if !yield(revocation(n, now).Entry, nil) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	for i := range times {
		e := revocation(entries+i, now).Entry
		begin := time.Now()
		next, err := ledger.With(id, e)
		if err != nil {
			return err
		}
		times[i] = time.Since(begin)
		ledger = next
	}
	c.with, c.worst = median(times), slices.Max(times)
	return nil
}

// rebuilds makes the lists that follow one, each with an entry more.
func (c *listCost) rebuilds(from *crl.Builder, entries int, now time.Time) error {
	var times []time.Duration
	for i := range listRounds {
		begin := time.Now()
		if err := from.Add(revocation(entries+i, now)); err != nil {
			return err
		}
		if _, err := from.Build(from.Next(), now, now.AddDate(0, 0, 7)); err != nil {
			return err
		}
		times = append(times, time.Since(begin))
	}
	c.rebuild = median(times)
	return nil
}

// revokeLive measures how soon a daemon says, and does, what it was told.
func (b *bench) revokeLive(ctx context.Context) error {
	const others, users = 1000, 9
	d, _, err := b.start(ctx, "crl")
	if err != nil {
		return err
	}
	defer d.stop() // the figures are what counts
	if err := d.takeBack(ctx, others); err != nil {
		return err
	}
	var listed, refused []time.Duration
	for i := range users {
		in, out, err := d.revokeUser(ctx, fmt.Sprintf("u%d", i))
		if err != nil {
			return err
		}
		listed, refused = append(listed, in), append(refused, out)
	}
	how := fmt.Sprintf("from the reply on, beside %d revocations, %d users one after another", others, users)
	b.report.add("revoked until on the list served, p50 / worst", "under 250 ms", how+", polled every millisecond",
		"%s / %s", milliseconds(median(listed)), milliseconds(slices.Max(listed)))
	b.report.add("revoked until a request is refused, p50 / worst", "", how+", over an open connection, the refusal included",
		"%s / %s", milliseconds(median(refused)), milliseconds(slices.Max(refused)))
	return nil
}

// takeBack issues n certificates and revokes them, over the API.
func (d *daemon) takeBack(ctx context.Context, n int) error {
	requests, err := makeRequests(n)
	if err != nil {
		return err
	}
	l, err := d.newLoad(connections)
	if err != nil {
		return err
	}
	defer l.close()
	return l.each(ctx, n, func(c *http.Client, i int) error {
		answer, err := d.issue(c, requests[i])
		if err != nil {
			return err
		}
		var signed struct{ Serial string }
		if err := json.Unmarshal(answer, &signed); err != nil {
			return err
		}
		return d.revoke(c, signed.Serial)
	})
}

func (d *daemon) revoke(c *http.Client, serial string) error {
	_, err := d.post(c, "/api/certificate/"+serial+"/revoke", []byte(`{"reason":"superseded"}`))
	return err
}

// revokeUser makes a user, revokes its certificate, and returns how long after
// the reply that was on the list served, and a request of the user refused.
func (d *daemon) revokeUser(ctx context.Context, name string) (listed, refused time.Duration, err error) {
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	pair, err := d.user(ctx, name, "guest")
	if err != nil {
		return 0, 0, err
	}
	user, other := d.as(pair), d.http()
	defer user.CloseIdleConnections()
	defer other.CloseIdleConnections()
	whoami := "https://" + d.address + "/whoami"
	if err := errors.Join(get(user, whoami), get(other, whoami)); err != nil {
		return 0, 0, err
	}
	if err := d.revoke(other, string(pki.SerialOf(pair.Leaf))); err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	seen := make(chan error, 1)
	go func() {
		err := d.waitListed(ctx, other, pair.Leaf.SerialNumber)
		listed = time.Since(begin)
		seen <- err
	}()
	for get(user, whoami) == nil && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	refused = time.Since(begin)
	if err := errors.Join(<-seen, ctx.Err()); err != nil {
		return 0, 0, err
	}
	if get(user, whoami) == nil {
		return 0, 0, fmt.Errorf("%s was refused, and then let in again", name)
	}
	return listed, refused, nil
}

// waitListed asks for the list of the CA until it has a serial number, and for
// its bytes only when it has changed.
func (d *daemon) waitListed(ctx context.Context, c *http.Client, serial *big.Int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+d.address+"/crl/ca.crl", nil)
	if err != nil {
		return err
	}
	for {
		r, err := c.Do(request)
		if err != nil {
			return err
		}
		der, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return err
		}
		switch {
		case r.StatusCode == http.StatusOK && bytes.Contains(der, serial.Bytes()): // 127 random bits are nothing else
			return nil
		case r.StatusCode != http.StatusOK && r.StatusCode != http.StatusNotModified:
			return fmt.Errorf("%s: %s", request.URL, r.Status)
		}
		request.Header.Set("If-None-Match", r.Header.Get("ETag"))
		time.Sleep(time.Millisecond)
	}
}

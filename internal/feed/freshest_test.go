package feed

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"omca/crl"
)

const urlDelta = "http://crl.mycorp/delta.crl"

// site answers with what is at an address: octets, or an error.
type site map[string][]byte

func (b *bench) at(pages site) {
	b.on(func(r *http.Request) (*http.Response, error) {
		if body, ok := pages[r.URL.String()]; ok {
			return reply(200, body), nil
		}
		return nil, errors.New("connection refused")
	})
}

// says asks the lists that were handed on last about a certificate of a CA.
func (b *bench) says(of ca, serial int64) crl.Status {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	set := crl.NewSet(crl.Sources{Lists: b.changed[len(b.changed)-1]})
	return set.Check(&x509.Certificate{RawIssuer: of.RawSubject, SerialNumber: big.NewInt(serial)}, of.Certificate, time.Now()).Status
}

// verdicts checks what is said of certificates 1 to 3.
func (b *bench) verdicts(of ca, want ...crl.Status) {
	b.t.Helper()
	for i, status := range want {
		if got := b.says(of, int64(i+1)); got != status {
			b.t.Errorf("certificate %d: %s, want %s", i+1, got, status)
		}
	}
}

// freshestStatus returns what is known of the delta list.
func (b *bench) freshestStatus() (all []Status) {
	for _, st := range b.Status() {
		if st.Freshest {
			all = append(all, st)
		}
	}
	return all
}

// What a delta list says, that a complete one names, is in force with it, before the first connection.
func TestFreshest(t *testing.T) {
	corp, other := newCA(t, "Corp"), newCA(t, "Other")
	const g, r, u = crl.Good, crl.Revoked, crl.Undetermined
	for name, c := range map[string]struct {
		delta   func(now time.Time) []byte
		want    []crl.Status // of certificates 1, revoked, 2, held, and 3, good on the base, number 5
		held    bool
		trouble string
	}{
		"revokes and removes": {func(now time.Time) []byte {
			d := list(now, 6, 3)
			d.base, d.removed = 5, []int64{2}
			return corp.sign(t, d)
		}, []crl.Status{r, g, r}, true, ""},
		"of an older base": {func(now time.Time) []byte {
			d := list(now, 6, 3)
			d.base, d.removed = 4, []int64{2}
			return corp.sign(t, d)
		}, []crl.Status{r, g, r}, true, ""},
		"of another base, that is not here": {func(now time.Time) []byte {
			d := list(now, 9, 3)
			d.base, d.removed = 8, []int64{2}
			return corp.sign(t, d)
		}, []crl.Status{r, r, r}, true, ""},
		"older than its base": {func(now time.Time) []byte {
			d := list(now, 4, 3)
			d.base, d.removed = 3, []int64{2}
			return corp.sign(t, d)
		}, []crl.Status{r, r, g}, true, ""},
		"lapsed": {func(now time.Time) []byte {
			d := list(now, 6, 3)
			d.base, d.removed, d.this, d.next = 5, []int64{2}, now.Add(-2*hour), now.Add(-hour)
			return corp.sign(t, d)
		}, []crl.Status{r, r, r}, true, ""},
		"unreachable": {nil, []crl.Status{r, r, g}, false, "connection refused"},
		"badly signed": {func(now time.Time) []byte {
			d := list(now, 6, 3)
			d.base = 5
			return broken(corp.sign(t, d))
		}, []crl.Status{r, r, g}, false, "signature"},
		"of another CA": {func(now time.Time) []byte {
			d := list(now, 6, 3)
			d.base = 5
			return other.sign(t, d)
		}, []crl.Status{r, r, g}, false, "another CA or another scope"},
		"of another scope": {func(now time.Time) []byte {
			d := list(now, 6, 3)
			d.base, d.scope = 5, "http://crl.mycorp/part"
			return corp.sign(t, d)
		}, []crl.Status{r, r, g}, false, "another CA or another scope"},
		"complete": {func(now time.Time) []byte { return corp.sign(t, list(now, 6)) }, []crl.Status{r, r, g}, false, "complete"},
		"too long": {func(time.Time) []byte { return make([]byte, 1<<16) }, []crl.Status{r, r, g}, false, "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, now := newBench(t, Limits{Bytes: 1 << 12}, corp, other), time.Now()
				base := list(now, 5, 1, 2)
				base.freshest = []string{"ldap://crl.mycorp/cn=delta", urlDelta}
				pages := site{url1: corp.sign(t, base)}
				if c.delta != nil {
					pages[urlDelta] = c.delta(now)
				}
				b.at(pages)
				b.load(url1)
				b.verdicts(corp, c.want...)
				all := b.freshestStatus()
				if len(all) != 1 || all[0].Source != urlDelta || all[0].Delta != c.held {
					t.Fatalf("status of the delta list: %+v", all)
				}
				if got := all[0].LastError; !strings.Contains(got, c.trouble) || (got == "") != (c.trouble == "") {
					t.Errorf("error %q, want %q", got, c.trouble)
				}
				// Until the base lapses: from then on nobody is good.
				b.run()
				sleep(22 * hour)
				if got, want := b.says(corp, 3), c.want[2]; got != want {
					t.Errorf("before the base lapses: %s, want %s", got, want)
				}
				sleep(2 * hour)
				if got := b.says(corp, 4); got != u {
					t.Errorf("after the base lapsed: %s, want %s", got, u)
				}
			})
		})
	}
}

// A delta list is asked for as any source is: with a wait that doubles, to no more than Slow, and soon again when it is back.
func TestFreshestAwayAndBack(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b, now := newBench(t, Limits{}, corp), time.Now()
		base := list(now, 5, 1)
		base.freshest = []string{urlDelta}
		pages := site{url1: corp.sign(t, base)}
		b.at(pages)
		b.load(url1)
		b.run()
		sleep(hour)
		if n := len(b.requests()); n < 12 || n > 30 {
			t.Errorf("%d requests within an hour, want one every five minutes", n)
		}
		delta := list(time.Now(), 6, 3)
		delta.base = 5
		b.at(site{url1: pages[url1], urlDelta: corp.sign(t, delta)})
		sleep(5 * time.Minute)
		b.verdicts(corp, crl.Revoked, crl.Good, crl.Revoked)

		// A restart without the network has both.
		former := b.memory
		b.down()
		b = newBench(t, Limits{}, corp)
		b.memory.kept = former.kept
		b.load(url1)
		b.verdicts(corp, crl.Revoked, crl.Good, crl.Revoked)
	})
}

// The base says which delta lists there are: they go with it, and an operator may name one as well.
func TestFreshestFollowsItsBase(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b, now := newBench(t, Limits{}, corp), time.Now()
		base, delta := list(now, 5, 1), list(now, 6, 3)
		base.freshest, delta.base = []string{urlDelta}, 5
		pages := site{url1: corp.sign(t, base), urlDelta: corp.sign(t, delta)}
		b.at(pages)
		b.load(url1)
		b.holds("Corp 5", "Corp 6")

		b.SetSources(t.Context(), []string{url1, urlDelta})
		if got := b.freshestStatus(); len(got) != 0 {
			t.Errorf("it is followed twice: %+v", got)
		}
		b.SetSources(t.Context(), []string{url1})
		if got := b.freshestStatus(); len(got) != 1 {
			t.Errorf("it is not followed any more: %+v", got)
		}
		next := list(now, 7, 1)
		pages = site{url1: corp.sign(t, next)}
		b.at(pages)
		if err := b.Refresh(t.Context(), url1); err != nil {
			t.Fatal(err)
		}
		b.holds("Corp 7")
		if got := b.freshestStatus(); len(got) != 0 {
			t.Errorf("nobody names it any more: %+v", got)
		}
		for name := range b.memory.kept {
			if strings.Contains(name, urlDelta) {
				t.Errorf("a copy of %q is kept", name)
			}
		}
	})
}

// Whoever signs a list does not have this machine ask everywhere.
func TestFreshestIsBounded(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b, base := newBench(t, Limits{}, corp), list(time.Now(), 5)
		for n := range 100 {
			base.freshest = append(base.freshest, fmt.Sprintf("http://host%d/delta.crl", n))
		}
		base.freshest = append(base.freshest, "file:///etc/shadow", "/etc/shadow", "http://a:b@host/", "system/sec/ca")
		b.at(site{url1: corp.sign(t, base)})
		b.load(url1)
		if got := len(b.requests()); got != 1+maxFreshest {
			t.Errorf("%d requests, want %d", got, 1+maxFreshest)
		}
	})
}

// A redirect of a delta list leads nowhere that one of a source may not.
func TestFreshestRedirects(t *testing.T) {
	corp := newCA(t, "Corp")
	synctest.Test(t, func(t *testing.T) {
		b, base := newBench(t, Limits{}, corp), list(time.Now(), 5, 1)
		base.freshest = []string{"https://crl.mycorp/delta.crl", "file:///etc/passwd"}
		whole := corp.sign(t, base)
		b.on(func(r *http.Request) (*http.Response, error) {
			if r.URL.Scheme == "https" {
				return reply(302, nil, "Location", urlDelta), nil
			}
			return reply(200, whole), nil
		})
		b.load(url1)
		all := b.freshestStatus()
		if len(all) != 1 || !strings.Contains(all[0].LastError, "from https to http") {
			t.Errorf("%+v", all)
		}
		b.verdicts(corp, crl.Revoked, crl.Good)
	})
}

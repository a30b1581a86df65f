package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"omca/internal/wire"
)

// troubles is what needs a hand as a text, one a line.
func (w *world) troubles(by string) string {
	w.t.Helper()
	var lines []string
	for _, item := range into[wire.Diagnosis](w.do(request{target: "/api/doctor", by: by}).want(http.StatusOK)).Items {
		if item.Level == levelInfo {
			continue
		}
		lines = append(lines, strings.Join([]string{item.Level, item.Check, item.Object, item.What, item.Mend}, "|"))
	}
	return strings.Join(lines, "\n")
}

func TestDoctor(t *testing.T) {
	w := newWorld(t)
	const backup = "warning|backup||no backup was ever made|omca backup FILE"
	if got := w.troubles("root"); got != backup {
		t.Errorf("a new cluster:\n%s", got)
	}
	recipient := must(age.GenerateX25519Identity())(t).Recipient().String()
	w.do(request{method: http.MethodPost, target: "/api/backup", by: "root", body: `{"recipient":"` + recipient + `"}`}).want(http.StatusOK)
	if got := w.troubles("root"); got != "" {
		t.Errorf("after a backup:\n%s", got)
	}
	for _, c := range []struct {
		name string
		make func()
		want string
	}{
		{"names", func() { w.set("system/sec/cert", "alt_names+=vip.clu.mycorp") }, "warning|names|system/sec/cert|the listener's certificate does not say vip.clu.mycorp|omca certificate create"},
		{"vip", func() { w.set("root/ccfg/cluster", "cluster.vip=192.0.2.9") }, "does not say 192.0.2.9, vip.clu.mycorp|"},
		{"policy", func() { w.set("root/ccfg/cluster", "listener.crl_policy=soft") }, "warning|policy|cluster|listener.crl_policy is soft: "},
		{"limit", func() { w.set("root/ccfg/cluster", "listener.rate_limiter_rate=0") }, "listener.rate_limiter_rate is 0: "},
		{"tls", func() { w.set("root/ccfg/cluster", "listener.tls_min_version=1.2") }, "listener.tls_min_version is 1.2: "},
		{"crl", func() {
			w.external = []wire.ExternalList{{Source: "http://crl.mycorp", State: "stale", NextUpdate: w.now.Add(-time.Hour)}}
		}, "error|crl||the revocation list of http://crl.mycorp ended at 2026-11-22T11:00:00Z|omca crl refresh http://crl.mycorp"},
		{"no crl", func() {
			w.external = []wire.ExternalList{{Source: "http://crl.mycorp", State: "never", LastError: "404"}}
		}, "error|crl||there is no revocation list of http://crl.mycorp: 404|"},
		{"flaky crl", func() {
			w.external = []wire.ExternalList{{Source: "http://crl.mycorp", State: "fresh", LastError: "502"}}
		}, "warning|crl||the revocation list of http://crl.mycorp could not be fetched again: 502|"},
		{"no crl of a CA", func() {
			w.external = []wire.ExternalList{{Source: "http://crl.mycorp", State: "error", LastError: "404", Undetermined: []string{"CN=A", "CN=B"}}}
		}, "error|crl||there is no revocation list of http://crl.mycorp, so that listener.crl_policy decides about the certificates of CN=A; CN=B until a list that the CA signed is there: 404|"},
		{"crl that cannot be used", func() {
			one := wire.ExternalList{Source: "http://crl.mycorp", State: "partial", LastError: "bad signature", Undetermined: []string{"CN=A"}}
			w.external = []wire.ExternalList{one, one}
		}, "error|crl||a revocation list of http://crl.mycorp cannot be used, so that listener.crl_policy decides about the certificates of CN=A until a list that the CA signed is there: bad signature|omca crl refresh http://crl.mycorp"},
		{"clock", func() {
			w.clock = &wire.ClockStatus{Others: []wire.NodeClock{{Node: "node2", Offset: -3600, Off: true}, {Node: "node3", Offset: 12}}}
		}, "error|clock||the clock of node node2 is 1h0m0s behind the clocks of the other nodes: until it is right the node renews nothing, numbers no revocation list"},
		{"own clock", func() { w.clock = &wire.ClockStatus{Offset: 130, Off: true} }, "error|clock||the clock of node node1 is 2m10s ahead of the clocks of the other nodes"},
		{"panic", func() {
			w.panics = []wire.TaskPanics{{Task: "staples", Count: 1, Last: w.now}, {Task: "watch", Count: 3, Last: w.now}}
		},
			"warning|panic||the task \"watch\" of the daemon panicked 3 times since the start, at 2026-11-22T12:00:00Z last, and began again: "},
		{"revoked", func() {
			w.do(request{method: http.MethodPost, target: at + "system/usr/guest1/certificate/revoke", by: "root"}).want(http.StatusOK)
		}, "error|revoked|system/usr/guest1|its certificate was revoked|omca system/usr/guest1 certificate renew --rekey"},
		{"pending", func() { w.keyIn("ns1/sec/web", "private_key", aKey(t)) }, "warning|pending|ns1/sec/web|what was imported is not live: "},
		{"expiring", func() { w.now = w.now.Add(345 * 24 * time.Hour) }, "error|expiring|system/sec/cert|its certificate expires in 20 days and did not renew itself"},
		{"backup", func() {}, "the last backup is 345 days old|"},
		{"expired", func() { w.now = w.now.Add(30 * 24 * time.Hour) }, "error|expiring|system/sec/cert|its certificate has expired|omca system/sec/cert certificate renew"},
	} {
		c.make()
		if got := w.troubles("root"); strings.Count(got, c.want) != 1 {
			t.Errorf("%s: want %q in\n%s", c.name, c.want, got)
		}
	}
	if lines := strings.Split(w.troubles("root"), "\n"); !slices.IsSortedFunc(lines, func(a, b string) int { return strings.Compare(a[:5], b[:5]) }) {
		t.Errorf("errors must come first:\n%s", strings.Join(lines, "\n"))
	}
}

// TestDoctorTellsWhatItWasBuiltWith: one line at the end, which is nothing to mend.
func TestDoctorTellsWhatItWasBuiltWith(t *testing.T) {
	w := newWorld(t)
	for _, by := range []string{"root", "guest1"} {
		items := into[wire.Diagnosis](w.do(request{target: "/api/doctor", by: by}).want(http.StatusOK)).Items
		want := wire.Trouble{Check: "go", Level: "info", What: "omca was built with " + runtime.Version()}
		if len(items) == 0 || items[len(items)-1] != want {
			t.Errorf("%s is told %+v, want %+v at the end", by, items, want)
		}
	}
}

// TestDoctorTellsOnlyWhatIsReadable: it is no way around the grants.
func TestDoctorTellsOnlyWhatIsReadable(t *testing.T) {
	w := newWorld(t)
	w.set("root/ccfg/cluster", "listener.crl_policy=soft")
	w.set("system/sec/cert", "alt_names+=vip.clu.mycorp")
	w.put("system/sec/ca-other", "profile=ca")
	w.keyIn("ns1/sec/web", "private_key", aKey(t))
	w.keyIn("system/sec/ca-other", "private_key", aKey(t))
	if got := w.troubles("guest1"); !strings.HasPrefix(got, "warning|pending|ns1/sec/web|") || strings.Contains(got, "\n") {
		t.Errorf("guest on ns1:\n%s", got)
	}
	w.now = w.now.Add(350 * 24 * time.Hour) // system/usr/guest1 and the listener's expire soon
	if got := w.troubles("guest"); strings.Contains(got, "expiring|system") || !strings.Contains(got, "pending|ns1") {
		t.Errorf("guest on all but system:\n%s", got)
	}
	w.do(request{target: "/api/doctor", by: "none"}).refused(http.StatusForbidden)
	w.do(request{target: "/api/doctor"}).refused(http.StatusUnauthorized)
}

// TestFailedFetchesAreRoots: others than the operator may name what is fetched, and what came of it would tell a caller what there is
// in the network: only root is told.
func TestFailedFetchesAreRoots(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/guestsys", "grant=guest:system")
	const why = "127.0.0.1, port 22, is on the loopback"
	list := wire.ExternalList{Source: "http://crl.mycorp", LastError: why, Undetermined: []string{"CN=A"}}
	w.external = []wire.ExternalList{list, list, list, list}
	for i, state := range []string{"fresh", "partial", "error", "never"} {
		w.external[i].State = state
	}
	w.openid = &wire.OpenIDStatus{Issuer: "https://idp.mycorp", LastError: why}
	for _, target := range []string{"/api/crl", "/api/doctor", "/api/daemon/status"} {
		for by, root := range map[string]bool{"root": true, "guest1": false, "adminall": false, "adminsys": false, "guestsys": false} {
			got := w.do(request{target: target, by: by}).want(http.StatusOK)
			if told := strings.Contains(string(got.body), why); told != root {
				t.Errorf("%s to %s tells why: %v, want %v", target, by, told, root)
			}
			if root {
				continue
			}
			if !strings.Contains(string(got.body), rootIsTold) {
				t.Errorf("%s to %s does not tell that something failed: %s", target, by, got.body)
			}
		}
	}
	if w.openid.LastError != why {
		t.Error("what one caller is told changed the status itself")
	}
}

// aKey is a private key that fits nothing.
func aKey(t *testing.T) string {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(t)}))
}

// set changes a keyword, and keyIn a key, as callers do.
func (w *world) set(path, expr string) {
	w.t.Helper()
	w.do(request{method: http.MethodPatch, target: at + path + "/config?set=" + url.QueryEscape(expr), by: "root"}).want(http.StatusOK)
}

func (w *world) keyIn(path, name, value string) {
	w.t.Helper()
	target := at + path + "/data/key?name=" + name
	w.do(request{method: http.MethodPost, target: target, by: "root", body: value, media: mediaAny}).want(http.StatusNoContent)
}

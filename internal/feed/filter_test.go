package feed

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"omca/crl"
	"omca/internal/hint"
	"omca/internal/outbound"
	"omca/pki"
)

// counting serves pages, and counts what is asked of it.
func counting(t *testing.T, pages map[string][]byte) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Write(pages[r.URL.Path])
	}), &asked
}

// What a list, or a redirect, names on this machine is asked only at a host and port that the operator named too.
func TestOthersNameNothingOnThisMachine(t *testing.T) {
	corp, now := newCA(t, "Corp"), time.Now()
	delta := list(now, 6, 3)
	delta.base = 5
	elsewhere, asked := counting(t, map[string][]byte{"/delta.crl": corp.sign(t, delta)})
	port := elsewhere.URL[strings.LastIndex(elsewhere.URL, ":"):]
	for name, address := range map[string]string{
		"by address":       elsewhere.URL + "/delta.crl",
		"by name":          "http://delta.mycorp" + port + "/delta.crl",
		"unspecified":      "http://0.0.0.0" + port + "/delta.crl",
		"unspecified IPv6": "http://[::]" + port + "/delta.crl",
		"mapped":           "http://[::ffff:127.0.0.1]" + port + "/delta.crl",
		"by a redirect":    "/redirect",
	} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			base, pages := list(now, 5, 1), http.NewServeMux()
			pages.Handle("/redirect", http.RedirectHandler(elsewhere.URL+"/delta.crl", http.StatusFound))
			source := serve(t, pages.ServeHTTP)
			if strings.HasPrefix(address, "/") {
				address = source.URL + address
			}
			base.freshest = []string{address}
			whole := corp.sign(t, base)
			pages.HandleFunc("/ca.crl", func(w http.ResponseWriter, _ *http.Request) { w.Write(whole) })
			b := newBench(t, Limits{}, corp)
			c := b.cfg
			c.Network = &outbound.Network{Lookup: func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}}
			b.build(c)
			b.load(source.URL + "/ca.crl")
			b.verdicts(corp, crl.Revoked, crl.Good, crl.Good)
			all := b.freshestStatus()
			if len(all) != 1 || all[0].State != Error || !strings.Contains(all[0].LastError, "did not name this host and port") {
				t.Errorf("status of the delta list: %+v", all)
			}
			err := b.Refresh(t.Context(), address)
			if !errors.Is(err, pki.ErrInvalid) || !strings.Contains(hint.Of(err), "cluster.crl+=") {
				t.Errorf("error %v, hint %q", err, hint.Of(err))
			}
			if n := asked.Load(); n > 0 {
				t.Errorf("it was asked %d times", n)
			}
			// The operator names the server, by any of its URLs.
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			named := u.Host
			if name == "by a redirect" {
				named = strings.TrimPrefix(elsewhere.URL, "http://")
			}
			b.SetSources(t.Context(), []string{source.URL + "/ca.crl", "http://" + named + "/named.crl"})
			if err := b.Refresh(t.Context(), address); err != nil && !strings.Contains(err.Error(), "connect:") {
				t.Errorf("named by the operator: %v", err)
			}
		})
	}
}

// A delta list at the host and port of its source is asked wherever they are.
func TestDeltaBesideItsSource(t *testing.T) {
	corp, now := newCA(t, "Corp"), time.Now()
	pages := map[string][]byte{}
	server, asked := counting(t, pages)
	base, delta := list(now, 5, 1), list(now, 6, 3)
	base.freshest, delta.base = []string{server.URL + "/delta.crl"}, 5
	pages["/ca.crl"], pages["/delta.crl"] = corp.sign(t, base), corp.sign(t, delta)
	b := newBench(t, Limits{}, corp).over(server)
	b.load(server.URL + "/ca.crl")
	b.verdicts(corp, crl.Revoked, crl.Good, crl.Revoked)
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times, want twice", n)
	}
}

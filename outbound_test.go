package omca

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"omca/internal/outbound"
)

func TestListenedAt(t *testing.T) {
	for address, want := range map[string]string{
		":1215": "[::]:1215", "0.0.0.0:1215": "0.0.0.0:1215", "[::]:1215": "[::]:1215", "192.0.2.1:8080": "192.0.2.1:8080", "node1:1215": "[::]:1215",
		"": "", "127.0.0.1:0": "", "nonsense": "", ":https": "", ":99999": "",
	} {
		got, ok := listenedAt(address)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%q: %s, %v, want %q", address, got, ok, want)
		}
	}
}

// What this daemon listens on, or is to listen on, is not asked for what others
// name, whatever the machine is called there.
func TestOwnListenersAreNotAsked(t *testing.T) {
	peer := freePeer(t)
	f := frontOf(t, Config{Cluster: true, Peer: peer})
	f.root("PATCH", "/api/cluster/config?set=listener.port%3D1299&set=listener.http_addr%3D:8099", "")
	network := f.s.network()
	network.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}
	network.Addresses = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil }
	away := errors.New("connection refused")
	network.Connect = func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, away }
	for address, own := range map[string]bool{
		"https://node1.mycorp:1299/crl/ca.crl": true, "http://node1.mycorp:8099/crl/ca.crl": true, "https://192.0.2.7:1299/": true, "https://" + peer: true,
		"http://node1.mycorp:8098/": false,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := network.Client(outbound.Rules{}).Do(request)
		if err == nil {
			t.Fatal(answer.Body.Close(), address, " is asked")
		}
		if refused := strings.Contains(err.Error(), "is a listener of this daemon"); refused != own || !own && !errors.Is(err, away) {
			t.Errorf("%s: %v, want refused %v", address, err, own)
		}
	}
}

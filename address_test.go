package omca

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestForwardedFor(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/64")}
	const proxy, client, nowhere = "192.0.2.10", "198.51.100.7", ""
	xff := func(values ...string) http.Header { return http.Header{"X-Forwarded-For": values} }
	fwd := func(values ...string) http.Header { return http.Header{"Forwarded": values} }
	for _, tt := range []struct {
		name   string
		peer   string
		header http.Header
		want   string
	}{
		{"the client made the proxy's list long", proxy, xff(strings.Repeat("x", 8<<10) + ", " + client), nowhere},
		{"the client opened a quote", proxy, fwd(`for="x, for=198.51.100.7`), nowhere},
		{"nothing said", proxy, http.Header{}, proxy},
		{"not a proxy", client, xff("203.0.113.1"), client},
		{"not a proxy, standard", client, fwd("for=203.0.113.1"), client},
		{"not a proxy, says that it is this machine", client, xff("127.0.0.1"), client},
		{"a proxy", proxy, xff(client), client},
		{"a proxy, with port", proxy, xff(client + ":4711"), client},
		{"a proxy, IPv6", proxy, xff("2001:db8::1"), "2001:db8::1"},
		{"a proxy, IPv6 in brackets", proxy, xff("[2001:db8::1]"), "2001:db8::1"},
		{"a proxy, IPv6 with port", proxy, xff("[2001:db8::1]:4711"), "2001:db8::1"},
		{"a proxy, mapped", proxy, xff("::ffff:198.51.100.7"), client},
		{"the client wrote first", proxy, xff("203.0.113.1, " + client), client},
		{"the client wrote that it is a proxy", proxy, xff("10.0.0.1, " + client), client},
		{"the client wrote garbage first", proxy, xff("<script>, ,, " + client), client},
		{"the client wrote another header", proxy, xff("203.0.113.1", client), client},
		{"two proxies", proxy, xff(client + ", 10.0.0.1"), client},
		{"two proxies, a header each", proxy, xff("203.0.113.9, "+client, "10.0.0.1"), client},
		{"proxies all the way", proxy, xff("10.0.0.2, 10.0.0.1"), "10.0.0.2"},
		{"a proxy of IPv6", "2001:db8:1::9", xff(client), client},
		{"garbage", proxy, xff("unknown"), nowhere},
		{"garbage behind a client", proxy, xff(client + ", unknown"), nowhere},
		{"empty", proxy, xff(""), proxy},
		{"an empty element", proxy, xff(client + ","), nowhere},
		{"a zone", proxy, xff("fe80::1%eth0"), nowhere},
		{"a host name", proxy, xff("client.mycorp"), nowhere},
		{"an address of three numbers", proxy, xff("198.51.7"), nowhere},
		{"brackets around IPv4", proxy, xff("[198.51.100.7]"), nowhere},
		{"long", proxy, xff(strings.Repeat("203.0.113.1, ", 400) + client), nowhere},
		{"many proxies", proxy, xff(client + strings.Repeat(", 10.0.0.1", 40)), nowhere},
		{"some proxies", proxy, xff(client + strings.Repeat(", 10.0.0.1", 20)), client},
		{"standard", proxy, fwd("for=198.51.100.7;proto=https;by=192.0.2.10"), client},
		{"standard, quoted", proxy, fwd(`For="198.51.100.7:4711"`), client},
		{"standard, IPv6", proxy, fwd(`proto=https; for="[2001:db8::1]:4711"`), "2001:db8::1"},
		{"standard, chain", proxy, fwd(`for=203.0.113.1, for=198.51.100.7, for=10.0.0.1`), client},
		{"standard, a comma in quotes", proxy, fwd(`for=203.0.113.1;host="a,for=203.0.113.2", for=198.51.100.7`), client},
		{"standard, an escaped quote", proxy, fwd(`for=203.0.113.1;host="a\",for=203.0.113.2", for=198.51.100.7`), client},
		{"standard, a quote that does not end", proxy, fwd(`for="203.0.113.1`, `for=198.51.100.7`), nowhere},
		{"standard, unknown", proxy, fwd("for=unknown"), nowhere},
		{"standard, hidden", proxy, fwd("for=_secret"), nowhere},
		{"standard, no for", proxy, fwd("proto=https"), nowhere},
		{"standard, twice", proxy, fwd("for=203.0.113.1;for=198.51.100.7"), nowhere},
		{"standard, IPv6 without brackets", proxy, fwd(`for="2001:db8::1"`), nowhere},
		{"standard, not a pair", proxy, fwd("198.51.100.7"), nowhere},
		{"both agree", proxy, http.Header{"X-Forwarded-For": {client}, "Forwarded": {"for=" + client}}, client},
		{"the client wrote the other", proxy, http.Header{"X-Forwarded-For": {client}, "Forwarded": {"for=203.0.113.1"}}, nowhere},
		{"a header that nobody asked for", proxy, http.Header{"X-Real-Ip": {client}, "X-Client-Ip": {client}}, proxy},
	} {
		var want netip.Addr
		if tt.want != nowhere {
			want = netip.MustParseAddr(tt.want)
		}
		if got := forwardedFor(tt.header, netip.MustParseAddr(tt.peer), proxies); got != want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := forwardedFor(xff(client), netip.MustParseAddr(proxy), nil); got != netip.MustParseAddr(proxy) {
		t.Errorf("nobody is trusted, and %s is believed", got)
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("198.51.100.7, 10.0.0.1", `for="[2001:db8::1]:4711";proto=https`)
	f.Add("", `for="\`)
	f.Add("[::1", `;;,,==""`)
	peer, proxies := netip.MustParseAddr("192.0.2.10"), []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32")}
	f.Fuzz(func(t *testing.T, plain, standard string) {
		got := forwardedFor(http.Header{"X-Forwarded-For": {plain}, "Forwarded": {standard}}, peer, proxies)
		if got.Zone() != "" || got.Is4In6() {
			t.Errorf("%q, %q: from %s", plain, standard, got)
		}
	})
}

package omca

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"omca/internal/api"
	"omca/internal/wire"
)

// Where a call comes from decides whether a user may call (allowed_ips), whose
// guesses are counted together, and what the audit trail says. It is the
// address of the connection. Only of a proxy that the operator named
// (listener.trusted_proxies) is it what the proxy says; what anybody else says
// of it is a claim that costs nothing.

const (
	maxForwarded = 4 << 10 // bytes of the headers that say where a call comes from
	maxHops      = 32      // proxies in a row
)

// address is where a request comes from: the address of the connection or, if
// that is a trusted proxy's, the last one in the chain of the request that is
// not. What is left of it in the header is whatever the client wrote.
//
// It is the zero Addr where there is no address: on the unix socket, in
// process, and where what a proxy says cannot be read or is two things. It is
// not the proxy's own then: a client that can make its proxy say nonsense would
// pass for the proxy, whose address may be one that users may call from.
func (s *Server) address(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := peer.Addr().Unmap()
	if !api.Forwarded(r) {
		return from
	}
	guard, err := s.objects.Guard(r.Context())
	if err != nil {
		return from // nobody is trusted who cannot be asked after
	}
	return forwardedFor(r.Header, from, guard.Proxies)
}

// from is address for people, with the port where it is known.
func (s *Server) from(r *http.Request) string {
	address := s.address(r)
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !address.IsValid() || address == peer.Addr().Unmap() {
		return r.RemoteAddr
	}
	return address.String()
}

// origin is address and from together, and whether the caller is the machine's root.
func (s *Server) origin(r *http.Request) wire.Address {
	_, err := s.bySocket(r)
	return wire.Address{IP: s.address(r), Local: err == nil, Shown: s.from(r)}
}

// forwardedFor returns where a request comes from that the connection of peer
// brought.
func forwardedFor(h http.Header, peer netip.Addr, proxies []netip.Prefix) netip.Addr {
	if !within(proxies, peer) {
		return peer
	}
	plain, standard := strings.Join(h["X-Forwarded-For"], ","), strings.Join(h["Forwarded"], ",")
	if plain+standard == "" {
		return peer // the proxy calls for itself
	}
	if len(plain)+len(standard) > maxForwarded {
		return netip.Addr{}
	}
	var said []netip.Addr
	if plain != "" {
		said = append(said, lastUntrusted(splitList(plain), plainHop, proxies))
	}
	if standard != "" {
		said = append(said, lastUntrusted(splitQuoted(standard, ','), forwardedHop, proxies))
	}
	// A proxy writes one of the two, and may hand on the other as the client
	// wrote it.
	if len(said) == 2 && said[0] != said[1] {
		return netip.Addr{}
	}
	return said[0]
}

// lastUntrusted walks the hops from the right, where the nearest proxy wrote,
// and stops at the first that is no proxy of ours. If all are, it is the first;
// if one on the way is no address, there is none.
func lastUntrusted(hops []string, parse func(string) (netip.Addr, bool), proxies []netip.Prefix) netip.Addr {
	var from netip.Addr
	for i, hop := range slices.Backward(hops) {
		address, ok := parse(hop)
		if !ok || len(hops)-i > maxHops {
			return netip.Addr{}
		}
		if from = address; !within(proxies, address) {
			break
		}
	}
	return from
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

func splitList(s string) []string { return strings.Split(s, ",") }

// plainHop reads one element of X-Forwarded-For: an address, maybe with a port.
func plainHop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if a, err := netip.ParseAddrPort(s); err == nil {
		return plainAddr(a.Addr())
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok || !strings.Contains(s, ":") {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, false
	}
	return plainAddr(a)
}

// plainAddr refuses addresses that mean nothing away from the machine that wrote them.
func plainAddr(a netip.Addr) (netip.Addr, bool) { return a.Unmap(), a.Zone() == "" }

// forwardedHop reads one element of Forwarded (RFC 7239, section 4): its
// parameter for. An obfuscated name, or "unknown", is no address.
func forwardedHop(s string) (netip.Addr, bool) {
	var found []string
	for _, pair := range splitQuoted(s, ';') {
		name, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !ok {
			return netip.Addr{}, false
		}
		if strings.EqualFold(name, "for") {
			found = append(found, value)
		}
	}
	if len(found) != 1 {
		return netip.Addr{}, false
	}
	value := found[0]
	if inner, ok := strings.CutPrefix(value, `"`); ok {
		if value, ok = strings.CutSuffix(inner, `"`); !ok || strings.ContainsAny(value, `"\`) {
			return netip.Addr{}, false
		}
	}
	// RFC 7239, section 6: an IPv6 address stands in brackets.
	if strings.Count(value, ":") > 1 && !strings.HasPrefix(value, "[") {
		return netip.Addr{}, false
	}
	return plainHop(value)
}

// splitQuoted splits at a character that stands outside of quotes.
func splitQuoted(s string, at byte) []string {
	var parts []string
	begin, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == at && !quoted:
			parts, begin = append(parts, s[begin:i]), i+1
		}
	}
	return append(parts, s[begin:])
}

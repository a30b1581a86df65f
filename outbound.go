package omca

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"omca/internal/object"
	"omca/internal/outbound"
)

// network is the way to the addresses that others name: it does not lead back to
// what this daemon listens on.
func (s *Server) network() *outbound.Network {
	return &outbound.Network{Listeners: s.ownListeners}
}

// ownListeners are the addresses that this daemon listens on, and those that it is
// configured to listen on: lists are fetched before its sockets are open.
func (s *Server) ownListeners(ctx context.Context) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for _, l := range s.tcpSockets() {
		if at, ok := l.Addr().(*net.TCPAddr); ok {
			all = append(all, at.AddrPort())
		}
	}
	listen, err := s.listenAddress(ctx)
	if err != nil {
		return nil, err
	}
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return nil, err
	}
	plain, err := cluster.Config.Eval("listener.http_addr")
	if err != nil {
		return nil, err
	}
	for _, address := range []string{listen, plain} {
		if at, ok := listenedAt(address); ok {
			all = append(all, at)
		}
	}
	return all, nil
}

// tcpSockets are the open sockets that others can connect to.
func (s *Server) tcpSockets() []net.Listener {
	s.listening.Lock()
	defer s.listening.Unlock()
	var all []net.Listener
	for _, l := range []net.Listener{s.sockets.tls, s.publicSocket} {
		if l != nil {
			all = append(all, l)
		}
	}
	if n := s.db.node; n != nil && n.socket != nil {
		all = append(all, n.socket)
	}
	return all
}

// listenedAt reads an address to listen on. A host that is a name, or none, stands
// for all addresses of this machine. A port that the system chooses is none.
func listenedAt(address string) (netip.AddrPort, bool) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return netip.AddrPort{}, false
	}
	at, err := netip.ParseAddr(host)
	if err != nil {
		at = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(at, uint16(port)), true
}

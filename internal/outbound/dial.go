package outbound

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

const (
	mostAddresses = 4           // of one name that are tried
	perAddress    = time.Second // that an address is waited for while others are left
)

// dialer connects to servers.
type dialer struct {
	network *Network
	within  time.Duration
	free    bool // the operator named them: no address is refused
}

// dial connects to server, HOST:PORT. The addresses of the host are looked up once, and one of those that passed the filter is dialled.
func (d dialer) dial(ctx context.Context, _, server string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.within)
	defer cancel()
	host, text, err := net.SplitHostPort(server)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %.20q: %w", text, err)
	}
	addresses, err := d.network.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	servers := make([]netip.AddrPort, len(addresses))
	for i, a := range addresses {
		servers[i] = netip.AddrPortFrom(a.Unmap(), uint16(port))
	}
	if !d.free {
		if servers, err = d.network.filter(ctx, servers); err != nil {
			return nil, err
		}
	}
	return d.network.first(ctx, host, servers[:min(len(servers), mostAddresses)])
}

// lookup returns the addresses of a host.
func (n *Network) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if n.Lookup != nil {
		return n.Lookup(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// filter returns those of the addresses of a server that may be asked. Errors: ErrRefused for the first, when there is none.
func (n *Network) filter(ctx context.Context, servers []netip.AddrPort) ([]netip.AddrPort, error) {
	var refused error
	var passed []netip.AddrPort
	for _, at := range servers {
		why := forbidden(at.Addr())
		own, err := n.listensOn(ctx, at)
		switch {
		case err != nil:
			return nil, err
		case own:
			why = "is a listener of this daemon"
		case why == "":
			passed = append(passed, at)
			continue
		}
		refused = cmp.Or(refused, refuse("address %s, port %d, %s, and the operator did not name this host and port", at.Addr(), at.Port(), why))
	}
	if len(passed) == 0 {
		return nil, refused
	}
	return passed, nil
}

// listensOn reports whether this daemon listens on an address and port.
func (n *Network) listensOn(ctx context.Context, at netip.AddrPort) (bool, error) {
	if n.Listeners == nil {
		return false, nil
	}
	listeners, err := n.Listeners(ctx)
	if err != nil {
		return false, fmt.Errorf("the listeners of this daemon: %w", err)
	}
	a := within(at.Addr())
	for _, l := range listeners {
		switch own := l.Addr().Unmap().WithZone(""); {
		case l.Port() != at.Port():
		case own == a:
			return true, nil
		case own.IsUnspecified():
			here, err := n.addresses()
			if err != nil || slices.Contains(here, a) {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// addresses returns the addresses of this machine.
func (n *Network) addresses() ([]netip.Addr, error) {
	if n.Addresses != nil {
		return n.Addresses()
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("the addresses of this machine: %w", err)
	}
	var all []netip.Addr
	for _, i := range interfaces {
		if p, err := netip.ParsePrefix(i.String()); err == nil {
			all = append(all, p.Addr().Unmap().WithZone(""))
		}
	}
	return all, nil
}

// first returns a connection to the first of servers that answers, one after the other.
func (n *Network) first(ctx context.Context, host string, servers []netip.AddrPort) (net.Conn, error) {
	var failed error
	for i, at := range servers {
		conn, err := n.connect(ctx, at, i == len(servers)-1)
		if err == nil {
			return conn, nil
		}
		if failed = cmp.Or(failed, err); ctx.Err() != nil {
			break
		}
	}
	return nil, cmp.Or(failed, error(&net.DNSError{Err: "no address", Name: host, IsNotFound: true}))
}

// connect opens a connection to an address, the last that is left or one of several.
func (n *Network) connect(ctx context.Context, at netip.AddrPort, last bool) (net.Conn, error) {
	if !last {
		bounded, cancel := context.WithTimeout(ctx, perAddress)
		defer cancel()
		ctx = bounded
	}
	if n.Connect != nil {
		return n.Connect(ctx, at)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", at.String())
}

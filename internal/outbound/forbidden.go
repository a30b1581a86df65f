package outbound

import "net/netip"

// block is a range of addresses, and why none of them is asked.
type block struct{ prefix, why string }

// blocks are those that are refused; the first that has an address says why.
func blocks() []block {
	const (
		credentials = "is where a cloud hands out credentials"
		here        = "means this machine"
		loopback    = "is on the loopback"
		link        = "is link-local"
		multicast   = "is a multicast address"
		embedded    = "has an IPv4 address in it"
	)
	return []block{
		// Metadata services. Most have 169.254.169.254, and others of that network.
		{"169.254.169.254/32", credentials},
		{"169.254.170.2/32", credentials},       // containers at AWS
		{"100.100.100.200/32", credentials},     // Alibaba
		{"168.63.129.16/32", credentials},       // Azure
		{"192.0.0.192/32", credentials},         // Oracle
		{"fd00:ec2::/32", credentials},          // AWS
		{"fd20:ce::254/128", credentials},       // Google
		{"fd00:42::42/128", credentials},        // Scaleway
		{"fd00:c1::a9fe:a9fe/128", credentials}, // Oracle

		// IANA IPv4 Special-Purpose Address Registry (RFC 6890), as far as an address is never a server's.
		{"0.0.0.0/8", here},
		{"127.0.0.0/8", loopback},
		{"169.254.0.0/16", link},
		{"224.0.0.0/4", multicast},
		{"255.255.255.255/32", "is the broadcast address"},
		{"240.0.0.0/4", "is reserved"},

		// The same of IPv6.
		{"::/128", here},
		{"::1/128", loopback},
		{"fe80::/10", link},
		{"ff00::/8", multicast},
		{"::/96", embedded},           // IPv4-compatible (RFC 4291, 2.5.5.1)
		{"::ffff:0:0:0/96", embedded}, // IPv4-translated (RFC 2765, 2.1)
		{"64:ff9b:1::/48", embedded},  // local NAT64 (RFC 8215)
		{"2001::/32", embedded},       // Teredo (RFC 4380)
		{"2002::/16", embedded},       // 6to4 (RFC 3056)
	}
}

// forbidden says why an address is not asked; "" if it may be.
func forbidden(a netip.Addr) string {
	if a.Zone() != "" {
		return "is of one link alone"
	}
	inner := within(a)
	for _, n := range blocks() {
		if netip.MustParsePrefix(n.prefix).Contains(inner) {
			return n.why
		}
	}
	return ""
}

// within returns the IPv4 address that a packet to a goes to, where a has one in it: IPv4-mapped (RFC 4291, 2.5.5.2), and the
// well-known prefix of NAT64 (RFC 6052), by which a machine without IPv4 reaches every server that has no IPv6. Otherwise it returns a.
func within(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if netip.MustParsePrefix("64:ff9b::/96").Contains(a) {
		octets := a.As16()
		return netip.AddrFrom4([4]byte(octets[12:]))
	}
	return a
}

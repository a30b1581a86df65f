package pki

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// Bounds on names.
const (
	maxNames    = 100  // subject alternative names in one certificate
	maxDNSName  = 253  // RFC 1035, 2.3.4, without the root label
	maxDNSLabel = 63   // RFC 1035, 2.3.4
	maxEmail    = 254  // RFC 5321, 4.5.3.1.3, without the angle brackets
	maxURI      = 2048 // X.509-SVID, 2: a SPIFFE ID has at most 2048 bytes
)

// Names are subject alternative names by type, in the order given, without
// duplicates. What [ParseNames] returns is canonical; a Names put together by
// hand is made canonical when it enters a [Request].
type Names struct {
	DNS   []string     // lower case, punycode; "*." only in front
	IP    []netip.Addr // no zone, no IPv4 in IPv6
	URI   []string     // absolute, ASCII
	Email []string     // lower case
}

// ParseNames reads names as keywords hold them. The prefixes DNS:, IP:, URI:
// and email: (in any case) say what a name is; without one it is an address if
// it reads as one, a URI if it has "://" or starts with "urn:", an e-mail
// address if it has "@", else a DNS name. At most 100 names are read.
// Errors: ErrInvalid, naming the name and what is wrong with it.
func ParseNames(list []string) (Names, error) {
	var n Names
	return n, n.Add(list...)
}

// Add reads more names, as [ParseNames] does. A name that is there already is
// not added again. On an error n is unchanged.
func (n *Names) Add(list ...string) error {
	if len(list) > maxNames {
		return fmt.Errorf("%w: %d names, at most %d fit", ErrInvalid, len(list), maxNames)
	}
	sum := n.clone()
	for _, s := range list {
		if err := sum.add(s); err != nil {
			return err
		}
	}
	if c := sum.count(); c > maxNames {
		return fmt.Errorf("%w: %d names, at most %d fit", ErrInvalid, c, maxNames)
	}
	*n = sum
	return nil
}

func (n *Names) add(s string) error {
	kind, value := splitName(s)
	switch kind {
	case "ip":
		ip, err := netip.ParseAddr(value)
		if err != nil || ip.Zone() != "" {
			return fmt.Errorf("%w: %.80q is no IP address", ErrInvalid, value)
		}
		n.IP = appendNew(n.IP, ip.Unmap())
	case "uri":
		uri, err := canonicalURI(value)
		if err != nil {
			return err
		}
		n.URI = appendNew(n.URI, uri)
	case "email":
		email, err := canonicalEmail(value)
		if err != nil {
			return err
		}
		n.Email = appendNew(n.Email, email)
	default:
		dns, err := canonicalDNS(value)
		if err != nil {
			return err
		}
		n.DNS = appendNew(n.DNS, dns)
	}
	return nil
}

// splitName tells the type of a name: "dns", "ip", "uri" or "email".
func splitName(s string) (kind, value string) {
	if prefix, rest, found := strings.Cut(s, ":"); found {
		switch kind := strings.ToLower(prefix); kind {
		case "dns", "ip", "uri", "email":
			return kind, rest
		case "urn":
			return "uri", s
		}
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return "ip", s
	}
	switch {
	case strings.Contains(s, "://"):
		return "uri", s
	case strings.Contains(s, "@"):
		return "email", s
	}
	return "dns", s
}

// Strings returns the names with their prefixes: what [ParseNames] reads back
// to the same Names.
func (n Names) Strings() []string {
	list := make([]string, 0, n.count())
	for _, s := range n.DNS {
		list = append(list, "DNS:"+s)
	}
	for _, ip := range n.IP {
		list = append(list, "IP:"+ip.String())
	}
	for _, s := range n.URI {
		list = append(list, "URI:"+s)
	}
	for _, s := range n.Email {
		list = append(list, "email:"+s)
	}
	return list
}

// Empty reports whether there is no name at all.
func (n Names) Empty() bool { return n.count() == 0 }

func (n Names) count() int { return len(n.DNS) + len(n.IP) + len(n.URI) + len(n.Email) }

func (n Names) clone() Names {
	return Names{slices.Clone(n.DNS), slices.Clone(n.IP), slices.Clone(n.URI), slices.Clone(n.Email)}
}

// NamesOf returns the subject alternative names of cert as they stand there.
func NamesOf(cert *x509.Certificate) Names {
	return namesFrom(cert.DNSNames, cert.IPAddresses, cert.URIs, cert.EmailAddresses)
}

// namesFrom gathers names as crypto/x509 keeps them.
func namesFrom(dns []string, ips []net.IP, uris []*url.URL, emails []string) Names {
	n := Names{DNS: slices.Clone(dns), Email: slices.Clone(emails)}
	for _, ip := range ips {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			n.IP = append(n.IP, addr.Unmap())
		}
	}
	for _, uri := range uris {
		n.URI = append(n.URI, uri.String())
	}
	return n
}

// ips returns the addresses as crypto/x509 wants them.
func (n Names) ips() []net.IP {
	var list []net.IP
	for _, ip := range n.IP {
		list = append(list, ip.AsSlice())
	}
	return list
}

// uris returns the URIs as crypto/x509 wants them.
func (n Names) uris() ([]*url.URL, error) {
	var list []*url.URL
	for _, s := range n.URI {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("%w: URI %.80q", ErrInvalid, s)
		}
		list = append(list, u)
	}
	return list, nil
}

// appendNew appends item unless list has it.
func appendNew[T comparable](list []T, item T) []T {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

// hostName returns the canonical form of a common name that is a host name:
// one with at least one dot. "alice" and "node1" are not.
func hostName(cn string) (string, bool) {
	if !strings.Contains(cn, ".") {
		return "", false
	}
	name, err := canonicalDNS(cn)
	return name, err == nil
}

// canonicalDNS returns name in lower case and punycode, or says why it is no
// host name (RFC 5280, 4.2.1.6: the preferred name syntax of RFC 1034, 3.5).
func canonicalDNS(name string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("%w: DNS name %.80q %s", ErrInvalid, name, why)
	}
	if len(name) > 4*maxDNSName { // before any work: punycode only shrinks so much
		return bad("is too long")
	}
	host, wildcard := strings.CutPrefix(name, "*.")
	if strings.HasSuffix(host, ".") {
		return bad("ends with a dot: leave it out")
	}
	if strings.Contains(host, "*") {
		return bad("has a wildcard that is not the whole left-most label")
	}
	host = strings.ToLower(host)
	// ASCII without punycode needs no IDNA tables.
	if strings.Contains(host, "xn--") || strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return bad("is not valid in IDNA")
		}
		host = ascii
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if why := labelFault(label); why != "" {
			return bad(why)
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return bad("ends in a number, as only addresses do")
	}
	if wildcard {
		host = "*." + host
	}
	if len(host) > maxDNSName {
		return bad("is too long")
	}
	return host, nil
}

// labelFault says what is wrong with one lower-case ASCII label; "" if nothing.
func labelFault(label string) string {
	notLDH := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	}
	switch {
	case label == "":
		return "has an empty label"
	case len(label) > maxDNSLabel:
		return "has a label of more than 63 characters"
	case label[0] == '-' || label[len(label)-1] == '-':
		return "has a label that starts or ends with a hyphen"
	case strings.ContainsFunc(label, notLDH):
		return "has a character other than letters, digits and hyphens"
	}
	return ""
}

// canonicalEmail returns an address in lower case, its domain in punycode. The
// local part is an RFC 5321 dot-string: quoting is not taken. It is lowered
// too, so that a policy cannot be got around by case.
func canonicalEmail(address string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("%w: e-mail address %.80q %s", ErrInvalid, address, why)
	}
	local, domain, found := strings.Cut(address, "@")
	if !found {
		return bad("has no @")
	}
	local = strings.ToLower(local)
	for _, atom := range strings.Split(local, ".") {
		notAtom := func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
		}
		if atom == "" || strings.ContainsFunc(atom, notAtom) {
			return bad("has a local part that is no dot-string")
		}
	}
	host, err := canonicalDNS(domain)
	if err != nil || strings.HasPrefix(host, "*") {
		return bad("has no valid domain")
	}
	if address = local + "@" + host; len(address) > maxEmail {
		return bad("is too long")
	}
	return address, nil
}

// canonicalURI returns an absolute URI with scheme and host in lower case.
// RFC 5280, 4.2.1.6: it is not relative, and an authority names a fully
// qualified host or an address. A SPIFFE trust domain may be a single label.
func canonicalURI(s string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("%w: URI %.80q %s", ErrInvalid, s, why)
	}
	if len(s) > maxURI {
		return bad("is too long")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return bad("has a character that must be escaped")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || !u.IsAbs():
		return bad("is not absolute")
	case u.User != nil:
		return bad("has a user name")
	case u.Host == "" && u.Opaque == "":
		return bad("has neither a host nor a name")
	}
	if u.Opaque != "" {
		return u.String(), nil
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil {
		host, err := canonicalDNS(u.Hostname())
		if err != nil || strings.HasPrefix(host, "*") {
			return bad("has no valid host")
		}
		if u.Scheme != "spiffe" && !strings.Contains(host, ".") {
			return bad("has a host that is not fully qualified")
		}
		u.Host = strings.Replace(strings.ToLower(u.Host), strings.ToLower(u.Hostname()), host, 1)
	}
	return u.String(), nil
}

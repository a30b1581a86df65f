package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/smallstep/certificates/policy"
)

// maxRules bounds the entries of a policy.
const maxRules = 1000

// PolicyRules say which names a CA may sign, or a user ask for. Each entry is
//
//	www.example.com, DNS:www.example.com   that host
//	*.example.com                          hosts below it
//	10.0.0.0/8, 10.1.2.3, fd00::/8, IP:…   addresses
//	@example.com                           e-mail addresses at that domain
//	joe@example.com, email:…               that e-mail address
//	URI:example.com, URI:*.example.com     URIs with that host, or a host below it
//
// With any entry in Allow, only what is allowed passes, whatever its type: a
// list of DNS names allows no address. Deny wins over Allow. An allowed
// *.example.com means one label and no more; a denied one means any depth: an
// allow list is as narrow as it looks, a deny list as wide.
type PolicyRules struct {
	Allow []string
	Deny  []string
}

// A Policy holds names against rules. It is the one validator of names, be
// they from keywords, a signing request or the API. A nil *Policy allows
// everything. It is safe for concurrent use.
type Policy struct {
	all     *policy.NamePolicyEngine // allow and deny
	denials *policy.NamePolicyEngine // deny alone, for a common name that is no host name
	denied  []string                 // DNS patterns, for what the engine does not see
}

// ruleSet is a list of rules by type, as the engine wants them.
type ruleSet struct{ dns, ip, email, uri []string }

// NewPolicy makes a policy of rules; without a rule it allows everything.
// Errors: ErrInvalid, naming the entry.
func NewPolicy(rules PolicyRules) (*Policy, error) {
	allow, err := sortRules(rules.Allow)
	if err != nil {
		return nil, fmt.Errorf("allowed name: %w", err)
	}
	deny, err := sortRules(rules.Deny)
	if err != nil {
		return nil, fmt.Errorf("denied name: %w", err)
	}
	// Without the first option the engine takes a wildcard name for one that no
	// rule speaks of, which lets it past every denial.
	excluded := []policy.NamePolicyOption{
		policy.WithAllowLiteralWildcardNames(),
		policy.WithExcludedDNSDomains(deny.dns...), policy.WithExcludedIPsOrCIDRs(deny.ip...),
		policy.WithExcludedEmailAddresses(deny.email...), policy.WithExcludedURIDomains(deny.uri...),
	}
	denials, err := policy.New(excluded...)
	if err != nil {
		return nil, fmt.Errorf("%w: denied names: %v", ErrInvalid, err)
	}
	all, err := policy.New(append(excluded,
		policy.WithPermittedDNSDomains(allow.dns...), policy.WithPermittedIPsOrCIDRs(allow.ip...),
		policy.WithPermittedEmailAddresses(allow.email...), policy.WithPermittedURIDomains(allow.uri...))...)
	if err != nil {
		return nil, fmt.Errorf("%w: allowed names: %v", ErrInvalid, err)
	}
	return &Policy{all: all, denials: denials, denied: deny.dns}, nil
}

// sortRules puts each entry where it belongs, in canonical form.
func sortRules(entries []string) (ruleSet, error) {
	if len(entries) > maxRules {
		return ruleSet{}, fmt.Errorf("%w: %d rules, at most %d are taken", ErrInvalid, len(entries), maxRules)
	}
	var set ruleSet
	for _, entry := range entries {
		kind, value := splitName(entry)
		if _, err := netip.ParsePrefix(value); err == nil && kind == "dns" {
			kind = "ip"
		}
		var err error
		switch kind {
		case "ip":
			value, err = canonicalRange(value)
			set.ip = append(set.ip, value)
		case "email":
			if domain, found := strings.CutPrefix(value, "@"); found {
				value, err = plainDNS(domain)
			} else {
				value, err = canonicalEmail(value)
			}
			set.email = append(set.email, value)
		case "uri":
			value, err = canonicalDNS(value)
			set.uri = append(set.uri, value)
		default:
			value, err = canonicalDNS(value)
			set.dns = append(set.dns, value)
		}
		if err != nil {
			return ruleSet{}, fmt.Errorf("rule %.80q: %w", entry, err)
		}
	}
	return set, nil
}

// plainDNS is canonicalDNS without wildcards.
func plainDNS(name string) (string, error) {
	if strings.HasPrefix(name, "*") {
		return "", fmt.Errorf("%w: DNS name %.80q: no wildcard is meant here", ErrInvalid, name)
	}
	return canonicalDNS(name)
}

// canonicalRange returns an address range in CIDR form.
func canonicalRange(s string) (string, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return "", fmt.Errorf("%w: %.80q is no address and no CIDR range", ErrInvalid, s)
		}
		addr = addr.WithZone("").Unmap()
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	// Names hold no such address, so a rule about them would never speak.
	if prefix.Addr().Is4In6() {
		return "", fmt.Errorf("%w: range %.80q is IPv4 in IPv6: write the IPv4 range", ErrInvalid, s)
	}
	return prefix.Masked().String(), nil
}

// Check holds a subject and names against the rules: every name, and the
// common name. A common name that is a host name is held against the DNS
// rules; one that is not ("alice") is a name of ours, and only a denial
// refuses it. SPIFFE IDs that the authority adds by itself
// are not among names and not subject to it. Errors: ErrNotAllowed with the
// name; ErrInvalid when a name is malformed.
func (p *Policy) Check(subject Subject, names Names) error {
	if p == nil {
		return nil
	}
	list := names.Strings()
	if subject.Email != "" {
		list = append(list, "email:"+subject.Email)
	}
	host, isHost := hostName(subject.CommonName)
	if isHost {
		list = append(list, "DNS:"+host)
	}
	canonical, err := ParseNames(list)
	if err != nil {
		return err
	}
	if err := p.ask(p.all, canonical); err != nil {
		return err
	}
	spoken, err := ParseNames([]string{subject.CommonName})
	if isHost || err != nil {
		return nil // checked above, or no name that a rule could speak of
	}
	return p.ask(p.denials, spoken)
}

// ask puts names to the engine, after the denials that it does not see.
func (p *Policy) ask(engine *policy.NamePolicyEngine, names Names) error {
	for _, name := range names.DNS {
		for _, pattern := range p.denied {
			if overlaps(pattern, name) {
				return fmt.Errorf("%w: DNS name %q is denied by %q", ErrNotAllowed, name, pattern)
			}
		}
	}
	uris, err := names.uris()
	if err != nil {
		return err
	}
	err = engine.IsX509CertificateRequestAllowed(&x509.CertificateRequest{
		DNSNames: names.DNS, IPAddresses: names.ips(), URIs: uris, EmailAddresses: names.Email,
	})
	var refusal *policy.NamePolicyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return fmt.Errorf("%w: %s", ErrNotAllowed, refusal.Detail())
	default:
		return fmt.Errorf("%w: %v", ErrNotAllowed, err)
	}
}

// overlaps reports whether a certificate for name would serve a host that
// pattern denies. Either may be a wildcard; a denied wildcard has any depth.
func overlaps(pattern, name string) bool {
	if below, found := strings.CutPrefix(pattern, "*"); found {
		return strings.HasSuffix(name, below)
	}
	if below, found := strings.CutPrefix(name, "*"); found {
		first, rest, _ := strings.Cut(pattern, ".")
		return first != "" && "."+rest == below
	}
	return pattern == name
}

// nameConstraints writes rules into the template of a CA (RFC 5280,
// 4.2.1.10). A constraint reaches every depth below its domain, so what is
// permitted is a little wider than the policy, and so is what is excluded:
// [Issuer.Draft] holds each draft against both.
func nameConstraints(template *x509.Certificate, rules PolicyRules) error {
	allow, err := sortRules(rules.Allow)
	if err != nil {
		return fmt.Errorf("allowed name: %w", err)
	}
	deny, err := sortRules(rules.Deny)
	if err != nil {
		return fmt.Errorf("denied name: %w", err)
	}
	if template.PermittedIPRanges, err = ranges(allow.ip); err != nil {
		return err
	}
	if template.ExcludedIPRanges, err = ranges(deny.ip); err != nil {
		return err
	}
	template.PermittedDNSDomainsCritical = len(rules.Allow)+len(rules.Deny) > 0
	template.PermittedDNSDomains, template.ExcludedDNSDomains = trimmed("*.", allow.dns), trimmed("*.", deny.dns)
	template.PermittedEmailAddresses, template.ExcludedEmailAddresses = allow.email, deny.email
	// For URIs a leading dot means "below", and none means that host alone.
	template.PermittedURIDomains, template.ExcludedURIDomains = trimmed("*", allow.uri), trimmed("*", deny.uri)
	return nil
}

// trimmed returns list with prefix cut off each item.
func trimmed(prefix string, list []string) []string {
	var cut []string
	for _, s := range list {
		cut = append(cut, strings.TrimPrefix(s, prefix))
	}
	return cut
}

func ranges(cidrs []string) ([]*net.IPNet, error) {
	var list []*net.IPNet
	for _, cidr := range cidrs {
		_, network, err := net.ParseCIDR(cidr)
		if err != nil {
			return nil, fmt.Errorf("%w: range %q", ErrInvalid, cidr)
		}
		list = append(list, network)
	}
	return list, nil
}

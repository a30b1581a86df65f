package ca

import (
	"fmt"
	"net/url"
	"strings"

	"omca/internal/hint"
)

// maxTrustDomain is the length of the longest trust domain, in bytes (SPIFFE-ID, 2.1).
const maxTrustDomain = 255

// identity is the SPIFFE ID with that path in the trust domain of the cluster. It
// says what a certificate is for. ErrInvalid when the name of the cluster is no
// trust domain, or a segment of the path is none.
func identity(cluster string, segments ...string) (*url.URL, error) {
	if !isTrustDomain(cluster) {
		return nil, hint.With(fmt.Errorf("%w: cluster.name: %q is no trust domain of SPIFFE IDs: lower-case letters, digits, \".\", \"-\" and \"_\", at most %d characters",
			ErrInvalid, cluster, maxTrustDomain), "\"omca cluster config update --set cluster.name=NAME\"")
	}
	for _, segment := range segments {
		if !isSegment(segment) {
			return nil, fmt.Errorf("%w: %q is no part of a SPIFFE ID: letters, digits, \".\", \"-\" and \"_\", and neither \".\" nor \"..\"", ErrInvalid, segment)
		}
	}
	return &url.URL{Scheme: "spiffe", Host: cluster, Path: "/" + strings.Join(segments, "/")}, nil
}

// isTrustDomain reports whether s can be the trust domain of a SPIFFE ID.
//
// SPIFFE-ID, 2.1: lower-case letters, digits, dots, dashes and underscores.
func isTrustDomain(s string) bool {
	return s != "" && len(s) <= maxTrustDomain && s == strings.ToLower(s) && !strings.ContainsFunc(s, notInID)
}

// isSegment reports whether s can be a segment of the path of a SPIFFE ID as it is.
//
// SPIFFE-ID, 2.2: letters, digits, dots, dashes and underscores; a segment is not
// empty, and "." and ".." are no segments. Percent-encoding is not permitted.
func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, notInID)
}

func notInID(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
}

// objectID is the SPIFFE ID of the certificate of h: nil for what speaks for a CA.
// Objects of other namespaces than system have theirs in it, so that shop/sec/web
// and dev/sec/web are told apart. A node is one of the whole cluster, wherever its
// object is: root alone makes it one.
func objectID(cluster string, h Holder) (*url.URL, error) {
	if h.Profile == ProfileCA || h.Profile == ProfileOCSP {
		return nil, nil
	}
	namespace, rest, _ := strings.Cut(h.Path, "/")
	if namespace == "system" || h.Profile == ProfileNode {
		return identity(cluster, h.Profile, nodeName(h))
	}
	kind, name, _ := strings.Cut(rest, "/")
	return identity(cluster, "ns", namespace, kind, name)
}

// requestID is the SPIFFE ID of a certificate for a request with that common name.
// It is nil for the common name of a server that is no segment, such as "*.demo.lan"
// or "Payment service": escaped it would be another name. A user is known by its
// ID, so a user's common name must be one.
func requestID(cluster, profile, cn string) (*url.URL, error) {
	if strings.Contains(cn, "/") || cn == "." || cn == ".." {
		return nil, fmt.Errorf("%w: common name %q: a name with %q, \".\" and \"..\" would be the path to another name in a SPIFFE ID", ErrInvalid, cn, "/")
	}
	if !isSegment(cn) && profile != ProfileUser {
		return nil, nil
	}
	id, err := identity(cluster, profile, cn)
	if err != nil {
		return nil, fmt.Errorf("common name %q: %w", cn, err)
	}
	return id, nil
}

// userIn reads the user in a URI: ours reports whether the URI is of the trust domain
// of the cluster, and user is the name in spiffe://CLUSTER/usr/NAME, "" for any other
// ID. An ID that is not spelled as this authority spells it names no user.
func userIn(uri *url.URL, cluster string) (user string, ours bool) {
	if uri.Scheme != "spiffe" || !strings.EqualFold(uri.Hostname(), cluster) {
		return "", false
	}
	name, ok := strings.CutPrefix(uri.String(), "spiffe://"+cluster+"/"+ProfileUser+"/")
	if !ok || !isSegment(name) {
		return "", true
	}
	return name, true
}

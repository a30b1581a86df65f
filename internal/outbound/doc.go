// Package outbound is the one HTTP client for addresses that others name: a list, a document, a redirect, or an operator who types a URL.
//
// A [Network] resolves the name of a server, filters its addresses, and connects to the very address that it filtered. A name is looked up
// once for each connection, so an answer that changes meanwhile changes nothing (DNS rebinding). These addresses are refused:
//
//   - unspecified (0.0.0.0/8, ::), loopback, link-local, multicast and reserved ones
//   - those where clouds hand out credentials
//   - IPv6 addresses with an IPv4 address in them: by that address for mapped ones and for NAT64 (64:ff9b::/96), and all of the
//     compatible and translated ones, 6to4, Teredo and local NAT64
//   - the listeners of this daemon
//
// The operator may name a server, by host and port, in [Rules.Named]: it is asked wherever it is. What is found behind it, by a redirect or
// in what it says, is filtered unless it has the same host and port. Private addresses (RFC 1918, RFC 4193) are ordinary inside of
// clusters, and are not refused.
//
// Time, size and redirects are bounded. No proxy is used, no cookie and no connection is kept, only http and https are spoken, and no
// redirect leads from https to http. Answers are asked for as they are; one that is encoded is refused.
//
// The package never decides what an answer means, and never logs. Its errors name the URL, without its query, and the address.
package outbound

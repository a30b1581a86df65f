// Package openidtest is an OpenID Connect issuer to test against: small, and conformant where it answers at all.
//
// An [Issuer] has discovery, keys that rotate, the authorization code flow with PKCE (S256, required), the device flow (RFC 8628), refresh
// tokens that are used once (RFC 6749, section 6), and revocation (RFC 7009). Its one client is public, and may come back to any port of
// the loopback (RFC 8252, 7.3). It asks nobody for a password: whoever opens the address of the login is the user that the test named.
//
// What an issuer must never do, a test asks for by name: [Issuer.Sign] signs whatever it is given, [Issuer.Override] answers for it, and
// [Issuer.Down] takes it away. [Issuer.Requests] counts what it was asked.
//
// It is for tests alone: its keys live in memory, and everybody who can reach it is let in.
package openidtest

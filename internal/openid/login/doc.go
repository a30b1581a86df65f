// Package login gets tokens from an OpenID Connect issuer for a person at a terminal.
//
// [Flow.Browser] is the authorization code flow of a native program (RFC 8252): the answer comes to a port of the loopback that is open
// for this one login, PKCE (RFC 7636, S256) makes the code useless to whoever else sees it, state ties the answer to the question, and iss
// (RFC 9207), where there is one, to the issuer. [Flow.Device] is the device flow (RFC 8628), for machines without a browser. An ID token
// that comes is verified, nonce and at_hash included, before anything is kept.
//
// The client is a public one: it has no secret. The package opens no browser, prints nothing, stores nothing, and reads no environment.
//
// Errors are for the person: what an issuer says is shortened to one line of ASCII.
package login

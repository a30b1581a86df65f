// Package openid takes the bearer tokens of one OpenID Connect issuer, the one that an operator named in listener.openid_issuer.
//
// [Verifier.Verify] answers whom a token speaks for and what its claims grant. The issuer is discovered (OpenID Connect Discovery 1.0)
// and its public keys are kept here, so that a request waits for the network only when it brings a key that nobody knows yet, and
// then for moments. An issuer that is away is asked again with a growing, jittered wait for as long as it is configured: nothing has to
// be restarted when it comes back.
//
// # What is refused
//
// A token is for us when all of this holds: it is a compact JWS of at most 16 KiB whose header asks for nothing unusual; its algorithm is
// an asymmetric one that the issuer says it signs with, and fits the key; the key is one of the issuer's; iss is the issuer, to the
// letter; aud has the client id; azp, where several audiences or azp itself ask for it, is the client id; exp is there and ahead; nbf and
// iat are not. A minute is allowed for clocks that differ. Refresh tokens and logout tokens are no proof of anything here.
//
// # Whom it names
//
// Names begin with "openid:", which no user of the cluster can: the issuer's alice is not system/usr/alice, and nothing that looks at
// names alone can take one for the other. Grants come from claims alone. Words that are no grant are passed over, which gives
// nobody more, and so are the roles that lead to the keys of the CA: root, and those that let a machine in or out.
//
// # What an operator must know
//
// Whoever may set listener.openid_issuer chooses an address that this machine connects to. What comes from there is bounded in size and in
// time; redirects stay on the same host; the scheme is https, or http on this machine; no proxy is used. Keys that came last are good for
// a day while the issuer is away.
//
// The package never writes anything, never reads the clock, flags or the environment. Its log is one line, "openid issuer", for each
// change of the state of the issuer, and one, "openid grant passed over", for each word that is none.
//
// Errors of Verify wrap usr.ErrUnauthenticated, with a reason that is for the log, or are [ErrUnavailable]. Times are UTC.
package openid

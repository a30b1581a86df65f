// Package join is the exchange by which a fresh machine becomes a member of a
// cluster. It trusts nobody on first sight: all that the machine is given is one
// word, the [Token], which says where the cluster is, which CA it has and which
// cluster it is, and carries a secret that works once.
//
//	operator     token := Mint            on a member; the store keeps a Record: only a hash
//	machine      s := Begin(token, …)     makes an HPKE key for this exchange alone
//	machine      -> Request               over TLS to a server whose chain has the CA of the token (CheckChain)
//	member       Redeem                   once: the record is spent by an expectation of the store
//	member       -> Answer                certificate, members; the master key sealed to the machine
//	machine      s.Finish(answer)         the key, or an error and nothing
//
// The request proves that it knows the secret and does not carry it: an HMAC over
// everything else in it. So whoever sees it can neither use the token for a
// request of its own nor alter this one. The answer's master key is sealed with
// HPKE (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM) to the key in the request, and
// bound to the token's secret and to every byte of the request and the rest of
// the answer: it opens for nobody else, and not when one of them was changed.
//
// The caller is told one thing, [ErrRefused], whatever was wrong; the reason is
// for the operator's log. A token is spent before anything is given for it: what
// fails after that needs a new token.
//
// The package does no HTTP, opens no file and reads no clock.
package join

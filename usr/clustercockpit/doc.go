// Package clustercockpit speaks the tokens and the keys of ClusterCockpit: what cc-backend issues, and what cc-backend and
// cc-metric-store accept.
//
// A [Signer] holds the private key and signs; a [Verifier] knows the public key and nothing else. Keys are read and written in all the
// forms in which they are found around ClusterCockpit: base64 text, lines of a file .env, the output of gen-keypair, PEM, the
// configuration of the metric store.
//
// The package needs the standard library alone, so that a service can import it without anything else of this module. It reads no
// file and no clock, keeps no record of what it signed, and knows no revocation: a token of this kind has no id, and those who verify it
// ask nobody. Whoever wants to end one early gives it a short life, or changes the key.
//
// Conventions:
//
//   - Signatures are Ed25519, alg "EdDSA" (RFC 8037, 3.1), in compact JWS (RFC 7515, 7.1). No other algorithm is known here.
//   - Where cc-backend and cc-metric-store disagree on a token, the Verifier sides with the one that refuses it.
//   - Errors wrap [ErrInvalid] for what cannot be used and [ErrRefused] for a token that proves nothing. They never contain a private
//     key nor a token.
package clustercockpit

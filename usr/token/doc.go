// Package token issues and verifies the bearer tokens of a cluster: JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 8037), which
// whoever has the public key can verify without asking anybody.
//
// A [KeySet] is the keys: the first one signs, the others are public halves of earlier ones, kept until the last token that they
// signed has expired. [KeySet.Open] turns a compact token into [Claims], after the checks of RFC 8725 that need nothing but the token
// and the keys. A [Service] adds the rest: what is settled for the cluster, what the time is, what was revoked, and a record of each
// token that was issued, in a [Store].
//
// The package does not decide what somebody may ask for (that is package usr, with FilterGrants, Intersect and the needs of the
// routes), knows no user and no object, speaks no HTTP, reads no clock and no file.
//
// Conventions:
//
//   - A token that is refused gives an error that wraps usr.ErrUnauthenticated and says why: for the log, never for whoever sent it.
//     Any other error of a check is a failure to find out.
//   - What somebody asks for wrongly is usr.ErrInvalid or usr.ErrDenied. Errors of the store pass through as they are.
//   - Times are in whole seconds, as in the claims. Sizes are in bytes and are looked at before anything is parsed.
//   - No error, no String and no verb of fmt shows a private key or a token.
package token

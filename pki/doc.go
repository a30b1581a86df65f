// Package pki knows what a certificate is: keys, serial numbers, names,
// profiles, requests, drafts, signatures, chains, PEM and PKCS #12.
//
// The types make the wrong order impossible:
//
//	bytes -> Request -> Draft -> certificate
//
// A [Request] is a key that was proven and names that were proposed; nothing
// else of a signing request survives parsing. [Issuer.Draft] builds the exact
// to-be-signed bytes, puts them under a throwaway signature, reads them back
// and lints what it reads. [Issuer.Sign] puts the real key to the bytes of a draft,
// once. No function leads from a request to a certificate.
//
// The lints about profiles are here. Those for any certificate are zlint's, which
// is large: an issuer is given them as a [Linter], that of pki/lint, and there is
// no issuer without one.
//
// The package never reads a clock, a disk, a network or the environment, and
// never logs. Times are arguments; randomness is crypto/rand. It imports no
// other package of the project.
//
// Conventions:
//
//   - Everything that comes from outside is bounded before it is parsed, and is
//     parsed once, into a type that holds only what is kept.
//   - Names are canonical: lower case, punycode, no trailing dot, no duplicates.
//   - A common name counts as a DNS name when it is a host name with at least
//     one dot. OpenSSL draws the same line when it applies name constraints to
//     common names. "alice" and "node1" are names of users and nodes.
//   - Errors wrap [ErrInvalid] (the input can never be right) or
//     [ErrNotAllowed] (a policy forbids it), and never hold key material.
//     Anything else is a failure of randomness or of a signing device.
package pki

import "errors"

// ErrInvalid marks input that can never be right: repeating the call cannot help.
var ErrInvalid = errors.New("invalid")

// ErrNotAllowed marks a name that a policy forbids.
var ErrNotAllowed = errors.New("name not allowed")

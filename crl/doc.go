// Package crl knows what was taken back: it reads revocation lists, decides
// what they say about a certificate, builds the lists of our own CAs, and
// answers OCSP requests.
//
// The types make the wrong order impossible:
//
//	bytes -> List -> Verified -> Set -> Verdict
//
// A [List] is what [Parse] read, believed by nobody. [List.Verify] holds it
// against its issuer and gives a [Verified] list; only those make a [Set], an
// immutable snapshot that any number of goroutines may ask. A [Builder] makes
// lists, a [Responder] makes OCSP answers.
//
// # What a verdict means
//
// The rules are those of RFC 5280, section 6.3, and lean one way: a list
// convicts as long as it is authentic and in scope, and acquits only while it
// is also current and understood in full.
//
//	Revoked       a list, or [Set.With], names the certificate
//	Good          current lists cover the certificate for every reason, and none names it
//	Undetermined  its issuer has lists, or should have ([Sources.Covered]), but they do not settle it
//	NotCovered    nobody ever gave a list for its issuer
//
// So a policy "hard" refuses Revoked and Undetermined, a policy "soft" refuses
// Revoked, and neither refuses a certificate because its CA has no lists at all.
//
// Indirect lists (RFC 5280, 5.2.5: those that speak for other issuers, too) convict
// certificates of their own issuer, and acquit none: what only they cover is Undetermined.
//
// The package never reads a clock, a disk, a network or the environment, and
// never logs. Times are arguments. It imports only package pki of the project.
//
// Conventions:
//
//   - Everything that comes from outside is bounded before it is parsed.
//   - An issuer is a name and a key, pki.AuthorityID. A serial number alone means
//     nothing, and so does one under the same name with another key.
//   - Names are compared by RFC 5280, 7.1, never octet by octet.
//   - Errors wrap pki.ErrInvalid when the input can never be right. Anything
//     else is a failure of a signing device.
package crl

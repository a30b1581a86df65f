// Package feed brings the revocation lists of other CAs here, and keeps them fresh.
//
// A source is what an operator wrote into cluster.crl: an http or https URL, an absolute file name, or the path of a sec. What comes
// from it is one or several lists, DER or PEM. Each is held against the CAs that are trusted, the good ones are handed on as
// [crl.Verified], and a copy of their DER goes to [Memory], so that the next start has them before anybody can connect.
//
// # What is refused
//
// A download replaces what is held only if all of it can be read, one list at least is of a trusted CA, none that says so is badly
// signed, none is from the future, none is older than the one of its kind that is held (by number or by date), and none that is held
// and still current is missing. Otherwise the last good lists stay, and the reason is in [Status] and in the log. A list that is past
// its nextUpdate is kept: it still convicts, and in package crl it acquits no certificate. Lists that no trusted CA signed, beside
// some that one did, are set aside and named.
//
// A list that was refused or set aside may be of a trusted CA: it has the name of the CA (RFC 5280, 7.1), its key identifier, or a name
// that cannot be read. [Feeds.Awaited] returns such CAs. One that no list speaks for is undetermined: the source is [Partial] then, and is
// asked again soon. What cannot be read counts as the next of the lists that are held and did not come, as far as there are any: a file
// that is read while it is written leaves no other CA undetermined. All this is in the copies of Memory too.
//
// # When
//
// A list is fetched again well before its nextUpdate, with jitter, as [Limits] bounds it, and with a conditional request (RFC 9110,
// 13.1). After a failure the wait doubles, with jitter. A file is looked at every few seconds, the path of a sec when
// [Feeds.Notify] says so.
//
// # What an operator must know
//
// Whoever may set cluster.crl chooses an address that this machine connects to and a file that it reads. So nothing that came is ever
// shown but what a well-formed list says of itself. Redirects, and the addresses of delta lists that a list names, are chosen by others:
// package outbound filters them, unless they have the host and port of a URL in cluster.crl. Lists are signed, so plain http is safe against
// forging; what it allows is withholding, and then the lists lapse.
//
// The package never decides about a certificate, never writes but through Memory, and never reads the clock, flags or the environment. Its
// log is one line, "crl source", for each change of the state of a source.
//
// Conventions: errors wrap pki.ErrInvalid when what came is refused; anything else is that nothing came. Times are UTC.
package feed

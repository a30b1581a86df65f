// Package object is the memory of omca: what a named thing in the store is
// called, which keywords it may carry, which keys it holds, and how its secrets
// are sealed before they reach the disk.
//
// An object is addressed by a [Path] (namespace/kind/name) and picked by a
// [Selector]. Its [Config] holds typed keywords; an [Expr] is one change to one
// keyword, an [Update] is all the changes of one transaction, and
// [Config.Apply] turns an old config into a new one, whole or not at all. The
// [Keyword] table says which keywords exist, for which kind, and what each
// accepts. A [Keyring] seals values under data keys that a [Master] wraps.
//
// That half is pure: it opens no store, reads no clock and speaks no protocol
// (only the file [Master] reads and writes its own file). The other half keeps
// objects and records in a store and satisfies the interfaces that package ca
// declares.
//
// It never answers HTTP, never decides whether somebody may do something (it
// names the keywords that changed, so that the caller can decide), and never
// puts a sealed value, a data key or a passphrase in an error or a log line.
//
// Conventions: every error about what the operator wrote is [ca.ErrInvalid] and
// quotes what was written; an unknown word comes with the nearest known one as
// a hint. Sizes are in bytes and checked before anything is parsed. Paths,
// selectors, configs and keyrings are values that do not change once made.
package object

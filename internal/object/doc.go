// Package object has what an object is called, and which keywords it may carry.
//
// An object is addressed by a [Path] (namespace/kind/name) and picked by a [Selector]. Its [Config]
// holds typed keywords. An [Expr] is one change to one keyword, and an [Update] is all the changes of
// one transaction. [Config.Apply] turns an old config into a new one, whole or not at all. The
// [Keyword] table says which keywords exist, for which kind, and what each accepts.
//
// The package is pure: it opens no store, reads no clock and speaks no protocol. It never decides
// whether somebody may do something. It names the keywords that changed, so that the caller decides.
//
// Every error about what the operator wrote is [ca.ErrInvalid] and quotes what was written. An
// unknown word comes with the nearest known one as a hint. Sizes are in bytes and checked before
// anything is parsed. Paths, selectors and configs are values that do not change once made.
package object

// Package registry keeps objects, records, revocations, tokens and sessions in a store.
//
// A [Store] satisfies the store interfaces that packages ca, usr and internal/api declare. Values of
// sec and usr are sealed by internal/seal before they reach the store, and every other value carries
// a tag. A decision names the revisions that it was made on ([Deciding]), and the commit expects them.
// A [Reader] and [Restore] read a backup.
//
// The package never answers HTTP and never decides whether somebody may do something. It puts no
// sealed value, data key or passphrase in an error or a log line.
package registry

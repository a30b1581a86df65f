// Package lint holds certificates against the lints of zlint: those of RFC 5280,
// of the documents beside it, and of the community.
//
// [Linter] is the [pki.Linter] that omca gives to every issuer. The package
// chooses the lints, keeps the reviewed list of those that omca does not follow,
// and turns results into findings. The lints about profiles are not here: package
// pki runs them beside every linter.
//
// Only the composer of a program that signs imports this package. zlint and its
// tables are large, and a program that only calls a daemon does without them.
//
// The package never reads a clock, a disk, a network or the environment, and
// never logs.
package lint

// Command bench measures a real daemon against what its work costs bare, in
// the same run on the same machine, and prints ratios: they hold when the
// machine is slow or busy, and seconds do not.
//
// It builds cmd/omca, runs it in a temporary home on 127.0.0.1, and with -write
// keeps what it printed in docs/performance.md. It is no test: nothing fails
// for being slow, unless -limit is given.
//
// With -against it measures two programs in turns, the one that it builds and
// another one, and keeps nothing.
package main

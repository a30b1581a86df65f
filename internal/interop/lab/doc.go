// Package lab gives tests the built binary, homes for it, daemons that run, and
// clients that verify them.
//
// It is for the tests of internal/interop and internal/faults, which look at omca
// from outside: what they know came from the binary's output, its exit status, its
// sockets. It is not for tests of one package, which need no process.
//
// Whatever goes wrong here ends the test that asked. Whatever is started ends
// with the test. Waiting is bounded by [Patience], and is for an event: nothing
// sleeps.
package lab

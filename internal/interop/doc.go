// Package interop is omca as strangers meet it: somebody who types what the
// documentation says, and the other programs of their machine (openssl, curl).
//
// There is nothing here to import, only tests. They run the built binary in a
// home of their own, on a free port of the loopback, and look at nothing that
// an operator could not see. A program that is not installed makes a test skip
// with a message, unless OMCA_TEST_REQUIRE names it ("openssl,curl"): then it fails.
package interop

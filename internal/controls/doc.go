// Command controls takes the checks of the house out, one after the other, and expects of a test of each that it notices: a
// test that passes whether the check is there or not holds nothing. Where one check is doubled by another, both are taken out.
//
// The tree is left alone: go builds with an overlay, also the daemon that a test builds and runs. It is a developer's tool,
// takes minutes, and runs one test at a time. That the tests pass with the checks in place is for "go test" to say; a test
// here keeps the table in step with the sources.
package main

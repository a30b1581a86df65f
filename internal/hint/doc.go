// Package hint carries the next thing to try beside an error.
//
// An error says what is; a hint says what to do about it. The two travel together and are printed apart, by one place:
//
//	omca: error: open ca.pem: no such file or directory
//	omca: hint: create it first ("omca system/sec/ca certificate create")
//
// The package never changes the text of an error, never prints, and never decides whether something is an error.
// A hint is shown to whoever made the call, so it holds no secret.
package hint

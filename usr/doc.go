// Package usr answers two questions: who is calling, and what may they do.
//
// A [Caller] is somebody who proved a name; their [Grants] say what they hold; a [Need] says what a route asks for;
// [Caller.May] compares the two. The finer rules, the ones that look at an object or a value, are the functions Can….
// Every decision is an error: nil is yes, anything else is no and says which rule was missing.
//
// The package decides and does nothing else. It parses no certificate, serves no request, stores nothing, reads no clock
// and imports no other package of this module.
//
// Conventions:
//
//   - Deny is the default. The zero [Caller] may only what is public, the zero [Need] is met by nobody (root included), and roles, kinds
//     and namespaces that are not known are refused.
//   - A value of this package never changes once made, so it may be shared between goroutines.
//   - Errors wrap [ErrInvalid], [ErrDenied] or [ErrUnauthenticated]. A denial names the caller and what the caller holds, never
//     what somebody else holds: it may be shown to the caller and written to the audit trail.
package usr

// Package trail keeps the last lines of the audit trail in memory, to be looked at.
//
// It is a window, not the trail: what must be kept is kept by whoever the daemon's log goes to. The window is bounded in lines, and a
// line in bytes, whatever is logged. Lines are as they were logged, at level INFO and above; what may be in them is decided where
// they are written.
//
// Conventions: safe for concurrent use; times are UTC; the package never reads the clock, and writes nothing.
package trail

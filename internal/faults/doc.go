// Package faults is what happens to omca when the machine fails it: the process
// is killed, the disk is full or read-only, files are lost or damaged, the clock
// jumps.
//
// There is nothing here to import, only tests. All but those of the clock run
// the built binary (see internal/interop/lab). They say what an operator may
// count on afterwards: what was answered is kept, what was refused changed
// nothing, and the error says what to do.
package faults

// Package mem is the store for tests: everything is in memory, under one lock.
//
// It keeps the whole contract of store.Store except durability, for which
// there is no process to survive, and it starts at revision 0. It never
// touches a disk and starts no goroutine, so it is at home in a synctest bubble.
package mem

// Package bolt is the store of one machine: a single file, kept by bbolt.
//
// # The file
//
// One bucket holds everything, key to revision (8 bytes, big endian) and
// value. The current revision is the bucket's sequence, which shares a page
// that each commit writes anyway. The file has mode 0600, is locked by the
// process that has it open, and is never written by hand.
//
// # Commits
//
// One goroutine writes. It takes a waiting Tx, and whatever else waits by
// then, as one bbolt transaction, so that committers who come together share
// the two syncs of it; nobody waits for company. Each Tx of such a group is
// judged by itself, after those before it, and has its own revision.
// The list of free pages is written when the store is closed and not by each
// commit; after a crash the next Open finds the free pages by reading the file.
//
// bbolt lets readers see a transaction a moment before its last sync has
// returned. A read that has seen such a one waits for the sync.
//
// # Failures
//
// A full disk fails the group (store.ErrFull) and leaves the store in use.
// After any other failure to write, what is on the disk is unknown: commits
// are refused with store.ErrBroken until the store is opened again, watchers
// end with it, and reads go on as long as what they see is known to be durable.
//
// The package never repairs, compacts or moves a file, and keeps no history
// beyond the latest megabyte of changes (internal/ring).
package bolt

// Package bolt is the store of one machine: a file, kept by bbolt, and a
// journal in front of it.
//
// # The file
//
// One bucket holds everything, key to revision (8 bytes, big endian) and
// value. The revision that bbolt has reached is the bucket's sequence. A second
// bucket says which journal is in use. The file has mode 0600, is locked by the
// process that has it open, and is never written by hand.
//
// # Commits
//
// Whoever commits first takes what waits by then as a group: each Tx of it is
// judged by itself, after those before it, and has its own revision. What the
// group does is appended to the journal as one frame, with one sync; it goes
// to a table in memory, to the watchers, and everybody is answered. There is
// no goroutine for this, and nobody waits for company.
//
// The journal is two files of a megabyte, beside the store. When the table has
// grown it is written to bbolt in the background, in one transaction, while
// commits go to the other file and a new table. When both files are full,
// commits wait for bbolt.
//
// # Copies
//
// A Copy is the same for what is committed elsewhere: changes come with their
// revisions, and the journal is not waited for, as they can be had again.
//
// # Reads
//
// A read merges the tables over bbolt, without a lock and at the revision that
// was published when it began. Tables learn of a commit after its sync and
// bbolt after that, so that nothing else has to be thought of for reads to be
// durable.
//
// # Open and Close
//
// Close leaves everything in bbolt: a closed store is one file, and what its
// journal files hold is of no use. Any other end leaves the journal in use, and
// Open reads what bbolt lacks from it. There the last frame may be torn, which
// was never answered; a journal that is missing, of another store or damaged
// otherwise is refused, and nothing is changed.
//
// The list of free pages is written by Close only; after a crash bbolt finds
// the free pages by reading the file.
//
// # Failures
//
// A full disk fails the group (store.ErrFull) and leaves the store in use; it
// is read, and opened, as long as there is a store. After any other failure to
// write, what is on the disk is unknown: commits are refused with
// store.ErrBroken until the store is opened again, watchers end with it, and
// reads go on.
//
// # Damage
//
// bbolt believes its pages. What it would believe at a high price is checked
// before: when the file is opened, the list of free pages or, without one, all
// pages in use; before each checkpoint, the pages on the way to the keys that
// it changes. Elsewhere a panic of bbolt's, or a fault of the mapping, is
// caught. Either way the error is store.ErrDamaged with what was found; reads
// of other pages go on, and commits end with store.ErrBroken. A page that
// looks sound and is not the one that was written (inside a value, say) is
// noticed by nobody here.
//
// The package never repairs, compacts or moves a file, and keeps no history
// beyond the latest megabyte of changes (internal/ring).
package bolt

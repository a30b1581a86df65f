// Package store is the memory of omca: ordered keys, atomic durable commits
// and a watch, behind one small interface.
//
// [Store] is the contract and storetest.Run is the contract as code. Three
// stores keep it: mem (tests), bolt (one machine) and etcd (a cluster). A
// capability that only one of them has is not in the interface: keys are
// strings of bytes in lexical order, values are opaque, every commit has a
// revision of its own, and a transaction is what etcd calls one (compare,
// then put and delete).
//
// The room never learns what is kept in it: no object, certificate or user is
// named below this directory. It opens and syncs files, and nothing above it
// does.
package store

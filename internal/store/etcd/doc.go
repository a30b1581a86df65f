// Package etcd is the store of a cluster: everything is in etcd, under one
// prefix, and every node sees it.
//
// It keeps the contract of store.Store with what etcd has: a revision is
// etcd's, an expectation compares ModRevision, a Tx is one etcd transaction.
// One watch for the whole process fills a ring from which the watchers read,
// so that a slow one is told instead of filling the memory.
//
// It talks to etcd and to nothing else: who runs it, inside the daemon or
// elsewhere, is decided above.
package etcd

// Package ring keeps the latest changes of an embedded store, so that Watch
// can be answered at each watcher's own pace without ever holding up a commit.
//
// It also knows the current revision: a store publishes a change when it is
// durable, so "published" means "durable".
//
// It never touches a disk and keeps at most about a megabyte; a watcher that
// needs an older change gets store.ErrCompacted.
package ring

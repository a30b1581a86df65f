// Package storetest is the contract of store.Store as code.
//
// Run asks everything that the contract promises of any store, Durable what
// it promises across a Close. Failing wraps a store so that one step fails or
// the process "dies" there: the tests of other packages walk through every
// step of theirs with it.
//
// It knows no store in particular, and asks for nothing that etcd does not do.
package storetest

// Package etcdtest runs etcd servers in this process, for tests. They can be
// stopped and started again, and keep their addresses.
package etcdtest

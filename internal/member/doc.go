// Package member runs one member of an etcd cluster inside the process: the
// store of a cluster whose nodes need no other program.
//
// etcd is started without a single listener of its own. Who wants to use it
// does so in process, through [Member.Client]; there is no client port.
//
// What other members say arrives on connections that this package accepts: mutual
// TLS 1.3, held against all the rules at the handshake, and again whenever one of
// the things that they depend on changes:
//
//   - the chain ends at a CA that [Identity] trusts now;
//   - the certificate is of profile node: its one URI is
//     spiffe://CLUSTER/node/NAME, and it is for clients and servers;
//   - NAME is a member now;
//   - Config.Refused has nothing against it (revocation).
//
// A connection that no longer passes is closed.
//
// The connections that it makes are etcd's own, with [Files]: mutual TLS 1.3 with
// host names checked, and one CA trusted, which signs certificates of members and
// nothing else. They go to the URLs of the members that there are now, so who was
// removed is not spoken to, and to nobody through a proxy.
//
// Who is a member is kept in etcd itself, one key for each name under [Keys],
// because etcd knows the name of a member only once it has started. Names come
// with Add and go with Remove, on all members at the same revision.
//
// Housekeeping is done here: history is compacted, the file is made smaller (by
// one member at a time, and never by one that leads others), and space that runs
// out is reported from 80 % on, before etcd takes no more writes.
//
// It knows nothing of objects and HTTP routes, never makes a certificate, and
// keeps secrets out of logs and errors. The embedded etcd logs through Config.Log.
package member

// Package flocker knows who may be whom in a Flocker cluster, and sets up TLS
// between them.
//
// A cluster is one certificate authority, a root, and what it signed. The common
// name of a certificate says what its holder is:
//
//	control-service   the control service; its alternative names hold
//	                  control-service and the host that it runs on
//	node-UUID         a node: its agents, and the plugins on it
//	user-NAME         a user of the REST API
//
// [Verify] holds a certificate against that; [Server] and [Client] are TLS
// configurations that do so in every handshake, resumed ones among them. Nodes
// and users call, the control service is called:
//
//	            REST API      agents        as the control service
//	user        accepted      refused       refused
//	node        refused       accepted      refused
//	control     refused       refused       accepted
//	of another cluster, or with a broken signature: refused everywhere
//
// The certificates that Flocker itself made are of version 1 and have extensions;
// they are read as OpenSSL reads them ([pki.WithExtensions]), so that their
// limits hold here too.
//
// The package reads files in [Load] only, makes no connection and logs nothing.
// Errors that are about a certificate wrap [ErrRole] or [pki.ErrInvalid].
package flocker

// Package enforce refuses what was revoked: by what is on record here, and by the lists of others.
//
// An [Enforcer] keeps in memory every revocation on record, every blocked key, and the lists of
// others. Each handshake asks [Enforcer.Check], and so does each request whose connection may be
// about to end. A new revocation closes the connections that lean on the certificate before
// [Enforcer.Revoke] returns.
//
// The package opens no connection and reads no file. It takes revocations from the interface
// [Records], and ends connections by the interface [Connections].
package enforce

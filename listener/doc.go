// Package listener is the door of the house: a TLS listener that presents a
// certificate, verifies the client's, refuses the revoked, swaps hot, and closes
// what must be closed. The HTTP engine is the standard library's.
//
// # What it does
//
//   - Every handshake, full or resumed, asks [Config].Verify about a client
//     certificate that crypto/tls has already chained to the trusted pool.
//   - [Listener.Swap] makes a new [Generation] (certificate, trusted pool) live: it
//     has to pass a handshake with itself first, the next handshake gets it, no open
//     connection is dropped but those whose certificate is no longer trusted.
//   - Every connection that came with a client certificate is in an index, by each
//     certificate of its chains and by user, until it is closed. CloseCertificate,
//     CloseUser and CloseConnections close them at once, streams and HTTP/2 included;
//     a handshake that is under way at that moment does not slip through, and no request
//     begins on a closed connection, not even one that had been received by then.
//   - A connection is closed when the certificate that opened it expires.
//   - Slow clients are cut: each phase has its limit in [Limits].
//   - [Listener.Shutdown] lets what is in flight finish.
//
// # How to revoke
//
// First make Verify refuse (swap the snapshot that it reads), then call
// CloseCertificate. In this order there is no gap: a handshake either asks Verify
// after the first step and is refused, or began before the second and is closed by it.
// Resumption is covered, because Verify is asked again; RotateTickets after the first
// step makes the next handshake of everyone a full one besides.
//
// # What it never does
//
// It knows nothing of our certificates, users or revocations: it takes functions. It
// reads no clock, file, flag or environment, and installs no signal handler. It adds
// nothing to a request but one look at a flag: what is per connection is done once per connection.
//
// # Remembering something about a connection
//
// A [ConnContext] hook runs once per connection and its context is the parent of that of
// every request on it, HTTP/1.1 and HTTP/2. Put a pointer in it (an atomic.Pointer of your own
// type) and a handler can keep what it found out about the client certificate,
// instead of finding it out per request; see the example. Remember who the certificate names,
// not what they may do: the former cannot change, the latter must be asked each time.
package listener

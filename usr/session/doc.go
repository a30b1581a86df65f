// Package session remembers who logged in with a browser.
//
// A session is a random secret of 256 bits that the browser keeps in a cookie. What is stored is its SHA-256 and who it
// stands for: whoever reads the store cannot call with what is there. The SHA-256, in hexadecimal, is also the [Session.ID]
// that lists show.
//
// A session ends at the first of these: its user logs out; it is older than [Config.MaxAge] says at that moment; nobody used
// it for [Idle]; the user got another password, was disabled, or is not the one that logged in (deleted, and made again);
// somebody who may revoked it. The package knows the first three and keeps what the others need to be seen ([Login]);
// holding that against the user is up to whoever looks the session up.
//
// The package stores nothing, reads no clock and knows no HTTP: it is given a [Store] and a clock.
package session

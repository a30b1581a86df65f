// Package session remembers who logged in with a browser.
//
// A session is a random secret of 256 bits that the browser keeps in a cookie. What is stored is its SHA-256 and who it
// stands for: whoever reads the store cannot call with what is there. The SHA-256, in hexadecimal, is also the [Session.ID]
// that lists show.
//
// A session ends at the first of these: its user logs out; it is older than [Config.MaxAge] says at that moment; nobody used
// it for [Idle]; the user got another password, was disabled, or is not the one that logged in (deleted, and made again);
// somebody who may revoked it. Each of them is looked at whenever the session is used; what the last user and the last proof
// were is kept with it ([Login]) and held against what they are now by [Config.Holds].
//
// The package stores nothing, reads no clock and knows no HTTP: it is given a [Store] and a clock.
package session

package wire

import "net/netip"

// Unlocked says what unlocking did.
type Unlocked struct {
	Object   string `json:"object"`
	Unlocked bool   `json:"unlocked"` // it was locked out
}

// Address is where a request comes from.
type Address struct {
	IP    netip.Addr // zero: there is none, or it cannot be known
	Local bool       // by the unix socket, or in process: the caller is the machine's root
	Shown string     // for people: with the port, where the port is the caller's own
}

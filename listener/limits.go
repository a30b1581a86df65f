package listener

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Limits bound what one client can hold. A zero field takes the default named beside it; a negative
// one is refused by [New], which also refuses pairs that contradict each other.
type Limits struct {
	// Handshake is from the accepted connection to the end of the TLS handshake: 10 s.
	Handshake time.Duration
	// ReadHeader is for the header of a request, and for the first byte of the first request: 10 s.
	// Over HTTP/2 the first byte has the 10 s of net/http.
	ReadHeader time.Duration
	// Read is for the whole request, header and body: 1 min. At 1 MB, the largest value of a key,
	// that is a line of 140 kbit/s. It cannot be less than ReadHeader.
	Read time.Duration
	// Write is from the end of the request's header to the end of the response: 2 min. It cannot be
	// less than Read, which it contains. A handler that streams moves its own deadline with
	// http.ResponseController.SetWriteDeadline.
	Write time.Duration
	// Idle is between two requests of a connection: 2 min.
	Idle time.Duration
	// HeaderBytes is for the header of one request: 64 KiB (net/http adds 4 KiB of its own).
	HeaderBytes int
	// Connections is how many may be open at once on one served socket: 10000. The next one is
	// closed without an answer and counted in [Counts].Refused. It is per socket so that a flood of
	// the TCP port cannot shut the operator out of the unix socket.
	Connections int
	// ConnectionsPerAddress is the same for one client address of one served socket, an IPv6 /64
	// being one address: 1000. Loopback is exempt (a proxy in front speaks for everybody), and so
	// is what has no IP address (a unix socket).
	ConnectionsPerAddress int
}

// checked returns the limits with the defaults filled in, or what is wrong with them.
func (l Limits) checked() (Limits, error) {
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"Handshake", int64(l.Handshake)}, {"ReadHeader", int64(l.ReadHeader)}, {"Read", int64(l.Read)},
		{"Write", int64(l.Write)}, {"Idle", int64(l.Idle)}, {"HeaderBytes", int64(l.HeaderBytes)},
		{"Connections", int64(l.Connections)}, {"ConnectionsPerAddress", int64(l.ConnectionsPerAddress)},
	} {
		if limit.value < 0 {
			return Limits{}, fmt.Errorf("listener: limit %s is negative", limit.name)
		}
	}
	l.Handshake = cmp.Or(l.Handshake, 10*time.Second)
	l.ReadHeader = cmp.Or(l.ReadHeader, 10*time.Second)
	l.Read = cmp.Or(l.Read, max(time.Minute, l.ReadHeader))
	l.Write = cmp.Or(l.Write, max(2*time.Minute, l.Read))
	l.Idle = cmp.Or(l.Idle, 2*time.Minute)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.Connections = cmp.Or(l.Connections, 10_000)
	l.ConnectionsPerAddress = cmp.Or(l.ConnectionsPerAddress, 1000)

	var errs []error
	if l.Read < l.ReadHeader {
		errs = append(errs, fmt.Errorf("listener: limit Read %s is less than ReadHeader %s, which it contains", l.Read, l.ReadHeader))
	}
	if l.Write < l.Read {
		errs = append(errs, fmt.Errorf("listener: limit Write %s is less than Read %s, which it contains", l.Write, l.Read))
	}
	return l, errors.Join(errs...)
}

//go:build !linux

package listener

import (
	"errors"
	"net"
)

// PeerUID is for Linux; here it is always an error.
func PeerUID(net.Conn) (uint32, error) {
	return 0, errors.New("peer credentials: not supported on this system")
}

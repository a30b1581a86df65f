package listener

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// PeerUID returns the user id of the process that connected to a unix socket, as the kernel
// recorded it at that moment (unix(7), SO_PEERCRED). Other connections and other systems than Linux
// give an error.
func PeerUID(c net.Conn) (uint32, error) {
	// A TCP socket answers SO_PEERCRED as well, with an invented user.
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("peer credentials: this is a %T, not a unix socket", c)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	var peer *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) { peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, asked); err != nil {
		return 0, fmt.Errorf("peer credentials: %w", err)
	}
	return peer.Uid, nil
}

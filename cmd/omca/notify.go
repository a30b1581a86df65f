package main

import (
	"errors"
	"net"
	"strings"
)

// notifyManager tells the service manager about a change of state, as sd_notify(3) has it: one datagram to the socket named.
// An address that begins with "@" is in the abstract namespace, which is how package net spells it too.
func notifyManager(socket, state string) error {
	if socket == "" {
		return nil // nobody asked
	}
	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") {
		return errors.New("NOTIFY_SOCKET is neither a path nor an abstract address")
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}

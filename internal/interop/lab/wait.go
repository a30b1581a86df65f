package lab

import (
	"errors"
	"net"
	"testing"
	"time"
)

// Until waits for something that has to happen, for [Patience] at most.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(Patience); !holds(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, Patience)
		}
	}
}

// FreePort is a port of the loopback that nobody listens on.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

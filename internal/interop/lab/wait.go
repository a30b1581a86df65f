package lab

import (
	"math/rand/v2"
	"net"
	"strconv"
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

// FreePort is [PickPort] for a test.
func FreePort(t testing.TB) string {
	t.Helper()
	port, err := PickPort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// PickPort is a port of the loopback that nobody listens on. It is none of those
// that the kernel gives away by itself: who listens on it later finds it free.
func PickPort() (string, error) {
	const first, count, tries = 20_000, 12_000, 100 // net.ipv4.ip_local_port_range begins at 32768
	var failed error
	for range tries {
		port := strconv.Itoa(first + rand.N(count))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return port, l.Close()
		}
		failed = err
	}
	return "", failed
}

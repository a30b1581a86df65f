package lab

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A Machine is a network namespace of the test's own, on a bridge with the others
// and with nobody else. Home.Namespace runs omca there; files and unix sockets are
// those of everybody.
type Machine struct {
	Namespace, Address string
	hub, port          string
}

// Machines makes machines with addresses of one /24.
func Machines(t testing.TB, addresses ...string) []Machine {
	t.Helper()
	Require(t, "ip")
	hub := "omca" + strconv.Itoa(os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", hub).CombinedOutput(); err != nil {
		Missing(t, "netns", errors.New(string(out)))
	}
	t.Cleanup(func() { ip(t, "netns", "del", hub) })
	ip(t, "-n", hub, "link", "add", "bridge", "type", "bridge")
	ip(t, "-n", hub, "link", "set", "bridge", "up")
	var all []Machine
	for i, address := range addresses {
		m := Machine{Namespace: hub + "-" + strconv.Itoa(i), Address: address, hub: hub, port: "port" + strconv.Itoa(i)}
		ip(t, "netns", "add", m.Namespace)
		t.Cleanup(func() { ip(t, "netns", "del", m.Namespace) })
		ip(t, "-n", hub, "link", "add", m.port, "type", "veth", "peer", "name", "eth0", "netns", m.Namespace)
		ip(t, "-n", hub, "link", "set", m.port, "master", "bridge", "up")
		ip(t, "-n", m.Namespace, "link", "set", "lo", "up")
		ip(t, "-n", m.Namespace, "addr", "add", address+"/24", "dev", "eth0")
		ip(t, "-n", m.Namespace, "link", "set", "eth0", "up")
		all = append(all, m)
	}
	return all
}

// ip runs the command of that name, and wants it to work.
func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// Command is a command that runs on the machine.
func (m Machine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", m.Namespace, name}, args...)...)
}

// Has reports whether the machine has an address now.
func (m Machine) Has(t testing.TB, address string) bool {
	t.Helper()
	out, err := exec.Command("ip", "-n", m.Namespace, "-o", "addr").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(out), " "+address+"/")
}

// Cut takes the machine off the network until Heal: whoever speaks to it waits.
func (m Machine) Cut(t testing.TB) {
	t.Helper()
	ip(t, "-n", m.hub, "link", "set", m.port, "down")
}

// Heal puts it back.
func (m Machine) Heal(t testing.TB) {
	t.Helper()
	ip(t, "-n", m.hub, "link", "set", m.port, "up")
}

// Dial connects from the machine: the socket is made in its namespace, and stays
// there. The address is an IP address and a port.
func (m Machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	there, err := os.Open("/var/run/netns/" + m.Namespace)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{err: err}
			return
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

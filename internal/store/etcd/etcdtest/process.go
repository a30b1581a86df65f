package etcdtest

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// variable tells a test binary to be an etcd: directory, client and peer address.
const variable = "ETCDTEST_SERVER"

// Main is for TestMain. In a process that a Process has started it is an etcd
// until its standard input ends, and then reports true.
func Main() bool {
	settings := strings.Split(os.Getenv(variable), "|")
	if len(settings) != 3 {
		return false
	}
	client, peer := url.URL{Scheme: "http", Host: settings[1]}, url.URL{Scheme: "http", Host: settings[2]}
	e, err := embed.StartEtcd(configure("s0", settings[0], client, peer, "s0="+peer.String()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer e.Close()
	_, _ = io.Copy(io.Discard, os.Stdin) // it ends with whoever has started us
	return true
}

// A Process is an etcd in a process of its own, which can be stopped and killed.
// The test binary is it: see Main.
type Process struct {
	Address string // host:port, for clients

	t         testing.TB
	dir, peer string
	command   *exec.Cmd
	input     io.Closer
}

// StartProcess starts an etcd, and ends it with the test.
func StartProcess(t testing.TB) *Process {
	t.Helper()
	client, peer := address(t), address(t)
	p := &Process{Address: client.Host, t: t, dir: filepath.Join(t.TempDir(), "etcd"), peer: peer.Host}
	t.Cleanup(p.Kill)
	p.Start()
	return p
}

// Start starts it, after Kill, and waits until it answers.
func (p *Process) Start() {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	p.command = exec.Command(self, "-test.run=^$")
	p.command.Env = append(os.Environ(), variable+"="+strings.Join([]string{p.dir, p.Address, p.peer}, "|"))
	p.command.Stderr = os.Stderr
	if p.input, err = p.command.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{p.Address}, Logger: zap.NewNop()})
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close()
	for end := time.Now().Add(startTime); ; {
		if _, err = client.Get(p.t.Context(), "k"); err == nil {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("etcd is not ready within %s: %v", startTime, err)
		}
	}
}

// Pause stops it where it is, as a machine that hangs, and Resume lets it go on.
func (p *Process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (p *Process) Resume() { p.signal(syscall.SIGCONT) }

// Kill ends it on the spot, if it runs.
func (p *Process) Kill() {
	if p.command == nil || p.command.Process == nil {
		return
	}
	p.signal(syscall.SIGKILL)
	_ = p.command.Wait() // it was killed
	_ = p.input.Close()
	p.command = nil
}

func (p *Process) signal(s syscall.Signal) {
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Error(err)
	}
}

package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"omca/internal/client"
)

// Daemon is a daemon that serves, on a free port of the loopback.
type Daemon struct {
	Home
	Address string        // host:port of the TLS listener
	Took    time.Duration // from the start to the first line that says that it serves

	command *exec.Cmd
	log     *log
	ended   chan struct{} // closed when the process has
	err     error         // how it ended, behind ended
}

// Start starts a daemon on the home, and waits until it serves. The test's end
// stops it, which must end well.
func (h Home) Start(t testing.TB, args ...string) *Daemon {
	t.Helper()
	d, err := h.start(t, args)
	if err != nil {
		t.Fatalf("daemon: %v\n%s", err, d.Log())
	}
	t.Cleanup(func() {
		if d.stop(t) && t.Failed() {
			t.Logf("log of the daemon:\n%s", Tail(d.Log()))
		}
	})
	return d
}

// start starts a daemon; an error means that it does not serve.
func (h Home) start(t testing.TB, args []string) (*Daemon, error) {
	t.Helper()
	d := &Daemon{Home: h, log: &log{ready: make(chan struct{})}, ended: make(chan struct{})}
	// The context of a test ends before its cleanups, and it is for them to end the daemon.
	ctx := context.WithoutCancel(t.Context())
	d.command = h.Command(ctx, t, append([]string{"daemon", "run", "--listen", "127.0.0.1:0"}, args...)...)
	d.command.Stderr = d.log
	begin := time.Now()
	if err := d.command.Start(); err != nil {
		return d, err
	}
	go func() {
		d.err = d.command.Wait()
		close(d.ended)
	}()
	select {
	case <-d.log.ready:
		d.Took = time.Since(begin)
		d.Address = d.log.address()
		return d, nil
	case <-d.ended:
		return d, errors.Join(errors.New("ended before it served"), d.err)
	case <-time.After(Patience):
		d.Kill(t)
		return d, errors.New("does not serve")
	}
}

// Log returns what the daemon has written to stderr.
func (d *Daemon) Log() string { return d.log.String() }

// Stop asks the daemon to end, and expects that it does so with exit status 0.
// One that has ended is left alone.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	d.stop(t)
}

// Wait waits until the daemon has ended by itself.
func (d *Daemon) Wait(t testing.TB) {
	t.Helper()
	select {
	case <-d.ended:
	case <-time.After(2 * Patience):
		t.Fatalf("the daemon does not end\n%s", Tail(d.Log()))
	}
}

// stop is Stop; it says whether the daemon was running.
func (d *Daemon) stop(t testing.TB) bool {
	t.Helper()
	running := d.signal(t, syscall.SIGTERM)
	if running && d.err != nil {
		t.Errorf("the daemon ended: %v\n%s", d.err, Tail(d.Log()))
	}
	return running
}

// Kill ends the daemon on the spot, as a lost machine would.
func (d *Daemon) Kill(t testing.TB) {
	t.Helper()
	d.signal(t, syscall.SIGKILL)
}

// Ended reports whether the daemon has ended.
func (d *Daemon) Ended() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// Pause has the daemon do nothing until Resume: its connections stay open, and
// nothing answers on them.
func (d *Daemon) Pause(t testing.TB) {
	t.Helper()
	if err := d.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Resume(t) }) // or it could not be ended
}

// Resume has a daemon go on.
func (d *Daemon) Resume(t testing.TB) {
	t.Helper()
	if err := d.command.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// signal ends the daemon, and says whether it was this that did.
func (d *Daemon) signal(t testing.TB, s syscall.Signal) bool {
	t.Helper()
	select {
	case <-d.ended:
		return false
	default:
	}
	if err := d.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	patience, look := time.After(Patience), time.NewTicker(50*time.Millisecond)
	defer look.Stop()
	followed := false // two signals would end a successor on the spot
	for {
		select {
		case <-d.ended:
			return true
		case <-look.C:
			// A daemon that was about to leave had no use for the signal.
			if !followed && errors.Is(d.command.Process.Signal(syscall.Signal(0)), os.ErrProcessDone) {
				followed = d.signalSuccessor(t, s)
			}
			continue
		case <-patience:
		}
		break
	}
	t.Errorf("the daemon does not end on %s\n%s", s, Tail(d.Log()))
	d.signalSuccessor(t, syscall.SIGKILL)
	if err := d.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-d.ended
	return true
}

// signalSuccessor sends the signal to the process that followed the one started,
// after "daemon restart", and says whether there was one. It has the same stderr,
// whose end is waited for.
func (d *Daemon) signalSuccessor(t testing.TB, s syscall.Signal) bool {
	t.Helper()
	status, err := d.Client(t).Status(context.WithoutCancel(t.Context()))
	if err != nil {
		return false // there is none
	}
	if err := syscall.Kill(status.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	return true
}

// Roots returns the CA certificate that the daemon publishes, as a pool.
func (d *Daemon) Roots(t testing.TB) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(d.CA(t))) {
		t.Fatal("the CA is no PEM")
	}
	return pool
}

// CA returns the certificate of the internal CA, PEM.
func (d *Daemon) CA(t testing.TB) string {
	t.Helper()
	return d.Key(t, "system/sec/ca", "certificate")
}

// Key returns the value of a key.
func (d *Daemon) Key(t testing.TB, path, name string) string {
	t.Helper()
	p, err := client.ParsePath(path)
	if err != nil {
		t.Fatal(err)
	}
	value, err := d.Client(t).Key(context.WithoutCancel(t.Context()), p, name)
	if err != nil {
		t.Fatalf("%s: %s: %v", path, name, err)
	}
	return string(value)
}

// Pair returns the certificate and the private key of an object.
func (d *Daemon) Pair(t testing.TB, path string) *tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(d.Key(t, path, "certificate_chain")), []byte(d.Key(t, path, "private_key")))
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// User creates a user with a grant and returns its certificate.
func (d *Daemon) User(t testing.TB, name, grant string) *tls.Certificate {
	t.Helper()
	d.Run(t, "system/usr/"+name, "create", "--kw", "grant="+grant)
	return d.Pair(t, "system/usr/"+name)
}

// Files writes the certificate chain and the key of an object, and the CA's
// certificate, to files beside the home, and returns their names.
func (d *Daemon) Files(t testing.TB, path string) (cert, key, ca string) {
	t.Helper()
	base := filepath.Base(path)
	return d.File(t, base+".crt", d.Key(t, path, "certificate_chain")),
		d.File(t, base+".key", d.Key(t, path, "private_key")),
		d.File(t, "ca.crt", d.CA(t))
}

// TLS returns the configuration of a client that verifies the daemon and, unless
// pair is nil, presents it.
func (d *Daemon) TLS(t testing.TB, pair *tls.Certificate) *tls.Config {
	t.Helper()
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.Roots(t), ServerName: "localhost"}
	if pair != nil {
		// Sent whatever the server says that it trusts.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return c
}

// HTTP returns an HTTP client with that configuration and connections of its own.
func (d *Daemon) HTTP(t testing.TB, pair *tls.Certificate) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: d.TLS(t, pair), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: Patience}
}

// URL returns the URL of a path on the daemon.
func (d *Daemon) URL(path string) string { return "https://" + d.Address + path }

// log keeps what a daemon writes and says when it serves.
type log struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ready chan struct{}
	done  bool
}

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.text.Write(p)
	if !l.done && announced().Match(l.text.Bytes()) {
		l.done = true
		close(l.ready)
	}
	return n, err
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// address is where the daemon says that it listens.
func (l *log) address() string {
	if match := announced().FindStringSubmatch(l.String()); match != nil {
		return match[1]
	}
	return ""
}

// announced matches the line by which a daemon says where it listens.
func announced() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^omca: cluster \S+ listens on (\S+) and \S+\n`)
}

// Tail is the end of a text, where it is long.
func Tail(text string) string {
	const most = 4000
	if len(text) <= most {
		return text
	}
	_, rest, _ := strings.Cut(text[len(text)-most:], "\n")
	return "…\n" + rest
}

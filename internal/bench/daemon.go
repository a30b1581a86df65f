package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bench is a built binary, a place to run it, and what was measured.
type bench struct {
	dir    string
	binary string
	report report

	profile string // file for a profile of the daemon; "" for none
}

func newBench(ctx context.Context) (*bench, error) {
	// Beside the sources: a temporary directory may be in memory, where a sync costs nothing.
	dir, err := os.MkdirTemp(".", ".bench-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	b := &bench{dir: dir, binary: filepath.Join(dir, "omca")}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.binary, "./cmd/omca")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("building: %w\n%s", err, out), b.close())
	}
	return b, nil
}

func (b *bench) close() error { return os.RemoveAll(b.dir) }

// daemon is a running omca.
type daemon struct {
	b       *bench
	home    string
	address string
	cmd     *exec.Cmd
	pool    *x509.CertPool
	client  tls.Certificate
}

// start runs a daemon in the home of that name and waits until it answers. It
// returns how long that took.
func (b *bench) start(ctx context.Context, name string, args ...string) (*daemon, time.Duration, error) {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	d := &daemon{b: b, home: filepath.Join(b.dir, name), address: probe.Addr().String()}
	if err := probe.Close(); err != nil {
		return nil, 0, err
	}
	args = append([]string{"--home", d.home, "daemon", "run", "--listen", d.address, "--node-name", "localhost"}, args...)
	d.cmd = exec.CommandContext(ctx, b.binary, args...)
	begin := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, 0, err
	}
	hasty := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // it only asks whether somebody answers
	}}
	defer hasty.CloseIdleConnections()
	for {
		r, err := hasty.Get("https://" + d.address + "/healthz")
		if err == nil {
			took := time.Since(begin)
			return d, took, errors.Join(r.Body.Close(), d.prepare(ctx))
		}
		if time.Since(begin) > 20*time.Second {
			return nil, 0, errors.Join(fmt.Errorf("the daemon does not answer: %w", err), d.stop())
		}
		time.Sleep(time.Millisecond)
	}
}

// omca runs a command against the daemon.
func (d *daemon) omca(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, d.b.binary, append([]string{"--home", d.home}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("omca %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// prepare makes the user that the load comes from, and reads the trust.
func (d *daemon) prepare(ctx context.Context) error {
	var err error
	if d.client, err = d.user(ctx, "bench", "root"); err != nil {
		return err
	}
	trust, err := d.omca(ctx, "system/sec/ca", "key", "decode", "--name", "certificate")
	if err != nil {
		return err
	}
	d.pool = x509.NewCertPool()
	if !d.pool.AppendCertsFromPEM(trust) {
		return errors.New("no CA certificate")
	}
	return nil
}

// user makes a user and returns its certificate and key.
func (d *daemon) user(ctx context.Context, name, grant string) (tls.Certificate, error) {
	path := "system/usr/" + name
	if _, err := d.omca(ctx, path, "create", "--kw", "grant="+grant); err != nil {
		return tls.Certificate{}, err
	}
	chain, err := d.omca(ctx, path, "key", "decode", "--name", "certificate_chain")
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := d.omca(ctx, path, "key", "decode", "--name", "private_key")
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(chain, key)
}

// watch keeps a profile of the daemon's next seconds in file.
func (d *daemon) watch(seconds int, file string) error {
	c := d.http()
	defer c.CloseIdleConnections()
	r, err := c.Get(fmt.Sprintf("https://%s/debug/pprof/cpu?seconds=%d", d.address, seconds))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s: %s", r.Status, text)
	}
	return os.WriteFile(file, text, 0o644)
}

// http returns a client with one keep-alive connection to address.
func (d *daemon) http() *http.Client { return d.as(d.client) }

// as returns such a client with another certificate.
func (d *daemon) as(pair tls.Certificate) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: d.pool, Certificates: []tls.Certificate{pair}, ServerName: "localhost"},
		MaxIdleConnsPerHost: 1, MaxConnsPerHost: 1,
	}}
}

func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return d.cmd.Wait()
}

// usage is what a process has used of the machine.
type usage struct {
	cpu     time.Duration
	written int64 // bytes handed to the disk
	syncs   float64
	rss     int64 // bytes
	file    int64 // of them, pages of files: the program and the store
}

func (d *daemon) usage() (usage, error) {
	u, err := processUsage(d.cmd.Process.Pid)
	if err != nil {
		return u, err
	}
	c := d.http()
	defer c.CloseIdleConnections()
	r, err := c.Get("https://" + d.address + "/metrics")
	if err != nil {
		return u, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return u, err
	}
	m := regexp.MustCompile(`(?m)^omca_store_syncs_total (\S+)$`).FindSubmatch(text)
	if m == nil {
		return u, fmt.Errorf("no omca_store_syncs_total in /metrics (%s)", r.Status)
	}
	u.syncs, err = strconv.ParseFloat(string(m[1]), 64)
	return u, err
}

// processUsage reads /proc.
func processUsage(pid int) (usage, error) {
	var u usage
	dir := "/proc/" + strconv.Itoa(pid)
	var err error
	if u.cpu, err = processClock(pid); err != nil {
		return u, err
	}
	if u.written, err = procNumber(dir+"/io", "write_bytes:"); err != nil {
		return u, err
	}
	kilobytes, err := procNumber(dir+"/status", "VmRSS:")
	if err != nil {
		return u, err
	}
	u.rss = kilobytes << 10
	kilobytes, err = procNumber(dir+"/status", "RssFile:")
	u.file = kilobytes << 10
	return u, err
}

// processClock returns the processor time that a process has used, by its own clock. /proc counts
// hundredths of a second.
func processClock(pid int) (time.Duration, error) {
	var at unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|unix.CLOCK_PROCESS_CPUTIME_ID), &at) // clock_getcpuclockid(3) makes the number so
	return time.Duration(at.Nano()), err
}

func procNumber(file, name string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", file, name)
}

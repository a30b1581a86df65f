package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// opened is a store in memory whose handlers answer everything with an empty list.
type opened struct{ closed bool }

func (o *opened) Transport() http.RoundTripper { return o }
func (o *opened) Close() error                 { o.closed = true; return nil }
func (o *opened) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	fmt.Fprint(w, `{"items":[]}`)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// program returns a program with the opener given, and what it prints.
func testProgram(home string, open opener) (p *program, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &program{
		name: "omca", stdout: stdout, stderr: stderr, now: time.Now, open: open,
		getenv: func(name string) string { return map[string]string{"OMCA_HOME": home}[name] },
	}, stdout, stderr
}

func TestTheStoreIsWaitedFor(t *testing.T) {
	home := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tries, s := 0, &opened{}
		p, stdout, stderr := testProgram(home, func(_ context.Context, where place) (store, error) {
			if where.home != home {
				t.Errorf("opening %q, want %q", where.home, home)
			}
			if tries++; tries < 20 {
				return nil, fmt.Errorf("opening: %w", errLocked)
			}
			return s, nil
		})
		if err := p.run(t.Context(), []string{"ls"}); err != nil {
			t.Fatal(err)
		}
		if tries != 20 || !s.closed || stdout.String() != "OBJECT  KEYS  CERTIFICATE  NOT AFTER\n" || stderr.Len() > 0 {
			t.Errorf("tried %d times, closed %v, stdout %q, stderr %q", tries, s.closed, stdout, stderr)
		}
	})
}

func TestTheStoreIsNotWaitedForForever(t *testing.T) {
	home := t.TempDir()
	locked := func(context.Context, place) (store, error) { return nil, errLocked }
	synctest.Test(t, func(t *testing.T) {
		p, stdout, stderr := testProgram(home, locked)
		began := time.Now()
		status := p.report(p.run(t.Context(), []string{"ls"}))
		if waited := time.Since(began); status != statusError || waited < lockTimeout || waited > 2*lockTimeout {
			t.Errorf("status %d after %s, want %d after %s", status, waited, statusError, lockTimeout)
		}
		if stdout.Len() > 0 || !strings.Contains(stderr.String(), "another process has the store for more than 15s") {
			t.Errorf("stdout %q, stderr %q", stdout, stderr)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p, _, _ := testProgram(home, locked)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if status := p.report(p.run(ctx, []string{"ls"})); status != statusInterrupted {
			t.Errorf("status of an interrupted wait is %d, want %d", status, statusInterrupted)
		}
	})
}

func TestTheDaemonThatComesUpIsUsed(t *testing.T) {
	home := t.TempDir()
	socket := filepath.Join(home, socketName)
	var server *httptest.Server
	p, stdout, _ := testProgram(home, func(context.Context, place) (store, error) {
		if server != nil {
			t.Error("opened again although a daemon answers")
			return nil, errors.New("unexpected")
		}
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"items":[]}`) }))
		server.Listener.Close()
		server.Listener = l
		server.Start()
		return nil, errLocked // by the daemon that just came up
	})
	defer func() { server.Close() }()
	if err := p.run(t.Context(), []string{"usr", "ls", "-o", "json"}); err != nil || stdout.String() != "[]\n" {
		t.Errorf("stdout %q, %v", stdout, err)
	}
}

func TestInterruptedWhileReading(t *testing.T) {
	stdin, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	defer stdin.Close()
	for _, line := range []string{"sec/a key add --name k --from -", "sec/a certificate pkcs12", "certificate sign -"} {
		// Each is a process of its own: whether the one before came to reading is chance.
		p, stdout, stderr := testProgram(t.TempDir(), func(context.Context, place) (store, error) { return &opened{}, nil })
		p.stdin = stdin
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if status := p.report(p.run(ctx, strings.Fields(line))); status != statusInterrupted || stdout.Len() > 0 || stderr.String() != "omca: error: interrupted\n" {
			t.Errorf("%s: status %d, stdout %q, stderr %q", line, status, stdout, stderr)
		}
		stderr.Reset()
	}
}

func TestNotifyManager(t *testing.T) {
	for _, address := range []string{filepath.Join(t.TempDir(), "notify"), "@omca-test-" + filepath.Base(t.TempDir())} {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		if err := notifyManager(address, "READY=1"); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		text := make([]byte, 100)
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := conn.Read(text); err != nil || string(text[:n]) != "READY=1" {
			t.Errorf("%s: read %q, %v", address, text[:n], err)
		}
		conn.Close()
	}
	if err := notifyManager("", "READY=1"); err != nil {
		t.Errorf("nobody to notify: %v", err)
	}
	for _, bad := range []string{"relative", filepath.Join(t.TempDir(), "none")} {
		if err := notifyManager(bad, "READY=1"); err == nil {
			t.Errorf("NOTIFY_SOCKET=%s is no error", bad)
		}
	}
}

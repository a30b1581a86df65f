package main

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"omca/pki"
)

// terminal is a pseudo terminal: what a program has, and what a person sees.
func terminal(t *testing.T) (program, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		program.Close() // only written to for the test
		person.Close()
	})
	return program, person
}

// A value that is shown on a terminal has nothing that it obeys, and in a pipe it is as it was stored.
func TestValueOnATerminal(t *testing.T) {
	program, person := terminal(t)
	stored := "a\x1b[2J\u009b2J\u202eb"
	for to, want := range map[io.Writer]string{program: "a\ufffd[2J\ufffd2J\ufffdb", new(bytes.Buffer): stored} {
		p := printer{out: new(bytes.Buffer), to: to}
		p.value([]byte(stored))
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		var got []byte
		if buffer, ok := to.(*bytes.Buffer); ok {
			got = buffer.Bytes()
		} else {
			got = make([]byte, 100)
			n, err := person.Read(got)
			if err != nil {
				t.Fatal(err)
			}
			got = got[:n]
		}
		if string(got) != want {
			t.Errorf("%T: %q, want %q", to, got, want)
		}
	}
}

// Making a control, a user and ten nodes shows on a terminal how far it is, and
// nothing in a pipe.
func TestOfflineProgress(t *testing.T) {
	stderr, person := terminal(t)
	p := &program{name: flockerName, stdout: os.Stdout, stderr: stderr, now: time.Now}
	m := p.maker()
	m.Generate = func() (crypto.Signer, error) { return pki.GenerateKey(pki.ECP256) }
	dir := t.TempDir()
	if _, err := m.Initialize(t.Context(), dir, "mycluster", ""); err != nil {
		t.Fatal(err)
	}
	for _, o := range []offlineOrder{
		{verb: "create-control-certificate", name: "127.0.0.1"}, {verb: "create-api-certificate", name: "alice"}, {verb: "create-node-certificate", count: 10},
	} {
		o.in, o.out = dir, dir
		if _, err := p.offline(context.Background(), m, o); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fmt.Fprintln(stderr, "end"); err != nil {
		t.Fatal(err)
	}
	seen := ""
	for part := make([]byte, 4096); !strings.Contains(seen, "end"); {
		n, err := person.Read(part)
		if err != nil {
			t.Fatalf("%v after %q", err, seen)
		}
		seen += string(part[:n])
	}
	for _, want := range []string{"\rmaking keys: 0 of 1\r\x1b[K", "\rmaking keys: 9 of 10\r\x1b[Kend"} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %q in %q", want, seen)
		}
	}

	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	p.stderr = write
	if p.maker().Progress != nil {
		t.Error("it is told to a pipe")
	}
}

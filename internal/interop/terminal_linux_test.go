package interop_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"omca/internal/interop/lab"
)

// terminal opens a pseudo terminal: what is written to hand is typed, and what is read from it is on the screen.
func terminal(t *testing.T) (hand, tty *os.File) {
	t.Helper()
	hand, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { hand.Close() })
	if err := unix.IoctlSetPointerInt(int(hand.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(hand.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return hand, tty
}

// shows tells whether the terminal shows what is typed.
func shows(t *testing.T, tty *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// TestAPasswordIsNotShown types a password once it is asked for: the terminal does not show it, and is left as it was.
func TestAPasswordIsNotShown(t *testing.T) {
	const word = "correct horse battery"
	d := lab.NewHome(t).Start(t)
	d.User(t, "alice", "guest:ns1")
	password(t, d, "alice", word)
	hand, tty := terminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	c := d.Command(ctx, t, "--server", d.URL(""), "--ca", d.File(t, "ca.crt", d.CA(t)), "--user", "alice", "whoami")
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = tty, &stdout, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for shows(t, tty) && ctx.Err() == nil {
		time.Sleep(time.Millisecond) // until it is asked for
	}
	if _, err := io.WriteString(hand, word+"\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil || !strings.Contains(stdout.String(), "alice") {
		t.Errorf("%v: %s%s", err, &stdout, &stderr)
	}
	if !strings.Contains(stderr.String(), "password of alice on "+d.URL("")) || strings.Contains(stderr.String(), word) {
		t.Errorf("asked with %q", &stderr)
	}
	if !shows(t, tty) {
		t.Error("the terminal was left without showing what is typed")
	}
	if err := hand.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	screen, err := io.ReadAll(hand)
	if err != nil && !os.IsTimeout(err) {
		t.Fatal(err)
	}
	if bytes.Contains(screen, []byte("correct")) {
		t.Errorf("the terminal showed %q", screen)
	}
}

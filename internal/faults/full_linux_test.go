package faults

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"omca/internal/client"
	"omca/internal/interop/lab"
	"omca/internal/wire"
)

// TestFullDisk takes the room away from a daemon that runs, and gives it back.
func TestFullDisk(t *testing.T) {
	home := lab.Tmpfs(t, "4m")
	home.Run(t, "init")
	home.Run(t, "system/usr/alice", "create", "--kw", "grant=root", "--kw", "comment=before")
	d := home.Start(t)
	api, request := d.Client(t), signingRequest(t)
	w := &world{Home: home, comment: "before", serial: served(t, d), records: 4} // the CA's, the listener's, the responder's, alice's

	ballast := fill(t, home)
	w.kept = issueUntilFull(t, api, request)
	w.change(t, d)
	w.intact(t)

	d.Stop(t) // for which there must be no need of room
	w.intact(t)
	d = home.Start(t) // nor for this
	w.change(t, d)
	w.intact(t)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	signed, err := api.Sign(t.Context(), wire.SignRequest{CSR: request, Profile: "listener"})
	if err != nil {
		t.Fatalf("with room again: %v", err)
	}
	w.kept = append(w.kept, received{signed.Serial, signed.Certificate})
	w.intact(t)
	d.Run(t, "certificate", "create")
	if now := served(t, d); now == w.serial {
		t.Error("with room again, the listener still shows the certificate of before")
	}
}

// TestFirstStartOnFullDisk has no room for anything.
func TestFirstStartOnFullDisk(t *testing.T) {
	home := lab.Tmpfs(t, "256k")
	ballast := fill(t, home)
	for _, command := range [][]string{{"daemon", "run", "--listen", "127.0.0.1:0"}, {"init"}} {
		r := home.Try(t, command...)
		if r.Status != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, "no space left") {
			t.Errorf("omca %q: %+v", command, r)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	home.Start(t)
}

// fill leaves no byte of room beside a home and returns the file that took it.
func fill(t *testing.T, home lab.Home) string {
	t.Helper()
	name := filepath.Join(filepath.Dir(home.Dir), "ballast")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		n, err := f.Write(make([]byte, size))
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if n == 0 {
			size /= 2
		}
	}
	return name
}

// issueUntilFull issues until there is no room, which must be said as it is.
func issueUntilFull(t *testing.T, api *client.Client, request string) []received {
	t.Helper()
	var kept []received
	for range 10_000 {
		signed, err := api.Sign(t.Context(), wire.SignRequest{CSR: request, Profile: "listener"})
		if err == nil {
			kept = append(kept, received{signed.Serial, signed.Certificate})
			continue
		}
		var problem *client.Error
		if !errors.As(err, &problem) || problem.Status != http.StatusInsufficientStorage || !strings.Contains(problem.Detail, "full") {
			t.Fatalf("certificate %d: %v, expected problem %d", len(kept)+1, err, http.StatusInsufficientStorage)
		}
		return kept
	}
	t.Fatal("the disk is full, and issuing goes on")
	return nil
}

// world is what must be there, as far as commands have said that they did it.
type world struct {
	lab.Home
	kept    []received
	records int    // certificates beside those
	comment string // alice's
	serial  string // of what the listener shows
	bob     bool   // whether there is such a user
}

// change tries every kind of change. What no longer fits is refused with a word
// about what is wrong and one about what to do, and leaves nothing behind; a
// small one may still fit.
func (w *world) change(t *testing.T, d *lab.Daemon) {
	t.Helper()
	comment := strings.Repeat("x", 1000)
	if w.done(t, "system/usr/alice", "set", "--kw", "comment="+comment) {
		w.comment = comment
	}
	if w.done(t, "system/usr/bob", "create", "--force") {
		w.bob = true
		w.records++
	}
	if w.done(t, "system/usr/alice", "certificate", "renew", "--rekey") {
		w.records++
	}
	swapped := w.done(t, "certificate", "create")
	now := served(t, d)
	if swapped != (now != w.serial) {
		t.Errorf("the certificate of the listener was replaced: %v, and it shows serial %s after %s", swapped, now, w.serial)
	}
	if w.serial = now; swapped {
		w.records++
	}
	if w.done(t, "system/usr/alice", "key", "add", "--name", "big", "--value", strings.Repeat("x", 100_000)) {
		t.Error("there is room for 100 kB")
	}
}

// done runs a command, and says whether it did what it was told.
func (w *world) done(t *testing.T, args ...string) bool {
	t.Helper()
	r := w.Try(t, args...)
	if r.Status == 0 {
		return true
	}
	if r.Status != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, "full") || !strings.Contains(r.Stderr, "omca: hint: ") {
		t.Errorf("omca %.60q: exit status %d, stdout %q, stderr %q; expected 1, and the error and a hint about the full disk", args, r.Status, r.Stdout, r.Stderr)
	}
	return false
}

// intact reads all there is, with or without a daemon: what was answered is
// there, and what was refused is not.
func (w *world) intact(t *testing.T) {
	t.Helper()
	if got := w.Run(t, "system/usr/alice", "get", "--kw", "comment"); got != w.comment+"\n" {
		t.Errorf("alice's comment is %.20q, expected %.20q", got, w.comment)
	}
	if got := w.Run(t, "system/usr/alice", "key", "list"); strings.Contains(got, "big") {
		t.Errorf("alice's keys are %q", got)
	}
	w.Run(t, "system/usr/alice", "certificate", "verify")
	want := 2 // not found
	if w.bob {
		want = 0
	}
	if r := w.Try(t, "system/usr/bob", "certificate", "verify"); r.Status != want {
		t.Errorf("bob was made: %v, and exit status %d, expected %d: %s", w.bob, r.Status, want, r.Stderr)
	}
	list := w.Run(t, "certificate", "ls", "-o", "csv")
	for _, r := range w.kept {
		if !strings.Contains(list, r.serial) {
			t.Errorf("certificate %s is lost", r.serial)
		}
	}
	if n := strings.Count(list, "\n") - 1; n != len(w.kept)+w.records {
		t.Errorf("%d certificates in the inventory, expected %d", n, len(w.kept)+w.records)
	}
}

// served returns the serial number of what the listener shows, to a client that verifies it.
func served(t *testing.T, d *lab.Daemon) string {
	t.Helper()
	answer, err := d.HTTP(t, nil).Get(d.URL("/healthz"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("status %s", answer.Status)
	}
	return answer.TLS.PeerCertificates[0].SerialNumber.Text(16)
}

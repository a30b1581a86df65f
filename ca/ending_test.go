package ca_test

import (
	"testing"
	"time"

	"omca/ca"
)

// TestEndings: users and CAs are announced, what renews itself only when it did not.
func TestEndings(t *testing.T) {
	const month, day = 30 * 24 * time.Hour, 24 * time.Hour
	w := bootstrapped(t)
	w.create("system/usr/alice", "validity=90d")
	w.mustIssue("system/usr/alice")
	w.create("system/sec/web", "cn=web", "validity=90d")
	w.mustIssue("system/sec/web")
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{59 * day, ""},
		{61 * day, "system/usr/alice"},
		{80 * day, "system/usr/alice"},
		{82 * day, "system/sec/web (renews) system/usr/alice"}, // nobody called RenewDue
		{91 * day, "system/sec/web (renews) system/usr/alice"},
	} {
		w.now = start().Add(c.after)
		if got := endings(t, w, month); got != c.want {
			t.Errorf("after %d days: %q, want %q", c.after/day, got, c.want)
		}
	}
	if _, err := w.RenewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := endings(t, w, month); got != "system/usr/alice" {
		t.Errorf("after the renewal: %q", got)
	}
	w.now = start().AddDate(10, 0, -10)
	if got := endings(t, w, month); got != ca.PathCA+" "+ca.PathListener+" (renews) system/sec/web (renews)" {
		t.Errorf("at the end of the CA: %q", got)
	}
}

func endings(t *testing.T, w *world, within time.Duration) string {
	t.Helper()
	all, err := w.Endings(t.Context(), within)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, e := range all {
		if text != "" {
			text += " "
		}
		text += e.Path
		if e.Renews {
			text += " (renews)"
		}
	}
	return text
}

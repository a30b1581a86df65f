package omca

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"omca/pki"
)

// TestAnnounceEndings: a line for each certificate that nothing renews, once, and their number in the metrics.
func TestAnnounceEndings(t *testing.T) {
	log := new(bytes.Buffer)
	now := time.Now()
	s, err := Open(t.Context(), Config{
		Home: filepath.Join(t.TempDir(), "home"), NodeName: "node1",
		Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	told := make(map[pki.Serial]bool)
	look := func(after time.Duration, level string, lines, count int) {
		t.Helper()
		now = now.Add(after)
		log.Reset()
		s.announceEndings(t.Context(), told)
		if n := strings.Count(log.String(), level); n != lines || s.endings.Load() != int64(count) {
			t.Errorf("%d lines %q and a count of %d, want %d and %d:\n%s", n, level, s.endings.Load(), lines, count, log)
		}
	}
	const year = 365 * 24 * time.Hour
	look(0, "WARN", 0, 0)
	look(year-20*24*time.Hour, "level=WARN msg=expiring path=system/sec/cert ", 1, 1)
	look(time.Hour, "WARN", 0, 1)                                                          // it was told
	look(9*year-24*time.Hour, "level=WARN msg=expiring path=system/sec/ca ", 1, 2)         // the CA too
	if text := log.String(); strings.Contains(text, "system/sec/cert") || log.Len() == 0 { // told before
		t.Error(text)
	}
}

package omca

import (
	"bytes"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines is a log that many goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write is io.Writer.Write.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// take returns what was written since the last call.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text.String()
	l.text.Reset()
	return text
}

// TestNoStormAtTheEndOfACA: the work beside the requests issues and logs little in the
// last hour of a CA, also for an object with a validity of one second, and nothing but
// one line of the renewals in the hour after.
func TestNoStormAtTheEndOfACA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(lines)
		s, err := Open(t.Context(), Config{Home: filepath.Join(t.TempDir(), "home"), NodeName: "node1", Log: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		must := func(method, target string) {
			t.Helper()
			if status, text := s.ask(t, method, target); status >= http.StatusBadRequest {
				t.Fatalf("%s %s: %d %s", method, target, status, text)
			}
		}
		must(http.MethodPatch, "/api/object/path/system/sec/ca/config?set=validity%3D1h")
		must(http.MethodPost, "/api/object/path/system/sec/ca/certificate")
		must(http.MethodPost, "/api/object/path/system/sec/cert/certificate")
		if _, err := s.TLSConfig(t.Context(), "ns1/sec/web", "web.example.com"); err != nil {
			t.Fatal(err)
		}
		must(http.MethodPatch, "/api/object/path/ns1/sec/web/config?set=validity%3D1s")
		must(http.MethodPost, "/api/object/path/ns1/sec/web/certificate")
		log.take()

		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		text := log.take()
		if n := strings.Count(text, "msg=issued"); n < 10 || n > 25 {
			t.Errorf("%d certificates in the last hour of the CA, want one for each 200 s", n)
		}
		if n := strings.Count(text, "\n"); n > 60 {
			t.Errorf("%d lines in the last hour of the CA:\n%.4000s", n, text)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		text = log.take()
		if n := strings.Count(text, "msg=issued"); n != 0 {
			t.Errorf("%d certificates after the end of the CA", n)
		}
		if n := strings.Count(text, "renewal failed"); n != 1 {
			t.Errorf("%d lines say that renewals ended, want one", n)
		}
		if n := strings.Count(text, "\n"); n > 30 {
			t.Errorf("%d lines in the hour after the CA:\n%.4000s", n, text)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

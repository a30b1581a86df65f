package api

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// TestRestartDaemon: a restart is accepted, or refused with the reason.
func TestRestartDaemon(t *testing.T) {
	w := newWorld(t)
	ask := request{method: http.MethodPost, target: "/api/daemon/action/restart", by: "root"}
	if a := w.do(ask); a.status != http.StatusAccepted || w.restarted != 1 {
		t.Errorf("status %d, expected 202; restarted %d times, expected once", a.status, w.restarted)
	}
	w.restartFails = errors.New("the successor failed: no such program")
	if a := w.do(ask); a.status != http.StatusConflict || !strings.Contains(string(a.body), "no such program") {
		t.Errorf("status %d %s, expected 409 with the reason", a.status, a.body)
	}
}

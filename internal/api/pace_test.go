package api

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"omca/usr"
)

// TestPace: one caller without root at full speed, over any number of connections, is answered
// evenly where something is issued, refusals too. Others, root, and what issues nothing, do not wait.
func TestPace(t *testing.T) {
	w := newWorld(t)
	w.bound("cluster.max_tokens=10")
	const calls = paceBurst + paceEach/2
	least := (calls - paceBurst) * time.Second / paceEach
	asks := func(by, method, target string, want ...int) time.Duration {
		began := time.Now()
		var wait sync.WaitGroup
		for range 5 {
			wait.Go(func() {
				for range calls / 5 {
					if _, r := w.send(request{method: method, target: target, by: by}); r.status != want[0] && r.status != want[len(want)-1] {
						t.Errorf("%s %s by %s: %d", method, target, by, r.status)
					}
				}
			})
		}
		wait.Wait()
		return time.Since(began)
	}
	if took := asks("guest1", http.MethodPost, "/api/auth/token", http.StatusOK, http.StatusTooManyRequests); took < least {
		t.Errorf("%d answers to a guest in %s, want at least %s", calls, took, least)
	}
	// The guest's answers are late by now, and these are not.
	began := time.Now()
	w.do(request{target: "/whoami", by: "guest1"}).want(http.StatusOK)
	w.issues("admin1", "").want(http.StatusOK)
	w.issues("root", "").want(http.StatusOK)
	if took := time.Since(began); took > mostDelay/2 {
		t.Errorf("what is not the guest's took %s", took)
	}
}

// TestPaceForgets: callers that are not heard of any more make room for others.
func TestPaceForgets(t *testing.T) {
	var p pace
	ctx := t.Context()
	guest := func(i int) usr.Caller { return usr.Caller{Name: fmt.Sprintf("u%d", i), Method: usr.MethodX509} }
	for i := range mostPaced + 100 {
		p.wait(ctx, guest(i))
	}
	if len(p.of) > mostPaced+1 {
		t.Errorf("%d callers are remembered", len(p.of))
	}
	time.Sleep(2 * time.Second / paceEach)
	if p.wait(ctx, guest(mostPaced+200)); p.of["u4296"] == nil {
		t.Error("no room for another caller after a pause")
	}
	if p.wait(ctx, usr.Caller{Name: "root", Method: usr.MethodSocket, Grants: usr.RootGrants()}); p.of["root"] != nil {
		t.Error("root is paced")
	}
}

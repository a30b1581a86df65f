package omca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"omca/crl"
)

// house is what a stapler works for: an answer holds for an hour.
type house struct {
	*stapler

	mu      sync.Mutex // held by the test, but while it waits
	served  []string
	fail    error
	asked   int
	changes []string
}

func newHouse() *house {
	h := &house{served: []string{"web"}}
	h.stapler = &stapler{
		paths: func(context.Context) ([]string, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.served, nil
		},
		ask: func(_ context.Context, path string) (*staple, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.asked++; h.fail != nil {
				return nil, h.fail
			}
			return &staple{leaf: []byte(path), answer: fmt.Appendf(nil, "answer %d", h.asked), next: time.Now().Add(time.Hour)}, nil
		},
		changed: func(_ context.Context, path string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changes = append(h.changes, path)
		},
		now: time.Now, log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1),
	}
	h.mu.Lock()
	return h
}

// wait lets the stapler work until it waits too.
func (h *house) wait() {
	h.mu.Unlock()
	defer h.mu.Lock()
	synctest.Wait()
}

// pass lets time pass, and the stapler work.
func (h *house) pass(d time.Duration) {
	h.mu.Unlock()
	defer h.mu.Lock()
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

// has returns what is stapled now to the certificate of a path.
func (h *house) has(path, leaf string) string {
	return string(h.on(path, tls.Certificate{Leaf: &x509.Certificate{Raw: []byte(leaf)}}).OCSPStaple)
}

// work has the stapler run until the test ends.
func (h *house) work(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { h.run(ctx); close(ended) }()
	t.Cleanup(func() { h.mu.Unlock(); cancel(); <-ended })
	h.wait()
}

// A staple is replaced at half of its life, kept while there is no other, and taken away when it is over.
func TestStapleLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		h.work(t)
		if got := h.has("web", "web"); got != "answer 1" {
			t.Fatalf("stapled %q", got)
		}
		h.pass(29 * time.Minute)
		if got := h.has("web", "web"); got != "answer 1" || h.asked != 1 {
			t.Errorf("before its half: %q after %d questions", got, h.asked)
		}
		h.pass(2 * time.Minute)
		if got := h.has("web", "web"); got != "answer 2" || len(h.changes) != 2 {
			t.Errorf("after its half: %q, changes %q", got, h.changes)
		}

		h.fail = errors.New("the store is away")
		h.pass(58 * time.Minute)
		if got := h.has("web", "web"); got != "answer 2" {
			t.Errorf("the responder fails, and the staple holds: %q", got)
		}
		h.pass(time.Minute)
		if got := h.has("web", "web"); got != "" || len(h.changes) != 3 {
			t.Errorf("the staple is over: %q, changes %q", got, h.changes)
		}
		before := h.asked
		h.pass(10 * time.Minute)
		if got := h.asked - before; got < 9 || got > 11 || len(h.changes) != 3 {
			t.Errorf("asked %d times in ten minutes of failure, changes %q", got, h.changes)
		}
		h.fail = nil
		h.pass(time.Minute)
		if got := h.has("web", "web"); got == "" || len(h.changes) != 4 {
			t.Errorf("the responder is back: %q, changes %q", got, h.changes)
		}
	})
}

// Handshakes do not wait for the stapler to find that a staple is over, or of
// the certificate before.
func TestStapleNeverWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		h.mu.Unlock()
		h.look(t.Context())
		h.mu.Lock()
		for path, leaf := range map[string]string{"web": "web before", "other": "web"} {
			if got := h.has(path, leaf); got != "" {
				t.Errorf("%s of %s has the staple %q", leaf, path, got)
			}
		}
		h.pass(time.Hour - time.Second)
		if h.has("web", "web") == "" {
			t.Error("a second before its end the staple is gone")
		}
		h.pass(time.Second)
		if got := h.has("web", "web"); got != "" {
			t.Errorf("at its end the staple is %q", got)
		}
	})
}

// Who gets another CA's certificate has no staple, at once; who is served no
// longer is asked about no longer.
func TestStapleOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		h.served = []string{"web", "mail"}
		h.work(t)
		if h.has("web", "web") == "" || h.has("mail", "mail") == "" {
			t.Error("two servers, and one has no staple")
		}
		h.served, h.asked = []string{"mail"}, 0
		h.soon()
		h.wait()
		if h.has("web", "web") != "" || h.asked != 1 {
			t.Errorf("web is served no longer, %d questions", h.asked)
		}
		h.fail = fmt.Errorf("mail: %w", crl.ErrNotOurs)
		h.soon()
		h.wait()
		if got := h.has("mail", "mail"); got != "" || !slices.Contains(h.changes, "mail") {
			t.Errorf("another CA's certificate has the staple %q", got)
		}
		before := h.asked
		h.pass(12 * time.Hour)
		if h.asked != before {
			t.Errorf("asked %d times more about another CA's", h.asked-before)
		}
	})
}

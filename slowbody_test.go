package omca_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"omca"
	"omca/internal/wire"
)

// slow is a call that is held open: the server has decided that its caller may, and waits for the body.
type slow struct {
	t    *testing.T
	body *io.PipeWriter
	done chan int // its status; 0: the connection ended
}

// hold begins a call, and returns when the server has begun to read its body (RFC 9110, 10.1.1: only then it says 100).
func (r *running) hold(t *testing.T, c *http.Client, target string, header ...string) *slow {
	t.Helper()
	begun := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { close(begun) }})
	body, pipe := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://"+r.address+target, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue")
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	transport.ExpectContinueTimeout = time.Minute
	s := &slow{t, pipe, make(chan int, 1)}
	go func() {
		answer, err := c.Do(req)
		if err != nil {
			s.done <- 0
			return
		}
		defer answer.Body.Close()
		s.done <- answer.StatusCode
	}()
	select {
	case <-begun:
	case status := <-s.done:
		t.Fatalf("refused before the body: %d", status)
	}
	return s
}

// end sends the body, and returns the status.
func (s *slow) end(text string) int {
	s.t.Helper()
	go func() {
		_, err := io.WriteString(s.body, text)
		if err := s.body.CloseWithError(err); err != nil {
			s.t.Error(err)
		}
	}()
	return <-s.done
}

// TestHeldOpen: two calls that set the password of a user are held open while the user becomes root. Neither sets it.
func TestHeldOpen(t *testing.T) {
	r := runServer(t, omca.Config{})
	r.withPassword(t, "bob", "guest:ns1", "his own")
	const target = usersAt + "bob/data/key?name=password"
	var held []*slow
	for _, name := range []string{"mallory", "trudy"} {
		held = append(held, r.hold(t, r.client(t, name, "admin:system guest"), target))
	}
	local(t, r.Server, "PATCH", usersAt+"bob/config?set=grant%3Droot", nil)
	for _, s := range held {
		if status := s.end("the attacker's"); status != http.StatusForbidden {
			t.Errorf("set the password of root: %d", status)
		}
	}
	login := func(password string) int {
		status, _ := r.browser(t, nil).do("POST", "/api/auth/login", "application/json", `{"name":"bob","password":"`+password+`"}`)
		return status
	}
	if got := login("the attacker's"); got != http.StatusUnauthorized {
		t.Errorf("the attacker's password: %d", got)
	}
	if got := login("his own"); got != http.StatusOK {
		t.Errorf("his own password: %d", got)
	}
}

// TestHeldOpenByTheEnded: whoever cannot call any more, or not so, ends no call that was begun before.
func TestHeldOpenByTheEnded(t *testing.T) {
	r := runServer(t, omca.Config{})
	const alice, key = usersAt + "alice", "/api/object/path/ns1/cfg/target/data/key?name=color"
	local(t, r.Server, "POST", "/api/object/path/ns1/cfg/target", nil)
	local(t, r.Server, "POST", "/api/object/path/ns1/cfg/target/data/key?name=color", nil)
	patch := func(expr string) func() {
		return func() { local(t, r.Server, "PATCH", alice+"/config?set="+expr, nil) }
	}
	gone := []int{http.StatusUnauthorized, 0} // 0: the connection is closed
	for _, tt := range []struct {
		name, by  string
		meanwhile func()
		want      []int
	}{
		{"nothing", "certificate", func() {}, []int{http.StatusNoContent}},
		{"nothing", "password", func() {}, []int{http.StatusNoContent}},
		{"nothing", "token", func() {}, []int{http.StatusNoContent}},
		{"nothing", "session", func() {}, []int{http.StatusNoContent}},
		{"demoted", "certificate", patch("grant%3Dguest:ns1"), []int{http.StatusForbidden}},
		{"demoted", "token", patch("grant%3Dguest:ns1"), []int{http.StatusForbidden}},
		{"disabled", "password", patch("disabled%3Dtrue"), gone},
		{"disabled", "certificate", patch("disabled%3Dtrue"), gone},
		{"elsewhere", "session", patch("allowed_ips%3D192.0.2.0/24"), gone},
		{"deleted", "token", func() { local(t, r.Server, "POST", alice+"/action/delete", nil) }, gone},
		{"tokens revoked", "token", func() { local(t, r.Server, "POST", "/api/token/revoke?subject=alice", nil) }, gone},
		{"token keys rotated", "token", func() { local(t, r.Server, "POST", "/api/token/rotate-key?overlap=false", nil) }, gone},
		{"sessions ended", "session", func() { local(t, r.Server, "POST", "/api/session/revoke?user=alice", nil) }, gone},
		{"password changed", "password", func() { setPassword(t, r.Server, "alice", "another one") }, gone},
		{"certificate revoked", "certificate", func() { local(t, r.Server, "POST", alice+"/certificate/revoke", nil) }, gone},
	} {
		t.Run(tt.name+", by "+tt.by, func(t *testing.T) {
			b, header := r.aliceBy(t, tt.by)
			s := r.hold(t, b.client, key, header...)
			tt.meanwhile()
			status := s.end(tt.name)
			ok := false
			for _, want := range tt.want {
				ok = ok || status == want
			}
			if !ok {
				t.Errorf("%d, want one of %v", status, tt.want)
			}
			value := string(local(t, r.Server, "GET", key, nil))
			if written := value == tt.name; written != (tt.want[0] == http.StatusNoContent) {
				t.Errorf("the key is %q", value)
			}
			local(t, r.Server, "PUT", key, nil)
		})
	}
}

// aliceBy makes alice anew, with a password, and returns what calls as her.
func (r *running) aliceBy(t *testing.T, by string) (b *browser, header []string) {
	t.Helper()
	if status, _ := try(t, r.Server, "POST", usersAt+"alice/action/delete", nil); status != http.StatusOK && status != http.StatusNotFound {
		t.Fatal(status)
	}
	pair := r.pair(t, "alice", "admin:ns1")
	setPassword(t, r.Server, "alice", "her own")
	b = r.browser(t, nil)
	switch by {
	case "certificate":
		return r.browser(t, pair), nil
	case "session":
		b.login("alice", "her own")
		return b, []string{"Cookie", b.cookie}
	case "token":
		var issued wire.TokenPair
		if err := json.Unmarshal(local(t, r.Server, "POST", "/api/auth/token?subject=alice", nil), &issued); err != nil {
			t.Fatal(err)
		}
		return b, []string{"Authorization", "Bearer " + strings.TrimSpace(issued.AccessToken)}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://x", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("alice", "her own")
	return b, []string{"Authorization", req.Header.Get("Authorization")}
}

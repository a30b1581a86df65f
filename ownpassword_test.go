package omca_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"omca"
)

const (
	ownPassword = "/api/auth/password"
	firstOne    = "correct horse battery"
	secondOne   = "staple horse battery"
)

func passwordChange(current, password string) string {
	return fmt.Sprintf(`{"current":%q,"password":%q}`, current, password)
}

// Users change their own password, and every other login of theirs is over.
func TestOwnPassword(t *testing.T) {
	r := runServer(t, omca.Config{})
	r.withPassword(t, "alice", "guest:ns1", firstOne)
	b, other := r.browser(t, nil), r.browser(t, nil)
	b.login("alice", firstOne)
	other.login("alice", firstOne)
	before := b.cookie
	if status, text := b.do("POST", ownPassword, "application/json", passwordChange(firstOne, secondOne), "Sec-Fetch-Site", "same-origin"); status != http.StatusNoContent {
		t.Fatalf("%d %s", status, text)
	}
	if b.cookie == before {
		t.Error("the session goes on under the same secret")
	}
	b.in("the session that changed it", true)
	other.in("another session", false)
	b.cookie = before
	b.in("the former secret", false)

	basic := r.browser(t, nil)
	for password, want := range map[string]int{firstOne: http.StatusUnauthorized, secondOne: http.StatusOK} {
		if status, text := basic.do("GET", "/whoami", "", "", "Authorization", basicOf("alice", password)); status != want {
			t.Errorf("%q: %d %s", password, status, text)
		}
	}
	if status, text := basic.do("POST", ownPassword, "application/json", passwordChange(secondOne, firstOne), "Authorization", basicOf("alice", secondOne)); status != http.StatusNoContent {
		t.Errorf("by password: %d %s", status, text)
	}
}

// A session or a certificate that was stolen is no password for good, and no way
// to guess the one that there is.
func TestOwnPasswordIsNotForThieves(t *testing.T) {
	r := runServer(t, omca.Config{})
	r.withPassword(t, "alice", "guest:ns1", firstOne)
	stolen := r.browser(t, nil)
	stolen.login("alice", firstOne)
	// A certificate of a user who has no password.
	bob := r.browser(t, r.pair(t, "bob", "guest:ns1"))
	for name, tt := range map[string]struct {
		b       *browser
		current string
		site    string
	}{
		"none": {stolen, "", "same-origin"}, "wrong": {stolen, "wrong horse", "same-origin"}, "another origin": {stolen, firstOne, "cross-site"},
		"the first one of a certificate": {bob, "", "same-origin"},
	} {
		status, text := tt.b.do("POST", ownPassword, "application/json", passwordChange(tt.current, secondOne), "Sec-Fetch-Site", tt.site)
		if status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	stolen.in("refused, and still a session", true)

	local(t, r.Server, "PATCH", "/api/cluster/config?set=listener.rate_limiter_burst%3D3&set=listener.rate_limiter_rate%3D1/h", nil)
	local(t, r.Server, "POST", usersAt+"alice/action/unlock", nil)
	limited := false
	for range 5 {
		status, text := stolen.do("POST", ownPassword, "application/json", passwordChange("guess", secondOne))
		limited = limited || status == http.StatusTooManyRequests
		if status != http.StatusForbidden && status != http.StatusTooManyRequests || strings.Contains(text, "guess") {
			t.Errorf("a guess: %d %s", status, text)
		}
	}
	if !limited {
		t.Error("guesses by a session are not limited")
	}
	if status, text := r.browser(t, nil).do("GET", "/whoami", "", "", "Authorization", basicOf("bob", secondOne)); status == http.StatusOK {
		t.Errorf("bob has a password: %s", text)
	}
}

func basicOf(name, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, password)
	return r.Header.Get("Authorization")
}

package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/internal/wire"
	"omca/usr"
	"omca/usr/token"
)

// issues asks for a token.
func (w *world) issues(by, query string) result {
	w.t.Helper()
	return w.do(request{method: http.MethodPost, target: "/api/auth/token?" + query, by: by})
}

// TestIssueToken: what is asked for wrongly is 400, what may not be had 403, nobody 401.
func TestIssueToken(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/gone", "grant=guest", "disabled=true")
	for _, tt := range []struct {
		by, query string
		status    int
		says      string
	}{
		{"", "", http.StatusUnauthorized, "not authenticated"},
		{"guest1", "role=boss", http.StatusBadRequest, "boss"},
		{"guest1", "scope=A%20b", http.StatusBadRequest, "scope"},
		{"guest1", "access_duration=soon", http.StatusBadRequest, "access_duration"},
		{"guest1", "access_duration=-5m", http.StatusBadRequest, "less than nothing"},
		{"guest1", "refresh_duration=x", http.StatusBadRequest, "refresh_duration"},
		{"guest1", "refresh=maybe", http.StatusBadRequest, "refresh"},
		{"guest1", "duration=10m", http.StatusBadRequest, "unknown parameter"},
		{"guest1", "role=admin", http.StatusForbidden, "no grant that is held gives admin"},
		{"guest1", "role=guest&scope=ns2", http.StatusForbidden, "no grant that is held"},
		{"guest1", "role=root", http.StatusForbidden, "no grant that is held"},
		{"guest1", "subject=none", http.StatusForbidden, "needs root"},
		{"guest1", "subject=absent", http.StatusForbidden, "needs root"}, // and says not whether there is one
		{"guest1", "refresh=true", http.StatusForbidden, "needs a password"},
		{"none", "", http.StatusForbidden, "none is held"},
		{"openid", "", http.StatusForbidden, "gets none"},
		{"root", "subject=absent", http.StatusForbidden, "there is no user"},
		{"root", "subject=gone", http.StatusForbidden, "is disabled"},
		{"root", "subject=../sec/ca", http.StatusForbidden, "there is no user"},
		{"root", "subject=none", http.StatusForbidden, "none is held"},
	} {
		w.issues(tt.by, tt.query).refused(tt.status, tt.says)
	}
	for _, tt := range []struct {
		by, query, subject, grant string
		lives                     time.Duration
	}{
		{"guest1", "", "guest1", "guest:ns1", 10 * time.Minute},
		{"guest1", "subject=guest1&access_duration=1h30m", "guest1", "guest:ns1", 90 * time.Minute},
		{"guest1", "access_duration=10m0s", "guest1", "guest:ns1", 10 * time.Minute}, // as a Go program writes it
		{"guest1", "access_duration=1d", "guest1", "guest:ns1", 24 * time.Hour},
		{"guest1", "access_duration=300h", "guest1", "guest:ns1", 24 * time.Hour},
		{"guest1", "access_duration=1ms", "guest1", "guest:ns1", time.Second},
		{"guest1", "access_duration=0s", "guest1", "guest:ns1", time.Second},
		{"guest1", "role=&role=guest&scope=", "guest1", "guest:ns1", 10 * time.Minute},
		{"adminall", "role=guest&role=operator&scope=ns7", "adminall", "guest:ns7 operator:ns7", 10 * time.Minute},
		{"root", "subject=guest1", "guest1", "guest:ns1", 10 * time.Minute},
		{"boss", "subject=guest1", "guest1", "guest:ns1", 10 * time.Minute},
		{"root", "role=guest&scope=ns1", "root", "guest:ns1", 10 * time.Minute},
	} {
		pair := into[wire.TokenPair](w.issues(tt.by, tt.query).want(http.StatusOK))
		claims, err := w.tokens.Verify(t.Context(), pair.AccessToken, token.Access)
		if err != nil || claims.Subject != tt.subject || claims.Grants.String() != tt.grant || !pair.AccessExpiredAt.Equal(w.now.Add(tt.lives)) {
			t.Errorf("%s, %q: %s holds %q until %s, %v", tt.by, tt.query, claims.Subject, claims.Grants, pair.AccessExpiredAt, err)
		}
		if pair.RefreshToken != "" || pair.RefreshExpiredAt != nil {
			t.Errorf("%s, %q: a refresh token that nobody asked for", tt.by, tt.query)
		}
		if log := w.log.take(); strings.Contains(log, pair.AccessToken[len(pair.AccessToken)-40:]) {
			t.Error("the token is in the log")
		}
	}
	pair := into[wire.TokenPair](w.issues("root", "subject=guest1&refresh=true&refresh_duration=60d").want(http.StatusOK))
	if pair.RefreshToken == "" || pair.RefreshExpiredAt == nil || !pair.RefreshExpiredAt.Equal(w.now.Add(30*24*time.Hour)) {
		t.Errorf("refresh token until %v", pair.RefreshExpiredAt)
	}
}

// TestListTokens: who sees whose, and takes back whose.
func TestListTokens(t *testing.T) {
	w := newWorld(t)
	ids := map[string]string{}
	for _, subject := range []string{"guest1", "admin1", "boss"} {
		ids[subject] = w.aToken(subject, token.Access).ID
	}
	for by, want := range map[string]string{"guest1": "guest1", "admin1": "admin1", "none": "", "adminsys": "admin1 boss guest1", "adminall": "", "root": "admin1 boss guest1", "openid": ""} {
		list := into[wire.TokenList](w.do(request{target: "/api/token", by: by}).want(http.StatusOK))
		var subjects []string
		for _, item := range list.Items {
			subjects = append(subjects, item.Subject)
		}
		slices.Sort(subjects)
		if got := strings.Join(subjects, " "); got != want {
			t.Errorf("%s sees those of %q, want %q", by, got, want)
		}
	}
	revoke := func(by, subject string) result {
		return w.do(request{method: http.MethodPost, target: "/api/token/" + ids[subject] + "/revoke", by: by, header: map[string]string{"X-Request-Id": "same"}})
	}
	ids["absent"] = strings.Repeat("A", 26)
	absent := revoke("guest1", "absent").want(http.StatusNotFound)
	if got := revoke("guest1", "boss").want(http.StatusNotFound); strings.ReplaceAll(string(got.body), ids["boss"], ids["absent"]) != string(absent.body) {
		t.Errorf("one of somebody else: %s, one that is not there: %s", got.body, absent.body)
	}
	revoke("adminsys", "boss").refused(http.StatusForbidden, "every grant") // sees it, and is less
	if item := into[wire.TokenItem](revoke("guest1", "guest1").want(http.StatusOK)); item.State != stateRevoked || item.RevokedBy != "guest1" {
		t.Errorf("%+v", item)
	}
	revoke("guest1", "guest1").want(http.StatusOK)
	if got := into[wire.TokensRevoked](w.do(request{method: http.MethodPost, target: "/api/token/revoke?subject=admin1", by: "root"}).want(http.StatusOK)); got.Revoked != 1 {
		t.Errorf("%+v", got)
	}
	w.do(request{method: http.MethodPost, target: "/api/token/revoke?subject=boss", by: "guest1"}).refused(http.StatusForbidden, "")
	for state, want := range map[string]int{"valid": 1, "revoked": 2, "expired": 0} {
		if list := into[wire.TokenList](w.do(request{target: "/api/token?state=" + state, by: "root"}).want(http.StatusOK)); len(list.Items) != want {
			t.Errorf("%s: %d, want %d", state, len(list.Items), want)
		}
	}
	for _, query := range []string{"state=dead", "limit=0", "limit=2000", "subject=../x", "after=" + strings.Repeat("a", 200)} {
		w.do(request{target: "/api/token?" + query, by: "root"}).want(http.StatusBadRequest)
	}
}

// A page goes on where the one before ended.
func TestTokenPages(t *testing.T) {
	w := newWorld(t)
	want := map[string]bool{}
	for range 5 {
		want[w.aToken("guest1", token.Access).ID] = true
	}
	after := ""
	for range 4 {
		list := into[wire.TokenList](w.do(request{target: "/api/token?limit=2&after=" + after, by: "guest1"}).want(http.StatusOK))
		for _, item := range list.Items {
			if !want[item.ID] {
				t.Errorf("%s is there twice, or is none", item.ID)
			}
			delete(want, item.ID)
		}
		if after = list.Next; after == "" {
			break
		}
	}
	if len(want) != 0 || after != "" {
		t.Errorf("%d were left out, next is %q", len(want), after)
	}
}

// Disabling a user, and revoking its certificate, end its tokens for good; a successor of the certificate does not.
func TestWhatEndsTokens(t *testing.T) {
	for name, tt := range map[string]struct {
		request
		ends bool
	}{
		"disabled":             {request{method: http.MethodPatch, target: at + "system/usr/guest1/config?set=disabled=true"}, true},
		"disabled by a file":   {request{method: http.MethodPut, target: at + "system/usr/guest1/config/file", body: "[DEFAULT]\ngrant = guest:ns1\ndisabled = true\n", media: "text/plain"}, true},
		"another grant":        {request{method: http.MethodPatch, target: at + "system/usr/guest1/config?set=grant=guest:ns2"}, false},
		"certificate revoked":  {request{method: http.MethodPost, target: at + "system/usr/guest1/certificate/revoke"}, true},
		"certificate replaced": {request{method: http.MethodPost, target: at + "system/usr/guest1/certificate/revoke", body: `{"reason":"superseded"}`}, false},
		"deleted":              {request{method: http.MethodPost, target: at + "system/usr/guest1/action/delete"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			hers, other := w.aToken("guest1", token.Access), w.aToken("boss", token.Access)
			tt.by = "root"
			if res := w.do(tt.request); res.status/100 != 2 {
				t.Fatalf("%d %s", res.status, res.body)
			}
			if got := w.objects.Revoked(hers.ID); got != tt.ends {
				t.Errorf("revoked: %v", got)
			}
			if w.objects.Revoked(other.ID) {
				t.Error("that of somebody else too")
			}
		})
	}
}

// The keys are changed by no hand, whoever's it is.
func TestTokenKeysAreNotEdited(t *testing.T) {
	w := newWorld(t)
	const jwt = at + "system/sec/jwt"
	w.do(request{method: http.MethodPut, target: jwt + "/data/key?name=keys", body: "x", media: mediaAny, by: "root"}).refused(http.StatusBadRequest, "rotate-key")
	w.do(request{method: http.MethodDelete, target: jwt + "/data/key?name=keys", by: "root"}).refused(http.StatusBadRequest, "rotate-key")
	w.do(request{method: http.MethodPatch, target: jwt + "/data", body: `[{"action":"rename","name":"keys","to":"old"}]`, by: "root"}).refused(http.StatusBadRequest, "rotate-key")
	w.do(request{method: http.MethodPost, target: jwt + "/action/delete", by: "root"}).refused(http.StatusConflict, "rotate-key")
	w.do(request{method: http.MethodPost, target: jwt, body: `{"force":true}`, by: "root"}).refused(http.StatusConflict, "")
	for _, by := range []string{"adminsys", "adminall", "guest"} {
		w.do(request{target: jwt + "/data/key?name=keys", by: by}).refused(http.StatusForbidden, "")
	}
	if usr.CanIssueToken(usr.Caller{Name: "x", Method: usr.MethodDaemon, Grants: usr.RootGrants()}, "x", false) == nil {
		t.Error("the daemon gets a token")
	}
}

package api

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"testing"

	"omca/ca"
	"omca/internal/object"
	"omca/usr/token"
)

// foreignProfiles sign nothing: a token is what it says, and how many there were before it.
func foreignProfiles() map[string]token.Profile {
	signed := 0
	sign := func(_ context.Context, c token.Claims) (string, error) {
		signed++
		return fmt.Sprintf("%d %s %v", signed, c.Subject, c.Roles), nil
	}
	return map[string]token.Profile{"clustercockpit": {Sign: sign}, "metric-store": {Sign: sign}}
}

// foreignTokens has a key for one profile, and one more for whoever may make it.
func foreignTokens() ForeignTokens {
	at := func(p object.Path) string {
		if p.String() == "system/sec/jwt-clustercockpit" {
			return "clustercockpit"
		}
		return ""
	}
	key := func(_ context.Context, profile string, make bool) (ed25519.PublicKey, error) {
		if profile == "clustercockpit" || profile == "metric-store" && make {
			return bytes.Repeat([]byte{1}, 32), nil
		}
		return nil, fmt.Errorf("%w: profile %q", ca.ErrNotFound, profile)
	}
	return ForeignTokens{Profile: at, PublicKey: key, Import: func(context.Context, object.Path, []byte) error { return nil }}
}

func TestWhoMayIssueForeign(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/script", "roles=api")
	w.put("system/usr/person", "roles=user")
	w.put("system/usr/chief", "roles=admin")
	for _, tt := range []struct {
		by, profile, subject string
		want                 int
	}{
		{"script", "clustercockpit", "", http.StatusCreated},
		{"script", "clustercockpit", "script", http.StatusCreated},
		{"script", "clustercockpit", "person", http.StatusForbidden},
		{"script", "clustercockpit", "absent", http.StatusForbidden}, // who exists is nobody's business
		{"script", "metric-store", "script", http.StatusForbidden},
		{"person", "clustercockpit", "", http.StatusForbidden},
		{"chief", "clustercockpit", "person", http.StatusCreated},
		{"chief", "metric-store", "person", http.StatusCreated},
		{"chief", "clustercockpit", "absent", http.StatusNotFound},
		{"chief", "clustercockpit", "none", http.StatusBadRequest}, // who has no role
		{"adminsys", "clustercockpit", "script", http.StatusForbidden},
		{"boss", "clustercockpit", "script", http.StatusCreated},
		{"root", "metric-store", "script", http.StatusCreated},
		{"boss", "absent", "script", http.StatusBadRequest},
		{"clustercockpit", "clustercockpit", "alice", http.StatusForbidden},
		{"jwt", "clustercockpit", "alice", http.StatusForbidden},
		{"openid", "clustercockpit", "script", http.StatusForbidden},
		{"", "clustercockpit", "script", http.StatusUnauthorized},
	} {
		body := "{}"
		if tt.subject != "" {
			body = fmt.Sprintf(`{"subject":%q}`, tt.subject)
		}
		res := w.do(request{method: http.MethodPost, target: "/api/token/profile/" + tt.profile, by: tt.by, body: body}).want(tt.want)
		if bytes.Contains([]byte(w.log.take()), []byte("[api]")) {
			t.Errorf("%s: the token is in the log", res.what)
		}
	}
}

// TestWhoMayGiveRoles: roles are given by who has them, has the role admin, or is root.
func TestWhoMayGiveRoles(t *testing.T) {
	w := newWorld(t)
	w.put("system/usr/chief", "roles=admin", "grant=admin:system")
	w.put("system/usr/helper", "roles=user", "grant=admin:system")
	for _, tt := range []struct {
		by, target string
		want       int
	}{
		{"adminsys", "none/config?set=roles%3Dapi", http.StatusForbidden},
		{"adminsys", "adminsys/config?set=roles%3Dadmin", http.StatusForbidden},
		{"helper", "none/config?set=roles%3Dadmin", http.StatusForbidden},
		{"helper", "none/config?set=roles%3Duser", http.StatusOK},
		{"chief", "none/config?set=roles%3Dmanager", http.StatusOK},
		{"boss", "none/config?set=roles%3Dadmin", http.StatusOK},
		{"adminsys", "none/config?set=o%3Dx", http.StatusForbidden}, // who has a role now that adminsys lacks
	} {
		w.do(request{method: http.MethodPatch, target: at + "system/usr/" + tt.target, by: tt.by}).want(tt.want)
	}
}

func TestTokenKeyIsImported(t *testing.T) {
	w := newWorld(t)
	const key = at + "system/sec/jwt-clustercockpit/data/key?name="
	w.do(request{method: http.MethodPost, target: key + "private_key", by: "adminsys", body: "x", media: mediaAny}).want(http.StatusForbidden)
	res := w.do(request{method: http.MethodPost, target: key + "private_key", by: "root", body: "x", media: mediaAny}).want(http.StatusNoContent)
	if res.header.Get("Omca-Notice") == "" {
		t.Error("nobody is told what that ends")
	}
	for _, name := range []string{"certificate", "certificate_chain"} {
		w.do(request{method: http.MethodPut, target: key + name, by: "root", body: "x", media: mediaAny}).refused(http.StatusBadRequest, "no certificate")
	}
	w.put("system/sec/jwt-clustercockpit")
	for _, verb := range []string{"certificate", "certificate/renew", "certificate/signing-request"} {
		w.do(request{method: http.MethodPost, target: at + "system/sec/jwt-clustercockpit/" + verb, by: "root"}).refused(http.StatusBadRequest, "no certificate")
	}
	w.do(request{target: key + ca.KeyRequest, by: "root"}).refused(http.StatusBadRequest, "no certificate")
}

func TestForeignKey(t *testing.T) {
	w := newWorld(t)
	w.do(request{target: "/api/token/profile/clustercockpit/key", by: "none"}).want(http.StatusOK)
	w.do(request{target: "/api/token/profile/metric-store/key", by: "none"}).want(http.StatusNotFound)
	w.do(request{target: "/api/token/profile/metric-store/key", by: "boss"}).want(http.StatusOK)
}

package omca_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"testing"
	"time"

	"omca"
	"omca/internal/wire"
)

// What is got with a certificate of another PKI cannot end with that PKI's list,
// so it ends soon by itself; with a certificate of ours it lives as asked.
func TestTokenByExternalCertificate(t *testing.T) {
	r := runServer(t, omca.Config{})
	other := newOtherPKI(t)
	local(t, r.Server, "POST", "/api/object/path/system/sec/ca-external", map[string]any{})
	local(t, r.Server, "PATCH", "/api/object/path/system/sec/ca-external/data", []map[string]string{{
		"action": "add", "name": "certificate_chain", "string": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.cert.Raw})),
	}})
	local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.ca%3Dsystem/sec/ca-external", nil)
	for _, name := range []string{"carol", "boss"} {
		local(t, r.Server, "POST", usersAt+name, map[string]any{"keywords": []string{"grant=" + map[string]string{"carol": "guest:ns1", "boss": "root"}[name]}})
	}
	carol, _ := other.client(t, r, "carol")
	boss, _ := other.client(t, r, "boss")
	own := r.pair(t, "bob", "guest:ns1")
	session := r.browser(t, nil)
	session.client = carol
	if status, text := session.do("POST", "/api/auth/login", "", ""); status != http.StatusOK {
		t.Fatalf("login: %d %s", status, text)
	}
	plain := r.browser(t, nil)
	plain.cookie = session.cookie
	by := func(c *http.Client) *browser { b := r.browser(t, nil); b.client = c; return b }
	for name, tt := range map[string]struct {
		b     *browser
		query string
		most  time.Duration
	}{
		"asked for long":                      {by(carol), "?access_duration=24h", 10 * time.Minute},
		"asked for nothing":                   {by(carol), "", 10 * time.Minute},
		"asked for little":                    {by(carol), "?access_duration=1m", time.Minute},
		"a session that began with it":        {plain, "?access_duration=24h", 10 * time.Minute},
		"root for itself":                     {by(boss), "?access_duration=24h", 10 * time.Minute},
		"root for another":                    {by(boss), "?access_duration=24h&subject=bob", 24 * time.Hour},
		"a certificate that we can take back": {r.browser(t, own), "?access_duration=24h", 24 * time.Hour},
	} {
		status, text := tt.b.do("POST", "/api/auth/token"+tt.query, "", "")
		var pair wire.TokenPair
		if err := json.Unmarshal([]byte(text), &pair); err != nil || status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, text)
			continue
		}
		if left := time.Until(pair.AccessExpiredAt); left > tt.most+time.Second || left < tt.most-time.Minute {
			t.Errorf("%s: lives for %s, want %s", name, left, tt.most)
		}
	}
	if status, text := by(carol).do("POST", "/api/auth/token?refresh=true", "", ""); status != http.StatusForbidden {
		t.Errorf("a refresh token: %d %s", status, text)
	}
}

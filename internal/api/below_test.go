package api

import (
	"net/http"
	"testing"
)

// TestRevocationOfACAEndsUse: sessions and tokens of the users below a revoked CA end, also
// of those below a CA below it, but for superseded. Others have theirs.
func TestRevocationOfACAEndsUse(t *testing.T) {
	for reason, want := range map[string]string{"cACompromise": "", "superseded": both} {
		w := newWorld(t)
		for path, above := range map[string]string{"system/sec/ca-sub": "system/sec/ca", "system/sec/ca-beside": "system/sec/ca"} {
			w.put(path, "profile=ca", "cn="+path, "ca="+above)
			w.do(request{method: http.MethodPost, target: "/api/object/path/" + path + "/certificate", by: "root"}).want(http.StatusOK)
		}
		w.put("system/sec/ca-low", "profile=ca", "cn=low", "ca=system/sec/ca-sub")
		w.do(request{method: http.MethodPost, target: "/api/object/path/system/sec/ca-low/certificate", by: "root"}).want(http.StatusOK)
		speakers := make(map[string]speaker)
		for user, issuer := range map[string]string{"sam": "ca-sub", "lou": "ca-low", "ben": "ca-beside", "ann": "ca"} {
			w.put("system/usr/"+user, "grant=guest:ns1", "ca=system/sec/"+issuer)
			w.do(request{method: http.MethodPost, target: "/api/object/path/system/usr/" + user + "/certificate", by: "root"}).want(http.StatusOK)
			speakers[user] = w.speaker(user)
		}
		w.do(request{method: http.MethodPost, target: "/api/object/path/system/sec/ca-sub/certificate/revoke", by: "root", body: `{"reason":"` + reason + `"}`}).want(http.StatusOK)
		for user, want := range map[string]string{"sam": want, "lou": want, "ben": both, "ann": both} {
			if got := w.alive(speakers[user]); got != want {
				t.Errorf("%s: of %s there is %q, want %q", reason, user, got, want)
			}
		}
	}
}

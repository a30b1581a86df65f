package omca_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"omca"
	"omca/internal/text"
)

// TestTextOfOthers: what a stranger wrote into a certificate, a request and a header comes out of
// answers, pages and the log as octets that nothing obeys.
func TestTextOfOthers(t *testing.T) {
	const evil = "=1+1 \u009b2J\u202egnp\u200b"
	log := new(logged)
	r := runServer(t, omca.Config{Log: slog.New(slog.NewJSONHandler(text.JSONTo(log), nil))})
	stranger := namedPKI(t, rawName(t, utf8String, evil))
	local(t, r.Server, "POST", "/api/object/path/system/sec/ca-evil", map[string]any{})
	local(t, r.Server, "PATCH", "/api/object/path/system/sec/ca-evil/data", []map[string]string{{
		"action": "add", "name": "certificate_chain", "string": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger.cert.Raw})),
	}})
	local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.ca%2B%3Dsystem/sec/ca-evil", nil)

	alice := r.client(t, "alice", "root")
	shown := 0
	for _, path := range []string{
		"/api/object/path/system/sec/ca-evil/certificate", "/api/ca", "/api/crl", "/api/doctor", "/api/audit", "/api/object/path/system/sec/ca-evil%C2%9B",
		"/", "/objects", "/objects/system/sec/ca-evil", "/certificates", "/users", "/cluster", "/audit", "/hands", "/nowhere/%C2%9B%E2%80%AE",
	} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+r.address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("User-Agent", evil)
		if !strings.HasPrefix(path, "/api/") {
			request.Header.Set("Accept", "text/html")
		}
		answer, err := alice.Do(request)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		unseen(t, path, body)
		for name, values := range answer.Header {
			unseen(t, path+" "+name, []byte(strings.Join(values, "")))
		}
		if bytes.Contains(body, []byte("gnp")) {
			shown++
		}
		if strings.HasSuffix(path, "ca-evil/certificate") {
			var state struct{ Subject string }
			if err := json.Unmarshal(body, &state); err != nil || !strings.HasSuffix(state.Subject, "\u009b2J\u202egnp\u200b") {
				t.Errorf("%s: the subject is %q, %v", path, state.Subject, err)
			}
		}
	}
	if shown < 2 {
		t.Errorf("%d answers show the name: the test sees nothing", shown)
	}
	if _, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: r.pool, ServerName: evil}); err == nil {
		t.Error("a server name that nobody has")
	}
	unseen(t, "the log", []byte(log.take()))
}

// unseen reports the first character of octets that cannot be seen.
func unseen(t *testing.T, what string, octets []byte) {
	t.Helper()
	for i, c := range string(octets) {
		if c != '\n' && c != '\t' && c != '\r' && !unicode.IsPrint(c) {
			t.Errorf("%s: octet %d begins %U: %q", what, i, c, octets[max(0, i-40):min(len(octets), i+40)])
			return
		}
	}
}

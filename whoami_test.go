package omca_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"omca"
	"omca/internal/openid/openidtest"
	"omca/internal/wire"
)

// One user is the same user by every way to prove a name: whoami says which way
// it was, and the rest byte for byte as OpenSVC's does. The subject of an issuer
// is somebody else, with what the issuer says, and the socket is the machine's root.
func TestWhoamiByEveryMethod(t *testing.T) {
	issuer, stop, err := openidtest.Serve("127.0.0.1:0", openidtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	home := filepath.Join(t.TempDir(), "home")
	f := &federated{running: runServer(t, omca.Config{Home: home}), t: t, issuer: issuer}
	f.set("listener.openid_issuer=" + issuer.URL())
	f.await(true)
	const grants = "admin:ns1 guest:ns2 guest:ns3 operator"
	pair := f.pair(t, "usr1", grants)
	setPassword(t, f.Server, "usr1", firstOne)
	var issued wire.TokenPair
	if err := json.Unmarshal(local(t, f.Server, "POST", "/api/auth/token?subject=usr1&access_duration=10m", nil), &issued); err != nil {
		t.Fatal(err)
	}
	session := f.browser(t, nil)
	session.login("usr1", firstOne)
	socket := f.browser(t, nil)
	socket.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(home, "omca.sock"))
	}}}
	t.Cleanup(socket.client.CloseIdleConnections)

	const usr1 = `"grant":{"admin":["ns1"],"guest":["ns2","ns3"],"operator":null},"name":"usr1","namespace":"system","raw_grant":"` + grants + `"}`
	for _, tt := range []struct {
		method        string
		b             *browser
		authorization string
		want          string
	}{
		{"x509", f.browser(t, pair), "", `{"auth":"x509",` + usr1},
		{"basic", f.browser(t, nil), basicOf("usr1", firstOne), `{"auth":"basic",` + usr1},
		{"jwt", f.browser(t, nil), "Bearer " + issued.AccessToken, `{"auth":"jwt",` + usr1},
		{"session", session, "", `{"auth":"session",` + usr1},
		{"openid", f.browser(t, nil), "Bearer " + f.token(map[string]any{"preferred_username": "usr1", "grant": strings.Fields(grants)}),
			`{"auth":"jwt-openid",` + strings.Replace(usr1, `"name":"usr1"`, `"name":"openid:usr1"`, 1)},
	} {
		for _, path := range []string{"/whoami", "/api/auth/whoami"} {
			header := []string{}
			if tt.authorization != "" {
				header = []string{"Authorization", tt.authorization}
			}
			if status, text := tt.b.do("GET", path, "", "", header...); status != http.StatusOK || strings.TrimSuffix(text, "\n") != tt.want {
				t.Errorf("%s %s: %d\n got %s\nwant %s", tt.method, path, status, text, tt.want)
			}
		}
	}
	answer, err := socket.client.Get("http://localhost/whoami")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if want := `{"auth":"ux","grant":{"root":null},"name":"root","namespace":"system","raw_grant":"root"}`; err != nil || strings.TrimSuffix(string(text), "\n") != want {
		t.Errorf("socket: %v\n got %s\nwant %s", err, text, want)
	}
}
